"""Makers of small random checkpoints, one a layout, for the tests of several houses.

Each maker writes a directory and returns it. The weights are random but seeded, so outputs are repeatable.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import InternVLConfig, InternVLForConditionalGeneration, PreTrainedTokenizerFast

from service.engine.checkpoint.original_config import translate

TILE = 56
TOKENS_PER_TILE = 4
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
GROUNDING = ("<ref>", "</ref>", "<box>", "</box>")

CORPUS = (
    "a red circle left of a blue square",
    "What is in this picture? Please describe the image in detail.",
    "system\nYou are a helpful assistant.",
    "user\nassistant\n",
    "你好，世界。图片里有什么？",
)

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou see shapes.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def make_tokenizer(
    special: tuple[str, ...] = (*SPECIAL, *GROUNDING), **options: Any
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of a few hundred tokens, of the form that Qwen's has."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(CORPUS * 3, trainer)
    backend.add_special_tokens(list(special))
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"} | options
    return PreTrainedTokenizerFast(tokenizer_object=backend, **settings)


def internvl_config(tokenizer: Any, text: str = "qwen2", **changes: Any) -> InternVLConfig:
    """A configuration of about 60,000 parameters; `text` is the language model's type."""
    settings: dict[str, Any] = {
        "vision_config": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "image_size": [TILE, TILE],
            "patch_size": [14, 14],
            "attention_bias": True,
        },
        "text_config": {
            "model_type": text,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 512,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        "image_token_id": tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        "image_seq_length": TOKENS_PER_TILE,
        "tie_word_embeddings": False,
    }
    return InternVLConfig(**(settings | changes))


def make_internvl(directory: Path, text: str = "qwen2", **changes: Any) -> Path:
    """A checkpoint in the layout of the InternVL ``-hf`` ones: tiles of 56 pixels, 4 at most."""
    tokenizer = make_tokenizer(
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        }
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(0)
    model = InternVLForConditionalGeneration(internvl_config(tokenizer, text, **changes))
    model.generation_config.eos_token_id = [tokenizer.eos_token_id]
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    write_json(
        directory / "preprocessor_config.json",
        {
            "image_processor_type": "GotOcr2ImageProcessor",
            "size": {"height": TILE, "width": TILE},
            "crop_to_patches": True,
            "min_patches": 1,
            "max_patches": 4,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
    )
    return directory


VECTORS = Path(__file__).parent / "data" / "internvl2"


def original_config(architecture: str, vocabulary: int, **changes: Any) -> dict[str, Any]:
    """A config.json of the original layout for a language model of some architecture."""
    config: dict[str, Any] = json.loads((VECTORS / "config.json").read_text(encoding="utf-8"))
    llm = config["llm_config"]
    llm |= {"architectures": [architecture], "model_type": architecture.removesuffix("ForCausalLM").lower()}
    llm |= {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "vocab_size": vocabulary}
    if architecture != "InternLM2ForCausalLM":
        llm |= {"rope_scaling": None, "auto_map": None, "pad_token_id": None}
        del llm["bias"], llm["auto_map"]
    for key, change in changes.items():
        config[key] = config[key] | change if isinstance(change, dict) else change
    return config


def make_original(directory: Path, architecture: str = "InternLM2ForCausalLM", **changes: Any) -> Path:
    """A checkpoint in the original layout: InternLM2's with its tokenizer.model, others with Qwen's files."""
    directory.mkdir(parents=True, exist_ok=True)
    if architecture == "InternLM2ForCausalLM":
        for file in (VECTORS / "tokenizer").iterdir():
            shutil.copyfile(file, directory / file.name)
        vocabulary = 429
    else:
        vocabulary = write_qwen_vocabulary(directory)
    config = original_config(architecture, vocabulary, **changes)
    write_json(directory / "config.json", config)
    torch.manual_seed(0)
    model = InternVLForConditionalGeneration(translate(config, vocabulary - 1))
    for name, parameter in model.named_parameters():
        if "norm" in name or "lambda" in name or "bias" in name or "cls_token" in name:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.2)
        if "position_embeddings" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    fused = original_names(model, fused=architecture == "InternLM2ForCausalLM")
    save_file(fused, directory / "model.safetensors", {"format": "pt"})
    return directory


