from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save_file

from regard.errors import DtypeError, InputError, RunError, ShapeError
from regard.record import AttentionRecord, load_records, save_records, write_atomically

TOKENS = st.lists(st.text(max_size=6), max_size=5)


@st.composite
def records(draw):
    queries, keys = draw(TOKENS), draw(TOKENS)
    heads = draw(st.integers(0, 2))
    layered = draw(st.booleans())
    rows, columns = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    leading = (heads,) if layered else ()
    shape = (*leading, -(-len(queries) // rows), -(-len(keys) // columns))
    weights, largest = (draw(arrays(np.float32, shape, elements=st.floats(0, 1, width=32))) for _ in "ab")
    numbers = arrays(np.float32, leading, elements=st.floats(-9, 9, width=32))
    pairs = [(q, k) for q in range(len(queries)) for k in range(len(keys))]
    links = st.frozensets(st.sampled_from(pairs)) if pairs else st.just(frozenset())
    return AttentionRecord(
        weights,
        tuple(queries),
        tuple(keys),
        axes=("head", "query", "key") if layered else ("query", "key"),
        title=draw(st.text(max_size=8)),
        sure=draw(links),
        possible=draw(links),
        copied=draw(st.frozensets(st.sampled_from(range(len(queries))))) if queries else frozenset(),
        metadata=draw(st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2)),
        pooled=(rows, columns),
        largest=draw(st.sampled_from([None, largest])),
        statistics=draw(st.dictionaries(st.text(max_size=4), numbers, max_size=2)),
    )


def same(one: AttentionRecord, other: AttentionRecord) -> bool:
    names = (
        "query_tokens",
        "key_tokens",
        "axes",
        "title",
        "sure",
        "possible",
        "copied",
        "metadata",
        "pooled",
    )
    return (
        np.array_equal(one.weights, other.weights)
        and (one.largest is None) == (other.largest is None)
        and (one.largest is None or np.array_equal(one.largest, other.largest))
        and one.statistics.keys() == other.statistics.keys()
        and all(np.array_equal(one.statistics[name], other.statistics[name]) for name in one.statistics)
        and all(getattr(one, name) == getattr(other, name) for name in names)
    )


def small(**changes) -> AttentionRecord:
    given = {"weights": np.eye(2, 3), "query_tokens": ("a", "b"), "key_tokens": ("x", "y", "z"), **changes}
    return AttentionRecord(**given)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(record=records())
def test_a_saved_record_comes_back_the_same(record, tmp_path_factory):
    path = tmp_path_factory.mktemp("record") / "r.safetensors"
    assert record.save(path) == path
    assert same(AttentionRecord.load(path), record)


def test_a_file_of_the_first_version_still_opens(tmp_path):
    described = {"query_tokens": ["a"], "key_tokens": ["x"], "axes": ["query", "key"], "title": "old"}
    described |= {"sure": [[0, 0]], "possible": [], "copied": [], "metadata": {}}
    metadata = {"format": "regard.record", "version": "1", "records": json.dumps([described])}
    save_file({"weights.0": np.ones((1, 1), np.float32)}, tmp_path / "r.safetensors", metadata=metadata)
    record = AttentionRecord.load(tmp_path / "r.safetensors")
    assert record.title == "old" and record.whole and record.largest is None and not record.statistics


def test_of_a_long_text_a_record_holds_rectangles():
    record = small(weights=np.ones((1, 2)), largest=np.ones((1, 2)), pooled=(2, 2))
    assert not record.whole and record.alignment.shape == (1, 2)
    with pytest.raises(InputError, match="means of 2 x 2 weights"):
        record.links()
    with pytest.raises(ShapeError, match=r"2 x 2 to a number; the last two axes have to be \(1, 2\)"):
        small(pooled=(2, 2))
    with pytest.raises(ShapeError, match=r"largest is \(2, 2\)"):
        small(largest=np.ones((2, 2)))
    with pytest.raises(ShapeError, match="pooled is 0 x 2"):
        small(pooled=(0, 2))


def test_a_statistic_is_a_number_for_each_map():
    record = small(weights=np.ones((2, 2, 3)), axes=("head", "query", "key"), statistics={"entropy": [1, 2]})
    assert record.statistics["entropy"].tolist() == [1, 2]
    with pytest.raises(ShapeError, match="statistic entropy is "):
        small(statistics={"entropy": [1.0]})
    with pytest.raises(InputError, match="entropy are not finite"):
        small(statistics={"entropy": np.nan})


def test_several_records_share_a_file(tmp_path):
    path = save_records([small(title="one"), small(title="two")], tmp_path / "r.safetensors")
    assert [record.title for record in load_records(path)] == ["one", "two"]
    with pytest.raises(RunError, match="holds 2 records"):
        AttentionRecord.load(path)


def test_tokens_that_are_no_valid_text_survive(tmp_path):
    record = small(query_tokens=("\ud800", "\x00"))
    assert AttentionRecord.load(record.save(tmp_path / "r.safetensors")).query_tokens == ("\ud800", "\x00")


def test_a_record_cut_short_anywhere_is_refused_with_its_path(tmp_path):
    whole = small().save(tmp_path / "whole.safetensors").read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(RunError, match=r"cut\.safetensors"):
            AttentionRecord.load(cut)


def test_files_of_another_kind_are_refused(tmp_path):
    weights = tmp_path / "model.safetensors"
    save_file({"w": np.zeros(3, np.float32)}, weights)
    with pytest.raises(RunError, match="not a record"):
        AttentionRecord.load(weights)
    text = tmp_path / "notes.txt"
    text.write_text("not weights at all\n" * 20)
    with pytest.raises(RunError, match=r"notes\.txt"):
        AttentionRecord.load(text)
    with pytest.raises(RunError, match="no such file"):
        AttentionRecord.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(RunError, match="no such file"):
        AttentionRecord.load(tmp_path)


def test_a_record_from_a_newer_version_says_so(tmp_path):
    path = tmp_path / "new.safetensors"
    metadata = {"format": "regard.record", "version": "99", "records": "[]"}
    save_file({"weights.0": np.zeros((1, 1), np.float32)}, path, metadata=metadata)
    with pytest.raises(RunError, match=r"newer regard.*99.*Upgrade"):
        AttentionRecord.load(path)


@given(records())
def test_a_record_goes_to_another_process_and_comes_back_the_same(record):
    again = pickle.loads(pickle.dumps(record))
    assert same(again, record)
    assert not again.weights.flags.writeable


@pytest.mark.parametrize("described", ["", "{", "null", "[3]", "[{}]", '[{"query_tokens": 7}]', "[" * 5000])
def test_a_damaged_description_is_refused(tmp_path, described):
    path = tmp_path / "bad.safetensors"
    metadata = {"format": "regard.record", "version": "1", "records": described}
    save_file({"weights.0": np.zeros((1, 1), np.float32)}, path, metadata=metadata)
    with pytest.raises(RunError, match=r"bad\.safetensors"):
        AttentionRecord.load(path)


def test_tokens_that_do_not_fit_the_stored_weights_are_refused(tmp_path):
    path = tmp_path / "bad.safetensors"
    entry = {"query_tokens": ["a"], "key_tokens": [], "axes": ["query", "key"], "title": ""}
    entry |= {"sure": [], "possible": [], "copied": [], "metadata": {}}
    metadata = {"format": "regard.record", "version": "1", "records": json.dumps([entry])}
    save_file({"weights.0": np.zeros((1, 1), np.float32)}, path, metadata=metadata)
    with pytest.raises(RunError, match="damaged"):
        AttentionRecord.load(path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = small(title="old").save(tmp_path / "r.safetensors")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("regard.record.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        small(title="new").save(path)
    assert AttentionRecord.load(path).title == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path):
    assert write_atomically(tmp_path / "a" / "b" / "c.bin", b"x").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.zeros((3, 2))}, r"\(3, 2\).*2 query tokens and 3 key"),
        ({"weights": np.zeros((1, 2, 3))}, "3 axes but 2 are named"),
        ({"axes": ("key", "query")}, "end in 'query', 'key'"),
        ({"axes": ("query", "query", "key"), "weights": np.zeros((1, 2, 3))}, "differ"),
        ({"sure": {(2, 0)}}, r"link \(2, 0\) lies outside"),
        ({"possible": {(0, -1)}}, r"link \(0, -1\) lies outside"),
        ({"copied": {2}}, "copied index 2"),
    ],
)
def test_parts_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ShapeError, match=message):
        small(**changes)


