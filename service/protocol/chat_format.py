"""What a model's chat template has besides roles, texts and images."""

from dataclasses import dataclass

TOOL_CALL, TOOL_CALL_END = "<tool_call>", "</tool_call>"
THINK, THINK_END = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """What a chat template takes and asks the model to write.

    `tools`: it lists tools, and calls are JSON between `<tool_call>` tags, as Hermes and Qwen have them.
    `thinks`: the model may reason between `<think>` tags. `switch`: the variable `enable_thinking` says
    whether it does. `opened` has the values of that variable after which the prompt itself ends with
    `<think>`; None stands for a request without it.
    """

    tools: bool = False
    thinks: bool = False
    switch: bool = False
    opened: frozenset[bool | None] = frozenset()
