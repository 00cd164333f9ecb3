"""The tokens that end an answer, and the one that pads."""

from pathlib import Path

from transformers import GenerationConfig, TokenizersBackend

from service.engine.checkpoint import json_file
from service.errors import CheckpointError

GENERATION = "generation_config.json"


def generation_config(directory: Path) -> GenerationConfig | None:
    """The checkpoint's own defaults of generation, or None where it has none."""
    found = json_file.read_if_there(directory, GENERATION)
    return None if found is None else GenerationConfig.from_dict(found)


def token_ids(value: object) -> frozenset[int]:
    """The ids in a configuration's `eos_token_id`, which is absent, a number or a list of numbers."""
    if isinstance(value, int):
        return frozenset({value})
    return frozenset(value) if isinstance(value, list | tuple | set) else frozenset()


def stop_ids(*candidates: object) -> frozenset[int]:
    """All ids of the candidates together. Raises CheckpointError where there is none."""
    found = frozenset[int]().union(*map(token_ids, candidates))
    if not found:
        raise CheckpointError(
            f"checkpoint names no end token; set eos_token_id in its {GENERATION}, "
            "or eos_token in tokenizer_config.json"
        )
    return found


def pad_id(tokenizer: TokenizersBackend, stops: frozenset[int]) -> int:
    """The id that fills shorter rows of a batch; it is masked, so a stop id does where there is no other."""
    return min(stops) if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
