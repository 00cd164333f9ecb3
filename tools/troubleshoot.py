"""docs/troubleshoot.md: every error code and every line of `capstan doctor` that is not ok."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from k8s.errors import INSTALL_KUBERAY, TESTED_KUBERAY
from k8s.planning.cluster_checks import OLDEST_DRIVER, OLDEST_KUBERAY
from service.errors import ERRORS

ROOT = Path(__file__).parent.parent
# What stands in the code for a value that is always the same.
CONSTANTS = {
    "INSTALL_KUBERAY": f"`{INSTALL_KUBERAY}`",
    "TESTED_KUBERAY": TESTED_KUBERAY,
    "OLDEST_DRIVER": str(OLDEST_DRIVER),
    "_dotted(OLDEST_KUBERAY)": ".".join(map(str, OLDEST_KUBERAY)),
}
HEAD = """# Troubleshoot

<!-- Generated from service/errors.py and the checks of `capstan doctor` by `make docs`. -->

| you see | look at |
| --- | --- |
| an error code in an answer | [below](#error-codes), and the server's log by its `request_id` |
| `capstan deploy` refuses, fails or rolls back | its last lines, and [rollouts.md](rollouts.md) |
| a pod that does not start, a model that does not load | `capstan status`, then `capstan logs MODEL` |
| a cluster that may lack something | `capstan doctor`, and its [lines](#lines-of-capstan-doctor) below |
| slow answers, refusals | the dashboard and the alerts of [metrics.md](metrics.md); [sizing.md](sizing.md) |
| `capstan caption` stops | its last line; the same command goes on ([captioning.md](captioning.md)) |
"""


def page() -> str:
    """The page."""
    codes = [f"| `{code}` | {kind.status} | {kind.when} | {kind.remedy} |" for code, kind in ERRORS.items()]
    lines = [f"| {level} | {text} | {fix} |" for level, text, fix in doctor_lines()]
    return "\n".join(
        (
            HEAD,
            "## Error codes",
            "",
            "| code | status | cause | what to do |",
            "| --- | --- | --- | --- |",
            *codes,
            "",
            "## Lines of `capstan doctor`",
            "",
            "`...` stands for what the cluster has. Where the table has no fix, the line says it.",
            "",
            "| level | line | fix |",
            "| --- | --- | --- |",
            *lines,
            "",
        )
    )


def doctor_lines() -> Iterator[tuple[str, str, str]]:
    """Level, text and fix of each finding in the code that is not ok."""
    for path in sorted((ROOT / "k8s").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            for call in ast.walk(function):
                if (
                    isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Name)
                    and call.func.id == "Finding"
                ):
                    known = dict(_assigned(function, before=call.lineno))
                    level = ast.unparse(known.get(ast.unparse(call.args[0]), call.args[0]))
                    levels = re.findall(r"Level\.(\w+)", level)
                    if levels != ["OK"]:
                        texts = [_text(argument, known) for argument in call.args[1:]]
                        yield " or ".join(levels).lower(), texts[0], " ".join(texts[1:])


def _assigned(function: ast.FunctionDef, *, before: int) -> Iterator[tuple[str, ast.expr]]:
    """What each name was last set to above a line."""
    for node in sorted(ast.walk(function), key=lambda one: getattr(one, "lineno", 0)):
        if isinstance(node, ast.Assign) and node.lineno < before and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _text(node: ast.expr, known: dict[str, ast.expr]) -> str:
    """What an expression evaluates to, with `...` for what only the cluster knows."""
    text = CONSTANTS.get(ast.unparse(node), "...")
    match node:
        case ast.Constant():
            text = str(node.value).replace("|", "\\|")
        case ast.JoinedStr():
            text = "".join(_text(part, known) for part in node.values)
        case ast.FormattedValue():
            text = _text(node.value, known)
        case ast.IfExp():
            text = "; or ".join(filter(None, (_text(node.body, known), _text(node.orelse, known))))
        case ast.Name() if node.id in known:
            others = {name: value for name, value in known.items() if name != node.id}
            text = _text(known[node.id], others)
    return text
