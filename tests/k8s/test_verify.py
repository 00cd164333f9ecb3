"""`capstan verify`: the watch and the smoke test alone, against an API server in memory."""

import copy

import pytest

from k8s.errors import RefusedError, RolloutError
from k8s.rollout.verify import VerifyOptions, verify_release
from tests.k8s.objects import service
from tests.k8s.site import SERVICE, FakePods, Site


def verify(site: Site, **options: object) -> None:
    """Verify the site's release."""
    found = VerifyOptions(timeout_s=30, **options)  # type: ignore[arg-type]
    pods = FakePods(site)
    verify_release(site.observer(), pods, found, site.lines.append, site.time.clock())


def test_a_release_that_serves(site: Site) -> None:
    """A release that serves passes after the smoke test, and nothing is written."""
    verify(site)
    assert "shapes: the known image was captioned" in site.lines
    assert {method for method, _ in site.server.requests} == {"GET"}


def test_a_wrong_caption(site: Site) -> None:
    """A model that fails the smoke test fails the verification."""
    site.caption = "a cat"
    with pytest.raises(RolloutError, match="did not answer"):
        verify(site)


def test_without_the_smoke_test(site: Site) -> None:
    """Without the smoke test only the watch counts."""
    site.caption = "a cat"
    verify(site, smoke_test=False)


def test_an_unread_generation(site: Site) -> None:
    """A generation that KubeRay never reads fails at the deadline with what was last seen."""
    site.server.objects[SERVICE]["metadata"]["generation"] += 1
    with pytest.raises(RolloutError, match=r"not done within 30 s .*KubeRay has not read generation"):
        verify(site)


def test_a_change_on_the_way(site: Site) -> None:
    """A RayService that changes meanwhile is verified at its new generation."""
    live = copy.deepcopy(site.server.objects[SERVICE])
    live["status"]["observedGeneration"] -= 1
    site.server.put(SERVICE, live)
    site.time.on_sleep = lambda: site.apply(service()) if len(site.revisions) == 1 else None
    generation = live["metadata"]["generation"]
    verify(site)
    verified = [line for line in site.lines if line.startswith("verifying")]
    assert verified == [
        f"verifying generation {n} of RayService capstan" for n in (generation, generation + 1)
    ]


def test_no_release(site: Site) -> None:
    """A RayService that does not exist is refused, with the options to check."""
    del site.server.objects[SERVICE]
    with pytest.raises(RefusedError, match=r"does not exist; check --release and --namespace"):
        verify(site)
