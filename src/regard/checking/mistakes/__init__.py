"""Which known mistakes a function makes.

A family of mistakes is a file: what is normalised (`normalising`), by what scores are scaled (`scaling`), who
plays which part (`roles`), heads (`heads`), masks (`masking`), the future (`causality`), the edges of
arithmetic (`numerics`), and what shows in behaviour alone (`behaviour`, `measured`). The first six are wrong
steps of one pipeline, so they can be tried singly and together until one agrees with all that was answered.
"""

from regard.checking.mistakes.find import KNOWN, find_mistakes

__all__ = ["KNOWN", "find_mistakes"]
