"""The prompts of training, varied so that the answer does not depend on their wording."""

import numpy as np

from service.generation_defaults import DEFAULT_PROMPT

PROMPTS = (
    DEFAULT_PROMPT,
    "Describe the image.",
    "Describe this image.",
    "Describe the image in one sentence.",
    "Describe the image in detail.",
    "Please describe the image.",
    "Please describe the image in detail.",
    "What is in the image?",
    "What is in this image?",
    "What is shown in the image?",
    "What is in this picture?",
    "What do you see?",
    "What is this?",
    "What objects are in the image?",
    "Caption this image.",
    "Caption",
    "Write a caption for this image.",
    "Give a short caption.",
    "Please give a caption for the image.",
    "Which shapes are there, and where?",
    "What colour are the shapes?",
    "Tell me about the picture.",
    "Say what you see.",
    "Image?",
    "?",
    ".",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz      ,.?!"


def random_prompt(rng: np.random.Generator) -> str:
    """Draw a prompt: the service's default and the plainest more often, and sometimes noise."""
    chance = rng.random()
    if chance < 0.3:
        return PROMPTS[0]
    if chance < 0.5:
        return PROMPTS[1]
    if chance < 0.9:
        return PROMPTS[rng.integers(len(PROMPTS))]
    noise = "".join(LETTERS[i] for i in rng.integers(len(LETTERS), size=rng.integers(1, 40)))
    return noise.strip() or "?"
