"""Right attention functions and modules in PyTorch, in the styles that people write."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def sdpa(q, k, v, attn_mask=None):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)


def annotated(query, key, value, mask=None, dropout=None):
    "Compute 'Scaled Dot Product Attention'"
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    p_attn = scores.softmax(dim=-1)
    if dropout is not None:
        p_attn = dropout(p_attn)
    return torch.matmul(p_attn, value), p_attn


def hides(q, k, v, mask=None):
    """Attention. mask: True where a position is padding and must be hidden."""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(mask, float("-inf"))
    return scores.softmax(-1) @ v


def with_bias(q, k, v, attn_bias=None):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if attn_bias is not None:
        scores = scores + attn_bias
    return scores.softmax(-1) @ v


class CausalSelfAttention(nn.Module):
    """As in nanoGPT, one projection for all three."""

    def __init__(self, n_embd=8, n_head=2):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.attn_dropout = nn.Dropout(0.1)
        self.n_head, self.n_embd = n_head, n_embd
        self.register_buffer("bias", torch.tril(torch.ones(64, 64)).view(1, 1, 64, 64))

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        att = self.attn_dropout(F.softmax(att, dim=-1))
        y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.c_proj(y)


class MultiHeadedAttention(nn.Module):
    "As in the annotated Transformer."

    def __init__(self, h, d_model, dropout=0.1):
        super().__init__()
        self.d_k, self.h = d_model // h, h
        self.linears = nn.ModuleList(nn.Linear(d_model, d_model) for _ in range(4))
        self.attn = None
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, query, key, value, mask=None):
        if mask is not None:
            mask = mask.unsqueeze(1)
        n = query.size(0)
        query, key, value = (
            lin(x).view(n, -1, self.h, self.d_k).transpose(1, 2)
            for lin, x in zip(self.linears, (query, key, value), strict=False)
        )
        x, self.attn = annotated(query, key, value, mask=mask, dropout=self.dropout)
        return self.linears[-1](x.transpose(1, 2).contiguous().view(n, -1, self.h * self.d_k))


class BahdanauAttention(nn.Module):
    def __init__(self, hidden_size=8):
        super().__init__()
        self.Wa = nn.Linear(hidden_size, hidden_size)
        self.Ua = nn.Linear(hidden_size, hidden_size)
        self.Va = nn.Linear(hidden_size, 1)

    def forward(self, query, keys):
        """query (B, 1, E), keys (B, K, E), as in PyTorch's translation tutorial."""
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys)))
        scores = scores.squeeze(2).unsqueeze(1)
        weights = F.softmax(scores, dim=-1)
        return torch.bmm(weights, keys), weights


class LuongGeneral(nn.Module):
    def __init__(self, size=8):
        super().__init__()
        self.W = nn.Linear(size, size, bias=False)

    def forward(self, query, keys, values, mask=None):
        scores = torch.einsum("bqd,bkd->bqk", query, self.W(keys))
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        weights = scores.softmax(-1)
        return torch.einsum("bqk,bkd->bqd", weights, values), weights


class DotProductAttention(nn.Module):
    """Scaled dot product attention, as in Dive into Deep Learning."""

    def __init__(self, dropout=0.5):
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries, keys, values, valid_lens=None):
        d = queries.shape[-1]
        scores = torch.bmm(queries, keys.transpose(1, 2)) / math.sqrt(d)
        if valid_lens is not None:
            hidden = torch.arange(keys.shape[1])[None, None, :] >= valid_lens[:, None, None]
            scores = scores.masked_fill(hidden, -1e6)
        self.attention_weights = F.softmax(scores, dim=-1)
        return torch.bmm(self.dropout(self.attention_weights), values)


class GroupedQuery(nn.Module):
    """Four query heads share two key heads."""

    def __init__(self, dim=16, heads=4, kv_heads=2):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        b, n, _ = x.shape
        q = self.q_proj(x).view(b, n, self.heads, -1).transpose(1, 2)
        k = self.k_proj(x).view(b, n, self.kv_heads, -1).transpose(1, 2)
        v = self.v_proj(x).view(b, n, self.kv_heads, -1).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, n, -1))


def grouped(q, k, v):
    """q (B, H, Q, D), k and v (B, H_k, K, D) with H a multiple of H_k."""
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v


class CrossAttention(nn.Module):
    def __init__(self, dim=8, num_heads=2):
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x, memory):
        q, (k, v) = self.to_q(x), self.to_kv(memory).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Padded(nn.Module):
    """key_padding_mask: True for padding, as in torch.nn.MultiheadAttention."""

    def forward(self, query, key, value, key_padding_mask=None):
        scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
        if key_padding_mask is not None:
            scores = scores.masked_fill(key_padding_mask[:, None, :], float("-inf"))
        return scores.softmax(-1) @ value


class SelfAttentionOfAnotherWidth(nn.Module):
    """From d_in features to d_out, as in a book on building language models."""

    def __init__(self, d_in, d_out, qkv_bias=False):
        super().__init__()
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)

    def forward(self, x):
        keys, queries, values = self.W_key(x), self.W_query(x), self.W_value(x)
        weights = torch.softmax(queries @ keys.mT / keys.shape[-1] ** 0.5, dim=-1)
        return weights @ values


class LazyAdditive(nn.Module):
    """Additive attention whose sizes are known once it is called, as in Dive into Deep Learning."""

    def __init__(self, num_hiddens, dropout=0.1):
        super().__init__()
        self.W_k = nn.LazyLinear(num_hiddens, bias=False)
        self.W_q = nn.LazyLinear(num_hiddens, bias=False)
        self.w_v = nn.LazyLinear(1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries, keys, values, valid_lens=None):
        features = torch.tanh(self.W_q(queries).unsqueeze(2) + self.W_k(keys).unsqueeze(1))
        scores = self.w_v(features).squeeze(-1)
        if valid_lens is not None:
            hidden = torch.arange(keys.shape[1])[None, None, :] >= valid_lens[:, None, None]
            scores = scores.masked_fill(hidden, -1e6)
        return torch.bmm(self.dropout(F.softmax(scores, dim=-1)), values)


class FromConfiguration(nn.Module):
    """Takes all its sizes from one object."""

    def __init__(self, config):
        super().__init__()
        self.heads = config.n_head
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.out = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = config.dropout

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout if self.training else 0, is_causal=True
        )
        return self.out(y.transpose(1, 2).flatten(2))


CASES = [
    (sdpa, {}),
    (annotated, {}),
    (hides, {}),
    (with_bias, {}),
    (CausalSelfAttention(), {}),
    (CausalSelfAttention(), {"causal": True, "heads": 2}),
    (MultiHeadedAttention(2, 8), {}),
    (MultiHeadedAttention, {"heads": 2, "width": 8}),
    (BahdanauAttention(), {}),
    (LuongGeneral(), {}),
    (DotProductAttention(), {}),
    (GroupedQuery(), {}),
    (grouped, {"grouped": True}),
    (CrossAttention(), {}),
    (Padded(), {}),
    (nn.MultiheadAttention(8, 2, batch_first=True), {}),
    (nn.MultiheadAttention(8, 2), {}),
    (F.scaled_dot_product_attention, {}),
    (SelfAttentionOfAnotherWidth(3, 2), {}),
    (SelfAttentionOfAnotherWidth, {"width": 6}),
    (LazyAdditive(8), {"score": "additive"}),
    (FromConfiguration, {"width": 8, "heads": 2}),
]
