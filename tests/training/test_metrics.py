"""What a run writes down: a line a step and a line a validation, and the same for TensorBoard."""

from __future__ import annotations

import json
import signal
import sys

import pytest

import regard
from regard.errors import Interrupted
from regard.training.board import Board
from regard.training.metrics import Metrics
from regard.training.report import summary


def written(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def events_of(run):
    """The events as TensorBoard itself reads them: {name: [(step, value)]}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_each_step_and_each_validation_has_a_line(unbroken):
    lines = written(unbroken)
    steps = [line for line in lines if "loss" in line]
    validations = [line for line in lines if "validation_bleu" in line]
    assert [line["step"] for line in steps] == [*range(1, 31)]
    assert [line["step"] for line in validations] == [10, 20, 30]
    assert len(lines) == len(steps) + len(validations)
    for line in steps:
        assert set(line) == {"step", "loss", "learning_rate", "tokens", "tokens_per_second"}
        assert line["tokens"] > 0
        assert line["tokens_per_second"] > 0
    seconds = [line["seconds"] for line in validations]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


@pytest.mark.filterwarnings("default")
def test_tensorboard_sees_every_tenth_step_and_every_validation(unbroken):
    events = events_of(unbroken)
    lines = written(unbroken)
    losses = [
        (line["step"], pytest.approx(line["loss"]))
        for line in lines
        if line.get("loss") and line["step"] % 10 == 0
    ]
    scores = [(line["step"], pytest.approx(line["validation_bleu"])) for line in lines if "seconds" in line]
    assert events["loss"] == losses
    assert events["validation_bleu"] == scores
    assert set(events) == {
        "loss",
        "learning_rate",
        "tokens",
        "tokens_per_second",
        "validation_bleu",
        "seconds",
    }


@pytest.mark.filterwarnings("default")
def test_tensorboard_forgets_what_a_session_that_was_cut_off_said_last(tmp_path):
    for step, value in ((0, 1.0), (20, 2.0)):  # the second session goes on after step 20
        session = Board.open(tmp_path, step)
        assert session is not None
        for later in (10, 20, 30):
            session.add(step + later, {"loss": value, "text": "not a number"})
        session.flush()
    assert events_of(tmp_path) == {"loss": [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0), (50, 2.0)]}


def test_without_tensorboard_there_are_lines_only(pairs, recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    regard.fit(pairs, recipe=recipe.changed({"training": {"steps": 2}}), out=tmp_path / "run")
    assert not [*(tmp_path / "run").glob("events*")]
    assert len(written(tmp_path / "run")) == 3


def test_lines_of_steps_that_are_made_again_are_taken_out_also_a_torn_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = [
        '{"step": 1, "loss": 2.0}\n',
        '{"step": 2, "loss": 1.0}\n',
        '{"step": 2, "validation_bleu": 3.0}\n',
    ]
    path.write_bytes("".join(whole).encode() + b'{"step": 3, "loss": 1.0}\n"\xff\n[1]\n{"st')
    metrics = Metrics(tmp_path, path, 2)
    assert path.read_text() == "".join(whole)
    metrics.write(3, loss=0.5)
    metrics.flush()
    assert written(tmp_path)[-1] == {"step": 3, "loss": 0.5}


def test_lines_reach_the_disk_with_the_checkpoint_not_before(pairs, recipe, tmp_path, listener):
    run, seen = tmp_path / "run", {}
    deeds = {
        step: lambda step=step: seen.update({step: (run / "metrics.jsonl").exists()}) for step in (9, 11)
    }
    regard.fit(pairs, recipe=recipe, out=run, reporter=listener(deeds))
    assert seen == {9: False, 11: True}


def test_a_summary_says_what_a_run_has_come_to(unbroken, trained, pairs, recipe, tmp_path, listener):
    found = summary(trained)
    assert found["run"] == str(trained)
    assert (found["steps"], found["metric"]) == (150, "bleu")
    assert found["training_pairs"] + found["validation_pairs"] == 200
    assert (found["skipped_empty"], found["skipped_too_long"]) == (0, 0)
    assert found["best_validation"] == max(line.get("validation_bleu", 0) for line in written(trained))
    json.dumps(found, allow_nan=False)
    with pytest.raises(Interrupted):
        stop = listener({1: lambda: signal.raise_signal(signal.SIGINT)})
        regard.fit(pairs, recipe=recipe, out=tmp_path / "run", reporter=stop)
    assert summary(tmp_path / "run")["best_validation"] is None
