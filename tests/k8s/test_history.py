"""The history of rollouts."""

from k8s.rollout.history import parse


def test_history_survives_bad_entries() -> None:
    """An entry that cannot be read is left out of the history, and the others stay."""
    good = '{"revision": 2, "who": "a", "when": "t", "what": [], "outcome": "serves", "images": []}'
    assert list(parse({"1": "{", "2": good, "3": '{"revision": 3}'})) == [2]
