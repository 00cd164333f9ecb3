"""Trains the embedded model from scratch: `python -m training.train --out DIRECTORY`."""

import argparse
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from transformers import InternVLForConditionalGeneration, PreTrainedTokenizerFast, logging

from training import checkpoint, vocabulary
from training.batches import IGNORED, Batch, Batches, in_background
from training.report import Report

PEAK_RATE = 1.5e-3
WARMUP_STEPS = 100
WEIGHT_DECAY = 0.02
LARGEST_GRADIENT = 1.0
MEASURE_STEPS = 100

# Held-out images use the seed of training plus this offset.
HELD_OUT_SEED = 500_000
HELD_OUT_BATCHES = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train: `steps` batches of `batch_size` images, or as many as fit in `minutes`.

    The same seed gives the same first weights and the same images in the same order.
    """

    steps: int = 1500
    batch_size: int = 64
    seed: int = 1
    minutes: float = math.inf
    background: bool = True

    def progress(self, step: int, seconds: float) -> float:
        """The completed share of the training, by steps or by time, whichever is further."""
        return min(1.0, max(step / self.steps, seconds / (60 * self.minutes)))

    def learning_rate(self, step: int, seconds: float) -> float:
        """Return the learning rate after `step` batches: a short warm-up, then a cosine to zero."""
        rising = min(WARMUP_STEPS, self.steps // 10)
        if step < rising:
            return PEAK_RATE * step / rising
        share = (self.progress(step, seconds) - rising / self.steps) / (1 - rising / self.steps)
        return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * max(0.0, share)))


def measure(model: InternVLForConditionalGeneration, batch: Batch) -> tuple[torch.Tensor, float]:
    """Return the loss of a batch and the share of captions with every token correct."""
    out = model(input_ids=batch.ids, attention_mask=batch.mask, pixel_values=batch.pixels)
    logits, labels = out.logits[:, :-1], batch.labels[:, 1:]  # [B, S-1, V], [B, S-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    wrong = (logits.argmax(-1) != labels) & (labels != IGNORED)  # [B, S-1]
    return loss, float(1 - wrong.any(1).float().mean())


@torch.inference_mode()
def held_out_accuracy(model: InternVLForConditionalGeneration, batches: list[Batch]) -> float:
    """Return the share of correct held-out captions, with teacher forcing."""
    return sum(measure(model, batch)[1] for batch in batches) / len(batches)


def train(out: Path, plan: Plan) -> InternVLForConditionalGeneration:
    """Train as planned and save the checkpoint in `out`."""
    torch.manual_seed(plan.seed)
    tokenizer = vocabulary.build()
    model = checkpoint.new_model(tokenizer)
    model.train()
    samples = Batches(tokenizer, size=plan.batch_size, seed=plan.seed)
    _fit(model, in_background(samples) if plan.background else samples, _held_out(tokenizer, plan), plan)
    model.eval()
    checkpoint.save(model, tokenizer, out)
    return model


def _held_out(tokenizer: PreTrainedTokenizerFast, plan: Plan) -> list[Batch]:
    batches = Batches(tokenizer, size=plan.batch_size, seed=plan.seed + HELD_OUT_SEED)
    return list(islice(batches, HELD_OUT_BATCHES))


def _fit(
    model: InternVLForConditionalGeneration, samples: Iterable[Batch], held_out: list[Batch], plan: Plan
) -> None:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY
    )
    start = time.monotonic()
    with Report() as report:
        for step, batch in enumerate(samples, 1):
            optimizer.param_groups[0]["lr"] = plan.learning_rate(step - 1, time.monotonic() - start)
            loss, _ = measure(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            optimizer.zero_grad()
            progress = plan.progress(step, time.monotonic() - start)
            report.step(step, loss=loss.item(), progress=progress)
            if step % MEASURE_STEPS == 0 or progress == 1:
                accuracy, seconds = held_out_accuracy(model, held_out), time.monotonic() - start
                report.measured(step, accuracy=accuracy, seconds=seconds, progress=progress)
            if progress == 1:
                return


def main() -> None:
    """Parse the command line and train."""
    parser, planned = argparse.ArgumentParser(description=__doc__), Plan()
    parser.add_argument("--out", type=Path, required=True, help="directory for the checkpoint")
    parser.add_argument("--steps", type=int, default=planned.steps, help="batches to train on")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="end after so many, steps left or not"
    )
    parser.add_argument("--batch-size", type=int, default=planned.batch_size, help="images a batch")
    parser.add_argument("--seed", type=int, default=planned.seed, help="seed of weights and images")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of torch; at this size one is fastest"
    )
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(arguments.threads)
    plan = Plan(arguments.steps, arguments.batch_size, arguments.seed, arguments.minutes)
    train(arguments.out, plan)


if __name__ == "__main__":
    main()
