"""Small random models of many families of transformers, and prompts with images for them."""

from collections.abc import Callable

import torch

from tests.support.families import fixed_size, grids, llava, refused
from tests.support.families.family import Family

# Families that packed batches cannot serve, and what the refusal says of each.
REFUSED: dict[str, tuple[Callable[[], Family], str]] = {
    "qwen3_5": (refused.qwen3_5, "layers of linear_attention"),
    "lfm2_vl": (refused.lfm2_vl, "layers of conv"),
    "llama4": (refused.llama4, "layers of chunked_attention"),
    "gemma4": (refused.gemma4, "layers differ in key-value heads"),
    "mllama": (refused.mllama, "does not take image features apart from pixels"),
    "blip_2": (refused.blip_2, "does not run on text alone"),
}
FAMILIES: dict[str, Callable[[], Family]] = {
    "internvl": fixed_size.internvl,
    "qwen2_vl": grids.qwen2_vl,
    "qwen2_5_vl": grids.qwen2_5_vl,
    "qwen3_vl": grids.qwen3_vl,
    "qwen3_vl_moe": grids.qwen3_vl_moe,
    "llava": llava.llava,
    "pixtral": llava.pixtral,
    "llava_next": llava.llava_next,
    "llava_onevision": llava.llava_onevision,
    "vipllava": llava.vipllava,
    "idefics2": fixed_size.idefics2,
    "idefics3": fixed_size.idefics3,
    "smolvlm": fixed_size.smolvlm,
    "gemma3": fixed_size.gemma3,
    "paligemma": lambda: fixed_size.paligemma({"model_type": "gemma"}),
    "paligemma2": lambda: fixed_size.paligemma({"model_type": "gemma2", "query_pre_attn_scalar": 8}),
    "mistral3": llava.mistral3,
    "aya_vision": fixed_size.aya_vision,
    "got_ocr2": fixed_size.got_ocr2,
    "glm4v": grids.glm4v,
    "glm46v": grids.glm46v,
    "ernie4_5_vl": grids.ernie4_5_vl,
    "cohere2_vision": fixed_size.cohere2_vision,
    "janus": fixed_size.janus,
    "deepseek_vl": fixed_size.deepseek_vl,
    "lighton_ocr": llava.lighton_ocr,
    "aria": fixed_size.aria,
}
# A family that is refused at its first image only.
OTHERS: dict[str, Callable[[], Family]] = {"ovis2": refused.ovis2}


def make(name: str) -> Family:
    """The family's small model, with weights large enough that answers vary."""
    torch.manual_seed(0)
    family = (FAMILIES.get(name) or OTHERS.get(name) or REFUSED[name][0])()
    family.model.eval()
    for parameter in family.model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return family
