"""Parameters of a chat request that are handed to another engine as they are (CAPSTAN_ENGINE_PASS)."""

from collections.abc import Iterable

# What vLLM and SGLang have of OpenAI's API and the native engine has not.
OPENAI = (
    "logprobs", "parallel_tool_calls", "reasoning_effort", "response_format", "tool_choice", "tools",
    "top_logprobs", "user",
)  # fmt: skip

# Source: ChatCompletionRequest in vllm/entrypoints/openai/chat_completion/protocol.py, and in
# sglang/srt/entrypoints/openai/protocol.py. Left out is what weakens a limit of ours (mm_processor_kwargs,
# media_io_kwargs), changes the prompt's form (chat_template, echo), or puts a client first (priority).
PRESETS: dict[str, tuple[str, ...]] = {
    "vllm": (
        *OPENAI, "allowed_token_ids", "bad_words", "cache_salt", "include_reasoning",
        "include_stop_str_in_output", "skip_special_tokens", "stop_token_ids", "structured_outputs",
    ),
    "sglang": (
        *OPENAI, "ebnf", "no_stop_trim", "regex", "separate_reasoning", "skip_special_tokens", "stop_regex",
        "stop_token_ids",
    ),
}  # fmt: skip

# What this server reads itself. For `n` answers the other server gets as many requests.
OWN = frozenset((
    "frequency_penalty", "ignore_eos", "logit_bias", "max_completion_tokens", "max_tokens", "messages",
    "min_p", "min_tokens", "model", "n", "presence_penalty", "repetition_penalty", "seed", "stop", "stream",
    "stream_options", "temperature", "top_k", "top_p",
))  # fmt: skip


def parameters(names: Iterable[str]) -> frozenset[str]:
    """The parameters that names stand for, each a parameter or a preset.

    Raises ValueError for a parameter that this server reads itself.
    """
    found = frozenset(parameter for name in names for parameter in PRESETS.get(name, (name,)))
    if own := sorted(found & OWN):
        raise ValueError(f"{own[0]} cannot be passed on: this server reads it itself")
    return found
