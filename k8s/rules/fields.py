"""The fields of JSON objects: where two of them differ, and one with some fields left out. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
Path = tuple[str | int, ...]


def differences(before: Any, after: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:  # noqa: ANN401 - JSON
    """The paths at which two JSON values differ, with both. Lists of unlike length differ as a whole."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), (*path, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, (*path, index))
    elif before != after:
        yield path, before, after


def cut(value: Json, paths: Sequence[tuple[str, ...]]) -> Json:
    """The value without those paths; a map that this leaves empty goes too."""
    found = dict(value)
    for path in paths:
        head, rest = path[0], path[1:]
        if head not in found:
            continue
        if not rest:
            del found[head]
        elif isinstance(found[head], Mapping):
            found[head] = cut(found[head], [rest])
            if not found[head]:
                del found[head]
    return found


def without(value: Json, *keys: str) -> dict[str, Any]:
    """The object without those keys."""
    return {k: v for k, v in value.items() if k not in keys}


def at(value: Any, path: Path) -> Any:  # noqa: ANN401 - JSON of any shape
    """What is at a path, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def name_of(path: Path) -> str:
    """A path as people write it: `template.spec.containers[0].image`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(all)"
