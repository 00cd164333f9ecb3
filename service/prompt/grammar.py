"""Answers that must match a grammar, by llguidance: which tokens may come next.

The HTTP process compiles a grammar to see whether it is sound, in the thread that prepares its request.
Rank 0 compiles it again, in the thread that reads messages, since matchers cannot be sent. Both keep what
they compile. Limits are on work, not on time, so they are the same on every machine.
"""

import json
from collections import OrderedDict
from collections.abc import Collection
from threading import Lock
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from tokenizers import Tokenizer

from service.errors import ErrorCode, RequestError
from service.protocol.chat_format import TOOL_CALL, TOOL_CALL_END
from service.protocol.request import Grammar

KEPT = 256
# One space at most: a model that is unsure may otherwise write spaces until max_tokens.
JSON_OPTIONS: Any = {"whitespace_pattern": "[ ]?"}
# At most about 30 ms of work to compile, and 5 ms to find the tokens that may come next.
LIMITS = LLParserLimits(
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=100_000,
    step_max_items=50_000,
    max_lexer_states=50_000,
    max_grammar_size=100_000,
    verbose_errors=False,
)
REASON_CHARACTERS = 200
AFTER = "}\n" + TOOL_CALL_END  # the arguments of a call
NAMES = {
    "json_schema": "JSON schema",
    "regex": "regular expression",
    "choice": "choice",
    "tool_calls": "JSON schema of a tool",
}


class Grammars:
    """Compiles grammars for one tokenizer and keeps the latest. Safe to use from several threads."""

    def __init__(self, tokenizer: Any, stop_ids: Collection[int]) -> None:  # noqa: ANN401 - transformers' have no common type
        self._tokenizer: Tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
        self._stop_ids = sorted(stop_ids)
        self._vocabulary: LLTokenizer | None = None
        self._compiled: OrderedDict[Grammar, LLMatcher] = OrderedDict()
        self._lock = Lock()

    def matcher(self, grammar: Grammar) -> LLMatcher:
        """A matcher at the beginning of an answer. Raises RequestError for a grammar that cannot be used."""
        with self._lock:
            found = self._compiled.get(grammar)
            if found is None:
                found = self._compile(grammar)
                self._compiled[grammar] = found
                if len(self._compiled) > KEPT:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(grammar)
            return found.deep_copy()

    def spell(self, token: int) -> bytes:
        """The bytes of a token, which may be a part of a character."""
        with self._lock:
            return bytes(self._read().decode_bytes([token]))

    def _read(self) -> LLTokenizer:
        if self._vocabulary is None:  # takes up to a second, which models without such requests are spared
            backend = Tokenizer.from_str(self._tokenizer.to_str())
            backend.no_padding()
            backend.no_truncation()
            # A configuration without an end token of its own has that of its class, which may be unknown.
            stops = [stop for stop in self._stop_ids if stop < backend.get_vocab_size()]
            self._vocabulary = LLTokenizer(backend.to_str(), eos_token=stops)
        return self._vocabulary

    def _compile(self, grammar: Grammar) -> LLMatcher:
        try:
            matcher = LLMatcher(self._read(), _source(grammar), log_level=0, limits=LIMITS)
            error = matcher.get_error()
        except ValueError as refusal:  # too deep, or no JSON
            error = str(refusal)
        if error:
            reason = error.splitlines()[0][:REASON_CHARACTERS]
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"{NAMES[grammar.kind]} cannot be used: {reason}; simplify it, or leave out what is not "
                "supported",
                field=grammar.source,
            )
        return matcher


def _source(grammar: Grammar) -> str:
    if grammar.kind == "json_schema":
        return LLMatcher.grammar_from_json_schema(grammar.text, overrides=JSON_OPTIONS)
    if grammar.kind == "regex":
        return LLMatcher.grammar_from_regex(grammar.text)
    if grammar.kind == "tool_calls":
        return LLMatcher.grammar_from_lark(_calls(**json.loads(grammar.text)))
    # JSON strings are the strings of Lark, too.
    choices = " | ".join(json.dumps(one) for one in json.loads(grammar.text))
    return LLMatcher.grammar_from_lark(f"start: {choices}")


def _calls(functions: list[dict[str, Any]], *, single: bool) -> str:
    """Calls in the form of `service.prompt.answer_parser`, each schema a document of its own."""
    lines = ["start: call" if single else 'start: call ("\\n" call)*']
    lines.append("call: " + " | ".join(f"call_{index}" for index in range(len(functions))))
    for index, function in enumerate(functions):
        schema = function["parameters"] | {"x-guidance": JSON_OPTIONS}
        before = TOOL_CALL + '\n{"name": "' + function["name"] + '", "arguments": '
        lines.append(f"call_{index}: {json.dumps(before)} arguments_{index} {json.dumps(AFTER)}")
        lines.append(f"arguments_{index}: %json {json.dumps(schema)}")
    return "\n".join(lines)
