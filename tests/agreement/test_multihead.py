"""Multi-head and latent attention are those of Llama and DeepSeek in `transformers`, weights copied."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from regard.nn.latent import LatentAttention  # noqa: E402
from regard.nn.multihead import MultiheadAttention  # noqa: E402
from regard.nn.positions import Rotary  # noqa: E402

B, L, E = 2, 7, 32


def test_grouped_heads_with_rotary_positions_are_those_of_llama():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=E, num_attention_heads=4, num_key_value_heads=2, attn_implementation="sdpa"
    )
    theirs = LlamaAttention(config, layer_idx=0)
    ours = MultiheadAttention(E, 4, key_heads=2, bias=False, positions=Rotary(interleaved=False))
    names = {"query": "q_proj", "keys": "k_proj", "values": "v_proj", "out": "o_proj"}
    ours.load_state_dict({f"{name}.weight": getattr(theirs, other).weight for name, other in names.items()})
    x = torch.randn(B, L, E)
    angles = LlamaRotaryEmbedding(config)(x, torch.arange(L)[None])
    torch.testing.assert_close(ours(x, causal=True), theirs(x, angles)[0])


def test_latent_attention_is_that_of_deepseek():
    from transformers import DeepseekV2Config
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import (
        DeepseekV2Attention,
        DeepseekV2RotaryEmbedding,
    )

    torch.manual_seed(0)
    config = DeepseekV2Config(
        hidden_size=E,
        num_attention_heads=4,
        num_key_value_heads=4,
        q_lora_rank=12,
        kv_lora_rank=10,
        qk_nope_head_dim=6,
        qk_rope_head_dim=4,
        v_head_dim=5,
        attn_implementation="sdpa",
    )
    theirs = DeepseekV2Attention(config, layer_idx=0)
    ours = LatentAttention(
        E, 4, latent=10, head_width=6, value_head_width=5, rotary_width=4, query_latent=12, normalize=True
    )
    down, rotary_key = theirs.kv_a_proj_with_mqa.weight.split([10, 4])
    by_head = theirs.kv_b_proj.weight.unflatten(0, (4, 11))
    weights = {
        "query_down": theirs.q_a_proj.weight,
        "query_norm": theirs.q_a_layernorm.weight,
        "query": theirs.q_b_proj.weight,
        "down": down,
        "rotary_key": rotary_key,
        "norm": theirs.kv_a_layernorm.weight,
        "keys": by_head[:, :6].flatten(0, 1),
        "values": by_head[:, 6:].flatten(0, 1),
        "out": theirs.o_proj.weight,
    }
    ours.load_state_dict({f"{name}.weight": weight for name, weight in weights.items()})
    x = torch.randn(B, L, E)
    expected = theirs(x, position_embeddings=DeepseekV2RotaryEmbedding(config)(x, torch.arange(L)[None]))[0]
    torch.testing.assert_close(ours(x, causal=True), expected)
    torch.testing.assert_close(ours.step(x)[0], expected)
