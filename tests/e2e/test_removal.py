"""What is left of a release.

It ends the shared release, so conftest.py runs it after all other tests of that release, and before those of
rollouts.
"""

from tests.e2e.release import Release
from tests.e2e.waiting import until

SECONDS = 60.0


def test_uninstall_leaves_nothing(release: Release) -> None:
    """After `helm uninstall` the namespace holds only what it held before."""
    release.uninstall()
    left = lambda: release.namespace.contents() - release.before  # noqa: E731
    until("nothing of the release is left", left, lambda found: not found, seconds=SECONDS)
