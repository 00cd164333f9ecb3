"""One address for both models, through the router."""

import base64

import httpx
import openai
import pytest
from openai import OpenAI

from tests.e2e.conftest import KEY
from tests.e2e.release import Release
from tests.e2e.test_captions import CAPTIONS, IMAGES


@pytest.fixture
def models(entrance: httpx.Client) -> OpenAI:
    """The official client with one base URL, through the Ingress and through the HTTPRoute."""
    headers = {"Host": entrance.headers["host"]}
    return OpenAI(
        base_url=str(entrance.base_url.join("/v1")), api_key=KEY, default_headers=headers, timeout=60
    )


def test_one_base_url_captions_through_both_models(models: OpenAI) -> None:
    """The official client lists both models and gets a caption from each, whole and as a stream."""
    assert [model.id for model in models.models.list()] == ["other", "shapes"]
    name, caption = next(iter(CAPTIONS.items()))
    url = "data:image/png;base64," + base64.b64encode((IMAGES / name).read_bytes()).decode()
    for model in ("shapes", "other"):
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Describe it."}]
        messages = [{"role": "user", "content": content}]
        answer = models.chat.completions.create(model=model, messages=messages)  # type: ignore[call-overload]
        assert (answer.model, answer.choices[0].message.content) == (model, caption)
        stream = models.chat.completions.create(model=model, messages=messages, stream=True)  # type: ignore[call-overload]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == caption


def test_an_unknown_model_and_an_unknown_key_are_refused(models: OpenAI) -> None:
    """The router refuses an unknown model by its name, and an unknown key before anything else."""
    messages = [{"role": "user", "content": "?"}]
    with pytest.raises(
        openai.NotFoundError, match="model none does not exist; this address has: other, shapes"
    ):
        models.chat.completions.create(model="none", messages=messages)  # type: ignore[call-overload]
    with pytest.raises(openai.AuthenticationError):
        models.with_options(api_key="unknown").models.list()


def test_its_pods_are_ready(release: Release) -> None:
    """Two router pods are ready, and none of them is a Ray pod."""
    pods = release.namespace.pods("app.kubernetes.io/component=router")
    ready = [c["status"] for pod in pods for c in pod["status"]["conditions"] if c["type"] == "Ready"]
    assert ready == ["True", "True"]
    assert not any("ray.io/node-type" in pod["metadata"]["labels"] for pod in pods)
