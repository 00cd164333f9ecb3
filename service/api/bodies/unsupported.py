"""Parameters of OpenAI's API that this server does not support.

Each is refused by name, unless its value asks for the default behavior: an answer that silently ignores part
of the request is worse than none. Another engine gets those that CAPSTAN_ENGINE_PASS names, and a model whose
chat template has tools or reasoning takes the parameters about them.
"""

from typing import Any

from service.errors import ErrorCode, RequestError

# Parameter -> values that change nothing. So does null, which the official client sends at times.
UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "audio": (),
    "chat_template_kwargs": ({},),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "metadata": ({},),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "prompt_cache_key": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "reasoning_effort": (),
    "safety_identifier": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "user": (),
    "verbosity": (),
    "web_search_options": (),
}


def split(
    body: Any,  # noqa: ANN401 - any JSON document
    passed: frozenset[str],
    supported: frozenset[str] = frozenset(),
) -> tuple[Any, dict[str, Any]]:
    """The body without unsupported parameters that change nothing, and the parameters named in `passed`.

    `supported` are parameters that this model supports.
    Raises RequestError with `unsupported_parameter` for an unsupported one that changes something.
    """
    if not isinstance(body, dict):
        return body, {}
    kept = {name: value for name, value in body.items() if value is not None}
    given = {name: kept.pop(name) for name in passed & kept.keys()}
    for name, neutral in UNSUPPORTED.items():
        if name not in kept or name in supported:
            continue
        if not any(_same(kept[name], value) for value in neutral):
            raise RequestError(
                ErrorCode.UNSUPPORTED_PARAMETER,
                f"{name} is not supported by this server; leave it out",
                field=name,
            )
        del kept[name]
    return kept, given


def _same(given: object, neutral: object) -> bool:
    """Equality in which false is not 0."""
    return given == neutral and isinstance(given, bool) == isinstance(neutral, bool)
