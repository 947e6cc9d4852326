"""A run that is stopped, however and whenever, and goes on, is the run that nobody stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import regard
from regard.errors import CorpusError, Interrupted, RunError
from regard.training.checkpoints import last_checkpoint
from regard.training.fit import resume
from regard.training.run import RunFolder

LABORATORY = Path(__file__).with_name("killed_everywhere.py")


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def half_written(run: Path) -> list[str]:
    return [path.name for path in run.rglob("*") if path.name.endswith((".part", ".tmp"))]


def equal(one: Path, other: Path, lines_of) -> bool:
    """Whether two runs computed the same: losses and scores to the last digit, weights to the last bit."""
    return (
        lines_of(one) == lines_of(other)
        and (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
        and {path.name for path in (one / "checkpoints").iterdir()}
        == {path.name for path in (other / "checkpoints").iterdir()}
    )


@pytest.mark.parametrize(
    "steps",
    [(1,), (9,), (10,), (17,), (30,), (4, 10, 11, 29)],
    ids=lambda steps: " and ".join(map(str, steps)),
)
def test_a_run_stopped_by_ctrl_c_after_any_step_goes_on_bit_for_bit(
    steps, unbroken, pairs, recipe, tmp_path, listener, lines_of
):
    run = tmp_path / "run"
    for number, step in enumerate(steps):
        heard = listener({step: press_ctrl_c})
        with pytest.raises(Interrupted) as error:
            regard.fit(pairs, recipe=recipe, out=run, resume=number > 0, reporter=heard)
        assert str(error.value) == (
            f"stopped at step {step}, which is saved. Go on with: regard.fit(pairs, out='{run}', resume=True)"
        )
        assert last_checkpoint(RunFolder.open(run)) == run / "checkpoints" / f"step-{step}"
        assert heard.closed == 1
    regard.fit(pairs, out=run, resume=True)
    assert equal(run, unbroken, lines_of)
    assert not half_written(run)


def test_a_second_ctrl_c_stops_at_once_and_the_run_goes_on_from_what_is_saved(
    unbroken, pairs, recipe, tmp_path, listener, lines_of
):
    run = tmp_path / "run"

    def press_twice():
        press_ctrl_c()
        press_ctrl_c()

    with pytest.raises(Interrupted, match=r"^stopped at once\. Go on from what is saved with: regard\.fit\("):
        regard.fit(pairs, recipe=recipe, out=run, reporter=listener({17: press_twice}))
    assert last_checkpoint(RunFolder.open(run)) == run / "checkpoints" / "step-10"
    regard.fit(pairs, out=run, resume=True)
    assert equal(run, unbroken, lines_of)


def test_after_a_run_ctrl_c_is_again_what_it_was_before(unbroken, pairs, recipe, tmp_path, listener):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        regard.fit(pairs, recipe=recipe, out=tmp_path / "run", reporter=listener({1: press_ctrl_c}))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_sigterm_stops_as_ctrl_c_does(pairs, recipe, tmp_path, listener):
    deed = {2: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Interrupted, match="stopped at step 2, which is saved"):
        regard.fit(pairs, recipe=recipe, out=tmp_path / "run", reporter=listener(deed))


def test_a_run_in_another_thread_trains_without_signals(unbroken, pairs, recipe, tmp_path, lines_of):
    run = tmp_path / "run"
    thread = threading.Thread(target=regard.fit, args=(pairs,), kwargs={"recipe": recipe, "out": run})
    thread.start()
    thread.join()
    assert equal(run, unbroken, lines_of)


def test_a_run_killed_before_any_of_its_changes_to_files_goes_on_bit_for_bit(tmp_path, environment):
    """One process loads PyTorch once and forks; each child is killed at another change, then resumed."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork, which this system does not have")
    ended = subprocess.run(
        [sys.executable, str(LABORATORY), str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        env=environment | {"TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "default"},
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    counted = re.fullmatch(r"killed at (\d+) changes, (\d+) before there was a run\n", ended.stdout)
    assert counted, ended.stdout
    assert int(counted[1]) > 30
    assert int(counted[2]) < int(counted[1]) / 3


def test_a_run_from_files_goes_on_by_its_folder_alone(
    corpus, recipe, tmp_path, listener, lines_of, monkeypatch
):
    monkeypatch.chdir(corpus.parent)
    regard.fit(corpus.name, valid=corpus.name, recipe=recipe, out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        regard.fit(
            corpus.name,
            valid=corpus.name,
            recipe=recipe,
            out=tmp_path / "run",
            reporter=listener({17: press_ctrl_c}),
        )
    monkeypatch.chdir(tmp_path)
    resume("run")
    assert equal(tmp_path / "run", tmp_path / "whole", lines_of)


@pytest.fixture
def stopped(corpus, recipe, tmp_path, listener):
    """A run that was stopped at step 12, and the file it was started from."""
    path = shutil.copy(corpus, tmp_path / "pairs.tsv")
    with pytest.raises(Interrupted):
        regard.fit(path, recipe=recipe, out=tmp_path / "run", reporter=listener({12: press_ctrl_c}))
    return tmp_path / "run", Path(path)


def test_a_run_whose_file_has_changed_does_not_go_on(stopped):
    run, path = stopped
    path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises(
        RunError, match=r"the (training|validation) pairs are not those the run was started with"
    ):
        resume(run)


def test_a_run_whose_file_is_gone_names_it(stopped):
    run, path = stopped
    path.unlink()
    with pytest.raises(CorpusError, match=re.escape(f"{path}: no such file")):
        resume(run)


def test_a_run_from_memory_says_how_it_goes_on(pairs, recipe, tmp_path, listener):
    with pytest.raises(Interrupted):
        regard.fit(pairs, recipe=recipe, out=tmp_path / "run", reporter=listener({12: press_ctrl_c}))
    with pytest.raises(RunError, match=r"started from pairs in memory; call regard\.fit with them"):
        resume(tmp_path / "run")
    with pytest.raises(RunError, match="the training pairs are not those the run was started with"):
        regard.fit(pairs[:-1], out=tmp_path / "run", resume=True)


def test_a_run_with_its_validation_from_memory_says_so_too(corpus, pairs, recipe, tmp_path, listener):
    given = {"valid": pairs[:9], "recipe": recipe, "out": tmp_path / "run"}
    with pytest.raises(Interrupted, match=r"Go on with: regard\.fit\(pairs, out='.*', resume=True\)$"):
        regard.fit(corpus, **given, reporter=listener({2: press_ctrl_c}))
    with pytest.raises(RunError, match="started from pairs in memory"):
        resume(tmp_path / "run")


def test_a_run_that_has_ended_has_nothing_to_resume(trained):
    with pytest.raises(RunError, match="training has ended; there is nothing to resume"):
        resume(trained)


def test_a_checkpoint_that_is_cut_short_is_an_error_that_names_the_file(stopped):
    run, _ = stopped
    for name in ("progress.json", "weights.safetensors", "optimizer.safetensors"):
        path = run / "checkpoints" / "step-12" / name
        whole = path.read_bytes()
        for size in (0, 1, len(whole) // 2, len(whole) - 2):
            path.write_bytes(whole[:size])
            with pytest.raises(RunError, match=re.escape(str(path))):
                resume(run)
        path.unlink()
        with pytest.raises(RunError, match=re.escape(str(path))):
            resume(run)
        path.write_bytes(whole)
    resume(run)


def test_best_weights_that_are_cut_short_are_an_error_that_names_the_file(stopped):
    run, _ = stopped
    path = run / "checkpoints" / "best-10.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=re.escape(str(path))):
        resume(run)


def test_without_its_checkpoint_a_run_begins_anew(stopped, corpus, recipe, tmp_path, lines_of):
    run, _ = stopped
    shutil.rmtree(run / "checkpoints" / "step-12")
    resume(run)
    regard.fit(corpus, recipe=recipe, out=tmp_path / "whole")
    assert equal(run, tmp_path / "whole", lines_of)
