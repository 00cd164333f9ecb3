"""What another server is asked: a request of ours as a body of OpenAI's chat API."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

from service.media.decode import ImageDecoder
from service.protocol.request import EncodedImage, EncodedVideo, Grammar, Request, Turn


def has_images(request: Request) -> bool:
    """Whether a request has to be prepared in a thread."""
    return any(not isinstance(part, str) for turn in request.turns for part in turn.content)


def _constraint(grammar: Grammar | None) -> dict[str, Any]:
    """What the answer must match: schemas as in OpenAI's API, the rest as in vLLM's."""
    if grammar is None:
        return {}
    if grammar.kind == "json_schema":
        named = {"name": "answer", "schema": json.loads(grammar.text), "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    value = json.loads(grammar.text) if grammar.kind == "choice" else grammar.text
    return {"structured_outputs": {grammar.kind: value}}


Messages = list[dict[str, Any]]


class PayloadBuilder:
    """Builds bodies for one model of the other server. Safe to call from several threads."""

    def __init__(self, model: str, decoder: ImageDecoder) -> None:
        self._model = model
        self._decoder = decoder

    def messages(self, request: Request) -> Messages:
        """The messages, with images as data URLs of the pixels that our own decoder saw.

        The other server thus decodes no file from outside. Raises RequestError for an image that cannot be
        decoded.
        """
        return [self._message(turn) for turn in request.turns]

    def body(self, request: Request, messages: Messages, *, stream: bool, max_tokens: int | None) -> bytes:
        """The body of POST /v1/chat/completions."""
        sampling = request.sampling
        fields: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        # What is not a part of OpenAI's API is sent only where it changes something.
        optional = {
            "max_tokens": max_tokens,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
            "top_k": sampling.top_k or None,
            "repetition_penalty": None if sampling.repetition_penalty == 1.0 else sampling.repetition_penalty,
            "presence_penalty": sampling.presence_penalty or None,
            "frequency_penalty": sampling.frequency_penalty or None,
            "logit_bias": {str(token): bias for token, bias in sampling.logit_bias} or None,
            "min_p": sampling.min_p or None,
            "min_tokens": sampling.min_tokens or None,
            "ignore_eos": sampling.ignore_eos or None,
            "logprobs": None if sampling.top_logprobs is None else True,
            "top_logprobs": sampling.top_logprobs or None,
            **_constraint(sampling.grammar),
        }
        fields |= {name: value for name, value in optional.items() if value is not None}
        if stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(fields | dict(request.passed), separators=(",", ":")).encode()

    def _message(self, turn: Turn) -> dict[str, Any]:
        content: Any
        if len(turn.content) == 1 and isinstance(turn.content[0], str):
            content = turn.content[0]
        else:
            content = list(self._parts(turn)) or None
        return {"role": turn.role, "content": content, **turn.passed}

    def _parts(self, turn: Turn) -> Iterator[dict[str, Any]]:
        for part in turn.content:
            if isinstance(part, str):
                yield {"type": "text", "text": part}
            elif isinstance(part, EncodedVideo):
                frames = ",".join(map(self._base64, part.frames))
                # vLLM's form of a list of frames; their format is read from the files.
                yield {"type": "video_url", "video_url": {"url": "data:video/jpeg;base64," + frames}}
            else:
                detail = {"detail": "low"} if part.max_tiles == 1 else {}
                url = "data:image/png;base64," + self._base64(part)
                yield {"type": "image_url", "image_url": {"url": url, **detail}}

    def _base64(self, image: EncodedImage) -> str:
        pixels = self._decoder.decode(image.data)
        file = io.BytesIO()
        # Lossless, and quick rather than small: it travels within one machine.
        pixels.save(file, "PNG", compress_level=1)
        return base64.b64encode(file.getvalue()).decode()
