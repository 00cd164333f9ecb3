"""Answers that match a grammar."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from service.checkpoint.tokenizer import load_tokenizer
from service.errors import RequestError
from service.prompt.grammar import KEPT, Grammars
from service.protocol.request import FinishReason, Grammar
from tests.support.running import answer, ask, embedded, picture, running

PERSON = {
    "type": "object",
    "properties": {
        "color": {"enum": ["red", "blue", "green"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["color", "count"],
    "additionalProperties": False,
}


def of_schema(schema: Any) -> Grammar:
    return Grammar("json_schema", json.dumps(schema))


def random_schema(chance: random.Random, depth: int = 3) -> dict[str, Any]:
    """A schema whose instances are short."""
    kinds = ["enum", "boolean", "integer", "string", "null"] + ["object", "array", "anyOf"] * (depth > 0)
    kind = chance.choice(kinds)
    low = chance.randint(-50, 50)
    names = chance.sample(["color", "shape", "size", "count", "left of", "x"], chance.randint(1, 3))
    schemas: dict[str, Callable[[], dict[str, Any]]] = {
        "enum": lambda: {"enum": chance.sample(["red", "blue", 7, None, True, 'a "quote"', "café"], 3)},
        "integer": lambda: {"type": "integer", "minimum": low, "maximum": low + chance.randint(0, 500)},
        "string": lambda: {
            "type": "string",
            **chance.choice([{"maxLength": 5}, {"pattern": "^[a-c]{1,4}$"}]),
        },
        "object": lambda: {
            "type": "object",
            "properties": {name: random_schema(chance, depth - 1) for name in names},
            "required": chance.sample(names, chance.randint(0, len(names))),
            "additionalProperties": False,
        },
        "array": lambda: {"type": "array", "items": random_schema(chance, depth - 1), "maxItems": 2},
        "anyOf": lambda: {"anyOf": [random_schema(chance, depth - 1) for _ in range(2)]},
    }
    return schemas[kind]() if kind in schemas else {"type": kind}


@pytest.mark.slow
def test_answers_match_random_schemas() -> None:
    """Whatever the schema, greedy or drawn, in whatever batch: the answer is JSON that matches it."""
    chance = random.Random(3)
    schemas = [random_schema(chance) for _ in range(200)]
    requests = [
        ask(
            picture(number % 8),
            "?",
            max_tokens=600,
            temperature=float(number % 2),
            seed=number,
            grammar=of_schema(schema),
        )
        for number, schema in enumerate(schemas)
    ]
    with running(slots=64) as engine:
        completions = answer(engine, *requests)
    for schema, completion in zip(schemas, completions, strict=True):
        assert completion.finish_reason is FinishReason.STOP, schema
        validate(json.loads(completion.text), schema)


@pytest.mark.parametrize("runner", ["auto", "transformers", "generate"])
def test_each_kind_of_grammar_is_matched_on_every_runner(runner: str) -> None:
    """A schema, an expression and a choice each decide what their own answer looks like."""
    with running(runner=runner) as engine:
        found, number, chosen, free = answer(
            engine,
            ask(picture(8), "?", max_tokens=200, grammar=of_schema(PERSON)),
            ask(picture(8), "?", grammar=Grammar("regex", r"[0-9]{3}-[a-f]{2}")),
            ask(picture(8), "?", grammar=Grammar("choice", json.dumps(["yes", "no", 'a "word"']))),
            ask(picture(8), "?"),
        )
        (alone,) = answer(engine, ask(picture(8), "?"))
    validate(json.loads(found.text), PERSON)
    assert re.fullmatch("[0-9]{3}-[a-f]{2}", number.text)
    assert chosen.text in ("yes", "no", 'a "word"')
    assert {one.finish_reason for one in (found, number, chosen)} == {FinishReason.STOP}
    assert free.text == alone.text


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        (
            of_schema({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}),
            "JSON schema cannot be used",
        ),
        (Grammar("regex", "(a"), "regular expression cannot be used"),
        (
            Grammar("json_schema", '{"items":' * 300 + "{}" + "}" * 300),
            "JSON schema cannot be used: recursion",
        ),
    ],
)
def test_a_grammar_that_cannot_be_used_is_refused(grammar: Grammar, words: str) -> None:
    """A grammar that is wrong, or too much work, is refused with the reason before the model sees it."""
    with running() as engine, pytest.raises(RequestError, match=words):
        answer(engine, ask("?", grammar=grammar))


def test_a_grammar_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compiled is kept, the latest of them; each answer starts at the beginning."""
    grammars, compiled = Grammars(embedded().tokenizer, embedded().stop_ids), list[Grammar]()
    compile_one = grammars._compile  # noqa: SLF001 - counts, and calls the original

    def counted(grammar: Grammar) -> Any:
        compiled.append(grammar)
        return compile_one(grammar)

    monkeypatch.setattr(grammars, "_compile", counted)
    regex = Grammar("regex", "ab")
    first, second = grammars.matcher(regex), grammars.matcher(regex)
    first.consume_token(embedded().tokenizer.encode("a", add_special_tokens=False)[0])
    assert len(compiled) == 1
    assert second.compute_bitmask() != first.compute_bitmask()
    for number in range(KEPT):
        grammars.matcher(Grammar("regex", str(number)))
    grammars.matcher(regex)
    assert compiled.count(regex) == 2


def test_a_sentencepiece_vocabulary_is_read() -> None:
    """The tokens of InternLM2's vocabulary are matched by what they spell, spaces included."""
    tokenizer = load_tokenizer(Path(__file__).parents[2] / "data/internvl2/tokenizer")
    matcher = Grammars(tokenizer, {2}).matcher(Grammar("choice", '["a red circle"]'))
    ids = tokenizer.encode("a red circle", add_special_tokens=False)
    assert matcher.consume_tokens(ids)
    assert matcher.is_stopped()
