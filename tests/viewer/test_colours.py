from __future__ import annotations

import numpy as np
import pytest

from regard.errors import InputError
from regard.viewer.colours import RAMPS, lightness, ramp

EVERY = [(name, paper) for name in RAMPS for paper in ("light", "dark")]


@pytest.mark.parametrize(("name", "paper"), EVERY)
def test_ink_is_even_in_lightness_so_that_it_reads_in_greyscale(name, paper):
    steps = np.diff(lightness(ramp(name, paper)[::15]))
    assert (steps < 0).all() if paper == "light" else (steps > 0).all()
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.25)


@pytest.mark.parametrize(("name", "paper"), EVERY)
def test_nothing_is_paper_and_one_is_far_from_it(name, paper):
    nothing, full = lightness(ramp(name, paper)[[0, -1]])
    assert abs(full - nothing) > 75
    assert nothing == pytest.approx(100, abs=0.1) if paper == "light" else nothing < 10


def test_an_unknown_ramp_names_the_known_ones():
    with pytest.raises(InputError, match="cividis, viridis, greys"):
        ramp("jet")
