"""Among how many GPUs a model can be divided: whole heads each, so that attention needs no exchange."""

from math import gcd

from transformers import PreTrainedConfig

from service.errors import DeviceError

SETTING = "CAPSTAN_GPUS_PER_REPLICA"


def refuse_indivisible(config: PreTrainedConfig, gpus: int) -> None:
    """Raise DeviceError where the text model's heads or its plan do not allow `gpus` equal parts."""
    text = config.get_text_config()
    if not text.base_model_tp_plan:
        raise DeviceError(
            f"models of type {text.model_type} have no tensor parallel plan in transformers, so "
            f"{gpus} GPUs cannot share one; set {SETTING} to 1"
        )
    heads = int(text.num_attention_heads)
    key_value_heads = int(getattr(text, "num_key_value_heads", None) or heads)
    refuse_heads(heads, key_value_heads, gpus)


def refuse_heads(heads: int, key_value_heads: int, gpus: int) -> None:
    """Raise DeviceError, with the numbers that would do, where `gpus` does not divide both kinds of heads."""
    for count, kind in ((heads, "attention heads"), (key_value_heads, "key-value heads")):
        if count % gpus:
            raise DeviceError(
                f"{count} {kind} cannot be divided among {gpus} GPUs; "
                f"use {_listed(_divisors(gcd(heads, key_value_heads)))} ({SETTING})"
            )


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]


def _listed(numbers: list[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last
