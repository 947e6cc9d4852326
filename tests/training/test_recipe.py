"""Recipes: read whole and checked, or refused with the setting that is wrong."""

from __future__ import annotations

import dataclasses
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.errors import RecipeError
from regard.models.config import RecurrentConfig
from regard.training.choices import suited
from regard.training.recipe import Recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted(
    [
        *(ROOT / "configs").glob("*.toml"),
        *Path(str(resources.files("regard.training") / "recipes")).glob("*.toml"),
    ]
)


RECURRENT = Recipe().changed({"model": {"architecture": "recurrent"}})


def having(key: str) -> Recipe:
    """The default recipe, or that of the recurrent model where it alone has the setting."""
    return Recipe() if hasattr(Recipe().model, key) or not hasattr(RECURRENT.model, key) else RECURRENT


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_a_recipe_leaves_out_has_the_value_in_the_code(tmp_path):
    recipe = Recipe.load(written(tmp_path, "[model]\nwidth = 64\n"))
    assert recipe.model.width == 64
    assert dataclasses.replace(recipe, model=Recipe().model) == Recipe()


def test_an_empty_recipe_is_the_default(tmp_path):
    assert Recipe.load(written(tmp_path, "")) == Recipe()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_that_comes_with_the_project_loads(path):
    assert Recipe.load(path) != Recipe()


def test_there_are_recipes_to_load():
    assert {"dates.toml", "multi30k-gru.toml", "multi30k-transformer.toml"} <= {path.name for path in RECIPES}


