"""What the tables of docs/ say is what the code does."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

import pytest
import tomli_w

from regard.data.corpora import FORMATS
from regard.models.architectures import CONFIGS
from regard.training.choices import chosen_vocabulary, suited
from regard.training.recipe import Recipe

DOCS = Path(__file__).parents[2] / "docs"
TABLES = [table.name for table in dataclasses.fields(Recipe)]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, its head left out."""
    text = (DOCS / page).read_text(encoding="utf-8")
    section = re.split(r"^#+ ", text.partition(heading)[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_every_table_of_a_recipe_has_its_heading_in_order():
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    assert re.findall(r"^## `\[(\w+)\]`", text, re.MULTILINE) == TABLES


def tables() -> dict[str, typing.Any]:
    """Every heading over a table of settings, with these settings at their defaults."""
    found = {f"## `[{name}]`": getattr(Recipe(), name) for name in TABLES if name != "model"}
    return found | {f'### `architecture = "{name}"`': config() for name, config in CONFIGS.items()}


@pytest.mark.parametrize("table", tables())
def test_the_page_lists_every_setting_with_its_default(table):
    settings = tables()[table]
    written = {name.strip("`"): default.strip("`") for name, default, _ in rows("recipes.md", table)}
    assert written == {
        field.name: as_toml(getattr(settings, field.name)) for field in dataclasses.fields(settings)
    }
    assert list(written) == [field.name for field in dataclasses.fields(settings)]


@pytest.mark.parametrize("table", tables())
def test_the_page_names_every_choice_of_a_setting(table):
    kinds = typing.get_type_hints(type(tables()[table]))
    for name, _, meaning in rows("recipes.md", table):
        kind = kinds[name.strip("`")]
        choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
        assert sorted(re.findall(r'`"([\w-]+)"`', meaning)) == sorted(choices), name


def test_the_page_says_which_vocabulary_is_chosen():
    for pairs, tokens in rows("recipes.md", "## What 0 chooses"):
        wanted = int(tokens.replace(",", ""))
        if pairs == "more":
            assert chosen_vocabulary(10**9) == wanted
        else:
            most = int(pairs.removeprefix("up to ").replace(",", ""))
            assert (chosen_vocabulary(most), chosen_vocabulary(most + 1) > wanted) == (wanted, True)


def test_the_page_says_which_recipe_follows_from_the_number_of_pairs():
    for pairs, settings in rows("recipes.md", "## What follows from the number of pairs"):
        wanted = Recipe().with_settings(re.findall(r"`(.*?)`", settings))
        if pairs == "more":
            assert suited(10**9) == wanted
        else:
            most = int(pairs.removeprefix("up to ").replace(",", ""))
            assert suited(most) == wanted != suited(most + 1)


def test_the_page_lists_every_format_that_is_read():
    listed = [row[0].strip("`").removeprefix(".") for row in rows("formats.md", "## Pairs that are read")]
    assert sorted(listed) == sorted("two plain files" if kind == "plain" else kind for kind in FORMATS)


def as_toml(value: object) -> str:
    """A value as one writes it in TOML, on one line."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").strip()