def test_weights_that_are_no_numbers_are_refused():
    with pytest.raises(DtypeError, match="complex"):
        small(weights=np.zeros((2, 3), complex))
    with pytest.raises(InputError, match="2 of the weights"):
        small(weights=[[np.nan, np.inf, 0], [0, 0, 0]])
    with pytest.raises(InputError, match="not finite"):
        small(weights=np.full((2, 3), 1e300))


def test_one_string_is_not_taken_for_tokens():
    with pytest.raises(DtypeError, match="tuple"):
        small(query_tokens="ab")
    with pytest.raises(DtypeError, match="holds 7"):
        small(query_tokens=("a", 7))


def test_the_record_does_not_change_with_the_array_it_was_made_from():
    weights = np.eye(2, 3, dtype=np.float32)
    record = small(weights=weights)
    weights[:] = 9
    assert record.weights.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        record.weights[0, 0] = 5


def test_links_are_the_largest_of_each_row_that_looks_somewhere():
    record = small(weights=[[0.2, 0.5, 0.3], [0, 0, 0]])
    assert record.links() == {(0, 1)}
    assert small(weights=[[0.5, 0.5, 0], [0, 0, 1]]).links() == {(0, 0), (1, 2)}


def test_alignment_is_the_mean_over_all_other_axes():
    weights = np.random.default_rng(0).random((2, 4, 2, 3))
    record = small(weights=weights, axes=("layer", "head", "query", "key"))
    np.testing.assert_allclose(record.alignment, weights.mean((0, 1)), rtol=1e-6)
    assert record.links() == {(q, int(k)) for q, k in enumerate(weights.mean((0, 1)).argmax(-1))}


def test_a_record_needs_neither_torch_nor_a_drawing_library():
    code = (
        "import sys, regard.record\n"
        "print([m for m in ('torch', 'matplotlib', 'rich', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
