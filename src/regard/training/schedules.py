"""How the learning rate goes up and comes down again, as a function of the share of the work that is done."""


def learning_rate(
    step: int, *, peak: float, warmup: int, total: int, decay: str = "linear", time_left: float = 1.0
) -> float:
    """The rate of one step.

    Args:
        step: from 1.
        peak: the highest rate, reached after ``warmup`` steps along a straight line (Goyal et al. 2017,
            section 2.2).
        total: the step at which a rate that decays comes to zero.
        decay: "linear"; "inverse_sqrt" (Vaswani et al. 2017, eq. 3, without an end); "constant".
        time_left: share of the time limit that is left. The linear decay follows whichever of steps and time
            is nearer to its end; others come down with the time in its last fifth. So a run that is stopped
            by the clock ends as calmly as one that is stopped by its last step.
    """
    up = min(1.0, step / max(1, warmup))
    if decay == "linear":
        down = min((total - step + 1) / max(1, total - warmup), time_left)
        return peak * max(0.0, min(up, down, 1.0))
    down = (max(1, warmup) / max(step, warmup, 1)) ** 0.5 if decay == "inverse_sqrt" else 1.0
    return peak * min(up, down, 1.0) * min(1.0, max(0.0, time_left) / 0.2)
