"""The pages and their files."""

import re

import pytest
from fastapi.testclient import TestClient

from service.api.routes.pages import MEDIA_TYPES, STATIC
from tests.unit.api.conftest import Connect

FILES = sorted(path.name for path in STATIC.iterdir())
OTHER_HOST = re.compile(r"""(?:https?:)?//[\w-]+\.[\w.-]+|\burl\(|@import""")
NAMESPACE = "http://www.w3.org/2000/svg"


def test_the_page_has_a_strict_policy(client: TestClient) -> None:
    """The page may run and load what its own server sends, nothing inline, and no page may frame it."""
    headers = client.get("/").headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host(name: str) -> None:
    """No file of the page links, loads or imports anything of another host."""
    if name.endswith(".png"):
        assert (STATIC / name).stat().st_size < 10_000
    else:
        text = (STATIC / name).read_text().replace(NAMESPACE, "").replace("new URL(", "")
        assert OTHER_HOST.findall(text) == []


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".html")])
def test_a_file_has_its_type_and_is_cached(client: TestClient, name: str) -> None:
    """A file has its own media type, and is not sent again to a browser that has it."""
    first = client.get(f"/static/{name}")
    assert first.status_code == 200
    assert first.headers["content-type"] == MEDIA_TYPES["." + name.rpartition(".")[2]]
    again = client.get(f"/static/{name}", headers={"if-none-match": f'"x", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize("name", ["index.html", "..%2Froutes.py", "%2e%2e/routes.py", "nothing.js"])
def test_other_files_are_not_found(client: TestClient, name: str) -> None:
    """No name leads to a file outside the page's own."""
    assert client.get(f"/static/{name}").status_code == 404


def test_the_page_shows_the_defaults(connect: Connect) -> None:
    """The form shows the server's own defaults, its prompt as text, whatever characters are in it."""
    page = connect(default_prompt="<b> & $$x", default_max_tokens=77, default_temperature=0.5).get("/").text
    assert ">&lt;b&gt; &amp; $$x</textarea>" in page
    assert 'placeholder="77"' in page
    assert 'placeholder="0.5"' in page


def test_pages_of_another_host_are_gone(client: TestClient) -> None:
    """FastAPI's own pages, whose code comes from another host, are not there."""
    assert client.get("/redoc").status_code == 404
    assert "swagger" not in client.get("/docs").text.lower()
