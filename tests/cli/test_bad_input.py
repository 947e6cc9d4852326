"""Input that cannot be meant: one line that names file and line, exit status 2, and nothing written."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

GOOD = b"1 2\t2 1\n3 4\t4 3\n"
TEN_MEGABYTES = b"1 " * (5 * 2**20)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to work in, so that whatever is written shows."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def written(place: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (place / name).write_bytes(content)


CORPORA = {
    "missing file": ({}, ["none.tsv"], "none.tsv: no such file."),
    "a folder": ({}, ["."], ".: "),
    "unknown ending": ({"a.doc": GOOD}, ["a.doc"], "a.doc: the ending '.doc' is of no known format."),
    "too few columns": ({"a.tsv": GOOD + b"5 6\n"}, ["a.tsv"], "a.tsv:3: 1 column where 2 are needed"),
    "empty corpus": ({"a.tsv": b""}, ["a.tsv"], "a.tsv: no pairs to read: it holds no texts."),
    "empty sides": (
        {"a.tsv": b"1\t\n\t2\n"},
        ["a.tsv"],
        "a.tsv: no pairs to read: each of its 2 pairs has an empty",
    ),
    "invalid UTF-8": (
        {"a.tsv": GOOD + b"\xe9\tx\n"},
        ["a.tsv"],
        "a.tsv:3: byte 1 of the line is 0xE9, which is not UTF-8",
    ),
    "NUL": ({"a.tsv": GOOD + b"1\x00\t2\n"}, ["a.tsv"], "a.tsv:3: byte 2 of the line is NUL"),
    "10 MB line": (
        {"a.tsv": GOOD + TEN_MEGABYTES},
        ["a.tsv"],
        "a.tsv:3: the line is longer than 1,048,576 bytes",
    ),
    "cut gzip": (
        {"a.tsv.gz": gzip.compress(GOOD)[:-9]},
        ["a.tsv.gz"],
        "a.tsv.gz: the gzip data end too early",
    ),
    "not gzip": ({"a.tsv.gz": GOOD}, ["a.tsv.gz"], "a.tsv.gz: this is not sound gzip data"),
    "bad JSON": ({"a.jsonl": b'{"source": "1"\n'}, ["a.jsonl"], "a.jsonl:1: malformed JSON"),
    "no such column": (
        {"a.tsv": GOOD},
        ["a.tsv", "--source-column", "de"],
        "a.tsv:1: no column has the name 'de'",
    ),
    "one pair": ({"a.tsv": b"1\t2\n"}, ["a.tsv"], "a.tsv: 1 pairs with 1 different source texts"),
    "unequal lengths": (
        {"a.en": b"1\n2\n3\n", "a.de": b"1\n2\n"},
        ["--source", "a.en", "--target", "a.de"],
        "a.en:3: this line has no partner: a.en has 3 lines, a.de has 2.",
    ),
    "columns of plain files": (
        {"a.en": b"1\n2\n", "a.de": b"1\n2\n"},
        ["--source", "a.en", "--target", "a.de", "--source-column", "1"],
        "a.en: plain files have no columns.",
    ),
    "validation file in another format": (
        {"a.tsv": GOOD, "v.csv": b"1,2\n"},
        ["a.tsv", "--valid", "v.csv"],
        "v.csv: the validation file's format is csv, but a.tsv, the training file, is tsv.",
    ),
    "validation file that is missing": (
        {"a.tsv": GOOD},
        ["a.tsv", "--valid", "v.tsv"],
        "v.tsv: no such file.",
    ),
}


@pytest.mark.parametrize(("files", "arguments", "message"), CORPORA.values(), ids=CORPORA.keys())
def test_fit_refuses_a_corpus_that_cannot_be_read(files, arguments, message, place, said):
    written(place, files)
    assert said("fit", *arguments, "--out", "out/run").startswith(message)
    assert names(place) == set(files)


TESTS = {name: case for name, case in CORPORA.items() if "--valid" not in case[1] and name != "one pair"}


@pytest.mark.parametrize(("files", "arguments", "message"), TESTS.values(), ids=TESTS.keys())
def test_evaluate_refuses_the_same(files, arguments, message, place, said, trained):
    written(place, files)
    assert said("evaluate", trained, *arguments, "--outputs", "out.txt").startswith(message)
    assert names(place) == set(files)


SETTINGS = {
    "misspelt setting": (
        ["--set", "model.widht=4"],
        "model.widht is not a setting. Did you mean width? Known: ",
    ),
    "unknown table": (
        ["--set", "modl.width=4"],
        "[modl] is not a table of a recipe. Did you mean model? Known: ",
    ),
    "no value": (["--set", "model.width"], "'model.width' is not a setting. Write it as table.key=value"),
    "wrong type": (["--set", "model.width=wide"], "model.width is a whole number; got 'wide'."),
    "out of range": (
        ["--set", "model.dropout=1"],
        "model.dropout is a share from 0 up to, but not including, 1",
    ),
    "missing recipe": (
        ["--config", "none.toml"],
        "none.toml: the recipe cannot be read: No such file or directory.",
    ),
    "broken recipe": (["--config", "broken.toml"], "broken.toml: not a TOML file: "),
    "recipe with a misspelt setting": (
        ["--config", "wrong.toml"],
        "wrong.toml: model.widht is not a setting. Did you",
    ),
    "BLEU tokenizer": (
        ["--set", "evaluation.bleu_tokenizer=14a"],
        "evaluation.bleu_tokenizer is one of 13a, none,",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), SETTINGS.values(), ids=SETTINGS.keys())
def test_fit_refuses_settings_that_cannot_be_meant(arguments, message, place, said):
    files = {"a.tsv": GOOD, "broken.toml": b"[model\n", "wrong.toml": b"[model]\nwidht = 3\n"}
    written(place, files)
    assert said("fit", "a.tsv", *arguments, "--out", "out").startswith(message)
    assert names(place) == set(files)


USAGE = {
    "nothing": ([], "nothing to train on. Give a file of pairs, or --source FILE --target FILE."),
    "source alone": (
        ["--source", "a.tsv"],
        "--source needs --target: two plain files whose lines belong together.",
    ),
    "target alone": (["--target", "a.tsv"], "--target needs --source: "),
    "both ways": (
        ["a.tsv", "--source", "a", "--target", "b"],
        "give either TRAIN or --source and --target, not both.",
    ),
    "half of a validation": (["a.tsv", "--valid-source", "a"], "--valid-source needs --valid-target: "),
    "two validations": (
        ["a.tsv", "--valid", "a.tsv", "--valid-source", "a", "--valid-target", "b"],
        "give either --valid or --valid-source and --valid-target, not both.",
    ),
    "resume and a file": (
        ["a.tsv", "--resume", "run"],
        "--resume RUN goes on with the run's own files and settings",
    ),
    "resume and a setting": (
        ["--resume", "run", "--set", "model.width=4"],
        "--resume RUN goes on with the run's own",
    ),
    "resume and a column": (
        ["--resume", "run", "--source-column", "1"],
        "--resume RUN goes on with the run's own",
    ),
    "resume of nothing": (["--resume", "run"], "run: no such run."),
    "resume of a file": (["--resume", "a.tsv"], "a.tsv: a file, not a run."),
    "out is a file": (
        ["a.tsv", "--out", "a.tsv"],
        "a.tsv: a file; --out is a folder that does not exist yet.",
    ),
    "out is below a file": (["a.tsv", "--out", "a.tsv/run"], "a.tsv/run: cannot be made: "),
    "out is not empty": (["a.tsv", "--out", "."], ".: the folder is not empty. Choose another --out"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE.keys())
def test_fit_refuses_options_that_do_not_belong_together(arguments, message, place, said):
    written(place, {"a.tsv": GOOD})
    assert said("fit", *arguments).startswith(message)
    assert names(place) == {"a.tsv"}


def test_fit_does_not_write_over_a_run(trained, corpus, said):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    message = said("fit", corpus, "--out", trained)
    assert message.startswith(
        f"{trained}: there is a run already. Choose another --out, or go on with: regard fit "
    )
    assert message.endswith(f"--resume '{trained}'"), "quoted, since its name has a space"
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_fit_goes_on_with_no_run_that_has_ended(trained, said):
    assert said("fit", "--resume", trained) == f"{trained}: training has ended; there is nothing to resume."


RUNS = ("predict", "evaluate", "look")


def about(verb: str, run: Path, corpus: Path) -> list:
    return {"predict": [verb, run], "evaluate": [verb, run, corpus], "look": [verb, run, "1 2"]}[verb]


@pytest.mark.parametrize("verb", RUNS)
def test_a_run_that_is_none_or_no_longer_whole_is_refused(verb, trained, corpus, place, said):
    run = place / "run"
    assert said(*about(verb, run, corpus)).startswith(f"{run}: no such run")
    run.mkdir()
    assert said(*about(verb, run, corpus)) == f"{run}: not a run: it has no regard.toml."
    for name in ("regard.toml", "tokenizer.json", "model.safetensors"):
        shutil.rmtree(run)
        shutil.copytree(trained, run)
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2])
        assert said(*about(verb, run, corpus)).startswith(f"{run / name}: ")
    shutil.rmtree(run)
    shutil.copytree(trained, run)
    (run / "regard.toml").write_text((run / "regard.toml").read_text().replace("format = 1", "format = 0"))
    assert said(*about(verb, run, corpus)).startswith(
        f"{run / 'regard.toml'}: the run has format 0; this version"
    )
    shutil.rmtree(run)
    shutil.copytree(trained, run)
    (run / "model.safetensors").unlink()
    assert said(*about(verb, run, corpus)).startswith(f"{run}: training has not ended. Go on with: ")


TEXTS = {
    "invalid UTF-8": (b"1 2\n\xff\n", ":2: byte 1 of the line is 0xFF, which is not UTF-8"),
    "NUL": (b"1 2\n1 \x00\n", ":2: byte 3 of the line is NUL"),
    "10 MB line": (b"1 2\n" + TEN_MEGABYTES, ":2: the line is longer than 1,048,576 bytes"),
}


@pytest.mark.parametrize(("texts", "message"), TEXTS.values(), ids=TEXTS.keys())
def test_predict_refuses_texts_that_cannot_be_read(texts, message, trained, place, said):
    written(place, {"in.txt": texts})
    assert said("predict", trained, "in.txt", "--alignments", "links").startswith("in.txt" + message)
    assert said("predict", trained, "--alignments", "links", stdin=texts).startswith("stdin" + message)
    assert said("look", trained, "--save", "x.html", stdin=texts).startswith("stdin" + message)
    assert names(place) == {"in.txt"}


def test_predict_refuses_a_file_that_is_missing_and_options_that_contradict_each_other(trained, said):
    assert said("predict", trained, "none.txt").startswith("none.txt: no such file.")
    assert "nbest is from 1 to beam; got nbest=3 with beam=2" in said(
        "predict", trained, "--nbest", 3, "--beam", 2
    )
    assert said("predict", trained, "--length-penalty", "-1").startswith(
        "decoding.length_penalty is not negative"
    )
    assert said("predict", trained, "--length-penalty", "nan").startswith(
        "decoding.length_penalty is a finite number"
    )


def test_evaluate_refuses_what_it_cannot_score(trained, corpus, place, said):
    assert said("evaluate", trained).startswith(
        "nothing to score on. Give a file of pairs, or --source FILE --target"
    )
    assert said("evaluate", trained, corpus, "--bleu-tokenizer", "14a").startswith(
        "evaluation.bleu_tokenizer is one of"
    )
    assert said("evaluate", trained, corpus, "--links", "none").startswith("none: ")
    written(place, {"a.tsv": GOOD, "few": b"0-1\n", "wrong": b"0-1\n1=0\n", "outside": b"0-1\n0-1 1-2\n"})
    assert said("evaluate", trained, "a.tsv", "--links", "few").startswith(
        "few: 1 lines of links but 2 pairs; one is needed for each"
    )
    assert said("evaluate", trained, "a.tsv", "--links", "wrong").startswith("wrong:2: ")
    assert "pair 2 has a gold link from output word 2 to input word 1" in said(
        "evaluate", trained, "a.tsv", "--links", "outside"
    )


def test_look_refuses_what_it_cannot_show(trained, place, said):
    assert said("look", trained) == said("look", trained, "") == "nothing to look at: give a text."
    assert said("look", trained, "1", "2", "--target", "1").startswith("--target is one output for one text")
    assert said("look", trained, "1", "--target", " ").startswith("--target is one output for one text")
    assert said("look", trained, "1", "--target", "1", "--nbest", 2).startswith(
        "--target is one output for one text"
    )
    assert said("look", trained, "1 \udcff") == r"TEXT is not UTF-8 text: '1 \udcff'."
    assert said("look", trained, "1", "--target", "\udcff").startswith("--target is not UTF-8 text: ")
    assert said("look", trained, "1", "--save", "x.pdf").startswith(
        "x.pdf: '.pdf' is not known. Known suffixes: .html"
    )
    assert names(place) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict"],
        ["predict", "run", "--beam", "0"],
        ["predict", "run", "--beam", "many"],
        ["predict", "run", "--nbest", "0"],
        ["evaluate"],
        ["look"],
        ["fit", "--nonsense"],
        ["frobnicate"],
        [],
    ],
    ids=" ".join,
)
def test_usage_that_the_command_line_itself_finds_wrong_has_status_2(arguments, cli, place):
    ended = cli(*arguments)
    assert ended.status == 2
    assert "Usage: regard" in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr
    assert names(place) == set()


def test_with_json_an_error_is_an_object_too(cli, place):
    ended = cli("fit", "none.tsv", "--json")
    assert ended.status == 2
    error = json.loads(ended.stdout)["error"]
    assert ended.stderr == f"regard: {error}\n"
    assert error.startswith("none.tsv: no such file.")
