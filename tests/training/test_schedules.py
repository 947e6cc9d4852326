"""The learning rate: up along a line, down as the recipe says, and to rest when the clock runs out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.training.schedules import learning_rate

DECAYS = ("linear", "inverse_sqrt", "constant")


@pytest.mark.parametrize("decay", DECAYS)
def test_the_rate_goes_up_along_a_straight_line_to_its_peak(decay):
    rates = [learning_rate(step, peak=2.0, warmup=4, total=100, decay=decay) for step in (1, 2, 3, 4)]
    assert rates == pytest.approx([0.5, 1.0, 1.5, 2.0])


def test_a_linear_rate_comes_down_to_zero_right_after_the_last_step():
    def rate(step: int) -> float:
        return learning_rate(step, peak=1.0, warmup=0, total=10)

    assert [rate(step) for step in range(1, 11)] == pytest.approx([(11 - step) / 10 for step in range(1, 11)])
    assert rate(11) == 0.0
    assert rate(1000) == 0.0


def test_an_inverse_square_root_rate_halves_where_the_steps_are_four_times_the_warm_up():
    """Vaswani et al. 2017, eq. 3: proportional to min(step ** −0.5, step · warmup ** −1.5)."""
    warmup = 400
    for step in (1, 200, 400, 401, 1600, 40_000):
        expected = min(step**-0.5, step * warmup**-1.5) * warmup**0.5
        rate = learning_rate(step, peak=1.0, warmup=warmup, total=1, decay="inverse_sqrt")
        assert rate == pytest.approx(expected)
    assert learning_rate(1600, peak=1.0, warmup=400, total=1, decay="inverse_sqrt") == pytest.approx(0.5)


def test_a_constant_rate_stays_at_its_peak():
    assert {learning_rate(s, peak=0.3, warmup=5, total=9, decay="constant") for s in range(5, 100)} == {0.3}


@pytest.mark.parametrize("total", [100, 10_000])
def test_a_linear_decay_follows_steps_or_time_whichever_is_nearer_to_its_end(total):
    def rate(left: float) -> float:
        return learning_rate(50, peak=1.0, warmup=10, total=total, time_left=left)

    by_steps = rate(1.0)
    assert by_steps == pytest.approx((total - 49) / (total - 10))
    for left in (0.9, 0.5, 0.2, 0.0, -0.5):
        assert rate(left) == pytest.approx(max(0.0, min(by_steps, left)))


@pytest.mark.parametrize("decay", [decay for decay in DECAYS if decay != "linear"])
def test_in_the_last_fifth_of_the_time_other_rates_come_down_with_it(decay):
    def rate(left: float) -> float:
        return learning_rate(50, peak=1.0, warmup=10, total=100, decay=decay, time_left=left)

    assert rate(1.0) == rate(0.5) == rate(0.2)
    assert rate(0.1) == pytest.approx(rate(1.0) / 2)
    assert rate(0.0) == rate(-0.5) == 0.0


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    step=st.integers(1, 2000),
    warmup=st.integers(0, 2000),
    total=st.integers(1, 1000),
    decay=st.sampled_from(DECAYS),
    left=st.floats(-1, 1),
)
def test_the_rate_is_never_negative_and_never_above_its_peak(step, warmup, total, decay, left):
    rate = learning_rate(step, peak=0.01, warmup=warmup, total=total, decay=decay, time_left=left)
    assert 0.0 <= rate <= 0.01


@pytest.mark.parametrize("decay", DECAYS)
def test_without_warm_up_the_first_step_has_the_peak(decay):
    assert learning_rate(1, peak=0.5, warmup=0, total=100, decay=decay) == 0.5
