"""What holds for every attention, each law a function from a trial to its verdict.

    shapes         what has to come back, what has to be taken
    averages       weights are shares, the context is the values by these shares
    roles          the query asks, the keys are asked, the values are given; their order does not matter
    independence   queries, items of a batch and heads don't know each other
    masks          what is hidden has no influence
    causality      what comes later has none
    stability      large scores, half precision, gradients
    behaviour      inputs are left alone, and answers stay the same
    agreement      the numbers are those of the textbook

A law asks a few small problems (`trial`). Where one breaks it, it looks for the smallest that does (`law`).
"""

from __future__ import annotations

from regard.checking.laws import (
    agreement,
    averages,
    behaviour,
    causality,
    independence,
    masks,
    roles,
    shapes,
    stability,
)
from regard.checking.laws.law import Judge, Words, hung, no_answer
from regard.checking.laws.trial import CannotAskError, NoAnswerError, Trial
from regard.checking.report import Law

FIRST: tuple[tuple[Words, Judge], ...] = ((shapes.SHAPES, shapes.shapes),)
"""Without them nothing else can be judged."""
STEADY: tuple[tuple[Words, Judge], ...] = (
    (behaviour.TWICE, behaviour.same_answer_twice_in_evaluation),
    (shapes.DOCUMENTED, shapes.takes_documented_shapes),
)
"""Without the first of these answers can't be compared with each other."""
COMPARED: tuple[tuple[Words, Judge], ...] = (
    (averages.NEGATIVE, averages.weights_not_negative),
    (averages.SUM, averages.weights_sum_to_one),
    (averages.AVERAGE, averages.context_is_the_weighted_average),
    (roles.QUERY, roles.uses_the_query),
    (roles.KEYS, roles.uses_the_keys),
    (roles.VALUES, roles.uses_the_values),
    (roles.ORDER, roles.order_of_keys_does_not_matter),
    (roles.SHIFT, roles.adding_a_constant_to_scores_changes_nothing),
    (independence.QUERIES, independence.queries_independent),
    (independence.BATCH, independence.batch_items_independent),
    (independence.HEADS, independence.heads_independent),
    (masks.MASK, masks.mask_obeyed),
    (masks.KEY_MASK, masks.key_mask_obeyed),
    (masks.EMPTY, masks.empty_row_is_zero),
    (masks.NAN, masks.nan_behind_a_mask_stays_there),
    (causality.FUTURE, causality.causal_sees_no_future),
    (causality.PRESENT, causality.causal_sees_the_present),
    (causality.ALIGNED, causality.causal_last_query_sees_the_last_key),
    (stability.LARGE, stability.large_scores_stay_finite),
    (stability.UNLIKE, stability.unlike_queries_stay_finite),
    (stability.DTYPE, stability.dtype_kept),
    (stability.HALVES, stability.half_precision_sums_to_one),
    (stability.GRADIENTS, stability.gradients_finite),
    (agreement.AGREES, agreement.agrees_with_the_reference),
)
LAST: tuple[tuple[Words, Judge], ...] = ((behaviour.WRITTEN, behaviour.inputs_not_written),)
"""Judged by all that was asked before."""

LAWS: tuple[Judge, ...] = tuple(judge for _, judge in FIRST + STEADY + COMPARED + LAST)
"""All laws, in the order in which they are judged."""


def judge(trial: Trial) -> list[Law]:
    """Judge a subject by all laws, or by those that still make sense.

    Args:
        trial: the subject.

    Returns:
        A Law for each of LAWS, in their order.
    """
    first = [shapes.shapes(trial)]
    if trial.failure is not None:
        reason = "It answers no ordinary question, so nothing else could be tried."
        return first + [words.untried(reason) for words, _ in STEADY + COMPARED + LAST]
    twice, documented = (_judged(trial, *one) for one in STEADY)
    laws = [*first, twice, documented]
    for words, law in COMPARED + LAST:
        if twice.held is False and (words, law) not in LAST:
            laws.append(words.untried("Its answers change from call to call, so they can't be compared."))
        elif hung(trial):
            laws.append(words.untried("It hung before, so nothing more was asked."))
        else:
            laws.append(_judged(trial, words, law))
    return laws


def _judged(trial: Trial, words: Words, law: Judge) -> Law:
    try:
        return law(trial)
    except CannotAskError as reason:
        return words.untried(str(reason))
    except NoAnswerError as failure:
        return words.breached(trial, no_answer(failure))


__all__ = ["LAWS", "Trial", "judge"]