def test_every_setting_survives_being_written_as_toml():
    recipe = Recipe()
    assert Recipe().changed(tomllib.loads(tomli_w.dumps(recipe.tables()))) == recipe


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    width=st.integers(1, 1000),
    dropout=st.floats(0, 0.99),
    rate=st.floats(1e-8, 1e8),
    betas=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    seed=st.integers(0, 2**63 - 1),
    feeding=st.booleans(),
    metric=st.sampled_from(["bleu", "chrf", "exact_match"]),
)
def test_settings_within_their_ranges_survive_being_written(
    width, dropout, rate, betas, seed, feeding, metric
):
    tables = {
        "model": {
            "architecture": "recurrent",
            "width": 2 * width,
            "dropout": dropout,
            "input_feeding": feeding,
        },
        "training": {"learning_rate": rate, "betas": list(betas), "seed": seed},
        "evaluation": {"metric": metric},
    }
    recipe = Recipe().changed(tables)
    assert (recipe.model.width, recipe.training.betas, recipe.training.seed) == (2 * width, betas, seed)
    assert Recipe().changed(tomllib.loads(tomli_w.dumps(recipe.tables()))) == recipe


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"modle": {}},
            "[modle] is not a table of a recipe. Did you mean model? "
            "Known: data, decoding, evaluation, model, training.",
        ),
        (
            {"model": {"architecture": "recurrent", "widht": 1}},
            "model.widht is not a setting. Did you mean width? "
            "Known: architecture, attention, baseline, cell, copy, coverage_loss, decoder_layers, dropout, "
            "embedding, "
            "embedding_dropout, encoder_layers, input_feeding, positions, recurrent_dropout, score, "
            "temperature, tied, top_k, width, window.",
        ),
        (
            {"decoding": {"zzz": 1}},
            "decoding.zzz is not a setting. "
            "Known: beam, block_ngrams, length_penalty, longest_extra, longest_ratio, longest_source, "
            "lookahead, min_length, replace_unknown.",
        ),
        ({"model": {"width": {"a": 1}}}, "model.width is a whole number; got {'a': 1}."),
        ({"model": 3}, "model is a table: write [model] and its settings below it."),
    ],
)
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(tables, message):
    with pytest.raises(RecipeError) as error:
        Recipe().changed(tables)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("table", "key", "value", "expected"),
    [
        ("model", "width", "256", "model.width is a whole number; got '256'."),
        ("model", "width", 256.0, "model.width is a whole number; got 256.0."),
        ("model", "width", True, "model.width is a whole number; got True."),
        ("model", "dropout", "0.1", "model.dropout is a number; got '0.1'."),
        ("model", "dropout", False, "model.dropout is a number; got False."),
        ("model", "input_feeding", 1, "model.input_feeding is true or false; got 1."),
        ("model", "cell", "rnn", "model.cell is one of gru, lstm; got 'rnn'."),
        ("model", "cell", ["gru"], "model.cell is one of gru, lstm; got ['gru']."),
        ("training", "betas", 0.9, "training.betas is a list of 2 numbers; got 0.9."),
        ("training", "betas", [0.9], "training.betas is a list of 2 numbers; got [0.9]."),
        ("training", "betas", [0.9, "x"], "training.betas is a number; got 'x'."),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_that_says_what_is_taken(table, key, value, expected):
    with pytest.raises(RecipeError) as error:
        having(key).changed({table: {key: value}})
    assert str(error.value) == expected


def test_a_whole_number_is_taken_where_a_number_is_needed():
    minutes = Recipe().changed({"training": {"minutes": 3}}).training.minutes
    assert minutes == 3.0
    assert isinstance(minutes, float)


@pytest.mark.parametrize(
    ("table", "key", "value", "expected"),
    [
        ("model", "width", 0, "at least 1"),
        ("model", "temperature", 0.0, "greater than 0"),
        ("model", "window", 0, "at least 1"),
        ("model", "top_k", 0, "at least 1"),
        ("model", "coverage_loss", -1.0, "not negative"),
        ("model", "encoder_layers", 0, "at least 1"),
        ("model", "dropout", 1.0, "a share from 0 up to, but not including, 1"),
        ("model", "dropout", -0.1, "a share from 0 up to, but not including, 1"),
        ("data", "vocabulary", 4, "at least 5, or 0 to have it chosen"),
        ("data", "vocabulary", -1, "not negative"),
        ("data", "longest", 0, "at least 1"),
        ("training", "label_smoothing", 1, "a share from 0 up to, but not including, 1"),
        ("training", "learning_rate", 0, "greater than 0"),
        ("training", "learning_rate", float("inf"), "a finite number"),
        ("training", "learning_rate", float("nan"), "a finite number"),
        ("training", "clip", 0.0, "greater than 0"),
        ("training", "betas", [0.9, 1.0], "two numbers from 0 up to, but not including, 1"),
        ("training", "betas", [float("nan"), 0.5], "two numbers from 0 up to, but not including, 1"),
        ("training", "seed", -1, "not negative"),
        ("training", "seed", 2**63, f"at most {2**63 - 1}"),
        ("training", "minutes", -1.0, "not negative"),
        ("training", "average", 0, "at least 1"),
        ("decoding", "beam", 0, "at least 1"),
        ("decoding", "longest_ratio", 0, "greater than 0"),
    ],
)
def test_a_value_out_of_its_range_is_an_error_that_names_the_range(table, key, value, expected):
    with pytest.raises(RecipeError) as error:
        having(key).changed({table: {key: value}})
    assert str(error.value).startswith(f"{table}.{key} ")
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("assignment", "table", "key", "value"),
    [
        ("model.width=256", "model", "width", 256),
        (" model.width = 256 ", "model", "width", 256),
        ("model.cell=lstm", "model", "cell", "lstm"),
        ('model.cell="lstm"', "model", "cell", "lstm"),
        ("model.cell='lstm'", "model", "cell", "lstm"),
        ("model.input_feeding=false", "model", "input_feeding", False),
        ("training.learning_rate=1e-4", "training", "learning_rate", 1e-4),
        ("training.minutes=2", "training", "minutes", 2.0),
        ("training.betas=[0.8, 0.9]", "training", "betas", (0.8, 0.9)),
        ("training.steps=10_000", "training", "steps", 10_000),
    ],
)
def test_a_setting_on_the_command_line_is_written_as_in_toml_quotes_are_optional(
    assignment, table, key, value
):
    found = getattr(getattr(having(key).with_settings([assignment]), table), key)
    assert found == value
    assert type(found) is type(value)


def test_of_two_assignments_the_later_one_counts():
    assert Recipe().with_settings(["model.width=8", "model.width=16"]).model.width == 16


@pytest.mark.parametrize(("key", "value", "expected"), [("width", 7, "even"), ("positions", 0, "at least 1")])
def test_the_recurrent_model_has_ranges_of_its_own(key, value, expected):
    with pytest.raises(RecipeError, match=expected):
        RECURRENT.changed({"model": {key: value}})


def test_the_architecture_decides_which_settings_the_model_has():
    assert type(Recipe().model).__name__ == "TransformerConfig"
    assert type(RECURRENT.model).__name__ == "RecurrentConfig"
    assert RECURRENT.changed({"model": {"cell": "lstm"}}).model.cell == "lstm"
    again = RECURRENT.changed({"model": {"architecture": "transformer"}})
    assert again == Recipe()


