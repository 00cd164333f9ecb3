"""Among how many GPUs a model can be divided."""

import pytest
from transformers import PreTrainedConfig

from service.engine.runner.tensor_parallel import refuse_heads, refuse_indivisible
from service.errors import DeviceError
from service.native.start import refuse_missing
from tests.support.checkpoints import internvl_config, make_tokenizer


@pytest.mark.parametrize(
    ("heads", "key_value_heads", "gpus", "words"),
    [
        (28, 28, 8, "28 attention heads cannot be divided among 8 GPUs; use 1, 2, 4, 7, 14 or 28 "),
        (28, 4, 8, "28 attention heads cannot be divided among 8 GPUs; use 1, 2 or 4 "),
        (32, 8, 16, "8 key-value heads cannot be divided among 16 GPUs; use 1, 2, 4 or 8 "),
        (14, 2, 7, "2 key-value heads cannot be divided among 7 GPUs; use 1 or 2 "),
        (3, 1, 3, "1 key-value heads cannot be divided among 3 GPUs; use 1 "),
    ],
)
def test_heads_that_cannot_be_divided_are_refused_with_what_can(
    heads: int, key_value_heads: int, gpus: int, words: str
) -> None:
    """A refusal names the heads, the GPUs, every number that would do, and the setting."""
    with pytest.raises(DeviceError) as caught:
        refuse_heads(heads, key_value_heads, gpus)
    assert str(caught.value) == f"{words}(CAPSTAN_GPUS_PER_REPLICA)"


@pytest.mark.parametrize(
    ("heads", "key_value_heads", "gpus"), [(28, 4, 4), (32, 8, 8), (64, 8, 2), (5, 5, 1)]
)
def test_heads_that_can_be_divided_are_taken(heads: int, key_value_heads: int, gpus: int) -> None:
    """Where every GPU gets whole heads of both kinds, nothing is refused."""
    refuse_heads(heads, key_value_heads, gpus)


def test_the_heads_that_count_are_the_language_model_s() -> None:
    """Of a vision-language model the text part decides: the vision tower is whole on every GPU."""
    config = internvl_config(make_tokenizer())
    config.vision_config.num_attention_heads = 3
    refuse_indivisible(config, 2)
    with pytest.raises(DeviceError, match="2 key-value heads cannot be divided among 4 GPUs"):
        refuse_indivisible(config, 4)


def test_a_model_without_a_plan_is_refused() -> None:
    """A language model that transformers has no plan for is refused by its type."""

    class Plain(PreTrainedConfig):
        model_type = "plain"

    with pytest.raises(DeviceError, match="models of type plain have no tensor parallel plan"):
        refuse_indivisible(Plain(), 2)


def test_too_few_gpus_are_refused_with_the_numbers() -> None:
    """More GPUs a replica than Ray gave it are refused."""
    with pytest.raises(DeviceError, match="Ray gave this replica 1; set num_gpus to 4 in ray_actor_options"):
        refuse_missing(4, 1)


@pytest.mark.parametrize("given", [4, 8])
def test_enough_gpus_are_taken(given: int) -> None:
    """As many GPUs as are wanted, or more, do."""
    refuse_missing(4, given)
