"""Two alignments made one, against the definitions spelled out."""

from hypothesis import given
from hypothesis import strategies as st

from regard.evaluation.symmetry import grow_diag_final_and, intersection, union

links = st.frozensets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


def as_nltk(forward, backward):
    """Koehn, Och and Marcu's pseudo-code, statement by statement."""
    near = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    alignment = set(forward & backward)
    either = forward | backward

    def open_row(i):
        return all(i != taken for taken, _ in alignment)

    def open_column(j):
        return all(j != taken for _, taken in alignment)

    while True:
        before = len(alignment)
        for i, j in sorted(alignment):
            for down, right in near:
                a, b = i + down, j + right
                if (open_row(a) or open_column(b)) and (a, b) in either:
                    alignment.add((a, b))
        if len(alignment) == before:
            break
    for direction in (forward, backward):
        for i, j in sorted(direction):
            if open_row(i) and open_column(j):
                alignment.add((i, j))
    return frozenset(alignment)


@given(links, links)
def test_grow_diag_final_and_is_its_published_procedure(forward, backward):
    assert grow_diag_final_and(forward, backward) == as_nltk(forward, backward)


@given(links, links)
def test_growing_keeps_what_both_say_and_adds_only_what_either_says(forward, backward):
    grown = grow_diag_final_and(forward, backward)
    assert intersection(forward, backward) <= grown <= union(forward, backward)


@given(links)
def test_directions_that_agree_are_left_as_they_are(same):
    assert intersection(same, same) == union(same, same) == grow_diag_final_and(same, same) == same


def test_a_neighbour_at_a_corner_is_taken_and_a_distant_word_without_link_last():
    forward, backward = {(0, 0), (1, 1), (5, 5)}, {(0, 0), (1, 2)}
    # (1, 1) touches (0, 0) at a corner; then (1, 2) has an open column; (5, 5) touches nothing
    assert grow_diag_final_and(forward, backward) == {(0, 0), (1, 1), (1, 2), (5, 5)}