def write_qwen_vocabulary(directory: Path) -> int:
    """The tokenizer files of original checkpoints with Qwen2 inside, which lack tokenizer.json."""
    tokenizer = make_tokenizer(special=())
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = [*SPECIAL, *GROUNDING, "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    added = {text: len(model["vocab"]) + index for index, text in enumerate(special)}
    write_json(directory / "vocab.json", model["vocab"])
    merges = "\n".join(["#version: 0.2", *(" ".join(merge) for merge in model["merges"])])
    (directory / "merges.txt").write_text(merges + "\n", encoding="utf-8")
    write_json(directory / "added_tokens.json", added)
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    decoder = {str(index): {"content": text} | flags for text, index in added.items()}
    settings = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    write_json(directory / "tokenizer_config.json", settings | {"added_tokens_decoder": decoder})
    return len(model["vocab"]) + len(added)


def original_names(model: InternVLForConditionalGeneration, *, fused: bool) -> dict[str, torch.Tensor]:
    """The model's weights under the original names; `fused` fuses attention as InternLM2 does."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    text = model.config.get_text_config()
    groups = text.num_attention_heads // text.num_key_value_heads
    found: dict[str, torch.Tensor] = {}
    for name in list(state):
        if ".q_proj." not in name or name not in state:
            continue
        parts = [state[name.replace(".q_proj.", f".{letter}_proj.")] for letter in "qkv"]
        if "vision_tower" in name:
            found[_original(name).replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
        elif fused:
            query, key, value = (
                part.view(text.num_key_value_heads, -1, 8, *part.shape[1:]) for part in parts
            )
            assert query.shape[1] == groups
            whole = torch.cat([query, key, value], dim=1).reshape(-1, *parts[0].shape[1:])
            found[_original(name, fused=True).replace("self_attn.q_proj", "attention.wqkv")] = whole
        else:
            continue
        for letter in "qkv":
            del state[name.replace(".q_proj.", f".{letter}_proj.")]
    return found | {_original(name, fused=fused): tensor for name, tensor in state.items()}


VISION_NAMES = {
    "model.vision_tower.": "vision_model.",
    "embeddings.cls_token": "embeddings.class_embedding",
    "embeddings.position_embeddings": "embeddings.position_embedding",
    "embeddings.patch_embeddings.projection": "embeddings.patch_embedding",
    "encoder.layer.": "encoder.layers.",
    "attention.projection_layer": "attn.proj",
    "attention.q_norm": "attn.q_norm",
    "attention.k_norm": "attn.k_norm",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "lambda_": "ls",
}
LANGUAGE_NAMES = {
    "model.multi_modal_projector.layer_norm": "mlp1.0",
    "model.multi_modal_projector.linear_1": "mlp1.1",
    "model.multi_modal_projector.linear_2": "mlp1.3",
    "model.language_model.": "language_model.model.",
    "lm_head": "language_model.lm_head",
}
INTERNLM2_NAMES = {
    "language_model.lm_head": "language_model.output",
    "embed_tokens": "tok_embeddings",
    "self_attn.o_proj": "attention.wo",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
}


def _original(name: str, *, fused: bool = False) -> str:
    names = VISION_NAMES if "vision_tower" in name else LANGUAGE_NAMES | (INTERNLM2_NAMES if fused else {})
    for new, old in names.items():
        name = name.replace(new, old)
    return name


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


FAMILIES = ("llava_onevision", "idefics3", "qwen2_5_vl")

FAMILY_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    *("<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)

SMALL_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
SMALL_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
PLACEHOLDERS = {
    "llava_onevision": "<image>",
    "idefics3": "<image>",
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
}


def make_other(directory: Path, family: str) -> Path:
    """A checkpoint of another family, with its own processor and a chat template."""
    tokenizer = make_tokenizer(special=FAMILY_SPECIAL)
    processor = _processor(family, tokenizer)
    processor.chat_template = CHAT_TEMPLATE.replace("<IMG_CONTEXT>\\n", PLACEHOLDERS[family])
    torch.manual_seed(0)
    model = _model(family, tokenizer)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def _processor(family: str, tokenizer: Any) -> Any:
    if family == "llava_onevision":
        return transformers.LlavaOnevisionProcessor(
            image_processor=transformers.LlavaOnevisionImageProcessor(
                size={"height": 28, "width": 28}, image_grid_pinpoints=[[28, 28], [28, 56], [56, 28]]
            ),
            tokenizer=tokenizer,
            video_processor=transformers.LlavaOnevisionVideoProcessor(),
            num_image_tokens=4,
            vision_feature_select_strategy="full",
        )
    if family == "idefics3":
        return transformers.Idefics3Processor(
            transformers.Idefics3ImageProcessor(
                size={"longest_edge": 56}, max_image_size={"longest_edge": 28}
            ),
            tokenizer,
            image_seq_len=1,
        )
    return transformers.Qwen2_5_VLProcessor(
        transformers.Qwen2VLImageProcessor(
            patch_size=14, merge_size=2, size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
        ),
        tokenizer,
        transformers.Qwen2VLVideoProcessor(),
    )


def _model(family: str, tokenizer: Any) -> Any:
    ids = {text: tokenizer.convert_tokens_to_ids(text) for text in tokenizer.all_special_tokens}
    ids |= tokenizer.get_added_vocab()
    text = SMALL_TEXT | {"vocab_size": len(tokenizer), "pad_token_id": ids["<|endoftext|>"]}
    if family == "llava_onevision":
        return transformers.LlavaOnevisionForConditionalGeneration(
            transformers.LlavaOnevisionConfig(
                vision_config=SMALL_VISION | {"model_type": "siglip_vision_model", "vision_use_head": False},
                text_config=text | {"model_type": "qwen2"},
                image_token_id=ids["<image>"],
                video_token_id=ids["<video>"],
                image_grid_pinpoints=[[28, 28], [28, 56], [56, 28]],
                vision_feature_select_strategy="full",
                vision_feature_layer=-1,
                tie_word_embeddings=False,
            )
        )
    if family == "idefics3":
        return transformers.Idefics3ForConditionalGeneration(
            transformers.Idefics3Config(
                vision_config=SMALL_VISION,
                text_config=text | {"model_type": "llama"},
                image_token_id=ids["<image>"],
                scale_factor=2,
            )
        )
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            vision_config={
                "hidden_size": 32,
                "out_hidden_size": 32,
                "intermediate_size": 48,
                "depth": 2,
                "num_heads": 4,
                "fullatt_block_indexes": [1],
            },
            text_config=text
            | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}},
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
        )
    )
