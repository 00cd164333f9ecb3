"""InternVL's vision tower and projector over all tiles of a step at once."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import gelu, scaled_dot_product_attention
from torch.nn.functional import linear as product

from service.engine.attention.varlen import attend_to_all, flash_serves
from service.engine.runner.layers import Linear, Norm, fuse, linear, norm
from service.engine.runner.pixels import Normaliser


@dataclass(frozen=True, slots=True)
class VisionLayer:
    """One layer: attention and a two-layer network, each scaled and added to its input."""

    before: Norm
    qkv: Linear
    query_norm: Norm | None
    key_norm: Norm | None
    out: Linear
    scale_1: torch.Tensor
    after: Norm
    up: Linear
    down: Linear
    scale_2: torch.Tensor


# Bytes of the widest activation of a pass. On the CPU so much stays in the cache of a core, which saves a
# twentieth of the time; on a GPU it bounds what a pass needs in addition to the weights: 31 tiles of
# InternViT-300M are no more than the memory plan measures, and a step may see the images of many prompts.
PASS_BYTES = {"cpu": 2**20, "cuda": 2**28}


def sees(config: Any) -> bool:  # noqa: ANN401 - a configuration of transformers
    """Whether the vision tower is one that `Vision` computes."""
    vision = config.vision_config
    return bool(
        config.vision_feature_layer == -1
        and config.vision_feature_select_strategy == "default"
        and config.projector_hidden_act == "gelu"
        and vision.hidden_act == "gelu"
        and vision.use_absolute_position_embeddings
    )


class Vision:
    """From tiles to the embeddings that stand for them in the prompt."""

    def __init__(self, model: Any, config: Any, normalise: Normaliser) -> None:  # noqa: ANN401 - transformers' InternVLModel and its config
        tower, projector = model.vision_tower, model.multi_modal_projector
        self.heads = config.vision_config.num_attention_heads
        self.ratio = config.downsample_ratio
        patches = tower.embeddings.patch_embeddings
        self.patch = patches.patch_size[0]
        kernel = patches.projection.weight.data  # [C, 3, patch, patch]
        # Of a patch the pixels come first and then their channels, as they lie in an image.
        weight = kernel.permute(0, 2, 3, 1).flatten(1)  # [C, patch * patch * 3]
        self.embed = Linear(weight, patches.projection.bias.data)
        self.normalise = normalise.repeated(self.patch**2)
        positions = tower.embeddings.position_embeddings.data[0]  # [P, C]
        self.first = (tower.embeddings.cls_token.data[0] + positions[:1])[None]  # [1, 1, C]
        self.positions = positions[1:]  # [P - 1, C]
        self.layers = [_layer(layer) for layer in tower.encoder.layer]
        flash = flash_serves(kernel.device, kernel.dtype, len(kernel) // self.heads)
        self.attend = attend_to_all if flash else _attend_by_sdpa
        self.final = None if isinstance(tower.layernorm, torch.nn.Identity) else norm(tower.layernorm)
        self.project_norm = norm(projector.layer_norm)
        self.project_1, self.project_2 = linear(projector.linear_1), linear(projector.linear_2)
        widest = max(max(layer.qkv.weight.shape[0], layer.up.weight.shape[0]) for layer in self.layers)
        tile_bytes = (len(self.positions) + 1) * widest * kernel.dtype.itemsize
        self.tiles_at_once = max(1, PASS_BYTES.get(kernel.device.type, PASS_BYTES["cuda"]) // tile_bytes)

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        """Features of tiles, bytes [T, height, width, 3]: [T, image tokens a tile, H]."""
        passes = [self._see(part) for part in tiles.split(self.tiles_at_once)]
        return passes[0] if len(passes) == 1 else torch.cat(passes)

    def _see(self, tiles: torch.Tensor) -> torch.Tensor:
        x = self._embed(tiles)  # [T, P, C]
        for layer in self.layers:
            x = self._attend(layer, x)
            h = layer.down(gelu(layer.up(layer.after(x))))  # [T, P, C]
            x = torch.addcmul(x, h, layer.scale_2)
        if self.final is not None:
            x = self.final(x)
        x = self.project_norm(shuffle(x[:, 1:], self.ratio))  # [T, image tokens, C / ratio²]
        return self.project_2(gelu(self.project_1(x)))

    def _embed(self, tiles: torch.Tensor) -> torch.Tensor:
        # A convolution whose stride is its kernel is a matrix product over patches.
        count, height, width, _ = tiles.shape
        x = tiles.view(count, height // self.patch, self.patch, width // self.patch, self.patch * 3)
        x = x.transpose(2, 3).reshape(count, len(self.positions), -1)  # [T, P - 1, patch * patch * 3]
        x = self.normalise(x).to(self.embed.weight.dtype)
        x = product(x, self.embed.weight, self.embed.bias) + self.positions  # [T, P - 1, C]
        return torch.cat((self.first.expand(count, -1, -1), x), 1)  # [T, P, C]

    def _attend(self, layer: VisionLayer, x: torch.Tensor) -> torch.Tensor:
        tiles, places, channels = x.shape
        query, key, value = layer.qkv(layer.before(x)).chunk(3, -1)  # each [T, P, C]
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = layer.query_norm(query), layer.key_norm(key)
        query, key, value = (
            part.view(tiles, places, self.heads, -1) for part in (query, key, value)
        )  # each [T, P, A, D]
        h = self.attend(query, key, value).reshape(tiles, places, channels)  # [T, P, C]
        return torch.addcmul(x, layer.out(h), layer.scale_1)


def _attend_by_sdpa(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """See `attend_to_all`."""
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))  # each [T, A, P, D]
    return scaled_dot_product_attention(query, key, value).transpose(1, 2)  # [T, P, A, D]


def shuffle(x: torch.Tensor, ratio: float) -> torch.Tensor:
    """Join neighboring patches into one: [T, P, C] to [T, P * ratio², C / ratio²]."""
    tiles, places, channels = x.shape
    side, factor = int(places**0.5), int(1 / ratio)
    x = x.view(tiles, side // factor, factor, side // factor, factor, channels)
    # The order within a joined patch is InternVL's: its columns, then its rows.
    x = x.permute(0, 1, 3, 2, 4, 5)  # [T, side / f, side / f, f, f, C]
    return x.reshape(tiles, (side // factor) ** 2, channels * factor**2)


def _layer(layer: Any) -> VisionLayer:  # noqa: ANN401 - transformers' InternVLVisionLayer
    attention, mlp = layer.attention, layer.mlp
    normed = not isinstance(attention.q_norm, torch.nn.Identity)
    return VisionLayer(
        before=norm(layer.layernorm_before),
        qkv=fuse(attention.q_proj, attention.k_proj, attention.v_proj),
        query_norm=norm(attention.q_norm) if normed else None,
        key_norm=norm(attention.k_norm) if normed else None,
        out=linear(attention.projection_layer),
        scale_1=layer.lambda_1.data,
        after=norm(layer.layernorm_after),
        up=linear(mlp.fc1),
        down=linear(mlp.fc2),
        scale_2=layer.lambda_2.data,
    )
