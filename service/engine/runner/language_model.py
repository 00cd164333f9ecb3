"""The layers of a Llama-like language model over a cache of our own, with fused weights."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import silu

from service.engine.attention.backend import LayerAttention
from service.engine.attention.cache import CacheShape
from service.engine.runner.layers import Linear, Norm, fuse, local, norm
from service.engine.runner.tensor_parallel import embedding, row_parallel
from service.engine.runner.tensor_parallel import head as head_of


@dataclass(frozen=True, slots=True)
class TextLayer:
    """Attention with grouped heads, then a gated network."""

    before: Norm
    qkv: Linear
    query_norm: Norm | None
    key_norm: Norm | None
    out: Linear
    after: Norm
    gate_up: Linear
    down: Linear


class LanguageModel:
    """Runs the layers. `model` is transformers' language model without its head, `config` its text config."""

    def __init__(self, model: Any, config: Any, head: Any, context_length: int) -> None:  # noqa: ANN401
        self.channels = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        # Those of this rank.
        attention = model.layers[0].self_attn
        self.query_heads, self.key_heads = (
            local(projection.weight.data).shape[0] // self.channels
            for projection in (attention.q_proj, attention.k_proj)
        )
        self.embed = embedding(model.embed_tokens)
        self.layers = [_layer(layer) for layer in model.layers]
        self.final = norm(model.norm)
        self.head = head_of(head)
        weight = self.embed.weight
        positions = torch.arange(context_length, device=weight.device)[None]
        # Tables, as the positions of all sequences are among these: [context_length, 1, D] each.
        self.cosine, sine = (part[0][:, None] for part in model.rotary_emb(weight[:1], positions))
        # Turning (a, b) by an angle is (a, b) * cosine + (b, a) * sine with the first half of sine negated.
        first, second = sine.chunk(2, -1)  # each [context_length, 1, D / 2]
        self.sine = torch.cat((-first, second), -1)  # [context_length, 1, D]
        self.shape = CacheShape(len(self.layers), self.key_heads, self.channels, weight.dtype, weight.device)

    def angles(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and signed sine of the rotary embedding for positions [N], each [N, 1, D]."""
        return self.cosine[positions], self.sine[positions]

    def project(
        self, layer: TextLayer, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Query [..., A, D], and key and value together [..., 2K, D], of a layer for its input x [..., H].

        `cosine` and `sine` are broadcast over [..., A + K, D].
        """
        qkv = layer.qkv(layer.before(x)).unflatten(-1, (-1, self.channels))  # [..., A + 2K, D]
        query, both = qkv.split((self.query_heads, 2 * self.key_heads), -2)
        if layer.query_norm is not None and layer.key_norm is not None:
            query.copy_(layer.query_norm(query))
            key = both.narrow(-2, 0, self.key_heads)  # [..., K, D]
            key.copy_(layer.key_norm(key))
        turned = qkv.narrow(-2, 0, self.query_heads + self.key_heads)  # [..., A + K, D]
        across = turned.roll(self.channels // 2, -1)  # both halves of a head swapped
        turned.mul_(cosine).addcmul_(across, sine)
        return query, both

    def feed_forward(self, layer: TextLayer, x: torch.Tensor) -> torch.Tensor:
        """The gated network of a layer, added to its input x [N, H]."""
        gate, up = layer.gate_up(layer.after(x)).chunk(2, -1)  # each [N, I]
        return layer.down.add_to(x, silu(gate) * up)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """The head over x [R, H]: [R, V]."""
        return self.head(self.final(x))

    def __call__(
        self, x: torch.Tensor, positions: torch.Tensor, attention: LayerAttention, last: torch.Tensor | None
    ) -> torch.Tensor:
        """Logits [R, V] after the tokens at `last` [R], or after all (None).

        `x` [S, H] are the embeddings of the tokens, `positions` [S] their places in their sequences.
        """
        cosine, sine = self.angles(positions)  # each [S, 1, D]
        final = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            query, both = self.project(layer, x, cosine, sine)
            key, value = both.split(self.key_heads, -2)  # each [S, K, D]
            only_last = last is not None and index == final
            if only_last:  # of the last layer nothing else is of use
                query, x = query[last], x[last]  # [R, A, D], [R, H]
            attended = attention(index, query, key, value, last=only_last)  # [S or R, A, D]
            x = layer.out.add_to(x, attended.flatten(1))
            x = self.feed_forward(layer, x)
        return self.logits(x)


def _layer(layer: Any) -> TextLayer:  # noqa: ANN401 - a decoder layer of transformers
    attention, mlp = layer.self_attn, layer.mlp
    normed = hasattr(attention, "q_norm")
    return TextLayer(
        before=norm(layer.input_layernorm),
        qkv=fuse(attention.q_proj, attention.k_proj, attention.v_proj),
        query_norm=norm(attention.q_norm) if normed else None,
        key_norm=norm(attention.k_norm) if normed else None,
        out=row_parallel(attention.o_proj),
        after=norm(layer.post_attention_layernorm),
        gate_up=fuse(mlp.gate_proj, mlp.up_proj),
        down=row_parallel(mlp.down_proj),
    )
