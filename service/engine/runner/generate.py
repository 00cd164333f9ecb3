"""The fallback: models of other families through transformers' own `generate`, a few requests at a time."""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.detokenizer import Detokenizer
from service.engine.run import Run
from service.engine.sampler import generator_of, sample
from service.engine.worker import Between, fault

logger = logging.getLogger("capstan.engine")

LARGEST_BATCH = 16


class GenerateWorker:
    """See `Worker`. A batch runs from its prompts to its last answer; others wait."""

    name = "generate"
    cache_bytes = 0

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.longest = loaded.context_length
        self.slots = LARGEST_BATCH
        self.prefilled = 0
        self.decoded = 0
        self._queue: deque[Run] = deque()
        self._batch: list[Run] = []

    @property
    def waiting(self) -> int:
        """Runs that no batch has taken yet."""
        return len(self._queue)

    @property
    def active(self) -> int:
        """Runs of the batch."""
        return len(self._batch)

    def add(self, run: Run) -> None:
        """Queue a run."""
        run.generator = generator_of(run.request.sampling)
        run.detokenizer = Detokenizer(self.loaded.tokenizer, run.request.sampling.stop)
        self._queue.append(run)

    def running(self) -> Iterable[Run]:
        """The runs of the batch."""
        return self._batch

    def retire(self) -> list[Run]:
        """Let go of the runs that are done; the rest of their batch goes on without them."""
        ended = [run for run in (*self._queue, *self._batch) if run.done]
        self._queue = deque(run for run in self._queue if not run.done)
        self._batch = [run for run in self._batch if not run.done]
        return ended

    @torch.inference_mode()
    def step(self, between: Between) -> bool:
        """Run a whole batch."""
        batch = self._batch = self._next_batch()
        if not batch:
            return False
        try:
            self._generate(batch, between)
        except Exception:
            logger.exception("a batch of %d requests failed", len(batch))
            for run in batch:
                if not run.done:
                    run.error = fault()
        return True

    def _next_batch(self) -> list[Run]:
        """The first waiting run and those after it whose tensors can be joined with its own."""
        batch: list[Run] = []
        for run in self._queue:
            if run.done:
                continue
            if batch and _form(run) != _form(batch[0]):
                continue
            batch.append(run)
            if len(batch) == LARGEST_BATCH:
                break
        for run in batch:
            self._queue.remove(run)
        return batch

    def _generate(self, batch: list[Run], between: Between) -> None:
        inputs = join(batch, self.loaded)
        self.prefilled += sum(len(run.prompt) for run in batch)
        for run in batch:
            run.inputs = None
        follower = _Follower(batch, self.loaded.stop_ids, between)
        model: Any = self.loaded.model
        model.generate(
            **inputs,
            max_new_tokens=max(run.limit for run in batch),
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,  # a checkpoint's own default would come on top of the request's
            use_cache=True,
            pad_token_id=self.loaded.pad_id,
            eos_token_id=sorted(self.loaded.stop_ids) or None,
            logits_processor=LogitsProcessorList([_Chooser(batch)]),
            stopping_criteria=StoppingCriteriaList([follower]),
        )
        self.decoded += sum(len(run.answer) for run in batch)


class _Chooser(LogitsProcessor):
    """Leaves each row the one token that its own sampling chooses."""

    def __init__(self, batch: Sequence[Run]) -> None:
        self.batch = list(batch)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:  # noqa: ARG002
        """Scores [B, V] with the chosen token above all others."""
        chosen = torch.tensor(sample(scores, self.batch), device=scores.device)
        scores[torch.arange(len(self.batch)), chosen] = torch.inf
        return scores


class _Follower(StoppingCriteria):
    """Reads the tokens as they come, and says which rows have ended."""

    def __init__(self, batch: Sequence[Run], stop_ids: frozenset[int], between: Between) -> None:
        self.batch = batch
        self.stop_ids = stop_ids
        self.between = between

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:  # noqa: ANN401, ARG002
        """Whether each row [B] has ended."""
        for run, token in zip(self.batch, input_ids[:, -1].tolist(), strict=True):
            if not run.done:
                run.take(token, self.stop_ids)
        self.between()
        return torch.tensor([run.done for run in self.batch], device=input_ids.device)  # type: ignore[return-value]


def _form(run: Run) -> object:
    """What must be alike for tensors to be joined: names, types, and all sides but the first."""
    extra = run.inputs.extra if run.inputs else {}
    return tuple(
        sorted(
            (name, tensor.shape[1:], tensor.dtype) for name, tensor in extra.items() if not _per_token(name)
        )
    )


def _per_token(name: str) -> bool:
    return name in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "position_ids")


def join(batch: Sequence[Run], loaded: LoadedModel) -> dict[str, torch.Tensor]:
    """The inputs of `generate` for a batch: prompts padded on the left, other tensors one after the other."""
    longest = max(len(run.prompt) for run in batch)
    ids = torch.full((len(batch), longest), loaded.pad_id)  # [B, S]
    mask = torch.zeros((len(batch), longest), dtype=torch.long)  # [B, S]
    for row, run in enumerate(batch):
        ids[row, longest - len(run.prompt) :] = torch.tensor(run.prompt)
        mask[row, longest - len(run.prompt) :] = 1
    joined = {"input_ids": ids, "attention_mask": mask}
    extras = [run.inputs.extra if run.inputs else {} for run in batch]
    for name, first in extras[0].items():
        if name in joined or name == "position_ids":
            continue
        if _per_token(name):
            joined[name] = torch.stack(
                [
                    torch.nn.functional.pad(extra[name][0], (longest - extra[name].shape[1], 0))
                    for extra in extras
                ]
            )  # [B, S]
        else:
            joined[name] = torch.cat([extra[name] for extra in extras])
        if first.is_floating_point():
            joined[name] = joined[name].to(loaded.dtype)
    tiles = [run.inputs.pixels for run in batch if run.inputs and run.inputs.pixels is not None]
    if tiles:
        joined["pixel_values"] = torch.from_numpy(np.concatenate(tiles)).to(loaded.dtype)
    return {name: tensor.to(loaded.device) for name, tensor in joined.items()}
