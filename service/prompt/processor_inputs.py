"""Inputs of other families, made by the checkpoint's own processor and chat template."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from jinja2 import TemplateError
from transformers import ProcessorMixin

from service.errors import ErrorCode, RequestError
from service.prompt.chat_template import SWITCH, read_chat_format
from service.prompt.inputs import NO_VARIABLES, DecodedTurn, ModelInputs, Picture
from service.prompt.shape import Conversation, take_apart
from service.prompt.vocabulary import HARMLESS, any_of
from service.protocol.chat_format import THINK, ChatFormat

# Between the first and the second character of a special token's spelling. The processors of these families
# replace placeholders in strings, each in its own way, so the spelling itself has to go; eyes see no change.
BREAK = "\u200b"

# What templates and processors raise for a conversation that they cannot take.
REFUSALS = (TemplateError, TypeError, ValueError, KeyError, IndexError)


class ProcessorInputs:
    """Builds inputs with a transformers processor. Safe to call from several threads, one at a time.

    transformers sets options on the shared tokenizer at each call, so calls take a lock.
    """

    def __init__(self, processor: ProcessorMixin) -> None:
        self._processor: Any = processor
        self._reserved = any_of(_reserved(self._processor))
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Self], tuple[ProcessorMixin]]:
        return type(self), (self._processor,)

    @property
    def tiling(self) -> None:
        """See `InputBuilder.tiling`."""
        return

    @cached_property
    def chat_format(self) -> ChatFormat:
        """See `InputBuilder.chat_format`."""
        found = self._processor.chat_template
        template = found.get("default") if isinstance(found, dict) else found
        added = self._processor.tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special}
        return read_chat_format(template or "", special=special, opens=self._opens)

    def build(
        self, turns: Sequence[DecodedTurn], variables: Mapping[str, object] = NO_VARIABLES, /
    ) -> ModelInputs:
        """See `InputBuilder.build`.

        Raises RequestError for turns that the checkpoint's chat template or processor refuses.
        """
        conversation = take_apart(turns)
        passed = [self._harmless_within(turn.passed) for turn in turns]
        given = self._harmless_within(variables)
        why = ""
        for plain in (False, True):
            try:
                with self._lock:
                    made = self._process(self._messages(conversation, passed, plain=plain), given)
                return _inputs(made, len(conversation.images))
            except REFUSALS as error:
                why = why or f"{type(error).__name__}: {error}"
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"the model's chat template refuses this conversation: {why}; send other roles or contents",
            field="messages",
        )

    def harmless(self, text: str) -> str:
        """The text, with every spelling of a special token broken by a zero-width space."""
        return self._reserved.sub(lambda match: match[0][0] + BREAK + match[0][1:], text)

    def _harmless_within(self, value: Any) -> Any:  # noqa: ANN401 - a JSON document
        """The value with all of its texts and names harmless."""
        if isinstance(value, str):
            return self.harmless(value)
        if isinstance(value, Mapping):
            return {self.harmless(name): self._harmless_within(one) for name, one in value.items()}
        return list(map(self._harmless_within, value)) if isinstance(value, list) else value

    def _opens(self, thinking: bool | None) -> bool:
        """Whether the prompt of a question ends with `<think>`."""
        variables = {} if thinking is None else {SWITCH: thinking}
        for content in ([_text("?")], "?"):
            try:
                prompt = self._processor.apply_chat_template(
                    [{"role": "user", "content": content}], add_generation_prompt=True, **variables
                )
            except REFUSALS:
                continue
            return str(prompt).rstrip().endswith(THINK)
        return False

    def _process(self, messages: list[dict[str, Any]], variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
        made = self._processor.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            **variables,
        )
        return {name: value.numpy() for name, value in made.items() if isinstance(value, torch.Tensor)}

    def _messages(
        self, conversation: Conversation, passed: Sequence[dict[str, Any]], *, plain: bool
    ) -> list[dict[str, Any]]:
        """The conversation as processors take it; `plain` gives turns of one text as strings."""
        texts = iter(conversation.texts)
        images = iter(conversation.images)
        messages: list[dict[str, Any]] = []
        for (role, kinds), more in zip(conversation.shape, passed, strict=True):
            content = [
                _image(next(images)) if kind == "image" else _text(self.harmless(next(texts)))
                for kind in kinds
            ]
            given: Any = content
            if plain and kinds in ((), ("text",)):
                given = content[0]["text"] if content else ""
            messages.append({"role": role, "content": given, **more})
        return messages


def _image(image: Picture) -> dict[str, Any]:
    return {"type": "image", "image": image}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _inputs(made: dict[str, np.ndarray], images: int) -> ModelInputs:
    ids: list[int] = made.pop("input_ids")[0].tolist()  # [S]
    return ModelInputs(input_ids=ids, tiles_per_image=_tiles(made, images), extra=made)


def _tiles(made: dict[str, np.ndarray], images: int) -> tuple[int, ...]:
    """How many pictures the vision tower sees for each image.

    Families that take an image at its own resolution see one. Where a processor tells only the sum over all
    images, it is spread over them evenly.
    """
    pixels = made.get("pixel_values")
    if not images or pixels is None or pixels.ndim < 4:
        return (1,) * images
    if pixels.ndim == 5 and len(pixels) == images:  # [images, T, 3, H, W]
        return (pixels.shape[1],) * images
    total = pixels[..., 0, 0, 0].size  # pictures in [1, T, 3, H, W] or [T, 3, H, W]
    each, rest = divmod(total, images)
    return tuple(each + (index < rest) for index in range(images))


def _reserved(processor: Any) -> Iterable[str]:  # noqa: ANN401 - each family has a class of its own
    """The spellings that act in a prompt: special tokens, and the processor's placeholders."""
    tokens = {token.content for token in processor.tokenizer.added_tokens_decoder.values() if token.special}
    named = {value for name, value in vars(processor).items() if name.endswith(("_token", "_tag"))}
    spellings = tokens | {value for value in named if isinstance(value, str)}
    # One of a single character cannot be broken, and none of those acts as markup.
    return {text for text in spellings - HARMLESS if len(text) > 1}
