"""How many GPUs a rate of captions needs: memory by the model's shape, speed by the card's roofline."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

Json = Mapping[str, Any]

BYTES = 2  # bfloat16
PAGE_TOKENS = 256
QUESTION_TOKENS = 40
HOURS_A_MONTH = 730
# The settings of a replica: CAPSTAN_MEMORY_FRACTION and CAPSTAN_MAX_CONCURRENT_SEQUENCES.
MEMORY_FRACTION = 0.9
SEQUENCES = 64
# Activations of the largest step, CUDA graphs and the CUDA context.
RESERVE_BYTES = 2 * 2**30
# What a well-kept engine reaches of a card's peaks; no figure of this engine on a GPU goes into it.
COMPUTE_SHARE = 0.4
BANDWIDTH_SHARE = 0.6
# Each further GPU of a replica adds this much, as ranks exchange activations in every layer.
PARALLEL_SHARE = 0.8
# Replicas are planned for this much of their speed; the rest is for bursts and restarts.
PLANNED_LOAD = 0.7
# Fewer captions at a time than this leave a card mostly waiting for its memory.
LEAST_BATCH = 4
GPUS_PER_REPLICA = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card: memory (bytes), dense bfloat16 (FLOP/s) and memory bandwidth (bytes/s), by its data sheet."""

    memory: float
    flops: float
    bandwidth: float


GPUS = {
    "l4": Gpu(24e9, 121e12, 300e9),
    "a100": Gpu(80e9, 312e12, 2039e9),
    "h100": Gpu(80e9, 989e12, 3350e9),
    "h200": Gpu(141e9, 989e12, 4800e9),
}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Parameters of the vision tower and the language model, and what their tokens cost."""

    vision_parameters: float
    text_parameters: float
    embedding_parameters: float
    cache_bytes_per_token: int
    attention_width: int
    """Layers times the width of all query heads, which attention's FLOPs grow with."""
    patches: int
    tokens_per_tile: int

    @classmethod
    def from_config(cls, config: Json) -> Self:
        """Read a checkpoint's config.json, of transformers' or the original InternVL layout.

        Raises KeyError where it does not describe a vision tower and a language model with attention.
        """
        text, vision = config.get("text_config") or config["llm_config"], config["vision_config"]
        hidden, layers, heads = (text[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
        head = text.get("head_dim") or hidden // heads
        cached = head * (text.get("num_key_value_heads") or heads)
        layer = 2 * hidden * heads * head + 2 * hidden * cached + 3 * hidden * text["intermediate_size"]
        tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
        wide, side, patch = vision["hidden_size"], _first(vision["image_size"]), _first(vision["patch_size"])
        block = 4 * wide**2 + 2 * wide * vision["intermediate_size"]
        patches = (side // patch) ** 2
        shuffled = round(wide / config.get("downsample_ratio", 0.5) ** 2)
        return cls(
            vision_parameters=vision["num_hidden_layers"] * block + 3 * patch**2 * wide + patches * wide,
            text_parameters=layers * layer + shuffled * hidden + hidden**2,
            embedding_parameters=(1 if tied else 2) * text["vocab_size"] * hidden,
            cache_bytes_per_token=2 * layers * cached * BYTES,
            attention_width=layers * heads * head,
            patches=patches + 1,
            tokens_per_tile=config.get("image_seq_length")
            or round(patches * config.get("downsample_ratio", 0.5) ** 2),
        )

    @property
    def weight_bytes(self) -> float:
        """The size of the weights in bfloat16."""
        return BYTES * (self.vision_parameters + self.text_parameters + self.embedding_parameters)


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked for: images a second, tiles of each (the thumbnail counts), tokens of a caption."""

    images_per_second: float
    tiles: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Sizing:
    """A replica that can do the work, and how many of them."""

    gpus_per_replica: int
    replicas: int
    batch: int
    """Captions that a replica writes together."""
    pages: int
    pages_per_caption: int
    captions_per_second: float
    """Of one replica, by the roofline."""

    @property
    def gpu_hours_a_month(self) -> int:
        """GPU hours of all replicas in a month of 730 hours."""
        return self.gpus_per_replica * self.replicas * HOURS_A_MONTH


def size(shape: ModelShape, gpu: Gpu, work: Workload) -> Sizing | None:
    """The cheapest replica, and how many are needed; None where eight GPUs do not hold the model."""
    found = [s for count in GPUS_PER_REPLICA if (s := _with_gpus(shape, gpu, work, count)) is not None]
    return min(found, key=lambda s: (s.gpu_hours_a_month, s.gpus_per_replica), default=None)


def caption_seconds(shape: ModelShape, gpu: Gpu, work: Workload, *, batch: int, speed: float) -> float:
    """Seconds of a replica for one caption among `batch`; `speed`: how many single GPUs it is worth."""
    prompt = work.tiles * shape.tokens_per_tile + QUESTION_TOKENS
    vision = work.tiles * 2 * shape.patches * shape.vision_parameters
    read = 2 * prompt * shape.text_parameters + 2 * shape.attention_width * prompt**2
    write = 2 * work.tokens * (shape.text_parameters + shape.embedding_parameters / 2)
    computing = (vision + read + write) / (gpu.flops * COMPUTE_SHARE)
    # A step that decodes reads all weights once, and the cache of every caption in it.
    weights = BYTES * (shape.text_parameters + shape.embedding_parameters / 2) / batch
    cache = (prompt + work.tokens / 2) * shape.cache_bytes_per_token
    reading = work.tokens * (weights + cache) / (gpu.bandwidth * BANDWIDTH_SHARE)
    return (computing + reading) / speed


def _with_gpus(shape: ModelShape, gpu: Gpu, work: Workload, count: int) -> Sizing | None:
    free = count * (gpu.memory * MEMORY_FRACTION - RESERVE_BYTES) - shape.weight_bytes
    pages = math.floor(free / (PAGE_TOKENS * shape.cache_bytes_per_token))
    tokens = work.tiles * shape.tokens_per_tile + QUESTION_TOKENS + work.tokens
    each = math.ceil(tokens / PAGE_TOKENS)
    batch = min(pages // each, SEQUENCES)
    if batch < LEAST_BATCH:
        return None
    speed = 1 + (count - 1) * PARALLEL_SHARE
    rate = 1 / caption_seconds(shape, gpu, work, batch=batch, speed=speed)
    replicas = math.ceil(work.images_per_second / (rate * PLANNED_LOAD))
    return Sizing(count, replicas, batch, pages, each, rate)


def _first(value: int | list[int]) -> int:
    return value[0] if isinstance(value, list) else value
