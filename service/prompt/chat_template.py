"""Finds out what a Jinja chat template takes and asks the model to write."""

import re
from collections.abc import Callable, Collection

from jinja2 import TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from service.protocol.chat_format import THINK, THINK_END, TOOL_CALL, TOOL_CALL_END, ChatFormat

TOOLS, SWITCH = "tools", "enable_thinking"
# How a call begins, as the template tells the model or writes it itself; Qwen2.5's doubles the brace.
HERMES_CALL = re.compile(TOOL_CALL + r'\s*\{{1,2}\s*"(?:name|arguments)"')


def read_chat_format(
    template: str, *, special: Collection[str], opens: Callable[[bool | None], bool]
) -> ChatFormat:
    """Read a template.

    `special` are tokens that are left out of an answer's text, so nothing can be found by them. `opens` says
    whether a prompt ends with `<think>` for a value of `enable_thinking`, or None without it.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    try:
        tree = environment.parse(template)
    except TemplateSyntaxError:  # one with statements of its own, such as `generation`
        return ChatFormat()
    variables = meta.find_undeclared_variables(tree)
    written = "".join(_written(tree))
    switch = SWITCH in variables
    thinks = THINK in written and not {THINK, THINK_END} & set(special)
    values = (None, False, True) if switch else (None,)
    return ChatFormat(
        tools=TOOLS in variables
        and HERMES_CALL.search(written) is not None
        and not {TOOL_CALL, TOOL_CALL_END} & set(special),
        thinks=thinks,
        switch=switch,
        opened=frozenset(filter(opens, values)) if thinks else frozenset(),
    )


def _written(tree: nodes.Template) -> list[str]:
    """The template's own texts and strings, in their order."""
    found: list[str] = []
    for node in tree.find_all((nodes.TemplateData, nodes.Const)):
        text = node.data if isinstance(node, nodes.TemplateData) else getattr(node, "value", None)
        if isinstance(text, str):
            found.append(text)
    return found
