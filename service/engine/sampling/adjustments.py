"""What changes the logits of a sequence before a token is chosen: biases, penalties, and tokens ruled out.

Each function changes all rows that ask for it in one call. Their order is that of transformers and vLLM:
biases, repetition, presence and frequency, then what rules tokens out: a least length, and grammars.

Letters: B rows, V vocabulary, N entries of all changed rows together.
"""

from collections import abc
from collections.abc import Mapping

import numpy as np
import torch

from service.engine.sequence import Sequence

Rows = abc.Sequence[tuple[int, Sequence]]


def adjust(logits: torch.Tensor, sequences: abc.Sequence[Sequence], stop_ids: frozenset[int]) -> torch.Tensor:
    """The logits [B, V] as the sequences ask for them, in float32; themselves if none asks for a change."""
    rows = [(row, sequence) for row, sequence in enumerate(sequences) if sequence.adjusted]
    if not rows:
        return logits
    logits = logits.float()
    logits = _add(logits, [(row, dict(one.sampling.logit_bias)) for row, one in rows])
    logits = penalize(logits, [one for one in rows if one[1].sampling.repetition_penalty != 1.0])
    logits = _add(logits, [(row, _penalties(one)) for row, one in rows])
    logits = _rule_out_stops(logits, rows, stop_ids)
    return _match(logits, rows)


def penalize(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Make tokens that a row's sequence holds less likely: divide what is positive, multiply the rest.

    Source: CTRL (Keskar et al., 2019), section 4.1, as transformers does it: the prompt counts too.
    """
    if not rows:
        return logits
    entries = {row: dict.fromkeys(one.seen, one.sampling.repetition_penalty) for row, one in rows}
    where, penalty = _entries(logits, list(entries.items()))  # each [N]
    before = logits[where]  # [N]
    return logits.index_put(where, torch.where(before > 0, before / penalty, before * penalty))


def _penalties(sequence: Sequence) -> dict[int, float]:
    """What presence and frequency penalties add, by token of the answer.

    Source: OpenAI's API reference, "Create chat completion": the prompt does not count.
    """
    presence, frequency = sequence.sampling.presence_penalty, sequence.sampling.frequency_penalty
    if not presence and not frequency:
        return {}
    return {token: -presence - frequency * count for token, count in sequence.counts.items()}


def _rule_out_stops(logits: torch.Tensor, rows: Rows, stop_ids: frozenset[int]) -> torch.Tensor:
    """Rule out the end of answers that are shorter than their `min_tokens`."""
    early = dict.fromkeys(stop_ids, float("-inf"))
    return _add(logits, [(row, early) for row, one in rows if len(one.answer) < one.sampling.min_tokens])


def _match(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Rule out the tokens that would leave a row's grammar."""
    masks = [(row, one.matcher.compute_bitmask()) for row, one in rows if one.matcher is not None]
    if not masks:
        return logits
    size = logits.shape[-1]
    packed = np.frombuffer(b"".join(mask for _, mask in masks), np.uint8).reshape(len(masks), -1)
    bits = np.unpackbits(packed, axis=-1, bitorder="little", count=min(size, packed.shape[-1] * 8))
    # The model may have more logits than the vocabulary has tokens.
    allowed = np.pad(bits, ((0, 0), (0, size - bits.shape[-1]))).astype(bool)  # [N, V]
    index = torch.tensor([row for row, _ in masks]).to(logits.device)  # [N]
    ruled_out = ~torch.from_numpy(allowed).to(logits.device)
    return logits.index_copy(0, index, logits[index].masked_fill(ruled_out, float("-inf")))


def _add(logits: torch.Tensor, entries: abc.Sequence[tuple[int, Mapping[int, float]]]) -> torch.Tensor:
    """Add to the logits of some tokens of some rows."""
    entries = [(row, values) for row, values in entries if values]
    if not entries:
        return logits
    where, values = _entries(logits, entries)
    return logits.index_put(where, values, accumulate=True)


def _entries(
    logits: torch.Tensor, entries: abc.Sequence[tuple[int, Mapping[int, float]]]
) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Rows and columns [N], and what belongs there [N], without waiting for the device."""
    rows = torch.tensor([row for row, values in entries for _ in values])
    columns = torch.tensor([token for _, values in entries for token in values])
    values = torch.tensor([value for _, values in entries for value in values.values()], dtype=logits.dtype)
    device = logits.device
    return (rows.to(device), columns.to(device)), values.to(device)
