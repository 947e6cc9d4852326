"""Mistakes in splitting a width into heads, merging them, and sharing key heads."""

from __future__ import annotations

import numpy as np

from regard.checking.mistakes.pipeline import Array, Deviation, Known, Sizes


def split_by_view(array: Array, heads: int) -> Array:
    batch, _, count, width = array.shape
    return array.reshape(batch, heads, count, width // heads)


def not_split(array: Array, heads: int) -> Array:
    return array


def split_alternating(array: Array, heads: int) -> Array:
    """(B, 1, N, E) with neighbouring features in different heads."""
    batch, _, count, width = array.shape
    return np.moveaxis(array.reshape(batch, count, width // heads, heads), -1, 1)


def merge_by_view(array: Array) -> Array:
    batch, heads, count, width = array.shape
    return array.reshape(batch, 1, count, heads * width)


def merge_alternating(array: Array) -> Array:
    batch, heads, count, width = array.shape
    return np.moveaxis(array, 1, -1).reshape(batch, 1, count, heads * width)


def averaged(array: Array) -> Array:
    return array.mean(1, keepdims=True)


def averaged_tiled(array: Array) -> Array:
    return np.tile(array.mean(1, keepdims=True), (1, 1, 1, array.shape[1]))


def averaged_repeated(array: Array) -> Array:
    return np.repeat(array.mean(1, keepdims=True), array.shape[1], axis=-1)


def summed(array: Array) -> Array:
    return array.sum(1, keepdims=True)


def summed_tiled(array: Array) -> Array:
    return averaged_tiled(array) * array.shape[1]


def reversed_heads(array: Array) -> Array:
    batch, heads, count, width = array.shape
    return array[:, ::-1].swapaxes(1, 2).reshape(batch, 1, count, heads * width)


def tiled(array: Array, heads: int) -> Array:
    return np.tile(array, (1, heads // array.shape[1], 1, 1))


def first_for_all(array: Array, heads: int) -> Array:
    return np.broadcast_to(array[:, :1], (array.shape[0], heads, *array.shape[2:]))


def average_of_heads(weights: Array, values: Array, sizes: Sizes) -> Array:
    context = weights @ values
    return np.broadcast_to(context.mean(1, keepdims=True), context.shape)


def average_of_weights(weights: Array, values: Array, sizes: Sizes) -> Array:
    return weights.mean(1, keepdims=True) @ values


DEVIATIONS = (
    Deviation("heads_split_without_transpose", "split", split_by_view),
    Deviation("heads_not_split", "split", not_split, common=False),
    Deviation("heads_split_alternating", "split", split_alternating, common=False),
    Deviation("heads_merged_without_transpose", "merge", merge_by_view),
    Deviation("heads_merged_alternating", "merge", merge_alternating, common=False),
    Deviation("heads_averaged_not_concatenated", "merge", averaged),
    Deviation("heads_averaged_not_concatenated", "merge", averaged_tiled),
    Deviation("heads_averaged_not_concatenated", "merge", averaged_repeated, common=False),
    Deviation("heads_averaged_not_concatenated", "merge", summed, common=False),
    Deviation("heads_averaged_not_concatenated", "merge", summed_tiled, common=False),
    Deviation("heads_averaged_not_concatenated", "average", average_of_heads, common=False),
    Deviation("weights_averaged_over_heads", "average", average_of_weights, common=False),
    Deviation("heads_merged_in_other_order", "merge", reversed_heads, common=False),
    Deviation("grouped_tiled_not_interleaved", "group", tiled),
    Deviation("first_key_head_for_all", "group", first_for_all, common=False),
)

KNOWN = {
    "heads_split_without_transpose": Known(
        "wrong",
        "The heads are split by reshaping (B, N, E) to (B, H, N, D) at once: each head gets some positions "
        "whole, not some features of all positions.",
        "x.reshape(B, N, H, D).transpose(0, 2, 1, 3).",
    ),
    "heads_merged_without_transpose": Known(
        "wrong",
        "The heads are merged by reshaping (B, H, N, D) to (B, N, E) at once, which mixes positions.",
        "context.transpose(0, 2, 1, 3).reshape(B, N, H * D).",
    ),
    "heads_averaged_not_concatenated": Known(
        "wrong",
        "The heads' contexts are averaged (or summed), not set side by side: they can't look at several "
        "things.",
        "context.transpose(0, 2, 1, 3).reshape(B, N, H * D), then the output projection.",
    ),
    "weights_averaged_over_heads": Known(
        "wrong",
        "The heads' weights are averaged before they meet the values: all heads look at the same.",
        "context[h] = weights[h] @ values[h] for each head.",
    ),
    "heads_not_split": Known(
        "wrong",
        "There is one head over the whole width, whatever number of heads is asked for.",
        "x.reshape(B, N, H, D).transpose(0, 2, 1, 3) for query, keys and values.",
    ),
    "heads_split_alternating": Known(
        "wrong",
        "Features are dealt out to the heads in turn, (B, N, D, H), but not collected in that order.",
        "x.reshape(B, N, H, D): neighbouring features belong to one head.",
    ),
    "heads_merged_alternating": Known(
        "wrong",
        "The heads' features are merged in turn, (B, N, D, H), not head after head.",
        "context.transpose(0, 2, 1, 3).reshape(B, N, H * D).",
    ),
    "heads_merged_in_other_order": Known(
        "wrong",
        "The heads are merged in another order than they were split.",
        "context.transpose(0, 2, 1, 3).reshape(B, N, H * D): head 0 first.",
    ),
    "grouped_tiled_not_interleaved": Known(
        "wrong",
        "Key heads are repeated as [h0, h1, h0, h1]; neighbouring query heads share one in every published "
        "checkpoint.",
        "[h0, h0, h1, h1]: np.repeat or torch.repeat_interleave along the heads, not tile.",
    ),
    "first_key_head_for_all": Known(
        "wrong",
        "All query heads look at the first key head; the others are never used.",
        "keys = np.repeat(keys, H // H_k, axis=1), and the values alike.",
    ),
}
