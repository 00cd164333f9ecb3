"""Chat templates of checkpoints."""

import pytest

from service.errors import ErrorCode, RequestError
from service.prompt.jinja_template import JinjaTemplate
from service.prompt.shape import ImageSlot, TextSlot
from tests.support.checkpoints import CHAT_TEMPLATE, make_tokenizer

STRINGS = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
TRIMMED = (
    "{% for m in messages %}{{ '[' }}"
    "{% for c in m['content'] %}{{ c['text'] | trim }}{% endfor %}{{ ']' }}{% endfor %}"
)
STRICT = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('a user must begin') }}{% endif %}"


def template(source: str) -> JinjaTemplate:
    return JinjaTemplate(make_tokenizer(), "<IMG_CONTEXT>", source)


def test_marks_become_slots() -> None:
    """Texts and images of a conversation become slots between the template's own words."""
    parts = template(CHAT_TEMPLATE).render((("system", ("text",)), ("user", ("image", "text"))))
    assert parts == [
        "<|im_start|>system\n",
        TextSlot(0),
        "<|im_end|>\n<|im_start|>user\n",
        ImageSlot(),
        "\n",
        TextSlot(1),
        "<|im_end|>\n<|im_start|>assistant\n",
    ]


def test_template_for_strings_gets_strings() -> None:
    """A template that takes contents as strings alone works for conversations of text."""
    parts = template(STRINGS).render((("user", ("text",)), ("assistant", ("text",))))
    assert parts == ["user: ", TextSlot(0), "\nassistant: ", TextSlot(1), "\n"]


def test_template_that_trims_has_its_texts_trimmed() -> None:
    """Where a template strips blanks, so does the filled slot."""
    parts = template(TRIMMED).render((("user", ("text",)),))
    assert parts == ["[", TextSlot(0, strip_left=True, strip_right=True), "]"]
    slot = parts[1]
    assert isinstance(slot, TextSlot)
    assert slot.fill(("  hello \n",)) == "hello"


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        (STRICT, (("system", ("text",)),)),
        (STRINGS, (("user", ("image",)),)),
        ("nothing", (("user", ("text",)),)),
    ],
)
def test_refusals_are_the_clients_to_fix(source: str, shape: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
    """A conversation that the template refuses or loses is answered as an invalid request."""
    with pytest.raises(RequestError, match="chat template refuses this order of turns") as caught:
        template(source).render(shape)  # type: ignore[arg-type]
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    assert caught.value.field == "messages"
