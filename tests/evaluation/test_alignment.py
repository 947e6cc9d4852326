import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from regard.errors import CorpusError, InputError, ShapeError
from regard.evaluation.alignment import (
    AlignmentScore,
    alignment_error_rate,
    hard_links,
    merge_pieces,
    read_links,
)

HANSARDS = Path(__file__).parents[2] / "../shared/data/hansards-en-fr"

links = st.frozensets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8)
corpora = st.lists(st.tuples(links, links, links), min_size=1, max_size=4).filter(
    lambda sentences: any(predicted or sure for predicted, sure, _ in sentences)
)


def by_hand(sentences):
    """The formula spelled out over single links, each with the number of its sentence."""
    a = [(n, link) for n, (predicted, _, _) in enumerate(sentences) for link in predicted]
    s = [(n, link) for n, (_, sure, _) in enumerate(sentences) for link in sure]
    p = [(n, link) for n, (_, sure, possible) in enumerate(sentences) for link in {*sure, *possible}]
    return 1 - (len([x for x in a if x in s]) + len([x for x in a if x in p])) / (len(a) + len(s))


def test_the_example_of_nltk_has_an_error_rate_of_two_thirds():
    gold = {(0, 0), (1, 1), (2, 2)}
    score = alignment_error_rate([{(0, 0), (1, 2), (2, 1)}], [gold], [gold])
    assert score.error_rate == pytest.approx(2 / 3)


def test_a_corpus_counted_by_hand():
    predicted = [{(0, 0), (1, 1), (2, 3)}, {(0, 0)}]
    sure = [{(0, 0), (1, 2)}, {(0, 0), (1, 1)}]
    possible = [{(1, 1)}, set()]
    # A holds 4 links and S 4; two of A are sure, three possible: 1 - (2 + 3) / 8
    assert alignment_error_rate(predicted, sure, possible) == AlignmentScore(
        error_rate=1 - 5 / 8, precision=3 / 4, recall=2 / 4, predicted=4, sure=4
    )


@given(corpora)
def test_the_error_rate_is_the_formula_over_single_links(sentences):
    score = alignment_error_rate(*zip(*sentences, strict=True))
    assert score.error_rate == pytest.approx(by_hand(sentences))
    assert 0 <= score.error_rate <= 1


@given(corpora)
def test_a_sure_link_is_possible_whether_or_not_it_is_listed_so(sentences):
    predicted, sure, possible = zip(*sentences, strict=True)
    union = [must | may for must, may in zip(sure, possible, strict=True)]
    assert alignment_error_rate(predicted, sure, possible) == alignment_error_rate(predicted, sure, union)


@given(corpora)
def test_all_sure_links_and_nothing_impossible_is_no_error(sentences):
    _, sure, possible = zip(*sentences, strict=True)
    predicted = [must | may for must, may in zip(sure, possible, strict=True)]
    if any(predicted):
        score = alignment_error_rate(predicted, sure, possible)
        assert (score.error_rate, score.precision, score.recall) == (0, 1, 1)


@given(corpora)
def test_turning_every_link_round_changes_nothing(sentences):
    turned = [tuple({(j, i) for i, j in kind} for kind in sentence) for sentence in sentences]
    expected = alignment_error_rate(*zip(*sentences, strict=True))
    assert alignment_error_rate(*zip(*turned, strict=True)) == expected


@given(corpora)
def test_without_merely_possible_links_it_is_one_minus_f1(sentences):
    predicted, sure, _ = zip(*sentences, strict=True)
    score = alignment_error_rate(predicted, sure, sure)
    if score.precision + score.recall > 0 and score.predicted and score.sure:
        f1 = 2 * score.precision * score.recall / (score.precision + score.recall)
        assert score.error_rate == pytest.approx(1 - f1)


def test_predicting_nothing_where_links_are_sure_is_all_error():
    score = alignment_error_rate([set()], [{(0, 0)}], [set()])
    assert (score.error_rate, score.precision, score.recall) == (1, 1, 0)


def test_links_of_numpy_numbers_are_links():
    link: tuple = (np.int64(0), np.int64(1))
    assert alignment_error_rate([{link}], [{(0, 1)}], [set()]).error_rate == 0


