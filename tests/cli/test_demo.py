"""`regard demo`: the whole of it, here in less than the minute it takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import regard
from regard.cli.demo import fresh_folder


@pytest.fixture
def brief(monkeypatch, tmp_path):
    """A demonstration of two steps over few dates, in an empty folder."""
    from regard.training import demo

    long = demo.recipe_for_dates
    short = {"training": {"steps": 2, "validate_every": 2}, "model": {"width": 8, "embedding": 8}}
    monkeypatch.setattr(demo, "recipe_for_dates", lambda seed=1: long(seed).changed(short))
    for name, size in (("TRAINING", 400), ("VALIDATION", 10), ("TEST", 60)):
        monkeypatch.setattr(demo, name, size)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("brief")
def test_with_json_stdout_is_one_object_with_the_findings(answer):
    found = answer("demo")
    assert {"exact_match", "alignment_error_rate", "seconds", "languages", "run"} <= set(found)
    assert 0 <= found["exact_match"] <= 1
    assert 0 <= found["alignment_error_rate"] <= 1
    assert found["languages"] >= 24
    assert found["scripts"] >= 8
    assert found["run"] == "runs/dates"
    assert regard.load(found["run"]).predict(["3 mars 2021"])
    assert found["pictures"]
    assert all(Path(picture).stat().st_size > 1000 for picture in found["pictures"])


@pytest.mark.usefixtures("brief")
def test_without_json_it_draws_and_tells(cli):
    ended = cli("demo", "--out", "here", "--seed", 2)
    assert (ended.status, ended.stderr) == (0, "")
    assert "held-out dates read exactly right" in ended.stdout
    assert "AER " in ended.stdout
    assert "regard look here" in ended.stdout
    assert "seed = 2\n" in Path("here/regard.toml").read_text()


@pytest.mark.usefixtures("brief")
def test_a_second_demonstration_takes_a_folder_of_its_own(answer, cli):
    assert [answer("demo")["run"] for _ in range(2)] == ["runs/dates", "runs/dates-2"]
    ended = cli("demo", "--out", "runs/dates", "--json")
    assert ended.status == 2
    assert json.loads(ended.stdout)["error"].startswith("runs/dates: there is a run already")


def test_the_first_free_name_is_taken(tmp_path):
    assert fresh_folder(tmp_path / "a") == tmp_path / "a"
    for name in ("a", "a-2", "a-4"):
        (tmp_path / name).mkdir()
    assert fresh_folder(tmp_path / "a") == tmp_path / "a-3"
