"""The fallback for models that cannot be batched continuously: batches of transformers' own `generate`.

A batch runs from its prompts to its last answer; other sequences wait.
"""

import logging
from collections import abc, deque
from collections.abc import Callable
from time import monotonic
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from service.checkpoint.loaded import LoadedModel
from service.engine.runner.pixels import normaliser_of, pixels
from service.engine.sampling.logprobs import logprobs
from service.engine.sampling.sampler import generator_of, sample
from service.engine.sequence import Sequence
from service.errors import EngineStopped
from service.protocol.request import TokenLogprobs
from service.protocol.stats import RankStats

logger = logging.getLogger("capstan.engine")

LARGEST_BATCH = 16
NO_TOKEN = -1

# Inputs with a number for each token of the prompt.
PER_TOKEN = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "position_ids")


class GenerateBatcher:
    """See `Batcher`."""

    name = "generate"
    cache_bytes = 0
    slots = LARGEST_BATCH

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.context_length = loaded.context_length
        self.running: list[Sequence] = []
        self._waiting: deque[Sequence] = deque()
        self._prefilled = 0
        self._decoded = 0
        self._charged = 0.0

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        sequence.generator = generator_of(sequence.sampling)
        self._waiting.append(sequence)

    def stats(self) -> RankStats:
        """Counters and gauges; there are no pages."""
        return RankStats(len(self._waiting), len(self.running), self._prefilled, self._decoded)

    def reset_counters(self) -> None:
        """Count from zero again."""
        self._prefilled = self._decoded = 0

    def retire(self) -> list[Sequence]:
        """Drop the sequences that are done; the rest of their batch goes on without them."""
        ended = [sequence for sequence in (*self._waiting, *self.running) if sequence.done]
        self._charge()
        self._waiting = deque(sequence for sequence in self._waiting if not sequence.done)
        self.running = [sequence for sequence in self.running if not sequence.done]
        return ended

    @torch.inference_mode()
    def step(self, between: Callable[[], None]) -> bool:
        """Run a whole batch. Raises EngineStopped if the device has failed."""
        batch = self._next_batch()
        if not batch:
            return False
        self.running = list(batch)
        try:
            self._generate(batch, between)
        except torch.AcceleratorError as error:
            raise EngineStopped(f"the device has failed: {error}") from error
        except Exception:
            logger.exception("a batch of %d requests failed", len(batch))
            for sequence in batch:
                sequence.failed |= not sequence.done
        return True

    def _charge(self) -> None:
        """Divide the time since the last charge among the sequences of the batch."""
        now = monotonic()
        for sequence in self.running:
            sequence.timeline.compute += (now - self._charged) / len(self.running)
        self._charged = now

    def _next_batch(self) -> list[Sequence]:
        """The first waiting sequence and those after it whose tensors can be joined with its own."""
        waiting = [sequence for sequence in self._waiting if not sequence.done]
        batch = [one for one in waiting if _form(one) == _form(waiting[0])][:LARGEST_BATCH]
        self._charged = monotonic()
        for sequence in batch:
            self._waiting.remove(sequence)
            sequence.timeline.running = self._charged
        return batch

    def _generate(self, batch: list[Sequence], between: Callable[[], None]) -> None:
        inputs = _join(batch, self.loaded)
        for sequence in batch:
            self._prefilled += len(sequence.prompt)
            sequence.images, sequence.extra = (), {}

        chooser = _Chooser(batch, self.loaded.stop_ids)

        def take(tokens: list[int]) -> list[bool]:
            for row, (sequence, token) in enumerate(zip(batch, tokens, strict=True)):
                if not sequence.done:
                    sequence.take(token, self.loaded.stop_ids, chooser.likely.get(row))
                    self._decoded += 1
            between()
            return [sequence.done for sequence in batch]

        model: Any = self.loaded.model
        model.generate(
            **inputs,
            max_new_tokens=max(sequence.limit for sequence in batch),
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,  # a checkpoint's own default would come on top of the request's
            use_cache=True,
            pad_token_id=self.loaded.pad_id,
            eos_token_id=NO_TOKEN,  # the criteria below end a row: some requests go on after a stop token
            logits_processor=LogitsProcessorList([chooser]),
            stopping_criteria=StoppingCriteriaList([_Follower(take)]),
        )


class _Chooser(LogitsProcessor):
    """Leaves each row the one token that its own sampling chooses."""

    def __init__(self, batch: abc.Sequence[Sequence], stop_ids: frozenset[int]) -> None:
        self.batch = list(batch)
        self.stop_ids = stop_ids
        self.likely: dict[int, TokenLogprobs] = {}

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:  # noqa: ARG002
        """Scores [B, V] with the chosen token above all others."""
        chosen = sample(scores, self.batch, self.stop_ids)  # [B]
        self.likely = logprobs(scores, self.batch, chosen.tolist())
        scores[torch.arange(len(self.batch), device=scores.device), chosen] = torch.inf
        return scores


class _Follower(StoppingCriteria):
    """Passes the tokens on as they come, and ends the rows that are done."""

    def __init__(self, take: Callable[[list[int]], list[bool]]) -> None:
        self.take = take

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:  # noqa: ANN401, ARG002
        """Whether each row [B] has ended."""
        return torch.tensor(self.take(input_ids[:, -1].tolist()), device=input_ids.device)  # type: ignore[return-value]


def _form(sequence: Sequence) -> object:
    """What must be equal for tensors to be joined: names, types, and all sides but the first."""
    return sorted(
        (name, tensor.shape[1:], str(tensor.dtype))
        for name, tensor in sequence.extra.items()
        if name not in PER_TOKEN
    )


def _join(batch: abc.Sequence[Sequence], loaded: LoadedModel) -> dict[str, torch.Tensor]:
    """The inputs of `generate` for a batch: prompts padded on the left, other tensors one after the other."""
    longest = max(len(sequence.prompt) for sequence in batch)
    ids = torch.full((len(batch), longest), loaded.pad_id)  # [B, S]
    mask = torch.zeros((len(batch), longest), dtype=torch.long)  # [B, S]
    for row, sequence in enumerate(batch):
        ids[row, longest - len(sequence.prompt) :] = torch.tensor(sequence.prompt)
        mask[row, longest - len(sequence.prompt) :] = 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    extras = [sequence.extra for sequence in batch]
    for name, first in extras[0].items():
        if name in inputs or name == "position_ids":
            continue
        if name in PER_TOKEN:
            rows = [
                torch.nn.functional.pad(one[name][0], (longest - one[name].shape[1], 0)) for one in extras
            ]
            inputs[name] = torch.stack(rows)  # [B, S]
        else:
            inputs[name] = torch.cat([one[name] for one in extras])
        if first.is_floating_point():
            inputs[name] = inputs[name].to(loaded.dtype)
    images = [image.tiles for sequence in batch for image in sequence.images if image.tiles is not None]
    if images:
        inputs["pixel_values"] = pixels(images, normaliser_of(loaded), loaded.device).to(loaded.dtype)
    return {name: tensor.to(loaded.device) for name, tensor in inputs.items()}
