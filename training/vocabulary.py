"""The tokenizer of the embedded model: byte-level BPE, a few hundred tokens, InternVL's special tokens."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.prompts import PROMPTS
from training.shapes import COLORS, SHAPES

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE_START, IMAGE_END, IMAGE_CONTEXT, VIDEO = "<img>", "</img>", "<IMG_CONTEXT>", "<video>"
SPECIAL = (END_OF_TEXT, START, END, IMAGE_START, IMAGE_END, IMAGE_CONTEXT, VIDEO)
VOCABULARY_SIZE = 448

CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif content['type'] == 'video' %}{{ '<video>\n' }}"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{'<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"
)


def _sentences() -> list[str]:
    captions = [
        f"a {color} {shape} {relation} a {color} {shape}"
        for color in COLORS
        for shape in SHAPES
        for relation in ("left of", "above")
    ]
    # Each word of the captions and of the most common prompts becomes one token.
    return (
        [f"{role}\n" for role in ("user", "assistant", "system")] * 40
        + captions * 8
        + list(PROMPTS) * 3
        + [PROMPTS[0]] * 20
    )


def build() -> PreTrainedTokenizerFast:
    """Train the tokenizer; any UTF-8 text survives encoding and decoding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=list(SPECIAL[1:]),
        extra_special_tokens={
            "start_image_token": IMAGE_START,
            "end_image_token": IMAGE_END,
            "context_image_token": IMAGE_CONTEXT,
            "video_token": VIDEO,
        },
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )
