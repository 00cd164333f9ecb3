"""API keys as the operator lists them: each has a name, a hash, limits and models.

A key is 32 random bytes, so it cannot be guessed from its plain SHA-256. A slow hash such as bcrypt protects
passwords that people choose; here it would only slow down every request.
"""

import hashlib
import hmac
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from service.errors import StartupError

# The C loader, if libyaml is there, reads 10,000 keys in one second instead of ten.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Limit = Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)]


class ApiKey(BaseModel):
    """One entry of the keys file. The name appears in logs; a limit that is None does not apply."""

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


class ApiKeys:
    """The keys of one version of the file."""

    def __init__(self, entries: tuple[ApiKey, ...]) -> None:
        self.entries = entries
        self._digests = [(bytes.fromhex(entry.sha256), entry) for entry in entries]

    def find(self, secret: str) -> ApiKey | None:
        """The entry of the key that a client sent; None if there is none.

        Every entry is compared, each in constant time, so that the duration reveals nothing: 0.1 ms for a
        thousand keys.
        """
        given, found = hashlib.sha256(secret.encode()).digest(), None
        for digest, entry in self._digests:
            if hmac.compare_digest(given, digest):
                found = entry
        return found


def parse_keys(content: bytes) -> ApiKeys:
    """Parse the content of a keys file.

    Raises StartupError that names the invalid entry and field and repeats no value.
    """
    try:
        document = yaml.load(content, LOADER)  # noqa: S506 - both loaders are the safe one
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f" (line {line + 1})"
        raise _invalid(f"file is not valid YAML{where}") from None
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise _invalid("file has no list `keys`; print an entry for it with `capstan keys new NAME`")
    unknown = sorted(str(name) for name in document if name != "keys")
    if unknown:
        raise _invalid(f"{unknown[0][:64]} is not a field of the file; the only one is `keys`")
    entries = tuple(_entry(number, fields) for number, fields in enumerate(document["keys"], 1))
    _check_unique(entries)
    return ApiKeys(entries)


def _entry(number: int, fields: object) -> ApiKey:
    label = f"entry {number}"
    if not isinstance(fields, dict):
        raise _invalid(f"{label} is not a mapping with name and sha256")
    if isinstance(fields.get("name"), str):
        label += f" ({fields['name'][:64]})"
    try:
        return ApiKey.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])[:64] if first["loc"] else "entry"
        raise _invalid(f"{label}: {_problem(field, first['type'], first['msg'])}") from None


def _problem(field: str, kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"{field} is not a field; the fields are {', '.join(ApiKey.model_fields)}"
    if kind == "missing":
        return f"{field} is missing"
    if kind == "string_pattern_mismatch" and field == "sha256":
        return "sha256 is not 64 hexadecimal digits; print them with `capstan keys new NAME`"
    if kind == "string_pattern_mismatch":
        return f"{field} must be 1 to 64 letters, digits, dots, hyphens and underscores"
    return f"{field}: {message[:1].lower()}{message[1:]}"


def _check_unique(entries: tuple[ApiKey, ...]) -> None:
    names, digests = dict[str, int](), dict[str, int]()
    for number, entry in enumerate(entries, 1):
        if entry.name in names:
            raise _invalid(
                f"entries {names[entry.name]} and {number} have the same name {entry.name}; "
                "give the new key of a rotation its own name"
            )
        if entry.sha256 in digests:
            raise _invalid(f"entries {digests[entry.sha256]} and {number} have the same sha256; delete one")
        names[entry.name] = digests[entry.sha256] = number


def _invalid(problem: str) -> StartupError:
    return StartupError(f"CAPSTAN_KEYS_FILE: {problem}")
