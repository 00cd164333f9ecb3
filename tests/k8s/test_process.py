"""Subprocesses."""

import os
import sys
from pathlib import Path

import pytest

from k8s.clients.process import Processes, find_tool, redact, secrets_of
from k8s.errors import ToolError
from tests.support.interrupt import interrupt_once


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tool on PATH whose script a test writes."""
    path = tmp_path / "helm"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return path


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_output_is_returned(tool: Path) -> None:
    """A tool that ends with 0 gives its standard output."""
    script(tool, 'echo "$1 $2"')
    assert Processes().run("helm", ["a", "b"], timeout_s=5) == "a b\n"


def test_failure_says_the_last_lines(tool: Path) -> None:
    """A tool that fails raises an error with its code and the last lines of standard error."""
    script(tool, "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line-$i >&2; done; exit 3")
    with pytest.raises(ToolError, match=r"helm upgrade failed \(3\)") as error:
        Processes().run("helm", ["upgrade"], timeout_s=5)
    assert "line-12" in str(error.value)
    assert "line-4\n" not in str(error.value)


def test_timeout_ends_the_tool(tool: Path) -> None:
    """A tool that does not end in time is stopped, and the error says the limit."""
    script(tool, "exec sleep 60")
    with pytest.raises(ToolError, match=r"helm list did not end within 0\.2 s"):
        Processes().run("helm", ["list"], timeout_s=0.2)


def test_interrupt_lets_the_tool_end(tool: Path, tmp_path: Path) -> None:
    """Ctrl-C ends a command once its tool has ended, so Helm is never stopped halfway."""
    os.mkfifo(tmp_path / "begun")
    script(tool, f"echo begun > {tmp_path}/begun; sleep 0.5; touch {tmp_path}/ended")
    with interrupt_once((tmp_path / "begun").read_text), pytest.raises(KeyboardInterrupt):
        Processes().run("helm", ["upgrade"], timeout_s=5)
    assert (tmp_path / "ended").exists()


def test_missing_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tool that is neither on PATH nor next to Python is an error that says how to get it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ToolError, match=r"capstan-serve\[rollout\]"):
        find_tool("helm")


def test_tool_next_to_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tool that pip installed next to Python is found without PATH."""
    script(tmp_path / "helm", "true")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_tool("helm") == str(tmp_path / "helm")


def test_echo_hides_secrets(tool: Path) -> None:
    """The echoed command and the error hide the values of secret settings."""
    script(tool, 'echo "bad value: $3" >&2; exit 1')
    lines: list[str] = []
    with pytest.raises(ToolError) as error:
        Processes(lines.append).run("helm", ["upgrade", "--set", "auth.token=hunter2"], timeout_s=5)
    assert lines == ["$ helm upgrade --set auth.token=***"]
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
        ("https://user:pa55@registry.example/x", "pa55"),
        ('{"token": "s3cret"}', "s3cret"),
        ("password=opensesame rest", "opensesame"),
        ("api_key: k-123", "k-123"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", "eyJzdWIiOiJ4In0"),
    ],
)
def test_redaction(text: str, hidden: str) -> None:
    """Tokens, passwords and credentials in addresses do not survive redaction."""
    assert hidden not in redact(text)


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (["--set", "a.password=x,b=y"], ["x"]),
        (["--set-string", "keys[0]=abc"], ["abc"]),
        (["--set", "models.main.replicas=2"], []),
        (["--kube-token", "t"], ["t"]),
        (["--hide-secret", "--output"], []),
        (["--set", "models.a.env.DB=hunter22,models.a.env.N=1"], ["hunter22"]),
        (["--set-json", 'models.a.env={"A":"x","B":"y"}'], ['{"A":"x","B":"y"}']),
    ],
)
def test_secrets_of_a_command(command: list[str], found: list[str]) -> None:
    """Values are secret by the names they are set under."""
    assert secrets_of(command) == found
