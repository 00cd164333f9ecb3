"""The tokenizer of a checkpoint."""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, TokenizersBackend

from service.checkpoint import json_file
from service.checkpoint.weights import quiet
from service.errors import CheckpointError

FAST = "tokenizer.json"
SENTENCEPIECE = "tokenizer.model"
VOCABULARIES = (FAST, SENTENCEPIECE, "vocab.json")
CONFIG = "tokenizer_config.json"
ADDED = "added_tokens.json"


def load_tokenizer(directory: Path) -> TokenizersBackend:
    """A transformers fast tokenizer.

    Where the checkpoint names a class of its own remote code (InternLM2's), the vocabulary is read from
    tokenizer.model or tokenizer.json without running that code. Raises CheckpointError where there is no
    vocabulary or it cannot be read.
    """
    if not any((directory / name).is_file() for name in VOCABULARIES):
        raise CheckpointError(
            f"checkpoint has no tokenizer: none of {', '.join(VOCABULARIES)} is there; "
            "copy the tokenizer's files from the model's repository"
        )
    config = json_file.read_if_there(directory, CONFIG) or {}
    try:
        with quiet():
            tokenizer = _remote(directory, config) if "auto_map" in config else _standard(directory)
    except Exception as error:
        raise CheckpointError(f"tokenizer of the checkpoint is unreadable: {error}; copy it again") from error
    if not isinstance(tokenizer, TokenizersBackend):
        raise CheckpointError(
            f"tokenizer {type(tokenizer).__name__} has no fast form; add a {FAST} to the checkpoint"
        )
    _refuse_moved_tokens(directory, tokenizer)
    return tokenizer


def _standard(directory: Path) -> object:
    return AutoTokenizer.from_pretrained(directory, trust_remote_code=False)


def _remote(directory: Path, config: dict[str, Any]) -> object:
    """A vocabulary whose own tokenizer class is remote code; InternLM2's puts a begin token first."""
    return TokenizersBackend.from_pretrained(directory, add_bos_token=config.get("add_bos_token", True))


def _refuse_moved_tokens(directory: Path, tokenizer: TokenizersBackend) -> None:
    """Raise where a token of added_tokens.json is read as another id than the one the weights know."""
    for text, wanted in (json_file.read_if_there(directory, ADDED) or {}).items():
        found = tokenizer.convert_tokens_to_ids(text)
        if found != wanted:
            raise CheckpointError(
                f"token {text!r} has id {wanted} in {ADDED}, but the tokenizer reads it as {found}; "
                "copy all of the tokenizer's files from one checkpoint"
            )


def token_id(tokenizer: TokenizersBackend, text: str) -> int:
    """The id of a token that the model cannot do without. Raises CheckpointError where it is unknown."""
    found = tokenizer.get_vocab().get(text)
    if found is None:
        raise CheckpointError(
            f"tokenizer knows no token {text!r}; copy the tokenizer of this very checkpoint"
        )
    return int(found)
