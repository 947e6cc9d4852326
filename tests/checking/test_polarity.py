"""What a mask says where it is True is read from its name and its documentation, never from its results."""

from __future__ import annotations

import pytest

from regard.checking.polarity import meaning


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("mask", "", "looks"),
        ("attention_mask", "", "looks"),
        ("padding_mask", "", "hides"),
        ("key_padding_mask", "", "hides"),
        ("attn_bias", "", "added"),
        ("mask", "mask: True where a query may look", "looks"),
        ("mask", "bool tensor mask, True = attend", "looks"),
        ("mask", "mask: 1 where attention is allowed, 0 elsewhere.", "looks"),
        ("mask", "mask (B, 1, Q, K): positions with 0 are masked", "looks"),
        ("mask", "mask: (B,1,T,T) masked positions are 0", "looks"),
        ("mask", "mask: bool array, False hides the key", "looks"),
        ("mask", "Mask is boolean; keys where it is False are ignored.", "looks"),
        ("mask", "mask: 1 for tokens that are not masked, 0 for masked", "looks"),
        ("padding_mask", "padding_mask (B, K): 1 for real tokens, 0 for padding.", "looks"),
        ("mask", "mask: positions to be masked out are True.", "hides"),
        ("mask", "mask: True where a position is padding and must be hidden.", "hides"),
        ("mask", "mask: a float array (..., q, k).\n    1 marks positions to be masked.", "hides"),
        ("mask", "mask: 1 marks positions to be masked out, 0 is attended", "hides"),
        ("mask", "mask: True for keys that must not be attended to", "hides"),
        ("mask", "Scores become -inf where the mask is True (padding).", "hides"),
        ("key_padding_mask", "key_padding_mask: True for padding, False for real tokens", "hides"),
        ("mask", "mask: 0 where it may look, -inf elsewhere", "added"),
        ("mask", "mask: additive, 0 or a large negative number", "added"),
        ("mask", "mask: boolean, True should take part. For an additive mask use `bias`.", "looks"),
    ],
)
def test_the_meaning_of_a_mask(name, text, expected):
    assert meaning(name, text, "somewhere") == expected


def test_torchs_own_modules_hide_and_those_of_transformers_add():
    assert meaning("attn_mask", "", "torch.nn.modules.activation") == "hides"
    assert meaning("attention_mask", "", "transformers.models.bert.modeling_bert") == "added"


def test_what_is_said_of_another_parameter_does_not_count():
    text = "Args:\n    flag: True where padded tokens are ignored.\n    mask: booleans, one for each key."
    assert meaning("mask", text, "somewhere") == "looks"
