"""How an engine is to share the machine."""

from dataclasses import dataclass
from typing import Literal

RunnerName = Literal["auto", "transformers", "generate"]
RequestedDtype = Literal["auto", "float32", "bfloat16", "float16"]
RequestedDevice = Literal["auto", "cpu", "cuda"]
Quantization = Literal["int8", "fp8"]

PAGE_TOKENS = 256


def computes_on_cpu(device: RequestedDevice, gpus: float) -> bool:
    """Whether a replica that Ray gave so many GPUs computes on the CPU."""
    return device == "cpu" or (device == "auto" and gpus <= 0)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Bounds of an engine.

    `slots` requests are decoded together and `max_waiting` more may wait, but no more than
    `queue_seconds` of work. The key-value cache takes `cache_bytes` on the CPU, and on a GPU what
    `memory_fraction` of it leaves next to the weights; a page has `page_tokens` tokens. A step reads at
    most `prefill_tokens` tokens of new prompts, and at most `chunk_tokens` of each while answers are
    being written, so that those do not stall. `cuda_graphs` records decode steps on a
    GPU. `runner` "auto" takes the quickest one that serves the model, "transformers" the model's own
    forward, "generate" static batches. A step guesses up to `prompt_lookup` further tokens of an answer
    from what its sequence holds.
    """

    slots: int = 64
    max_waiting: int = 512
    queue_seconds: float = 5.0
    preparation_threads: int = 2
    memory_fraction: float = 0.9
    cache_bytes: int = 512 * 2**20
    feature_cache_images: int = 64
    prefill_tokens: int = 8192
    chunk_tokens: int = 512
    cuda_graphs: bool = True
    page_tokens: int = PAGE_TOKENS
    runner: RunnerName = "auto"
    prompt_lookup: int = 0