def test_a_score_prints_in_one_line_survives_json_and_cannot_be_changed():
    score = AlignmentScore(error_rate=0.1, precision=0.9375, recall=0.875, predicted=1234, sure=2203)
    assert str(score) == "AER 0.100 (precision 0.938, recall 0.875; 1,234 links against 2,203 sure)"
    assert AlignmentScore(**json.loads(json.dumps(score.to_dict()))) == score
    with pytest.raises(dataclasses.FrozenInstanceError):
        score.recall = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_unequal_numbers_of_sentences_are_refused_with_all_numbers():
    with pytest.raises(InputError, match="2 of predicted, 1 of sure, 1 of possible"):
        alignment_error_rate([set(), set()], [set()], [set()])


@pytest.mark.parametrize("sentences", [[], [set()]])
def test_a_corpus_without_any_link_is_refused(sentences):
    with pytest.raises(InputError, match="nothing to rate"):
        alignment_error_rate(sentences, sentences, [set() for _ in sentences])


def test_the_links_of_one_sentence_instead_of_a_corpus_are_refused():
    with pytest.raises(InputError, match="predicted is a set; give a list"):
        alignment_error_rate({(0, 0)}, [set()], [set()])  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"sure\[0\] holds 0; a link is a tuple"):
        alignment_error_rate([set()], [(0, 0)], [set()])  # pyright: ignore[reportArgumentType]


def test_sure_and_possible_links_are_read_line_by_line(tmp_path):
    file = tmp_path / "gold.align"
    file.write_text("0-0 1?2  10-3\n\n2?1\r\n")
    sure, possible = read_links(file)
    assert sure == [{(0, 0), (10, 3)}, set(), set()]
    assert possible == [{(1, 2)}, set(), {(2, 1)}]


def test_transpose_turns_every_link_round(tmp_path):
    file = tmp_path / "gold.align"
    file.write_text("0-1 2?3")
    assert read_links(file, transpose=True) == ([{(1, 0)}], [{(3, 2)}])


@pytest.mark.parametrize(
    "item", ["3", "1-", "-1-2", "1-2-3", "1:2", "a-b", "1.0-2", "1-2\x00", "\u0661-\u0662", "9" * 5000 + "-1"]
)
def test_what_is_not_a_link_is_refused_with_file_and_line(tmp_path, item):
    file = tmp_path / "gold.align"
    file.write_text(f"0-0\n1-1 {item}\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"gold\.align:2: .* is not a link") as caught:
        read_links(file)
    assert len(str(caught.value)) < len(str(file)) + 200


def test_bytes_that_are_not_utf8_are_refused_with_file_and_line(tmp_path):
    file = tmp_path / "gold.align"
    file.write_bytes(b"0-0\n\xff\xfe\n")
    with pytest.raises(CorpusError, match=r"gold\.align:2: "):
        read_links(file)


def test_a_missing_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(CorpusError, match=r"nowhere\.align: links cannot be read"):
        read_links(tmp_path / "nowhere.align")


weights_2d = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    elements=st.floats(0, 1, width=32),
)


def test_each_query_links_to_the_key_it_looks_at_most():
    assert hard_links([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3]]) == {(0, 1), (1, 0)}


def test_a_query_that_looks_nowhere_gets_no_link():
    assert hard_links([[0.0, 0.0], [0.0, 1.0]]) == {(1, 1)}


def test_of_equal_weights_the_first_key_wins():
    assert hard_links([[0.2, 0.4, 0.4]]) == {(0, 1)}


def test_mutual_links_are_those_both_sides_choose():
    weights = [[0.9, 0.1], [0.6, 0.4]]
    assert hard_links(weights) == {(0, 0), (1, 0)}
    assert hard_links(weights, mutual=True) == {(0, 0)}


@given(weights_2d)
def test_links_are_the_largest_weight_of_each_row_that_is_not_empty(weights):
    expected = {(q, list(row).index(max(row))) for q, row in enumerate(weights) if any(row)}
    assert hard_links(weights) == expected


@given(weights_2d)
def test_mutual_links_are_the_intersection_of_both_directions(weights):
    forward = hard_links(weights)
    backward = {(query, key) for key, query in hard_links(weights.T)}
    assert hard_links(weights, mutual=True) == forward & backward


def test_weights_with_more_than_two_axes_are_refused():
    with pytest.raises(ShapeError, match=r"\(2, 3, 4\)"):
        hard_links(np.ones((2, 3, 4)))


@pytest.mark.parametrize("bad", [-0.1, float("nan")])
def test_weights_that_are_not_weights_are_refused(bad):
    with pytest.raises(InputError, match="at least 0"):
        hard_links([[0.5, bad]])


