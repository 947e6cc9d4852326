"""How this process was started; known without PyTorch."""

import os


def started_together() -> bool:
    """Whether `torchrun`, or what sets its variables, has started this process and others with it."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank() -> int:
    """The number of this process among those that were started together, from 0."""
    return int(os.environ.get("RANK", "0"))
