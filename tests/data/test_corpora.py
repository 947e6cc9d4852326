"""Reading pairs whatever the format, splitting them, and saying what they were."""

from __future__ import annotations

import gzip
import hashlib
import random
import subprocess
import sys
from pathlib import Path

import polib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regard.data.corpora import (
    FORMATS,
    Corpus,
    Pair,
    format_of,
    from_pairs,
    read_pairs,
    same_format,
    split,
)
from regard.errors import CorpusError, RecipeError

DATA = Path(__file__).parents[2] / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the shared test data are not here")

PO = (
    'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'
    'msgid "one"\nmsgstr "eins"\n\nmsgid "two"\nmsgstr "zwei"\n'
)
TMX = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4"><header srclang="en"/><body>\n'
    '<tu><tuv xml:lang="en"><seg>one</seg></tuv><tuv xml:lang="de"><seg>eins</seg></tuv></tu>\n'
    '<tu><tuv xml:lang="en"><seg>two</seg></tuv><tuv xml:lang="de"><seg>zwei</seg></tuv></tu>\n'
    "</body></tmx>\n"
)
FILES = {
    "tsv": b"one\teins\ntwo\tzwei\n",
    "csv": b'one,eins\r\n"two","zwei"\r\n',
    "jsonl": b'{"source": "one", "target": "eins"}\n{"source": "two", "target": "zwei"}\n',
    "po": PO.encode(),
    "mo": polib.pofile(PO).to_binary(),
    "tmx": TMX.encode(),
}
ONE_TWO = [Pair("one", "eins"), Pair("two", "zwei")]


@pytest.mark.parametrize("kind", FILES)
def test_every_format_reads_plain_and_gzipped_whatever_the_case_of_its_ending(tmp_path, kind):
    for name, content in ((f"a.{kind}", FILES[kind]), (f"A.{kind.upper()}.GZ", gzip.compress(FILES[kind]))):
        path = tmp_path / name
        path.write_bytes(content)
        corpus = read_pairs(path)
        assert list(corpus) == ONE_TWO
        assert (corpus.name, corpus.format, corpus.empty, len(corpus)) == (str(path), kind, 0, 2)
        assert (corpus.sources(), corpus.targets()) == (["one", "two"], ["eins", "zwei"])
        assert format_of(path) == kind


def test_two_plain_files_of_any_ending_are_read_line_by_line(tmp_path):
    (tmp_path / "a.en").write_bytes(b"one\r\ntwo")
    (tmp_path / "a.de.gz").write_bytes(gzip.compress(b"eins\nzwei\n"))
    corpus = read_pairs(tmp_path / "a.en", tmp_path / "a.de.gz")
    assert list(corpus) == ONE_TWO
    assert corpus.format == "plain"
    assert corpus.name == f"{tmp_path / 'a.en'} + {tmp_path / 'a.de.gz'}"


def test_formats_are_those_that_are_read():
    assert set(FORMATS) == {*FILES, "plain"}


def fails(path, *more, **columns) -> str:
    """Return the message, without the path, with which reading fails."""
    with pytest.raises(CorpusError) as caught:
        read_pairs(path, *more, **columns)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert message.isprintable()
    return message.removeprefix(str(path))


def test_an_unknown_ending_lists_the_known_ones(tmp_path):
    path = tmp_path / "a.en"
    path.write_bytes(b"one\n")
    assert fails(path) == (
        ": the ending '.en' is of no known format. Known: .tsv, .csv, .jsonl, .po, .mo, .tmx, each also with "
        ".gz. For two plain files of which line i belongs to line i, give the target file too."
    )
    path = tmp_path / "plain"
    path.write_bytes(b"one\n")
    assert fails(path).startswith(": a name without an ending is of no known format.")


def test_a_missing_file_is_named_even_where_its_ending_is_unknown(tmp_path):
    for name in ("a.tsv", "a.tsv.gz", "a", "a/b.tsv"):
        assert fails(tmp_path / name).startswith(": no such file.")
    (tmp_path / "a.en").write_bytes(b"one\n")
    with pytest.raises(CorpusError, match=r"a\.de: no such file"):
        read_pairs(tmp_path / "a.en", tmp_path / "a.de")


@pytest.mark.parametrize("shorter", ["source", "target"])
def test_files_of_unequal_length_name_both_files_and_both_counts(tmp_path, shorter):
    source, target = tmp_path / "a.en", tmp_path / "a.de"
    counts = (2, 5) if shorter == "source" else (5, 2)
    for path, count in zip((source, target), counts, strict=True):
        path.write_text("x\n" * count)
    with pytest.raises(CorpusError) as caught:
        read_pairs(source, target)
    assert str(caught.value) == (
        f"{target if shorter == 'source' else source}:3: this line has no partner: {source} has {counts[0]} "
        f"lines, {target} has {counts[1]}. Line i of one must belong to line i of the other."
    )


