"""From pairs to a model in one call: whatever the pairs are in, whatever the recipe leaves open."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

import regard
from regard.data.corpora import from_pairs, read_pairs
from regard.errors import CorpusError, RecipeError, RunError
from regard.training.fit import chosen_vocabulary, completed
from regard.training.origin import PairFiles, default_folder
from regard.training.recipe import Recipe
from regard.training.run import RunFolder

SHORT = {"training": {"steps": 2, "validate_every": 2}}


@pytest.fixture(scope="session")
def short(recipe):
    """A recipe of two steps."""
    return recipe.changed(SHORT)


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def test_the_same_pairs_give_the_same_model_wherever_they_are_from(pairs, corpus, short, tmp_path):
    (tmp_path / "src.txt").write_text("".join(f"{source}\n" for source, _ in pairs))
    (tmp_path / "tgt.txt").write_text("".join(f"{target}\n" for _, target in pairs))
    (tmp_path / "p.jsonl").write_text(
        "".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in pairs)
    )
    with gzip.open(tmp_path / "p.tsv.gz", "wb") as file:
        file.write(corpus.read_bytes())
    sources = [
        pairs,
        iter(pairs),
        str(corpus),
        corpus,
        (tmp_path / "src.txt", str(tmp_path / "tgt.txt")),
        PairFiles(corpus, None, 1, 2),
        read_pairs(corpus),
        tmp_path / "p.jsonl",
        tmp_path / "p.tsv.gz",
    ]
    for number, source in enumerate(sources):
        regard.fit(source, recipe=short, out=tmp_path / str(number))
        assert weights(tmp_path / str(number)) == weights(tmp_path / "0"), source


def test_a_file_of_settings_is_a_recipe(pairs, config, unbroken, tmp_path):
    regard.fit(pairs, recipe=config, out=tmp_path / "path")
    regard.fit(pairs, recipe=str(config), out=tmp_path / "text")
    assert weights(tmp_path / "path") == weights(tmp_path / "text") == weights(unbroken)


def test_the_fitted_model_is_the_one_that_is_loaded(pairs, recipe, tmp_path):
    model = regard.fit(pairs, recipe=recipe, out=tmp_path / "run")
    loaded = regard.load(tmp_path / "run")
    texts = [source for source, _ in pairs[:40]] + ["", "1 ? 2"]
    for one, other in zip(model.predict(texts, nbest=2), loaded.predict(texts, nbest=2), strict=True):
        assert (one.text, one.score, one.unknown) == (other.text, other.score, other.unknown)
        assert [option.text for option in one.alternatives] == [option.text for option in other.alternatives]
        assert (one.alignment.weights == other.alignment.weights).all()
    assert model.recipe == loaded.recipe
    assert not model.network.training


def test_a_trained_model_is_looked_at_and_saved(trained, tmp_path):
    model = regard.load(str(trained))
    prediction = model.predict(["1 2 3"])[0]
    assert prediction.alignment.key_tokens == ("1", "2", "3")
    for name in ("x.html", "x.png", "x.svg", "x.safetensors"):
        path = regard.look(model, "1 2 3").save(tmp_path / name)
        assert path.stat().st_size > 100


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux may a name be any bytes")
def test_a_file_whose_name_cannot_be_written_down_is_refused_before_anything_is_done(corpus, short, tmp_path):
    path = shutil.copy(corpus, tmp_path / os.fsdecode(b"a\xff.tsv"))
    with pytest.raises(CorpusError, match=r"a\\udcff\.tsv: a run cannot write down a name that is not UTF-8"):
        regard.fit(path, recipe=short, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux may a name be any bytes")
def test_a_run_may_have_any_name_that_a_folder_may_have(pairs, short, tmp_path):
    run = tmp_path / os.fsdecode(b"l\xe4uft\n")
    model = regard.fit(pairs, recipe=short, out=run)
    assert regard.load(run).predict(["1"])[0].score == model.predict(["1"])[0].score


def test_what_is_set_aside_for_validation_is_not_trained_on(pairs, short, tmp_path):
    changed = short.changed({"data": {"validation": 50}})
    regard.fit(pairs, recipe=changed, out=tmp_path / "fifty")
    regard.fit(pairs, recipe=short, out=tmp_path / "usual")
    regard.fit(pairs, valid=pairs[:7], recipe=short, out=tmp_path / "given")

    def counts(name):
        corpus = RunFolder.open(tmp_path / name).about["corpus"]
        return corpus["training_pairs"], corpus["validation_pairs"]

    assert (counts("fifty"), counts("usual"), counts("given")) == ((150, 50), (190, 10), (200, 7))


def test_without_a_folder_a_run_goes_to_runs_and_the_name_of_the_file(
    pairs, corpus, short, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    regard.fit(pairs, recipe=short)
    regard.fit(corpus, recipe=short)
    assert {path.as_posix() for path in Path("runs").iterdir()} == {"runs/pairs", "runs/digits"}
    with pytest.raises(RunError, match="there is a run already"):
        regard.fit(pairs, recipe=short)


def test_the_folder_is_named_by_the_first_file_without_its_endings():
    assert default_folder(("data/train.lc.en", "data/train.lc.de")) == Path("runs/train")
    assert default_folder("a/b.tsv.gz") == Path("runs/b")
    assert default_folder([("a", "b")]) == default_folder(".tsv") == Path("runs/pairs")


def test_empty_and_too_long_pairs_are_left_out_counted_and_told(pairs, short, tmp_path, listener):
    long = " ".join("1" * 60)
    given = [*pairs, ("", "1"), ("1", " "), ("5 5 5 5 5", long), (long, "5 5 5 5")]
    valid = [*pairs[:5], (long, long), ("", "")]
    changed = short.changed({"data": {"longest": 50}})
    regard.fit(given, valid=valid, recipe=changed, out=tmp_path / "run", reporter=(heard := listener()))
    assert heard.notes[0].startswith(
        "200 training pairs, 5 for validation; 3 with an empty side skipped; 3 too long skipped; 14 tokens, "
    )
    corpus = RunFolder.open(tmp_path / "run").about["corpus"]
    assert (corpus["skipped_empty"], corpus["skipped_too_long"]) == (3, 3)
    assert (corpus["training_pairs"], corpus["validation_pairs"]) == (200, 5)


@pytest.mark.parametrize("role", ["training", "validation"])
def test_a_corpus_of_too_long_pairs_is_an_error_and_nothing_is_written(role, pairs, corpus, short, tmp_path):
    long = [(f"{n} {n} {n} {n} {n}", "1") for n in range(10)]
    given = (long, pairs) if role == "training" else (pairs, long)
    with pytest.raises(
        CorpusError, match=r"every pair has a side of more than 4 tokens; raise data\.longest"
    ):
        regard.fit(
            given[0], valid=given[1], recipe=short.changed({"data": {"longest": 4}}), out=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_a_validation_file_in_another_format_is_an_error_and_nothing_is_written(
    corpus, pairs, short, tmp_path
):
    other = tmp_path / "valid.csv"
    other.write_text("1 2,2 1\n")
    with pytest.raises(CorpusError, match=r"the validation file's format is csv, but .* is tsv"):
        regard.fit(corpus, valid=other, recipe=short, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    regard.fit(corpus, valid=from_pairs(pairs[:3]), recipe=short, out=tmp_path / "run")


def test_a_tokenizer_of_bleu_that_is_not_installed_is_told_before_anything_is_done(
    pairs, tmp_path, monkeypatch
):
    def missing(*_, **__):
        raise RuntimeError(
            "\nJapanese tokenization requires extra dependencies.\n    pip install sacrebleu[ja]"
        )

    monkeypatch.setattr("regard.training.validation.bleu", missing)
    with pytest.raises(RecipeError) as error:
        regard.fit(pairs, out=tmp_path / "run")
    assert str(error.value) == (
        "evaluation.bleu_tokenizer '13a' does not work here: Japanese tokenization requires extra "
        "dependencies. pip install sacrebleu[ja]"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("metric", ["bleu", "chrf", "exact_match"])
def test_each_metric_chooses_the_best_weights(metric, pairs, short, tmp_path, lines_of):
    regard.fit(pairs, recipe=short.changed({"evaluation": {"metric": metric}}), out=tmp_path / "run")
    (line,) = [line for line in lines_of(tmp_path / "run") if "loss" not in line]
    assert 0 <= line[f"validation_{metric}"] <= 100


@pytest.mark.parametrize("tokenizer", ["bpe", "word", "character"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_each_tokenizer_and_cell_trains_and_predicts(tokenizer, cell, pairs, short, tmp_path):
    settings = {"data": {"tokenizer": tokenizer}, "model": {"cell": cell}}
    model = regard.fit(pairs, recipe=short.changed(settings), out=tmp_path / "run")
    prediction = model.predict(["1 2 3"], beam=2)[0]
    assert regard.load(tmp_path / "run").predict(["1 2 3"], beam=2)[0].text == prediction.text
    assert prediction.alignment.weights.shape == (
        len(prediction.alignment.query_tokens),
        len(prediction.alignment.key_tokens),
    )


def test_what_the_recipe_leaves_open_is_chosen_by_the_size_of_the_corpus():
    sizes = [chosen_vocabulary(pairs) for pairs in (1, 2_000, 2_001, 29_000, 200_001, 10**7)]
    assert sizes == [1_000, 1_000, 4_000, 8_000, 16_000, 16_000]
    few, many, most = (completed(Recipe(), 99, batches).training for batches in (1, 1_000, 10**6))
    assert (few.steps, many.steps, most.steps) == (2_000, 30_000, 100_000)
    assert (few.validate_every, many.validate_every) == (66, 1_000)
    given = Recipe().changed({"training": {"steps": 30, "validate_every": 4}})
    assert completed(given, 99, 5).training == given.training
    assert completed(given, 99, 5).data.vocabulary == 99
    assert completed(Recipe().changed({"training": {"steps": 30}}), 99, 5).training.validate_every == 20


def test_more_than_half_of_the_pairs_are_not_set_aside_for_validation(pairs, short, tmp_path):
    recipe = short.with_settings([f"data.validation={len(pairs)}"])
    with pytest.raises(RecipeError, match=r"data\.validation is .* more than half of the"):
        regard.fit(pairs, recipe=recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
