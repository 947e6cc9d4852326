"""`regard predict`: one line in, one line out."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import regard

LINES = ["1 2 3", "", "  ", "4 5", "x 1 y", "9 9 9 9"]
TEXT = "".join(f"{line}\n" for line in LINES)


def test_each_line_gives_a_line_and_an_empty_one_an_empty_one(trained, cli, tmp_path):
    expected = [prediction.text for prediction in regard.load(trained).predict(LINES)]
    (tmp_path / "in.txt").write_text(TEXT)
    for ended in (cli("predict", trained, stdin=TEXT), cli("predict", trained, tmp_path / "in.txt")):
        assert ended.status == 0
        assert ended.stdout.split("\n") == [*expected, ""]
        assert ended.stdout.split("\n")[1:3] == ["", ""]
        assert all(ended.stdout.split("\n")[i] for i in (0, 3, 4, 5))


def test_no_lines_give_no_lines(trained, cli, answer):
    assert cli("predict", trained, stdin="").stdout == ""
    assert answer("predict", trained, stdin="")["predictions"] == []


@pytest.mark.parametrize("stdin", [b"1 2\r\n3 4\r\n", b"\xef\xbb\xbf1 2\n3 4", b"1 2\n3 4"])
def test_line_ends_of_other_systems_and_a_missing_last_one_are_fine(stdin, trained, cli):
    assert cli("predict", trained, stdin=stdin).stdout == cli("predict", trained, stdin="1 2\n3 4\n").stdout


def test_what_was_never_seen_is_predicted_around_and_counted_on_stderr(trained, cli, answer):
    ended = cli("predict", trained, stdin="1 é 2\n日 本\n3 4\n")
    assert ended.stderr == "regard: 3 tokens in 2 texts were never seen in training.\n"
    assert ended.stdout.count("\n") == 3
    assert cli("predict", trained, stdin="3 4\n").stderr == ""
    assert answer("predict", trained, stdin="1 é 2\n")["unknown"] == 1


def test_with_json_stdout_is_one_object(trained, answer):
    found = answer("predict", trained, "--nbest", 2, stdin=TEXT)
    assert found["run"] == str(trained)
    assert [prediction["source"] for prediction in found["predictions"]] == [line.strip() for line in LINES]
    first = found["predictions"][0]
    assert set(first) == {"source", "text", "score", "input_words", "output_words", "links", "alternatives"}
    assert first["input_words"] == ["1", "2", "3"]
    assert first["text"].split() == first["output_words"]
    assert len(first["alternatives"]) == 2
    assert first["alternatives"][0]["text"] == first["text"]
    assert all(0 <= i < 3 and 0 <= j < len(first["output_words"]) for i, j in first["links"])
    assert found["predictions"][1]["text"] == ""


def test_the_n_best_outputs_have_a_line_each_with_number_and_score(trained, cli):
    lines = cli("predict", trained, "--nbest", 3, stdin="1 2 3\n\n4 5\n").stdout.splitlines()
    rows = [re.fullmatch(r"(\d+) \|\|\| (.*) \|\|\| (-?\d+\.\d{4})", line) for line in lines]
    assert all(rows)
    numbers = [row[1] for row in rows if row]
    assert numbers == ["0"] * 3 + ["1"] + ["2"] * 3
    scores = [float(row[3]) for row in rows[:3] if row]
    assert scores == sorted(scores, reverse=True)
    best = cli("predict", trained, "--beam", 5, stdin="1 2 3\n\n4 5\n").stdout.splitlines()
    assert rows[0] and rows[0][2] == best[0]


def test_a_beam_of_one_is_greedy(trained, cli):
    greedy = [p.text for p in regard.load(trained).predict(["1 2 3", "4 5 6 7"], beam=1)]
    assert cli("predict", trained, "--beam", 1, stdin="1 2 3\n4 5 6 7\n").stdout.splitlines() == greedy


def test_more_outputs_than_the_beam_of_the_run_widen_the_beam(trained, cli):
    assert cli("predict", trained, "--nbest", 8, stdin="1 2 3\n").stdout.count("\n") == 8


def test_links_are_written_as_word_aligners_write_them(trained, cli, tmp_path):
    path = tmp_path / "new" / "links.txt"
    ended = cli("predict", trained, "--alignments", path, stdin="1 2 3\n\n4 5\n")
    lines = path.read_text().split("\n")
    assert len(lines) == 4
    assert lines[1] == lines[3] == ""
    predictions = regard.load(trained).predict(["1 2 3", "", "4 5"])
    for line, prediction in zip(lines, predictions, strict=False):
        expected = " ".join(f"{key}-{query}" for query, key in sorted(prediction.alignment.links()))
        assert line == expected
    assert ended.stdout.splitlines()[0] == predictions[0].text
    outputs = [link.split("-")[1] for link in lines[0].split()]
    assert outputs == [str(i) for i in range(len(predictions[0].text.split()))]


def test_an_output_with_a_line_end_in_it_is_still_one_line(trained, cli, answer, monkeypatch):
    from regard.decoding.prediction import Prediction
    from regard.decoding.translator import Model

    def predict(model, texts, **_):
        record = honest(model, ["1"])[0].alignment
        return [Prediction("a\r\n\nb c\nd", -1.0, lambda: record) for _ in texts]

    honest = Model.predict
    monkeypatch.setattr(Model, "predict", predict)
    assert cli("predict", trained, stdin="1\n2\n").stdout == "a b c d\n" * 2
    assert cli("predict", trained, "--nbest", 2, stdin="1\n").stdout == "0 ||| a b c d ||| -1.0000\n"
    assert answer("predict", trained, stdin="1\n")["predictions"][0]["text"] == "a\r\n\nb c\nd"


def test_a_folder_in_place_of_the_file_of_links_is_refused_before_any_work(trained, cli, tmp_path):
    ended = cli("predict", trained, "--alignments", tmp_path, stdin="1\n")
    assert ended.status == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert str(tmp_path) in ended.stderr
    assert not [path for path in Path(tmp_path).parent.iterdir() if path.name.endswith(".tmp")]


def test_the_run_may_be_named_relative_to_where_one_is(trained, cli, monkeypatch):
    monkeypatch.chdir(trained.parent)
    assert json.loads(cli("predict", trained.name, "--json", stdin="1\n").stdout)["run"] == "zwei Läufe"


def test_rules_hold_for_every_output(trained, cli, answer):
    plain = cli("predict", trained, stdin="1 2 3\n4 5\n").stdout.splitlines()
    begun = cli("predict", trained, "--prefix", "7 8 ", stdin="1 2 3\n\n4 5\n").stdout.splitlines()
    assert [line[:3] for line in begun] == ["7 8", "", "7 8"]
    word = plain[0].split()[0]
    for line in cli("predict", trained, "--forbid", word, "--nbest", 5, stdin="1 2 3\n").stdout.splitlines():
        assert word not in line.split(" ||| ")[1].split()
    for option in ("--beam", 5), ("--beam", 12):
        said = cli(
            "predict", trained, "--require", "9", "--require", "8 0", *option, stdin="1 2 3\n4 5\n"
        ).stdout
        assert all("9" in line and "8 0" in line for line in said.splitlines())
    found = answer("predict", trained, "--min-length", 9, "--block-ngrams", 2, stdin="1 2 3\n4 5\n")
    for prediction in found["predictions"]:
        words = prediction["output_words"]
        assert len(words) >= 9
        assert len({*pairwise(words)}) == len(words) - 1


def test_a_seed_draws_the_same_again(trained, cli):
    options = ("--samples", 4, "--nbest", 4, "--temperature", 2, "--top-k", 8, "--top-p", 0.95)
    first, again = (cli("predict", trained, *options, "--seed", 3, stdin=TEXT).stdout for _ in range(2))
    assert first == again
    assert first != cli("predict", trained, *options, "--seed", 4, stdin=TEXT).stdout
    assert first == cli("predict", trained, *options, "--seed", 3, "--stream", stdin=TEXT).stdout


def test_a_run_with_itself_says_what_it_says_alone(trained, cli):
    alone = cli("predict", trained, stdin=TEXT).stdout
    assert cli("predict", trained, "--with", trained, "--with", trained, stdin=TEXT).stdout == alone


def test_a_stream_says_what_a_file_says_line_by_line(trained, cli, answer):
    assert (
        cli("predict", trained, "--stream", stdin=TEXT).stdout == cli("predict", trained, stdin=TEXT).stdout
    )
    options = ("predict", trained, "--nbest", 2)
    assert cli(*options, "--stream", stdin=TEXT).stdout == cli(*options, stdin=TEXT).stdout
    together = answer(*options, stdin=TEXT)["predictions"]
    lines = [json.loads(line) for line in cli(*options, "--stream", "--json", stdin=TEXT).stdout.splitlines()]
    assert [line.pop("line") for line in lines] == list(range(len(LINES)))
    for line, expected in zip(lines, together, strict=True):
        assert (line["source"], line["text"], line["links"]) == tuple(
            expected[key] for key in ("source", "text", "links")
        )
    assert cli("predict", trained, "--stream", stdin="").stdout == ""


def test_a_stream_that_cannot_be_read_on_says_where_and_what_it_has_said_stays(trained, cli):
    ended = cli("predict", trained, "--stream", stdin=b"1 2\n\xff\n3\n")
    assert ended.status == 2
    assert ended.stdout == cli("predict", trained, stdin="1 2\n").stdout
    assert ended.stderr.startswith("regard: stdin:2: byte 1 of the line is 0xFF")
    ended = cli("predict", trained, "--stream", "--json", stdin=b"1 2\n" + b"1 " * 20_000 + b"\n")
    assert ended.status == 2
    first, last = map(json.loads, ended.stdout.splitlines())
    assert first["source"] == "1 2"
    assert last["error"].startswith("stdin:2: predict(): text 1 of 1 has 20,000 tokens; at most 10,000")


def test_an_absurdly_long_line_is_refused_before_any_work(trained, cli):
    ended = cli("predict", trained, stdin="1 2\n" + "1 " * 20_000 + "\n")
    assert (ended.status, ended.stdout) == (2, "")
    assert "text 2 of 2 has 20,000 tokens; at most 10,000 are read (decoding.longest_source)" in ended.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stream", "--alignments", "links"], "it does not go with --alignments"),
        (["in.txt", "--stream"], "it does not go with the file in.txt"),
        (["--samples", 2, "--beam", 3], "samples=2 and beam=3 contradict each other"),
        (["--samples", 2, "--nbest", 3], "nbest=3 with samples=2"),
        (["--temperature", 2], "temperature without samples"),
        (["--require", "1 2", "--forbid", "2"], "forbid has '2', which is part of '1 2' in require"),
        (["--stream", "--prefix", "1 2", "--forbid", "2"], "part of the prefix '1 2'"),
    ],
)
def test_options_that_contradict_each_other_are_refused_by_their_names(options, message, trained, said):
    assert message in said("predict", trained, *options, stdin="1\n")


def json_lines(path):
    """The objects of a file, whose numbers need not be the same to the last digit."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_float=lambda number: pytest.approx(float(number))) for line in lines]


