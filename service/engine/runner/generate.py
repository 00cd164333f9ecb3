"""The fallback: models of other families through transformers' own `generate`, a few requests at a time."""

import logging
from collections import abc
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from service.engine.runner.joining import join, search_options
from service.engine.runner.whole_batches import WholeBatches
from service.engine.sampler import generator_of, sample
from service.engine.sequence import Sequence
from service.engine.worker import Between, fault

logger = logging.getLogger("capstan.engine")


class GenerateWorker(WholeBatches):
    """See `Worker`. A batch runs from its prompts to its last answer; others wait."""

    name = "generate"

    def add(self, run: Sequence) -> None:
        """Queue a run."""
        run.generator = generator_of(run.request.sampling)
        super().add(run)

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

    def _generate(self, batch: list[Sequence], between: Between) -> None:
        inputs = join(batch, self.loaded)
        self.prefilled += sum(len(run.prompt) for run in batch)
        for run in batch:
            run.inputs = None
        follower = _Follower(batch, self.loaded.stop_ids, between)
        model: Any = self.loaded.model
        model.generate(
            **inputs,
            max_new_tokens=max(run.limit for run in batch),
            **search_options(self.loaded),
            logits_processor=LogitsProcessorList([_Chooser(batch)]),
            stopping_criteria=StoppingCriteriaList([follower]),
        )
        self.decoded += sum(len(run.answer) for run in batch)


class _Chooser(LogitsProcessor):
    """Leaves each row the one token that its own sampling chooses."""

    def __init__(self, batch: abc.Sequence[Sequence]) -> None:
        self.batch = list(batch)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:  # noqa: ARG002
        """Scores [B, V] with the chosen token above all others."""
        chosen = sample(scores, self.batch)  # [B]
        scores[torch.arange(len(self.batch), device=scores.device), chosen] = torch.inf
        return scores


class _Follower(StoppingCriteria):
    """Reads the tokens as they come, and says which rows have ended."""

    def __init__(self, batch: abc.Sequence[Sequence], stop_ids: frozenset[int], between: Between) -> None:
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
