"""A checkpoint that captions images with transformers' `generate`."""

from pathlib import Path

import torch
from PIL import Image
from transformers import AutoTokenizer, InternVLForConditionalGeneration, PreTrainedTokenizerBase

from service.media.tiles import cut
from training.batches import SPEC, prompt_text, seen
from training.prompts import PROMPTS

LONGEST_CAPTION = 24


class Captioner:
    """A checkpoint in float32 on the CPU, after its round trip through bfloat16."""

    def __init__(self, directory: Path) -> None:
        self.model = InternVLForConditionalGeneration.from_pretrained(directory, dtype=torch.float32)
        self.model.eval()
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            directory, padding_side="left"
        )

    @torch.inference_mode()
    def caption(self, images: list[Image.Image], prompt: str = PROMPTS[0]) -> list[str]:
        """Caption a batch of RGB images."""
        tiles = [cut(image, SPEC) for image in images]  # each [T, H, W, 3]
        inputs = self.tokenizer(
            [prompt_text(prompt, len(one)) for one in tiles], padding=True, return_tensors="pt"
        )
        ids = self.model.generate(  # type: ignore[misc]  # the mixin's protocol is narrower than the class
            **inputs, pixel_values=seen(tiles), max_new_tokens=LONGEST_CAPTION
        )
        answers = ids[:, inputs["input_ids"].shape[1] :]  # [B, S]
        return self.tokenizer.batch_decode(answers, skip_special_tokens=True)
