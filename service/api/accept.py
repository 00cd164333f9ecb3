"""What kind of answer a client asks for."""


def prefers_text(accept: str) -> bool:
    """Whether an Accept header puts plain text above JSON. Source: RFC 9110, section 12.5.1.

    On a tie the kind that is named wins over a wildcard, and JSON over text.
    """
    weights = dict(map(_weighted, accept.lower().split(",")))
    text = weights.get("text/plain", 0.0)
    named = [kind for kind in ("application/json", "application/*") if kind in weights]
    if named:
        return text > weights[named[0]]
    return text > 0 and text >= weights.get("*/*", 0.0)


def _weighted(entry: str) -> tuple[str, float]:
    kind, *parameters = (part.strip() for part in entry.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return kind, float(value)
            except ValueError:
                return kind, 0.0
    return kind, 1.0
