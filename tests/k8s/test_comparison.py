"""What a comparison of captions counts, and which limits it exceeds."""

import pytest

from k8s.planning.comparison import CaptionAnswer, CaptionPair, Limits, ModelComparison, beyond

CAT, DOG = CaptionAnswer("a cat", seconds=1.0), CaptionAnswer("a dog", seconds=2.0)
ERROR = CaptionAnswer("", error="status 500")


def comparison(*pairs: tuple[CaptionAnswer, CaptionAnswer]) -> ModelComparison:
    """The comparison of a model by these answers."""
    return ModelComparison("main", tuple(CaptionPair(f"{n}.png", *pair) for n, pair in enumerate(pairs)))


def test_counts() -> None:
    """Images are equal, changed or failed; the medians are over the images that both captioned."""
    found = comparison((CAT, CAT), (CAT, DOG), (CAT, DOG), (DOG, ERROR))
    assert (len(found.compared), len(found.changed), len(found.failed)) == (4, 2, 1)
    assert found.latency_s == (1.0, 2.0)
    assert found.lines() == [
        "main: 4 images: 1 equal, 2 changed, 1 failed; median latency 1.00 s -> 2.00 s (2.00 times)",
        "  failed 3.png: status 500",
        '  changed 1.png: "a cat" -> "a dog"',
        '  changed 2.png: "a cat" -> "a dog"',
    ]


def test_images_without_a_former_caption() -> None:
    """An image that the old cluster did not caption counts neither as changed nor as failed."""
    found = comparison((ERROR, CAT), (ERROR, ERROR), (CAT, CAT))
    assert (len(found.compared), found.changed, found.failed) == (1, [], [])
    assert "  2 images left out: the old cluster did not caption them" in found.lines()


def test_long_lists_end() -> None:
    """The report shows ten changed images, and the number of the others."""
    lines = comparison(*[(CAT, DOG)] * 12).lines()
    assert len(lines) == 12
    assert lines[-1] == "  and 2 more"


@pytest.mark.parametrize(
    ("limits", "sentences"),
    [
        (Limits(50, 1, 2.0), []),
        (Limits(49, 1, 2.0), ["main: 2 of 4 captions changed; the limit is 49 percent (--max-changed)"]),
        (Limits(50, 0, 2.0), ["main: 1 of 4 captions failed; the limit is 0 (--max-failed)"]),
        (Limits(50, 1, 1.9), ["main: captions take 2.00 times as long; the limit is 1.9 (--max-slowdown)"]),
    ],
)
def test_limits(limits: Limits, sentences: list[str]) -> None:
    """Each limit that is exceeded has a sentence with both numbers and its option; equality is within."""
    assert beyond([comparison((CAT, CAT), (CAT, DOG), (CAT, DOG), (DOG, ERROR))], limits) == sentences


def test_nothing_compared() -> None:
    """Without a pair of captions no limit is exceeded."""
    assert beyond([comparison((ERROR, CAT))], Limits(0, 0, 1.0)) == []
