"""Who gets in."""

import httpx
import pytest

from tests.e2e.release import ROOT, Release

IMAGE = (ROOT / "examples" / "images" / "shapes.png").read_bytes()


@pytest.mark.parametrize("path", ["/caption", "/other/caption"])
def test_a_caller_without_the_right_key_is_refused(entrance: httpx.Client, path: str) -> None:
    """Without a key, and with a wrong one, both models refuse; neither answer tells more than the code."""
    for header in ("", "Bearer sk-" + "0" * 64):
        response = entrance.post(path, files={"image": IMAGE}, headers={"Authorization": header})
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert entrance.post(path, files={"image": IMAGE}).status_code == 200


def test_the_dashboard_asks_for_a_token(release: Release) -> None:
    """Ray's dashboard refuses a caller without its token or with a wrong one, and answers the right one."""
    tokens = {"none": None, "wrong": "0" * 64, "right": release.dashboard_token()}
    with release.dashboard() as address, httpx.Client(base_url=address, timeout=30) as client:
        answers = {
            name: client.get("/api/serve/applications/", headers=_bearer(token)).status_code
            for name, token in tokens.items()
        }
    assert answers["none"] == 401
    assert answers["wrong"] in {401, 403}
    assert answers["right"] == 200


def test_the_dashboard_is_not_behind_the_ingress(entrance: httpx.Client) -> None:
    """Neither Ingress nor HTTPRoute leads to the dashboard's API."""
    assert entrance.get("/api/serve/applications/").status_code == 404


def _bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}