@pytest.mark.parametrize(
    ("recipe", "tables", "message"),
    [
        (
            Recipe(),
            {"model": {"cell": "lstm"}},
            "model.cell is not a setting. It is one of model.architecture=recurrent; "
            "this recipe has transformer.",
        ),
        (
            Recipe(),
            {"model": {"architecture": "transformr"}},
            "model.architecture is one of transformer, recurrent; got 'transformr'. "
            "Did you mean transformer?",
        ),
        (
            RECURRENT,
            {"training": {"r_drop": 1.0}},
            "training.r_drop is 1.0, but model.architecture recurrent has no such loss. "
            "Choose the transformer, or training.r_drop 0.",
        ),
        (
            Recipe(),
            {"data": {"tokenizer": "word", "bpe_dropout": 0.1}},
            "data.bpe_dropout is 0.1, but data.tokenizer word joins no subwords. "
            "Choose bpe, or data.bpe_dropout 0.",
        ),
        (
            Recipe(),
            {"model": {"heads": 3}},
            "model.heads is 3, which does not divide model.width 128.",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused_naming_both(recipe, tables, message):
    with pytest.raises(RecipeError) as error:
        recipe.changed(tables)
    assert str(error.value) == message


def test_the_more_pairs_there_are_the_larger_is_the_model():
    widths = [suited(pairs).model.width for pairs in (100, 100_000, 100_001, 1_000_001)]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


@pytest.mark.parametrize("pairs", [100, 50_000, 10**7])
def test_a_recurrent_model_keeps_its_size_and_learns_slowly_where_nobody_says_otherwise(pairs):
    recipe = suited(pairs, "recurrent")
    assert recipe.model == RecurrentConfig()
    assert recipe.training.learning_rate == (Recipe().training.learning_rate if pairs == 100 else 0.001)


@pytest.mark.parametrize("assignment", ["model.width", "width=3", "=3", ".=3", "model.=3", "", "model=3"])
def test_an_assignment_without_table_key_and_value_is_an_error_that_shows_how(assignment):
    with pytest.raises(
        RecipeError, match=r"is not a setting. Write it as table\.key=value: model\.width=256\."
    ):
        Recipe().with_settings([assignment])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.widht=3", "model.widht is not a setting. Did you mean width?"),
        ("modell.width=3", "[modell] is not a table of a recipe. Did you mean model?"),
        (".width=3", "[] is not a table of a recipe."),
        ("model.width=", "model.width is a whole number; got ''."),
        ("model.width=a lot", "model.width is a whole number; got 'a lot'."),
        ("model.bias=True", "model.bias is true or false; got 'True'."),
        ("model.width.x=3", "model.width.x is not a setting."),
    ],
)
def test_a_wrong_assignment_names_the_setting(assignment, message):
    with pytest.raises(RecipeError) as error:
        Recipe().with_settings([assignment])
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[model\n", "not a TOML file: "),
        (b"[model]\nwidth = 3\nwidth = 4\n", "not a TOML file: "),
        (b"\xff\xfe", "not a TOML file: "),
        (b"[modle]\n", "[modle] is not a table of a recipe. Did you mean model?"),
        (b"[model]\nwidht = 3\n", "model.widht is not a setting. Did you mean width?"),
        (b"width = 3\n", "[width] is not a table of a recipe."),
    ],
)
def test_a_recipe_that_cannot_be_read_is_an_error_that_begins_with_the_file(tmp_path, text, expected):
    path = tmp_path / "recipe.toml"
    path.write_bytes(text)
    with pytest.raises(RecipeError) as error:
        Recipe.load(path)
    assert str(error.value).startswith(f"{path}: {expected}")


def test_a_recipe_that_is_missing_or_a_folder_is_an_error(tmp_path):
    with pytest.raises(RecipeError, match="the recipe cannot be read: No such file or directory"):
        Recipe.load(tmp_path / "none.toml")
    with pytest.raises(RecipeError, match="the recipe cannot be read: Is a directory"):
        Recipe.load(tmp_path)


def test_recipes_cannot_be_changed_in_place():
    recipe: Any = Recipe()
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.model.width = 3


def test_r_drop_and_copying_are_refused_together_naming_both():
    with pytest.raises(RecipeError) as error:
        Recipe().with_settings(["model.copy=true", "training.r_drop=1.0"])
    assert "training.r_drop is 1.0" in str(error.value)
    assert "model.copy is true" in str(error.value)
