"""The fields in which two JSON objects differ, and the paths to them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
Path = tuple[str | int, ...]


def differences(before: Any, after: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:  # noqa: ANN401 - JSON
    """Each path where two JSON values differ, with both values. Lists of unequal length differ as a whole."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), (*path, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, (*path, index))
    elif before != after:
        yield path, before, after


def without_paths(value: Json, paths: Sequence[tuple[str, ...]]) -> Json:
    """The value without these paths; a map that becomes empty goes too."""
    found = dict(value)
    for path in paths:
        head, rest = path[0], path[1:]
        if head not in found:
            continue
        if not rest:
            del found[head]
        elif isinstance(found[head], Mapping):
            found[head] = without_paths(found[head], [rest])
            if not found[head]:
                del found[head]
    return found


def without_keys(value: Json, *keys: str) -> dict[str, Any]:
    """The object without these keys."""
    return {k: v for k, v in value.items() if k not in keys}


def value_at(value: Any, path: Path) -> Any:  # noqa: ANN401 - JSON of any shape
    """The value at a path, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def format_path(path: Path) -> str:
    """A path as text: `template.spec.containers[0].image`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(all)"


def merge_patch(before: Any, after: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """The JSON merge patch (RFC 7386) between two values, as Helm makes it for custom resources."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return after
    found: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        if key not in before:
            found[key] = value
        elif before[key] != value:
            found[key] = merge_patch(before[key], value)
    return found
