"""Two alignments of one pair of texts, one from each direction, made into one."""

from __future__ import annotations

from collections.abc import Callable, Set

Link = tuple[int, int]
Symmetry = Callable[[Set[Link], Set[Link]], frozenset[Link]]

_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def intersection(forward: Set[Link], backward: Set[Link]) -> frozenset[Link]:
    """What both say: few links, most of them right."""
    return frozenset(forward & backward)


def union(forward: Set[Link], backward: Set[Link]) -> frozenset[Link]:
    """What either says: many links, fewer of them right."""
    return frozenset(forward | backward)


def grow_diag_final_and(forward: Set[Link], backward: Set[Link]) -> frozenset[Link]:
    """From what both say towards what either says: between the two, and best for most uses.

    Links of one direction are taken that touch a taken one, also at a corner, and have a word without link;
    again until there are none. Last come links, those of `forward` first, both of whose words have none.

    Source:
        Koehn, Och and Marcu 2003, section 4, as implemented in Moses; Och and Ney 2003, section 4.2.
    """
    either = forward | backward
    taken = set(forward & backward)
    rows, columns = {i for i, _ in taken}, {j for _, j in taken}
    waiting = sorted(taken)
    grown = True
    while grown:
        grown = False
        for i, j in waiting:
            for down, right in _NEIGHBOURS:
                link = (i + down, j + right)
                if link in either and link not in taken and (link[0] not in rows or link[1] not in columns):
                    taken.add(link)
                    rows.add(link[0])
                    columns.add(link[1])
                    grown = True
        waiting = sorted(taken)
    for direction in (forward, backward):
        for i, j in sorted(direction):
            if i not in rows and j not in columns:
                taken.add((i, j))
                rows.add(i)
                columns.add(j)
    return frozenset(taken)
