"""Images as containers run them."""

from dataclasses import dataclass

DIGEST = "sha256:"


@dataclass(frozen=True, slots=True, order=True)
class Image:
    """An image by its name in the spec, and what the node pulled under it; empty before that."""

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name} ({short_digest(self.digest)})" if DIGEST in self.digest else self.name


def short_digest(image: str) -> str:
    """An image's digest, cut to what tells it from others; an image without one as it is."""
    _, at, digest = image.rpartition(DIGEST)
    return f"{DIGEST}{digest[:12]}" if at else image