def test_the_weight_on_a_word_is_the_sum_over_its_pieces():
    assert merge_pieces([[0.2, 0.3, 0.5]], [0], [0, 0, 1]).tolist() == [[0.5, 0.5]]


def test_the_row_of_a_word_is_the_mean_over_the_steps_that_emit_its_pieces():
    assert merge_pieces([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [0, 0, 1], [0, 1]).tolist() == [
        [0.5, 0.5],
        [0.0, 1.0],
    ]


def test_the_step_that_emits_a_word_owns_its_attention_not_the_step_that_reads_it():
    # two one-piece words and the end of the sentence: three steps, and the first step emits the first word
    steps = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert hard_links(merge_pieces(steps, [0, 1, None], [0, 1, None])) == {(0, 0), (1, 1)}


def test_a_dropped_key_takes_its_weight_along():
    assert merge_pieces([[0.25, 0.75]], [0], [0, None]).tolist() == [[0.25]]


def test_a_word_without_pieces_gets_zeros():
    assert merge_pieces([[0.25, 0.75]], [1], [0, 2]).tolist() == [[0.0, 0.0, 0.0], [0.25, 0.0, 0.75]]


@st.composite
def pieces(draw):
    """Weights with two leading axes and up to 5 pieces a side, each piece in a word or in none."""
    queries, keys = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    words = st.one_of(st.none(), st.integers(0, 3))
    weights = arrays.arrays(np.float32, (2, 1, queries, keys), elements=st.floats(0, 1, width=32))
    return (
        draw(weights),
        draw(st.lists(words, min_size=queries, max_size=queries)),
        draw(st.lists(words, min_size=keys, max_size=keys)),
    )


@given(pieces())
def test_merging_is_the_sum_and_mean_spelled_out(case):
    weights, query_words, key_words = case
    merged = merge_pieces(weights, query_words, key_words)
    for query in range(merged.shape[-2]):
        for key in range(merged.shape[-1]):
            rows = [i for i, word in enumerate(query_words) if word == query]
            columns = [j for j, word in enumerate(key_words) if word == key]
            expected = sum(weights[..., i, j] for i in rows for j in columns) / max(len(rows), 1)
            np.testing.assert_allclose(merged[..., query, key], expected, atol=1e-6)


@given(pieces())
def test_a_row_sums_to_the_mean_of_its_pieces_when_no_key_is_dropped(case):
    weights, query_words, key_words = case
    key_words = [0 if word is None else word for word in key_words]
    merged = merge_pieces(weights, query_words, key_words)
    for word in {word for word in query_words if word is not None}:
        rows = [i for i, other in enumerate(query_words) if other == word]
        np.testing.assert_allclose(
            merged[..., word, :].sum(-1), weights[..., rows, :].sum(-1).mean(-1), atol=1e-5
        )


def test_one_piece_a_word_changes_nothing():
    weights = np.random.default_rng(0).random((3, 4), dtype=np.float32)
    merged = merge_pieces(weights, range(3), range(4))
    assert merged.dtype == np.float32
    np.testing.assert_array_equal(merged, weights)


def test_half_precision_comes_back_as_single():
    assert merge_pieces(np.ones((1, 1), dtype=np.float16), [0], [0]).dtype == np.float32


def test_word_numbers_that_do_not_fit_the_weights_are_refused_with_both_sizes():
    with pytest.raises(ShapeError, match=r"weights \(2, 3\), 2 query_words, 2 key_words"):
        merge_pieces(np.ones((2, 3)), [0, 1], [0, 1])


def test_a_word_number_below_0_is_refused():
    with pytest.raises(InputError, match="key_words holds -1"):
        merge_pieces(np.ones((1, 2)), [0], [0, -1])


@pytest.mark.skipif(not HANSARDS.is_dir(), reason="../shared/data/hansards-en-fr is not here")
def test_the_diagonal_of_the_hansards_has_its_known_error_rate():
    sure, possible = read_links(HANSARDS / "gold.align")
    lengths = [
        [len(line.split()) for line in (HANSARDS / f"gold.{language}").read_text("utf-8").splitlines()]
        for language in ("en", "fr")
    ]
    diagonal = [
        {(j * english // french, j) for j in range(french)} for english, french in zip(*lengths, strict=True)
    ]
    score = alignment_error_rate(diagonal, sure, possible)
    assert score.sure == 2203
    assert score.error_rate == pytest.approx(0.57, abs=0.01)
