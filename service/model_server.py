"""`python -m service.model_server MODULE:CLASS`: a server of OpenAI's chat API around a class of your own.

The class has `load(model)`, called once, and `answer(images, prompt, max_tokens, temperature)`, which returns
the text or yields it piece by piece (docs/own-model.md). With `CAPSTAN_ENGINE=command` a replica starts this
server as its child and puts its API, keys and limits in front. Imports nothing of the service, and no torch.
"""

import argparse
import asyncio
import base64
import io
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

DEFAULT_MAX_TOKENS = 1024
DATA_URL = "base64,"


class OwnModel(Protocol):
    """What the class has. `concurrent`, if there, is how many answers may be made at a time; else one."""

    def load(self, model: str) -> None:
        """Load the model; `model` is the value of CAPSTAN_MODEL. An exception ends the replica's start."""
        ...

    def answer(
        self, images: list[Image.Image], prompt: str, max_tokens: int, temperature: float
    ) -> str | Iterable[str]:
        """The text about images (upright, RGB), or its pieces as they are made. Called in a thread."""
        ...


class QuestionError(ValueError):
    """A request that such a class cannot answer; the message is for the client."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question about images."""

    images: list[Image.Image]
    prompt: str
    max_tokens: int
    temperature: float

    @classmethod
    def read(cls, body: dict[str, Any]) -> "Question":
        """Read the body of a chat request. Raises QuestionError where it is a longer conversation."""
        texts: list[str] = []
        images: list[Image.Image] = []
        messages = body["messages"]
        if [message["role"] for message in messages if message["role"] != "system"] != ["user"]:
            raise QuestionError("messages are a conversation; this model answers one question, without turns")
        for message in messages:
            content = message["content"]
            parts: list[dict[str, Any]] = content if isinstance(content, list) else [_text(content)]
            for part in parts:
                if part["type"] == "text":
                    texts.append(part["text"])
                else:
                    file = base64.b64decode(part["image_url"]["url"].partition(DATA_URL)[2])
                    images.append(Image.open(io.BytesIO(file)).convert("RGB"))
        return cls(
            images, "\n".join(texts), body.get("max_tokens", DEFAULT_MAX_TOKENS), body.get("temperature", 0.0)
        )


class ModelServer:
    """The routes of one loaded model. `name` is the model's name in the API."""

    def __init__(self, model: OwnModel, name: str) -> None:
        self._model = model
        self._name = name
        self._threads = ThreadPoolExecutor(getattr(model, "concurrent", 1), "answer")

    def application(self) -> Starlette:
        """What a server runs."""
        return Starlette(
            routes=[
                Route("/health", lambda _: Response()),
                Route("/v1/models", lambda _: JSONResponse(self._models())),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )

    def _models(self) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": self._name, "object": "model", "owned_by": "own"}]}

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        try:
            question = await asyncio.to_thread(Question.read, body)
        except QuestionError as error:
            return JSONResponse({"error": {"message": str(error)}}, status_code=400)
        answer = self._document("chat.completion")
        if body.get("stream"):
            return StreamingResponse(self._events(question), media_type="text/event-stream")
        pieces = [piece async for piece in self._pieces(question)]
        message = {"role": "assistant", "content": "".join(pieces)}
        choice = {"index": 0, "message": message, "finish_reason": _reason(len(pieces), question)}
        return JSONResponse(answer | {"choices": [choice], "usage": _usage(len(pieces))})

    async def _events(self, question: Question) -> AsyncIterator[bytes]:
        chunk, count = self._document("chat.completion.chunk"), 0
        async for piece in self._pieces(question):
            count += 1
            yield _event(chunk | {"choices": [{"index": 0, "delta": {"content": piece}}]})
        choice = {"index": 0, "delta": {}, "finish_reason": _reason(count, question)}
        yield _event(chunk | {"choices": [choice], "usage": _usage(count)})
        yield b"data: [DONE]\n\n"

    async def _pieces(self, question: Question) -> AsyncIterator[str]:
        """The pieces of an answer, at most `max_tokens`, each computed in a thread.

        A client that disconnects ends the answer at its next piece.
        """
        loop = asyncio.get_running_loop()
        pieces = await loop.run_in_executor(self._threads, self._begin, question)
        for _ in range(question.max_tokens):
            piece = await loop.run_in_executor(self._threads, next, pieces, None)
            if piece is None:
                return
            yield piece

    def _begin(self, question: Question) -> Iterator[str]:
        found = self._model.answer(
            question.images, question.prompt, question.max_tokens, question.temperature
        )
        return iter([found] if isinstance(found, str) else found)

    def _document(self, kind: str) -> dict[str, Any]:
        identifier = f"chatcmpl-{uuid.uuid4().hex}"
        return {"id": identifier, "object": kind, "created": int(time.time()), "model": self._name}


def _text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def _reason(count: int, question: Question) -> str:
    return "length" if count >= question.max_tokens else "stop"


def _usage(count: int) -> dict[str, int]:
    return {"prompt_tokens": 0, "completion_tokens": count, "total_tokens": count}


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + JSONResponse(body).body + b"\n\n"


def find_class(name: str) -> Callable[[], OwnModel]:
    """The class of `module:Class`. Ends the program with a sentence where there is none."""
    module, _, attribute = name.partition(":")
    found = getattr(import_module(module), attribute, None) if attribute else None
    if not callable(getattr(found, "load", None)) or not callable(getattr(found, "answer", None)):
        sys.exit(f"{name} is not MODULE:CLASS of a class with load and answer (docs/own-model.md)")
    return found  # type: ignore[return-value]


def main() -> None:
    """Load the model, then serve it."""
    parser = argparse.ArgumentParser(prog="service.model_server", description=__doc__)
    parser.add_argument("model_class", metavar="MODULE:CLASS")
    parser.add_argument("--model", required=True, help="what `load` gets")
    parser.add_argument("--name", default="own", help="name of the model in the API")
    parser.add_argument("--uds", required=True, help="path of the Unix socket to listen on")
    given = parser.parse_args()
    model = find_class(given.model_class)()
    model.load(given.model)
    server = ModelServer(model, given.name)
    uvicorn.run(server.application(), uds=given.uds, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
