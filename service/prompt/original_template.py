"""The prompt templates of original InternVL checkpoints, which name theirs in config.json.

Source: ``conversation.py`` of https://github.com/OpenGVLab/InternVL.
"""

from dataclasses import dataclass, replace

from service.errors import CheckpointError
from service.prompt.shape import ImageSlot, Kind, Part, Shape, TextSlot
from service.protocol.request import Role

SENTENCE_2 = (
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，"
    "英文名叫InternVL, 是一个有用无害的人工智能助手。"
)
SENTENCE_2_5 = (
    "你是书生·万象，英文名是InternVL，"
    "是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
)


@dataclass(frozen=True, slots=True)
class OriginalTemplate:
    """Openings of each role's turn, what ends a turn, and the system sentence of conversations without one.

    `stops` are the tokens at which the model's answer is over.
    """

    openings: tuple[tuple[Role, str], ...]
    end: str
    sentence: str
    stops: tuple[str, ...]

    def render(self, shape: Shape) -> list[Part]:
        """See `PromptTemplate.render`; a system turn at the start takes the place of the system sentence."""
        opening = dict(self.openings)
        parts: list[Part] = []
        if not shape or shape[0][0] != "system":
            parts.append(opening["system"] + self.sentence + self.end)
        text = 0
        for role, kinds in shape:
            parts.append(opening[role])
            parts += _content(kinds, text)
            parts.append(self.end)
            text += kinds.count("text")
        return [*parts, opening["assistant"]]


def _content(kinds: tuple[Kind, ...], text: int) -> list[Part]:
    """Texts and images where they stand in a turn; each image ends its line, as in the published examples."""
    parts: list[Part] = []
    for kind in kinds:
        if kind == "image":
            parts += [ImageSlot(), "\n"]
        else:
            parts.append(TextSlot(text))
            text += 1
    return parts


CHATML: tuple[tuple[Role, str], ...] = (
    ("system", "<|im_start|>system\n"),
    ("user", "<|im_start|>user\n"),
    ("assistant", "<|im_start|>assistant\n"),
)
PHI3: tuple[tuple[Role, str], ...] = (
    ("system", "<|system|>\n"),
    ("user", "<|user|>\n"),
    ("assistant", "<|assistant|>\n"),
)
CHATML_STOPS = ("<|im_end|>", "<|im_start|>")

TEMPLATES = {
    "internlm2-chat": OriginalTemplate(CHATML, "<|im_end|>", SENTENCE_2, CHATML_STOPS),
    "Hermes-2": OriginalTemplate(CHATML, "<|im_end|>", SENTENCE_2, CHATML_STOPS),
    "phi3-chat": OriginalTemplate(PHI3, "<|end|>", SENTENCE_2, ("<|end|>",)),
    "internvl2_5": OriginalTemplate(CHATML, "<|im_end|>\n", SENTENCE_2_5, CHATML_STOPS),
}


def template_of(name: str, sentence: str | None = None) -> OriginalTemplate:
    """A template by its name, with another system sentence where the checkpoint has its own.

    Raises CheckpointError for a name that is not known.
    """
    if name not in TEMPLATES:
        raise CheckpointError(
            f"config.json names the prompt template {name!r}; only {', '.join(TEMPLATES)} are known, "
            "so serve another checkpoint"
        )
    found = TEMPLATES[name]
    return found if sentence is None else replace(found, sentence=sentence)
