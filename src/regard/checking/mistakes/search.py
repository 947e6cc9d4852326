"""Which few wrong steps, put into a right attention, give the answers that a subject gave?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from regard.checking.mistakes.pipeline import Deviation, Pipeline, run
from regard.checking.questions import TOLERANCE, Posed, agree


@dataclass(frozen=True)
class Explanation:
    """Wrong steps by name, none where it is right; the pipeline that has them; how many are uncommon."""

    names: tuple[str, ...]
    pipeline: Pipeline
    uncommon: int = 0


def fits(pipeline: Pipeline, posed: Sequence[Posed], heads: int, tolerance: float = TOLERANCE) -> bool:
    """Whether a pipeline gives the same contexts as the subject, on all that was posed."""
    for one in posed:
        found = run(pipeline, one.problem, heads)
        if found is None or not agree(found[0], one.answer.context, tolerance):
            return False
    return True


def explain(
    bases: Sequence[Explanation],
    deviations: Sequence[Deviation],
    posed: Sequence[Posed],
    heads: int,
    *,
    most: int = 2,
) -> list[Explanation]:
    """Find the fewest wrong steps that agree with all answers.

    Args:
        bases: what to start from: right pipelines, or explanations of simpler problems. From all of them one
            step is tried, from the first alone more.
        deviations: the steps to try.
        posed: problems with answers; nothing is found from none.
        heads: into how many heads the subject splits by itself.
        most: how many steps together; three are tried with common ones only.

    Returns:
        All explanations with that fewest number of steps, and among them the fewest uncommon ones; without
        any step where a base agrees as it is; empty where nothing does.
    """
    if not posed:
        return []
    for count in range(most + 1):
        found = [
            candidate
            for candidate in _candidates(bases if count < 2 else bases[:1], deviations, count)
            if fits(candidate.pipeline, posed, heads)
        ]
        if found:
            least = min(one.uncommon for one in found)
            return [one for one in found if one.uncommon == least]
    return []


def _candidates(
    bases: Sequence[Explanation], deviations: Sequence[Deviation], count: int
) -> Iterator[Explanation]:
    if count > 2:
        deviations = [deviation for deviation in deviations if deviation.common]
    for base in bases:
        for chosen in combinations(deviations, count):
            steps = {deviation.step: deviation.wrong for deviation in chosen}
            if len(steps) == count:
                names = (*base.names, *(deviation.name for deviation in chosen))
                uncommon = base.uncommon + sum(not deviation.common for deviation in chosen)
                yield Explanation(names, replace(base.pipeline, **steps), uncommon)


def fitted(
    make: Callable[[float], Pipeline], grid: Sequence[float], posed: Sequence[Posed], heads: int
) -> float | None:
    """The number with which a pipeline explains all answers; None where none does.

    It is looked for where the first answer is nearest, first on an even grid, then by golden sections.
    """
    first = posed[0]

    def miss(number: float) -> float:
        found = run(make(number), first.problem, heads)
        context = first.answer.context
        if found is None or context is None or found[0].shape != context.shape:
            return np.inf
        return float(np.nansum((found[0] - context) ** 2))

    place, step = min(grid, key=miss), grid[1] - grid[0]
    if not np.isfinite(miss(place)):
        return None
    low, high = place - step, place + step
    ratio = (5**0.5 - 1) / 2
    for _ in range(50):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if miss(left) < miss(right) else (left, high)
    number = (low + high) / 2
    return number if fits(make(number), posed, heads) else None