@pytest.mark.parametrize("kind", FILES)
def test_a_corpus_without_any_text_is_an_error_in_every_format(tmp_path, kind):
    for path, content in ((tmp_path / f"a.{kind}", b""), (tmp_path / f"a.{kind}.gz", gzip.compress(b""))):
        path.write_bytes(content)
        assert "no pairs to read: it holds no texts" in fails(path)


def test_two_empty_files_are_an_error(tmp_path):
    for name in ("a.en", "a.de"):
        (tmp_path / name).touch()
    with pytest.raises(CorpusError, match=r"a\.en \+ .*a\.de: no pairs to read"):
        read_pairs(tmp_path / "a.en", tmp_path / "a.de")


def test_pairs_with_an_empty_side_are_left_out_and_counted(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(
        "one\teins\n\ttwo\n \t \nthree\t\u3000\n\n  four \t\u00a0vier  vier\u2028\n", encoding="utf-8"
    )
    corpus = read_pairs(path)
    assert list(corpus) == [Pair("one", "eins"), Pair("four", "vier  vier")]
    assert corpus.empty == 4


def test_a_corpus_whose_pairs_are_all_empty_is_an_error_that_counts_them(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a\t\n\tb\n\n")
    assert fails(path).startswith(": no pairs to read: each of its 3 pairs has an empty side.")


@pytest.mark.parametrize("kind", ["po", "mo"])
def test_columns_for_a_format_without_columns_are_refused(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(FILES[kind])
    assert fails(path, source_column="x").startswith(f": {kind} files have no columns.")
    assert fails(path, path, target_column=2).startswith(": plain files have no columns.")


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_read_or_refused_with_one_line_that_names_it(tmp_path, kind):
    source = random.Random(kind)
    path = tmp_path / f"a.{kind}"
    for _ in range(400):
        content = bytearray(FILES[kind])
        for _ in range(source.randint(0, 3)):
            content[source.randrange(len(content))] = source.choice(b'\x00\xff\n\r\t",\\<>&{}[]0a\xc3')
        path.write_bytes(content[: source.choice((len(content), source.randrange(len(content) + 1)))])
        try:
            outcome = len(read_pairs(path)) > 0
        except CorpusError as error:
            outcome = str(error).startswith(f"{path}:") and str(error).isprintable()
        assert outcome


TEXT = st.text(st.characters(exclude_characters="\t\n\0", exclude_categories=("Cs",)), min_size=1).filter(
    lambda text: text.strip() == text and not text.startswith("\ufeff")
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(pairs=st.lists(st.tuples(TEXT, TEXT), min_size=1))
def test_texts_written_as_rows_or_as_two_files_are_read_back_the_same(tmp_path, pairs):
    expected = [Pair(*pair) for pair in pairs]
    table = tmp_path / "a.tsv"
    table.write_bytes("".join(f"{one}\t{other}\n" for one, other in pairs).encode())
    if (pairs[0][0].lower(), pairs[0][1].lower()) not in (("source", "target"), ("target", "source")):
        assert list(read_pairs(table)) == expected
    files = (tmp_path / "a.en", tmp_path / "a.de")
    for side, file in enumerate(files):
        file.write_bytes("".join(pair[side] + "\r\n" for pair in pairs).encode())
    assert list(read_pairs(*files)) == expected


def test_pairs_in_memory_obey_the_same_rules():
    corpus = from_pairs([(" one", "eins "), Pair("two", "zwei"), ("", "drei")])
    assert list(corpus) == ONE_TWO
    assert (corpus.name, corpus.format, corpus.empty) == ("pairs", "memory", 1)
    for wrong in ("ab", ("one",), ("one", 2), None):
        with pytest.raises(CorpusError, match=r"^mine:2: a pair is \(source text, target text\)"):
            from_pairs([("one", "eins"), wrong], name="mine")  # type: ignore[list-item]
    with pytest.raises(CorpusError, match=r"^pairs:1: the text 'a.x00' holds a NUL"):
        from_pairs([("a\0", "b")])
    with pytest.raises(CorpusError, match=r"^pairs:1: the text 'a.ud800' holds half of a surrogate pair"):
        from_pairs([("b", "a\ud800")])


def test_the_digest_tells_apart_what_was_trained_on_and_nothing_else():
    corpus = from_pairs([("one", "eins"), ("two", "zwei")])
    assert corpus.digest() == hashlib.sha256(b"3:one4:eins3:two4:zwei").hexdigest()
    assert corpus.digest() == Corpus(corpus.pairs, "other name", "tsv", empty=7).digest()
    others = [[("two", "zwei"), ("one", "eins")], [("on", "eeins"), ("two", "zwei")], [("one", "eins")]]
    assert corpus.digest() not in [from_pairs(pairs).digest() for pairs in others]


def corpus_of(sources: list[str]) -> Corpus:
    return from_pairs([(source, f"{index}") for index, source in enumerate(sources)], name="some.tsv")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    sources=st.lists(st.sampled_from("abcdefghijkl"), min_size=2, max_size=60).filter(
        lambda all: len(set(all)) > 1
    ),
    fraction=st.floats(0.001, 0.999),
    most=st.integers(1, 30),
    seed=st.integers(),
)
def test_a_split_shares_no_source_and_loses_no_pair(sources, fraction, most, seed):
    corpus = corpus_of(sources)
    training, validation = split(corpus, fraction=fraction, most=most, seed=seed)
    assert len(training) > 0
    assert len(validation) > 0
    assert not set(training.sources()) & set(validation.sources())
    assert sorted(training.pairs + validation.pairs, key=lambda pair: int(pair.target)) == list(corpus)
    assert [int(text) for text in validation.targets()] == sorted(int(text) for text in validation.targets())
    smallest = min(sources.count(source) for source in sources)
    assert len(validation) <= max(smallest, min(most, max(1, round(fraction * len(sources)))))


def test_a_split_is_the_same_on_every_machine_and_differs_by_seed():
    corpus = corpus_of([f"text {index}" for index in range(1000)])
    chosen = split(corpus, seed=3)[1]
    assert len(chosen) == 50
    assert chosen.sources()[:4] == ["text 5", "text 11", "text 36", "text 44"]
    assert chosen.pairs == split(corpus, seed=3)[1].pairs != split(corpus, seed=4)[1].pairs
    assert len(split(corpus, most=20, seed=3)[1]) == 20


def test_a_split_keeps_the_format_and_counts_empty_pairs_once():
    corpus = Corpus(corpus_of(list("abc")).pairs, "a.tsv", "tsv", empty=5)
    training, validation = split(corpus, seed=0)
    assert (training.name, training.format, training.empty) == ("a.tsv (training part)", "tsv", 5)
    assert (validation.name, validation.format, validation.empty) == ("a.tsv (validation part)", "tsv", 0)


def test_a_split_needs_two_different_sources():
    message = (
        r"^some\.tsv: 3 pairs with 1 different source texts; two are needed .* Give a validation file\.$"
    )
    with pytest.raises(CorpusError, match=message):
        split(corpus_of(["a", "a", "a"]), seed=0)


def test_a_split_refuses_sizes_that_cannot_be():
    corpus = corpus_of(["a", "b"])
    for fraction in (0, 1, -0.5, float("nan")):
        with pytest.raises(RecipeError, match="fraction is"):
            split(corpus, fraction=fraction, seed=0)
    with pytest.raises(RecipeError, match="most is 0"):
        split(corpus, most=0, seed=0)


def test_a_validation_file_in_another_format_is_refused_naming_both():
    one, other = Corpus((Pair("a", "b"),), "train.tsv", "tsv"), Corpus((Pair("a", "b"),), "valid.csv", "csv")
    same_format(one, one)
    same_format(one, from_pairs([("a", "b")]))
    with pytest.raises(CorpusError) as caught:
        same_format(one, other)
    assert str(caught.value) == (
        "valid.csv: the validation file's format is csv, but train.tsv, the training file, is tsv. "
        "Give both in one format."
    )


@needs_data
def test_29000_pairs_of_image_captions_are_read_and_split():
    folder = DATA / "multi30k-en-de"
    corpus = read_pairs(folder / "train.lc.norm.tok.en", folder / "train.lc.norm.tok.de")
    assert (len(corpus), corpus.empty) == (29_000, 0)
    assert corpus.pairs[0].source == "two young , white males are outside near many bushes ."
    training, validation = split(corpus, seed=0)
    assert (len(training), len(validation)) == (28_000, 1000)
    assert not set(training.sources()) & set(validation.sources())


@needs_data
def test_summaries_of_packages_are_read_from_their_table():
    sizes = [
        len(read_pairs(DATA / "debian-summaries" / f"{part}.tsv")) for part in ("train", "valid", "test")
    ]
    assert sizes == [23_775, 1000, 1000]


def test_importing_the_readers_loads_neither_torch_nor_numpy_nor_xml():
    code = "import sys, regard.data.corpora; print({'torch', 'numpy', 'xml', 'polib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
