"""A corpus that is never in memory as a whole: what one pass over it tells, and how to read it again."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from regard.data.corpora import Corpus, Pair, add_to_digest
from regard.data.lines import error_at

SAMPLE = 200_000
"""So many pairs are enough to learn a vocabulary from."""


@dataclass(frozen=True)
class LargeCorpus:
    """Pairs that are read anew each time somebody goes through them.

    Args:
        stream: begins at the first pair; None stands for one with an empty side.
        name, format, empty: as of a `Corpus`.
        count: how many pairs are to be trained on.
        whole: the digest of all pairs, those set aside among them, as `Corpus.digest` makes it.
        held_out: pairs set aside for validation; no pair with one of their sources is to be trained on.
        mark: JSON values that change where the files do.
        sample: some of the pairs to be trained on, drawn by chance; none where it is known from earlier.
    """

    stream: Callable[[], Iterable[Pair | None]]
    name: str
    format: str
    empty: int
    count: int
    whole: str
    held_out: tuple[Pair, ...] = ()
    mark: Any = None
    sample: tuple[Pair, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Pair]:
        hidden = {pair.source for pair in self.held_out}
        return (pair for pair in self.stream() if pair is not None and pair.source not in hidden)

    def sources(self) -> list[str]:
        """The source texts of the sample."""
        return [pair.source for pair in self.sample]

    def targets(self) -> list[str]:
        """The target texts of the sample."""
        return [pair.target for pair in self.sample]

    def digest(self) -> str:
        """What tells this corpus from others."""
        return self.whole

    def validation(self) -> Corpus:
        """The pairs that were set aside."""
        return Corpus(self.held_out, f"{self.name} (validation part)", self.format)

    def recorded(self) -> dict[str, Any]:
        """All but the sample and how to read it, as JSON values."""
        values = {name: getattr(self, name) for name in ("name", "format", "empty", "count", "whole", "mark")}
        return values | {"held_out": [list(asdict(pair).values()) for pair in self.held_out]}

    @classmethod
    def known(cls, values: Mapping[str, Any], stream: Callable[[], Iterable[Pair | None]]) -> LargeCorpus:
        """The corpus that `recorded` wrote down."""
        held_out = tuple(Pair(*texts) for texts in values["held_out"])
        return cls(**{**values, "stream": stream, "held_out": held_out})


def survey(
    stream: Callable[[], Iterable[Pair | None]],
    name: str,
    kind: str,
    *,
    hold_out: int,
    seed: int,
    sample: int = SAMPLE,
    mark: Any = None,
) -> LargeCorpus:
    """Go through a corpus once.

    Args:
        stream: begins at the first pair; None stands for one with an empty side.
        name, kind: of the corpus.
        hold_out: at most so many pairs are set aside for validation, all those of a source text or none,
            chosen as `corpora.split` does; 0 for none.
        seed: of the choice, and of the sample.
        sample: at most so many pairs to learn a vocabulary from.
        mark: JSON values that change where the files do.

    Raises:
        CorpusError: a fault in the files, or no pair is left to train on.
    """
    total, aside = hashlib.sha256(), _Aside(hold_out, seed)
    draw = random.Random(seed)
    drawn: list[Pair] = []
    count = empty = 0
    for pair in stream():
        if pair is None:
            empty += 1
            continue
        count += 1
        add_to_digest(total, pair)
        aside.see(pair)
        if len(drawn) < sample:
            drawn.append(pair)
        elif (place := draw.randrange(count)) < sample:
            drawn[place] = pair
    held_out = aside.chosen()
    hidden = {pair.source for pair in held_out}
    if hold_out and count and not held_out:
        raise error_at(name, 0, f"each source has more than {hold_out:,} pairs; give a validation file.")
    if count == len(held_out):
        set_aside = f", but all {count:,} would be set aside for validation" if held_out else ""
        raise error_at(
            name,
            0,
            f"no pairs to train on{set_aside}. Set data.validation lower, or give a validation file or a "
            f"larger corpus.",
        )
    return LargeCorpus(
        stream,
        f"{name} (training part)" if held_out else name,
        kind,
        empty,
        count - len(held_out),
        total.hexdigest(),
        held_out,
        mark,
        tuple(pair for pair in drawn if pair.source not in hidden),
    )


class _Aside:
    """Sources in the order of their hashes, as many as have room, with all their pairs."""

    def __init__(self, most: int, seed: int) -> None:
        self.most, self.seed = most, seed
        self.pairs: dict[bytes, list[Pair]] = {}
        self.largest: list[tuple[int, bytes]] = []  # a heap: the largest hash on top

    def see(self, pair: Pair) -> None:
        """Keep a pair if its source is among the first so far."""
        if not self.most:
            return
        key = hashlib.sha256(f"{self.seed}:{pair.source}".encode()).digest()
        if key in self.pairs:
            if len(self.pairs[key]) <= self.most:  # one more than there is room for is known to have none
                self.pairs[key].append(pair)
            return
        order = -int.from_bytes(key)
        if len(self.pairs) < self.most:
            heapq.heappush(self.largest, (order, key))
        elif order > self.largest[0][0]:
            del self.pairs[heapq.heappushpop(self.largest, (order, key))[1]]
        else:
            return
        self.pairs[key] = [pair]

    def chosen(self) -> tuple[Pair, ...]:
        """The pairs of the first sources, each as far as it fits."""
        chosen: list[Pair] = []
        for _, pairs in sorted(self.pairs.items()):
            if len(chosen) + len(pairs) <= self.most:
                chosen += pairs
        return tuple(chosen)
