"""API keys as the operator writes them down: a hash, a name, limits and models each.

A key is 32 random bytes, so nobody can find it from its plain SHA-256 by trying; a slow hash such as
bcrypt protects what people choose, and would only make every request slower here.
"""

import hashlib
import hmac
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from service.errors import StartupError

# In C where libyaml is there, which reads 10,000 keys in a second and not in ten.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Limit = Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)]


class Key(BaseModel):
    """One entry of the keys file. The name goes into logs; a limit that is None does not hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    models: Annotated[tuple[str, ...] | None, Field(min_length=1)] = None
    requests_per_minute: Limit | None = None
    images_per_minute: Limit | None = None
    concurrent_requests: Limit | None = None

    @field_validator("sha256", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


class Keys:
    """The keys of one reading of the file."""

    def __init__(self, entries: tuple[Key, ...]) -> None:
        self.entries = entries
        self._digests = [(bytes.fromhex(entry.sha256), entry) for entry in entries]

    def find(self, secret: str) -> Key | None:
        """The entry of a key that a client sent.

        Every entry is compared, each in constant time, so that how long it takes tells nothing: 0.1 ms for
        a thousand keys.
        """
        given, found = hashlib.sha256(secret.encode()).digest(), None
        for digest, entry in self._digests:
            if hmac.compare_digest(given, digest):
                found = entry
        return found


def parse_keys(content: bytes) -> Keys:
    """Read the content of a keys file.

    Raises StartupError that names the entry and the field at fault, and repeats no value.
    """
    try:
        document = yaml.load(content, LOADER)  # noqa: S506 - both loaders are the safe one
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f" (line {line + 1})"
        raise _refusal(f"the file is not valid YAML{where}") from None
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise _refusal("the file has no list `keys`; `capstan keys new NAME` prints an entry of it")
    unknown = sorted(str(name) for name in document if name != "keys")
    if unknown:
        raise _refusal(f"{unknown[0][:64]} is not a field of the file; `keys` is the only one")
    entries = tuple(_entry(number, fields) for number, fields in enumerate(document["keys"], 1))
    _refuse_twins(entries)
    return Keys(entries)


def _entry(number: int, fields: object) -> Key:
    label = f"entry {number}"
    if not isinstance(fields, dict):
        raise _refusal(f"{label} is not a mapping with the fields name and sha256")
    if isinstance(fields.get("name"), str):
        label += f" ({fields['name'][:64]})"
    try:
        return Key.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])[:64] if first["loc"] else "entry"
        raise _refusal(f"{label}: {_complaint(field, first['type'], first['msg'])}") from None


def _complaint(field: str, kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"{field} is not a field; those there are: {', '.join(Key.model_fields)}"
    if kind == "missing":
        return f"{field} is missing"
    if kind == "string_pattern_mismatch" and field == "sha256":
        return "sha256 is not 64 hexadecimal digits; `capstan keys new NAME` prints them"
    if kind == "string_pattern_mismatch":
        return f"{field} is not 1 to 64 letters, digits, dots, hyphens and underscores"
    return f"{field}: {message[:1].lower()}{message[1:]}"


def _refuse_twins(entries: tuple[Key, ...]) -> None:
    names, digests = dict[str, int](), dict[str, int]()
    for number, entry in enumerate(entries, 1):
        if entry.name in names:
            raise _refusal(
                f"entries {names[entry.name]} and {number} have the same name {entry.name}; "
                "give the new key of a rotation a name of its own"
            )
        if entry.sha256 in digests:
            raise _refusal(f"entries {digests[entry.sha256]} and {number} have the same sha256")
        names[entry.name] = digests[entry.sha256] = number


def _refusal(complaint: str) -> StartupError:
    return StartupError(f"CAPSTAN_KEYS_FILE: {complaint}")