@pytest.fixture
def texts(tmp_path):
    """A file of seven lines, which are three shards of three."""
    path = tmp_path / "texts.txt"
    path.write_text("1 2 3\n\n4 5\nx 1 y\n9 9 9 9\n5 4\n7\n", encoding="utf-8")
    return path


def test_shard_by_shard_comes_what_comes_at_once(trained, cli, answer, texts, tmp_path):
    out, aligned, expected = tmp_path / "new" / "out.txt", tmp_path / "out.links", tmp_path / "expected.links"
    at_once = cli("predict", trained, texts, "--nbest", 2, "--alignments", expected)
    shards = "--shard-lines", 3, "--out", out
    ended = cli("predict", trained, texts, "--nbest", 2, "--alignments", aligned, *shards)
    assert ended.status == 0
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        "regard: 3 lines",
        "regard: 6 lines",
        "regard: 7 lines",
        "regard: 2 tokens in 1 texts were never seen in training.",
    ]
    assert out.read_text(encoding="utf-8") == at_once.stdout
    assert aligned.read_text() == expected.read_text()
    assert [path.name for path in out.parent.iterdir()] == ["out.txt"]
    found = answer("predict", trained, texts, *shards)
    assert found == {"run": str(trained), "out": str(out), "lines": 7, "unknown": 2}
    wished = answer("predict", trained, texts)["predictions"]
    assert json_lines(out) == [{"line": number} | each for number, each in enumerate(wished)]


