from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from regard.record import AttentionRecord
from regard.viewer.html import payload
from regard.viewer.packing import MOST_FLOATS, Codes, suited

SCALES = [Codes(1.19, 1e-6), Codes(1.41, 1e-6), Codes(2.0, 1e-5), Codes(2.83, 1e-5), Codes(4.0, 1e-5)]


def drawn(count: int = 200_000) -> np.ndarray:
    random = np.random.default_rng(0)
    small = np.exp(random.uniform(np.log(1e-9), 0, count))
    weights = np.concatenate([random.uniform(0, 1, count), small, np.arange(1001) / 1000]).astype(np.float32)
    return weights[weights * 8 % 1 != 0]  # of 0.125 Python shows 0.12 and a browser 0.13


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_two_decimals_of_a_code_are_those_of_its_weight(scale):
    weights = drawn()
    shown = scale.levels[scale.encode(weights)]
    large = weights >= 0.005
    assert [f"{one:.2f}" for one in shown[large]] == [f"{one:.2f}" for one in weights[large].astype(float)]
    assert (shown > 0).all()
    assert scale.encode(np.zeros(1, np.float32)) == 0
    assert (shown[~large] < 0.005).all()


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_a_small_weight_is_known_within_the_stated_factor(scale):
    weights = drawn()
    weights = weights[(weights < 0.005) & (weights >= scale.edges[2])]
    factor = scale.levels[scale.encode(weights)] / weights
    assert max(factor.max(), 1 / factor.min()) <= scale.growth**0.5 * 1.0001


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_codes_are_bytes_in_the_order_of_their_weights(scale):
    assert len(scale.levels) <= 256
    assert (np.diff(scale.levels) > 0).all()
    assert scale.levels[0] == 0


def test_short_maps_travel_as_floats_and_so_do_numbers_that_are_no_shares():
    assert suited([np.ones((10, 10), np.float32)]) is None
    size = int(MOST_FLOATS**0.5) + 1
    assert suited([np.full((size, size), 0.5, np.float32)]) == SCALES[0]
    assert suited([np.full((size, size), -0.5, np.float32)]) is None


def test_the_scale_is_as_fine_as_the_budget_allows():
    weights = np.random.default_rng(0).dirichlet(np.ones(600), (1, 2, 600)).astype(np.float32)
    assert suited([weights], budget=10**7) == SCALES[0]
    assert suited([weights], budget=1) == SCALES[-1]


def test_a_long_record_is_sent_as_deflated_codes():
    weights = np.random.default_rng(0).dirichlet(np.ones(400), (2, 2, 400)).astype(np.float32)
    weights[0, 1, 7] = 0
    record = AttentionRecord(weights, ("a",) * 400, ("b",) * 400, axes=("layer", "head", "query", "key"))
    sent = payload([record])["records"][0]
    assert (sent["encoding"], sent["heads"]["layers"], sent["heads"]["across"]) == ("codes", 2, 2)
    codes = np.frombuffer(zlib.decompress(base64.b64decode(sent["heads"]["maps"][1])), np.uint8)
    found = np.array(sent["levels"])[codes].reshape(400, 400)
    assert (found[7] == 0).all()
    np.testing.assert_allclose(found, weights[0, 1], atol=0.005)
