"""docs/troubleshoot.md: every error code and every line of `capstan doctor` that is not ok."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from k8s.errors import INSTALL_KUBERAY
from service.errors import ERRORS

ROOT = Path(__file__).parent.parent
SOURCES = ("k8s/planning/cluster_checks.py", "k8s/planning/chart_checks.py", "k8s/commands/doctor.py")
CONSTANTS = {"INSTALL_KUBERAY": INSTALL_KUBERAY}
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
    for name in SOURCES:
        tree = ast.parse((ROOT / name).read_text())
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            for call in ast.walk(function):
                if (
                    isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Name)
                    and call.func.id == "Finding"
                ):
                    level = re.findall(r"Level\.(\w+)", ast.unparse(call.args[0]))
                    if level != ["OK"]:
                        known = dict(_assigned(function, before=call.lineno))
                        texts = [_text(argument, known) for argument in call.args[1:]]
                        yield " or ".join(level).lower() or "...", texts[0], " ".join(texts[1:])


def _assigned(function: ast.FunctionDef, *, before: int) -> Iterator[tuple[str, ast.expr]]:
    """What each name was last set to above a line."""
    for node in sorted(ast.walk(function), key=lambda one: getattr(one, "lineno", 0)):
        if isinstance(node, ast.Assign) and node.lineno < before and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _text(node: ast.expr, known: dict[str, ast.expr]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value).replace("|", "\\|")
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, {}) for part in node.values)
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return f"`{CONSTANTS[node.id]}`"
    if isinstance(node, ast.Name) and node.id in known:
        return _text(known[node.id], {})
    return "..."