def test_the_same_samples_are_drawn_shard_by_shard(trained, cli, texts, tmp_path):
    drawing = "--samples", 2, "--nbest", 2, "--seed", 5
    assert cli("predict", trained, texts, *drawing, "--out", tmp_path / "o", "--shard-lines", 2).status == 0
    assert (tmp_path / "o").read_text(encoding="utf-8") == cli("predict", trained, texts, *drawing).stdout


def test_what_was_broken_off_goes_on_and_what_has_changed_begins_anew(trained, cli, texts, tmp_path):
    out = tmp_path / "out.txt"
    lines = texts.read_bytes().splitlines(keepends=True)
    texts.write_bytes(b"".join([*lines[:6], b"\xff\n"]))  # the third shard cannot be read
    command = ["predict", trained, texts, "--out", out, "--shard-lines", 3]
    ended = cli(*command)
    assert ended.status == 2
    assert ":7: byte 1 of the line is 0xFF" in ended.stderr
    assert not out.exists()
    assert len(list((tmp_path / "out.txt.parts").iterdir())) == 2
    texts.write_bytes(b"".join(lines))
    assert cli(*command).stderr.splitlines()[0] == "regard: 7 lines"  # of the other two nothing is said
    assert out.read_text(encoding="utf-8") == cli("predict", trained, texts).stdout

    for part in ("one", "two"):  # a shard is left from before, the options have changed
        texts.write_bytes(b"".join([*lines[:3], b"\xff\n"]))
        option = ["--min-length", 2] if part == "two" else []
        assert cli(*command, *option).stderr.startswith("regard: 3 lines\n")
    texts.write_bytes(b"".join([lines[4], *lines[1:]]))  # and its text
    assert cli(*command).stderr.startswith("regard: 3 lines\n")
    assert out.read_text(encoding="utf-8") == cli("predict", trained, texts).stdout
    assert not (tmp_path / "out.txt.parts").exists()


