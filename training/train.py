"""Trains the embedded model from nothing: `python -m training.train --out DIRECTORY`."""

import argparse
import time
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import InternVLForConditionalGeneration, get_cosine_schedule_with_warmup, logging

from training import checkpoint, vocabulary
from training.batches import Batch, Batches, in_background

PEAK_RATE = 1.5e-3
WARMUP_STEPS = 100
WEIGHT_DECAY = 0.02
LARGEST_GRADIENT = 1.0
REPORT_STEPS = 100


def step_loss(model: InternVLForConditionalGeneration, batch: Batch) -> tuple[torch.Tensor, float]:
    """The loss of a batch, and the share of captions that are right to the last token."""
    out = model(input_ids=batch.ids, attention_mask=batch.mask, pixel_values=batch.pixels)
    logits, labels = out.logits[:, :-1], batch.labels[:, 1:]  # [B, S-1, V], [B, S-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    wrong = (logits.argmax(-1) != labels) & (labels >= 0)
    return loss, float(1 - wrong.any(1).float().mean())


def train(out: Path, *, steps: int, batch_size: int, seed: int) -> InternVLForConditionalGeneration:
    """Train for `steps` batches and save the checkpoint in `out`."""
    torch.manual_seed(seed)
    tokenizer = vocabulary.build()
    model = checkpoint.new_model(tokenizer)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY
    )
    schedule = get_cosine_schedule_with_warmup(optimizer, min(WARMUP_STEPS, steps // 10), steps)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    start, loss_mean, right_mean = time.monotonic(), 0.0, 0.0
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=steps)
        samples = in_background(Batches(tokenizer, size=batch_size, seed=seed))
        for step, batch in zip(range(1, steps + 1), samples, strict=False):
            loss, right = step_loss(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            loss_mean += (loss.item() - loss_mean) / min(step, REPORT_STEPS)
            right_mean += (right - right_mean) / min(step, REPORT_STEPS)
            label = f"loss {loss_mean:.4f}, right {right_mean:.1%}"
            progress.update(task, advance=1, description=label)
            if step % REPORT_STEPS == 0 and not progress.console.is_terminal:
                print(f"step {step} of {steps}, {time.monotonic() - start:.0f} s: {label}", flush=True)
    model.eval()
    checkpoint.save(model, tokenizer, out)
    return model


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory for the checkpoint")
    parser.add_argument("--steps", type=int, default=2000, help="batches to train on")
    parser.add_argument("--batch-size", type=int, default=64, help="images a batch")
    parser.add_argument("--seed", type=int, default=1, help="seed of weights and images")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    train(arguments.out, steps=arguments.steps, batch_size=arguments.batch_size, seed=arguments.seed)


if __name__ == "__main__":
    main()
