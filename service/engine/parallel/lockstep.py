"""One batch on one rank: `generate` on every rank at once, with the tokens that rank 0 chooses.

Letters of the shape comments: B rows, V vocabulary.
"""

from typing import Any

import torch
import torch.distributed as dist
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.parallel.channel import Channel
from service.engine.parallel.messages import Batch, Chosen, Ended, FromRank, Row, ToRank
from service.engine.request import Request
from service.engine.runner.joining import search_options
from service.engine.sampler import generator_of, sample
from service.engine.sequence import Sequence

# A replica whose engine is slower than this to answer counts as dead already.
ANSWER_SECONDS = 600.0

Replica = Channel[ToRank, FromRank]


class Lockstep:
    """A batch from its prompts to its last token. `tokens` counts those of a row so far."""

    def __init__(self, loaded: LoadedModel, batch: Batch, replica: Replica, rank: int) -> None:
        self.loaded = loaded
        self.batch = batch
        self.tokens = 0
        self.ended = [False] * len(batch.rows)
        self._replica = replica
        self._rank = rank
        self._runs = [_run(row) for row in batch.rows]

    def generate(self) -> None:
        """Run the batch. What it throws leaves the ranks out of step unless all of them throw it."""
        inputs = {name: parcel.tensor(self.loaded.device) for name, parcel in self.batch.inputs.items()}
        for name in sorted(inputs):
            dist.broadcast(inputs[name].view(torch.uint8), src=0)
        model: Any = self.loaded.model
        model.generate(
            **inputs,
            max_new_tokens=max(row.limit for row in self.batch.rows),
            **search_options(self.loaded),
            logits_processor=LogitsProcessorList([_Chooser(self)]),
            stopping_criteria=StoppingCriteriaList([_Follower(self)]),
        )

    def choose(self, scores: torch.Tensor) -> torch.Tensor:
        """The next token of each row [B] from `scores` [B, V] of rank 0; learns which rows then end."""
        news = torch.empty(2, len(self._runs), dtype=torch.long)  # [2, B]: tokens, and whether rows end
        if self._rank == 0:
            tokens = sample(scores, self._runs).tolist()
            self._replica.send(Chosen(tokens))
            answer = self._replica.receive(ANSWER_SECONDS)
            if not isinstance(answer, Ended):
                raise TypeError(f"{type(answer).__name__} came where Ended was due")
            news = torch.tensor([tokens, answer.rows])  # [2, B]
        news = news.to(scores.device)
        dist.broadcast(news, src=0)
        self._take(news.tolist())
        return news[0]  # [B]

    def _take(self, news: list[list[int]]) -> None:
        self.tokens += 1
        self.ended = [bool(ended) for ended in news[1]]
        for run, token in zip(self._runs, news[0], strict=True):
            run.answer.append(token)


class _Chooser(LogitsProcessor):
    """Leaves each row the token that was chosen for it."""

    def __init__(self, lockstep: Lockstep) -> None:
        self.lockstep = lockstep

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:  # noqa: ARG002
        """Scores [B, V] with the chosen token above all others."""
        chosen = self.lockstep.choose(scores)  # [B]
        scores[torch.arange(len(chosen), device=scores.device), chosen] = torch.inf
        return scores


class _Follower(StoppingCriteria):
    """Ends the rows that the replica says have ended."""

    def __init__(self, lockstep: Lockstep) -> None:
        self.lockstep = lockstep

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:  # noqa: ANN401, ARG002
        """Whether each row [B] has ended."""
        return torch.tensor(self.lockstep.ended, device=input_ids.device)  # type: ignore[return-value]


def _run(row: Row) -> Sequence:
    """What the sampler needs of a row."""
    request = Request((), row.sampling)
    return Sequence(request, prompt=row.prompt, limit=row.limit, generator=generator_of(row.sampling))