def test_two_processes_share_the_shards(trained, environment, cli, texts, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*launcher, "-m", "regard", "predict", trained, texts, "--shard-lines", "2", "--json"]
    ended = subprocess.run(
        [*map(str, command), "--out", str(tmp_path / "out.json")],
        env=environment | {"PYTHONWARNINGS": "default"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["lines"] == 7
    assert "regard: 2 lines" in ended.stderr
    assert "regard: 4 lines" not in ended.stderr  # the other process's
    cli("predict", trained, texts, "--json", "--out", tmp_path / "alone.json")
    alone = [json.loads(line) for line in (tmp_path / "alone.json").read_text(encoding="utf-8").splitlines()]
    assert json_lines(tmp_path / "out.json") == alone


def test_only_a_file_is_predicted_shard_by_shard(trained, said, texts, tmp_path):
    assert "name the FILE" in said("predict", trained, "--out", tmp_path / "o")
    assert "leave --stream out" in said("predict", trained, "--stream", "--out", tmp_path / "o")
    assert "a folder" in said("predict", trained, texts, "--out", tmp_path)


def test_nothing_is_written_over_what_is_read_or_written_besides(trained, said, texts, tmp_path):
    before = texts.read_bytes()
    for option in ("--out", "--alignments"):
        assert f"{option} would write over FILE" in said("predict", trained, texts, option, texts)
    linked = tmp_path / "another-name.txt"
    linked.symlink_to(texts)
    assert "would write over FILE" in said("predict", trained, texts, "--out", linked)
    twice = ("--out", tmp_path / "new", "--alignments", tmp_path / "." / "new")
    assert "--alignments would write over --out" in said("predict", trained, texts, *twice)
    assert texts.read_bytes() == before
    assert not (tmp_path / "new").exists()


def test_what_is_written_under_the_name_of_a_compressed_file_is_one(trained, cli, texts, tmp_path):
    cli("predict", trained, texts, "--out", tmp_path / "o.gz", "--alignments", tmp_path / "l.gz")
    cli("predict", trained, texts, "--alignments", tmp_path / "m.gz")
    said, *links = (gzip.decompress((tmp_path / f"{name}.gz").read_bytes()).decode() for name in "olm")
    assert said == cli("predict", trained, texts).stdout
    assert links[0] == links[1]
    assert len(links[0].splitlines()) == 7
