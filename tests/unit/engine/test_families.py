"""Families of transformers, batched continuously through their own forward, against `generate`."""

import dataclasses

import pytest
import torch

from service.engine.runner.attention_shape import context_limit, observe
from service.engine.runner.transformers_runner import PackedForward
from service.errors import CheckpointError
from tests.support.families import FAMILIES, REFUSED, make
from tests.support.families.family import IMAGE, Family, Prompt, prompt
from tests.support.packed import job, serve

ANSWER = 9


@torch.inference_mode()
def by_generate(family: Family, asked: Prompt) -> list[int]:
    """The answer that the model's own `generate` gives, alone."""
    ids = torch.tensor([asked.ids])
    found = family.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **asked.extra,
        max_new_tokens=ANSWER,
        do_sample=False,
        eos_token_id=[],
    )
    answer: list[int] = found[0, len(asked.ids) :].tolist()
    return answer


@torch.inference_mode()
def by_packing(forward: PackedForward, prompts: list[Prompt], chunk: int) -> list[list[int]]:
    """The answers of packed steps, prompts read `chunk` tokens at a time."""
    jobs = [job(forward, asked, ANSWER) for asked in prompts]
    serve(forward, jobs, chunk=chunk)
    return [each.answer for each in jobs]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_answers_as_generate_does(name: str) -> None:
    """Prompts of none to three images, arriving in turn, are answered as alone, read whole or in chunks."""
    family = make(name)
    prompts = [prompt(family, images=seed % 4, seed=seed, words=4 + seed) for seed in range(7)]
    expected = [by_generate(family, asked) for asked in prompts]
    forward = PackedForward(family.model)
    assert by_packing(forward, prompts, chunk=100) == expected
    assert by_packing(forward, prompts, chunk=5) == expected


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_a_family_sees_in_16_bits(name: str) -> None:
    """A model in bfloat16, as on a GPU, takes the pixels that its processor gives in float32."""
    family = make(name)
    forward = PackedForward(family.model)
    family.model.to(torch.bfloat16)
    features = forward.prompts.features(prompt(family, images=2, seed=1).extra)
    assert features.dtype == torch.bfloat16
    assert features.isfinite().all()


@pytest.mark.parametrize("name", ["qwen3_vl", "gemma3", "paligemma"])
def test_a_preempted_sequence_is_computed_again(name: str) -> None:
    """A sequence that gave its pages up is answered as if it had kept them, image and answer included."""
    family = make(name)
    prompts = [prompt(family, images=1 + seed % 2, seed=seed) for seed in range(4)]
    expected = [by_generate(family, asked) for asked in prompts]
    forward = PackedForward(family.model)
    jobs = [job(forward, asked, ANSWER) for asked in prompts]
    with torch.inference_mode():
        serve(forward, jobs, chunk=7, preempt=7)
    assert [each.answer for each in jobs] == expected


@pytest.mark.parametrize("name", REFUSED)
def test_a_family_that_cannot_be_packed_is_refused(name: str) -> None:
    """A model whose layers are not plain attention is refused with the reason and what to do."""
    with pytest.raises(CheckpointError, match=f"{REFUSED[name][1]}.*; set CAPSTAN_RUNNER=generate"):
        observe(make(name).model)


def test_an_image_that_is_more_than_features_is_refused() -> None:
    """A model that reads more of an image than its tokens' features is refused at its first image."""
    family = make("ovis2")
    forward = PackedForward(family.model)
    with pytest.raises(CheckpointError, match=r"needs visual_indicator_features.*CAPSTAN_RUNNER=generate"):
        forward.prompts.features(prompt(family, images=1, seed=1).extra)


@pytest.mark.parametrize("name", ["gemma3", "paligemma2"])
def test_images_are_read_in_both_directions(name: str) -> None:
    """Without what its image tokens see of later ones, such a family answers differently."""
    family = make(name)
    prompts = [prompt(family, images=2, seed=seed) for seed in range(4)]
    forward = PackedForward(family.model)
    jobs = [job(forward, asked, ANSWER) for asked in prompts]
    assert all(each.sight for each in jobs)
    blind = [dataclasses.replace(each, sight=None, answer=[], pages=[]) for each in jobs]
    with torch.inference_mode():
        serve(forward, jobs, chunk=100)
        serve(forward, blind, chunk=100)
    assert [each.answer for each in jobs] != [each.answer for each in blind]


def test_an_image_block_is_not_divided() -> None:
    """A chunk ends before an image block that it does not hold whole, or after it where it begins with it."""
    family = make("gemma3")
    asked = prompt(family, images=2, seed=1, words=5)  # blocks from 5 to 9 and from 14 to 18 of 23 tokens
    sight = PackedForward(family.model).prompts.sight(asked.ids, asked.extra)
    assert sight is not None
    assert [sight.chunk_end(0, end) for end in (3, 5, 6, 8, 9, 12)] == [3, 5, 5, 5, 9, 12]
    assert sight.chunk_end(5, 7) == 9


def test_a_prefix_that_is_read_as_one_is_one_chunk() -> None:
    """PaliGemma's whole prompt is one chunk, however few tokens a step may read."""
    family = make("paligemma")
    asked = prompt(family, images=1, seed=1)
    sight = PackedForward(family.model).prompts.sight(asked.ids, asked.extra)
    assert sight is not None
    assert sight.chunk_end(0, 3) == len(asked.ids)


def test_text_alone_is_read_causally() -> None:
    """A prompt without images needs no mask in a family that reads images in both directions."""
    family = make("gemma3")
    asked = prompt(family, images=0, seed=1)
    assert PackedForward(family.model).prompts.sight(asked.ids, asked.extra) is None


def test_a_written_image_token_is_text() -> None:
    """An image token that the model itself wrote takes no features from a prompt in the same step."""
    family = make("llava")
    forward = PackedForward(family.model)
    asked = prompt(family, images=1, seed=1)
    alone, other = (job(forward, asked, 2) for _ in range(2))
    writer = job(forward, prompt(family, images=0, seed=2), ANSWER)
    writer.answer.append(IMAGE)
    with torch.inference_mode():
        serve(forward, [alone], chunk=100)
        serve(forward, [writer, other], chunk=100, every=1)
    assert other.answer == alone.answer


@pytest.mark.parametrize(("kind", "limit"), [("default", None), ("dynamic", 64)])
def test_positions_that_depend_on_the_longest_sequence_bound_it(kind: str, limit: int | None) -> None:
    """Where one long sequence would change the positions of all, none may be so long."""
    family = make("llava")
    rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 64}
    family.model.config.text_config.rope_parameters = rope
    assert context_limit(family.model) == limit


def test_a_model_is_left_as_it_was() -> None:
    """Between steps the model's own `generate` works as before."""
    family = make("qwen3_vl")
    asked = prompt(family, images=1, seed=1)
    expected = by_generate(family, asked)
    forward = PackedForward(family.model)
    assert by_packing(forward, [asked], chunk=5) == [by_generate(family, asked)] == [expected]


def test_positions_go_on_after_an_image() -> None:
    """Tokens of an answer continue from the largest position of the prompt, not from its length."""
    family = make("qwen2_5_vl")
    asked = prompt(family, images=1, seed=1, words=5)  # 5 words, a start, 2 image tokens, an end, 5 words
    positions = PackedForward(family.model).prompts.positions(asked.ids, asked.extra)
    assert positions.between(5, 9).tolist() == [[5, 6, 7, 8], [5, 6, 6, 8], [5, 6, 6, 8], [5, 6, 7, 8]]
    assert positions.between(13, 16).tolist() == [[13, 14, 15]] + [[13, 14, 15]] * 3
