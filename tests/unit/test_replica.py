"""A replica without Ray."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import EMBEDDED_MODEL
from tests.support.images import photo, saved
from tests.support.original_checkpoints import make_original

# Answers a chat request with a replica of the checkpoint in its first argument, and prints the status, the
# finish reason and all modules that it has imported.
PROGRAM = """
import asyncio, json, sys
import httpx
from service.replica import Replica
from service.settings import Settings

async def main():
    replica = Replica(Settings.model_validate({"model": sys.argv[1]}), gpus=0, replicas=lambda: 1)
    transport = httpx.ASGITransport(replica.application())
    async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
        answer = await client.post("/v1/chat/completions", json=json.loads(sys.argv[2]), timeout=60)
    await replica.close(10)
    print(answer.status_code, answer.json()["choices"][0]["message"]["content"], *sys.modules)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["embedded", "original"])
def test_the_process_of_http_needs_no_torch(layout: str, tmp_path: Path) -> None:
    """A replica of an InternVL model answers without torch in its own process, grammars included."""
    model = EMBEDDED_MODEL if layout == "embedded" else make_original(tmp_path / "model")
    url = "data:image/png;base64," + base64.b64encode(saved(photo())).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
    body = {
        "model": str(model),
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 8,
        "logprobs": True,
        "structured_outputs": {"regex": "a"},
    }
    run = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", PROGRAM, str(model), json.dumps(body)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    status, text, *modules = run.stdout.split()
    assert (status, text) == ("200", "a")
    assert not {"torch", "ray"} & set(modules)
    assert ("transformers" in modules) == (layout == "embedded")  # which renders the Jinja template
