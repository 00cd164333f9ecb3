"""The layers of a Llama-like language model over a cache of our own, with fused weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention, silu

from service.engine.runner.cache import Cache, CacheShape
from service.engine.runner.weights import Linear, Norm, fuse, linear, norm


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """Attention with grouped heads, then a gated network."""

    before: Norm
    qkv: Linear
    query_norm: Norm | None
    key_norm: Norm | None
    out: Linear
    after: Norm
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a pool that take part in a decode step, all within the first `length` cached tokens.

    `slots` [B] counts the rows, `positions` [B] is where each writes, and `mask` [B, 1, 1, L] is 0 up to
    there and minus infinity beyond.
    """

    pool: int
    count: int
    length: int
    slots: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor


class Decoder:
    """Runs the layers. `model` is transformers' language model without its head, `config` its text config."""

    def __init__(self, model: Any, config: Any, head: Any, context_length: int) -> None:  # noqa: ANN401
        self.query_heads = config.num_attention_heads
        self.key_heads = config.num_key_value_heads
        self.channels = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.embedding = model.embed_tokens.weight.data
        self.layers = [_layer(layer) for layer in model.layers]
        self.final = norm(model.norm)
        self.head = linear(head)
        weight = self.embedding
        positions = torch.arange(context_length, device=weight.device)[None]
        # A table, as the positions of all sequences are among these: [context_length, 1, D] each.
        self.cosine, self.sine = (part[0][:, None] for part in model.rotary_emb(weight[:1], positions))
        self.shape = CacheShape(len(self.layers), self.key_heads, self.channels, weight.dtype, weight.device)

    def angles(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of the rotary embedding for positions [B, S], each [B, S, 1, D]."""
        return self.cosine[positions], self.sine[positions]

    def project(
        self, layer: DecoderLayer, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query [B, S, A, D], key and value [B, S, K, D] of a layer for its input x [B, S, H]."""
        batch, length, _ = x.shape
        heads = self.query_heads + self.key_heads
        qkv = layer.qkv(layer.before(x)).view(batch, length, -1, self.channels)  # [B, S, A + 2K, D]
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = qkv[:, :, : self.query_heads], qkv[:, :, self.query_heads : heads]
            turned = torch.cat((layer.query_norm(query), layer.key_norm(key)), 2)  # [B, S, A + K, D]
        else:
            turned = qkv[:, :, :heads]  # [B, S, A + K, D]
        first, second = turned.chunk(2, -1)  # each [B, S, A + K, D / 2]
        across = torch.cat((-second, first), -1)  # [B, S, A + K, D]
        turned = torch.addcmul(turned * cosine, across, sine)
        return turned[:, :, : self.query_heads], turned[:, :, self.query_heads :], qkv[:, :, heads:]

    def feed_forward(self, layer: DecoderLayer, x: torch.Tensor) -> torch.Tensor:
        """The gated network of a layer, added to its input x [N, H]."""
        gate, up = layer.gate_up(layer.after(x)).chunk(2, -1)  # each [N, I]
        return layer.down.add_to(x, silu(gate) * up)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """The head over x [B, H]: [B, V]."""
        return self.head(self.final(x))

    def decode(self, ids: torch.Tensor, cache: Cache, pools: Sequence[Rows]) -> torch.Tensor:
        """One token for every row: ids [B] of all pools in turn; logits [B, V]."""
        x = self.embedding[ids]  # [B, H]
        cosine, sine = self.angles(torch.cat([rows.positions for rows in pools])[:, None])
        for index, layer in enumerate(self.layers):
            query, key, value = self.project(layer, x[:, None], cosine, sine)
            attended = self._attend_cached(index, query[:, 0], key[:, 0], value[:, 0], cache, pools)
            x = layer.out.add_to(x, attended)  # [B, H]
            x = self.feed_forward(layer, x)
        return self.logits(x)

    def _attend_cached(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cache: Cache,
        pools: Sequence[Rows],
    ) -> torch.Tensor:
        """Write key and value [B, K, D] and attend with query [B, A, D]: [B, A * D]."""
        found, first = [], 0
        for rows in pools:
            part = slice(first, first := first + rows.count)
            keys, values = cache.keys[rows.pool][layer], cache.values[rows.pool][layer]
            keys[rows.slots, :, rows.positions] = key[part]
            values[rows.slots, :, rows.positions] = value[part]
            # The heads that share keys stand as queries of one head: [B, K, G, D].
            grouped = query[part].reshape(rows.count, self.key_heads, -1, self.channels)
            found.append(
                scaled_dot_product_attention(
                    grouped,
                    keys[: rows.count, :, : rows.length],  # [B, K, L, D]
                    values[: rows.count, :, : rows.length],
                    attn_mask=rows.mask,
                ).flatten(1)  # [B, A * D]
            )
        return found[0] if len(found) == 1 else torch.cat(found)


def _layer(layer: Any) -> DecoderLayer:  # noqa: ANN401 - a decoder layer of transformers
    attention, mlp = layer.self_attn, layer.mlp
    normed = hasattr(attention, "q_norm")
    return DecoderLayer(
        before=norm(layer.input_layernorm),
        qkv=fuse(attention.q_proj, attention.k_proj, attention.v_proj),
        query_norm=norm(attention.q_norm) if normed else None,
        key_norm=norm(attention.k_norm) if normed else None,
        out=linear(attention.o_proj),
        after=norm(layer.post_attention_layernorm),
        gate_up=fuse(mlp.gate_proj, mlp.up_proj),
        down=linear(mlp.down_proj),
    )
