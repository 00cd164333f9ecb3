"""docs/javascripts/sizing_data.js: what the calculator of docs/sizing.md computes from."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from k8s.planning import sizing
from k8s.planning.sizing import GPUS, ModelShape

ROOT = Path(__file__).parent.parent
CONSTANTS = (
    "BYTES",
    "PAGE_TOKENS",
    "QUESTION_TOKENS",
    "HOURS_A_MONTH",
    "MEMORY_FRACTION",
    "SEQUENCES",
    "RESERVE_BYTES",
    "COMPUTE_SHARE",
    "BANDWIDTH_SHARE",
    "PARALLEL_SHARE",
    "PLANNED_LOAD",
    "LEAST_BATCH",
    "GPUS_PER_REPLICA",
)


# The fields of published config.json files that count.
INTERNVL2_8B: dict[str, Any] = {
    "downsample_ratio": 0.5,
    "llm_config": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 92553,
        "tie_word_embeddings": False,
    },
    "vision_config": {
        "hidden_size": 1024,
        "image_size": 448,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "patch_size": 14,
    },
}
CONFIGS = {
    "OpenGVLab/InternVL2-8B": INTERNVL2_8B,
    "embedded": json.loads((ROOT / "service/models/embedded/config.json").read_text()),
}


def page() -> str:
    """The file."""
    data = {name: getattr(sizing, name) for name in CONSTANTS} | {
        "GPUS": {name: asdict(gpu) for name, gpu in GPUS.items()},
        "MODELS": {name: asdict(ModelShape.from_config(config)) for name, config in CONFIGS.items()},
    }
    return (
        "// Generated from k8s/planning/sizing.py by `make docs`.\n"
        f"const SIZING = {json.dumps(data, indent=2)};\n"
    )
