"""The command line as its users meet it: signals, kills, pipes, a terminal, a disk that is full."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import regard
from regard.errors import RunError
from regard.training.run import RunFolder

CLOCK = {"seconds", "tokens_per_second"}
STEPS = 60
SETTINGS = [
    "--set",
    f"training.steps={STEPS}",
    "--set",
    "training.checkpoint_minutes=0",
]  # a checkpoint a step


@pytest.fixture(scope="module")
def fit(corpus, config):
    """The arguments of the run that is broken off here in all sorts of ways."""
    return ["fit", corpus, "--config", config, *SETTINGS, "--out"]


@pytest.fixture
def begin(environment):
    """Start a command and let it run."""
    started = []

    def start(*arguments, **options) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "regard", *map(str, arguments)],
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=options.pop("stderr", subprocess.PIPE),
            encoding="utf-8",
            env=environment | options.pop("env", {}),
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        with process:  # closes its pipes
            pass


@pytest.fixture(scope="module")
def whole_with_lines(environment, fit, tmp_path_factory) -> tuple[Path, str]:
    """The same run, unbroken, and what it printed to a pipe."""
    run = tmp_path_factory.mktemp("whole") / "run"
    command = [sys.executable, "-m", "regard", *map(str, fit), str(run)]
    coloured = environment | {"FORCE_COLOR": "1"}
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", env=coloured, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    return run, ended.stdout


@pytest.fixture(scope="module")
def whole(whole_with_lines) -> Path:
    """The same run, unbroken."""
    return whole_with_lines[0]


def lines_of(run: Path) -> list[dict]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]


def equal(one: Path, other: Path) -> bool:
    return (
        lines_of(one) == lines_of(other)
        and (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    )


def step_of(run: Path) -> int:
    """The newest checkpoint's step; -1 before there is a run."""
    if not (run / "regard.toml").exists():
        return -1
    return max((int(path.name[5:]) for path in run.glob("checkpoints/step-*")), default=0)


def wait_for_step(process: subprocess.Popen, run: Path, step: int) -> None:
    began = time.monotonic()
    while step_of(run) < step and process.poll() is None:
        assert time.monotonic() - began < 100
        time.sleep(0.01)


def test_ctrl_c_saves_says_how_to_go_on_and_has_status_130(begin, command, fit, whole, tmp_path):
    run = tmp_path / "ein Lauf"
    process = begin(*fit, run)
    wait_for_step(process, run, 7)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.count("\n") == 1
    assert stderr.startswith("regard: stopped at step ")
    assert stderr.endswith(f", which is saved. Go on with: regard fit --resume '{run}'\n")
    assert "Traceback" not in stdout
    with pytest.raises(RunError, match="training has not ended"):
        regard.load(run)
    ended = command("fit", "--resume", run, "--json")
    assert ended.status == 0
    assert json.loads(ended.stdout)["steps"] == STEPS
    assert equal(run, whole)


def test_a_run_killed_again_and_again_goes_on_bit_for_bit(begin, command, fit, whole, tmp_path):
    run, moments = tmp_path / "run", random.Random(5)
    for number in range(5):
        process = begin(*(["fit", "--resume", run] if number else [*fit, run]))
        reached = step_of(run) if number else 0
        wait_for_step(process, run, min(STEPS - 1, reached + moments.randint(1 - (number == 0), 6)))
        time.sleep(moments.random() * 0.02)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        RunFolder.open(run).tokenizer()
        assert not (run / "model.safetensors").exists()
    assert command("fit", "--resume", run).status == 0
    assert equal(run, whole)
    assert not [path for path in run.rglob("*") if path.name.endswith((".part", ".tmp"))]
    assert {path.name for path in run.glob("checkpoints/*")} == {
        path.name for path in whole.glob("checkpoints/*")
    }


def test_a_terminal_shows_a_live_display_and_gets_its_cursor_back(begin, corpus, config, tmp_path):
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals, which this system does not have")
    outer, inner = pty.openpty()
    arguments = ["fit", corpus, "--config", config, "--out", tmp_path / "run"]
    size = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
    process = begin(*arguments, stdin=inner, stdout=inner, stderr=inner, env=size)
    os.close(inner)
    shown = b""
    while True:
        try:
            piece = os.read(outer, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(outer)
    assert process.wait(60) == 0
    text = shown.decode()
    for part in (
        "190 training pairs",
        "training",
        "step 30 of 30",
        "tokens/s",
        "validation bleu ",
        "Try it:",
    ):
        assert part in text
    assert "\x1b[" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_a_pipe_gets_plain_lines_also_where_colour_is_forced(whole_with_lines):
    _, printed = whole_with_lines
    assert "\x1b" not in printed
    assert f"step {STEPS} of {STEPS}  loss " in printed


def test_a_reader_that_has_had_enough_is_no_error(trained, begin):
    process = begin("predict", trained, "--beam", 1, stdin=subprocess.PIPE)
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stdin.write("1 2 3 4\n" * 500)
    process.stdin.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""


def test_a_stream_is_answered_before_its_next_line_comes(trained, begin):
    process = begin("predict", trained, "--stream", stdin=subprocess.PIPE)
    assert process.stdin and process.stdout and process.stderr
    for line in ("1 2\n", "\n", "3 4 5\n"):
        process.stdin.write(line)
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer.endswith("\n")
        assert bool(answer.strip()) == bool(line.strip())
    for _ in range(6):  # between Python's last look for signals and the system's wait for a line one may pass
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
            break
    assert process.returncode == 130
    assert process.stderr.read() == "regard: interrupted.\n"


def test_a_stream_that_nobody_reads_any_more_ends(trained, begin):
    process = begin("predict", trained, "--stream", stdin=subprocess.PIPE)
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write("1 2\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write("3 4\n")
    process.stdin.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which this system does not have")
def test_a_stdout_that_is_full_is_one_line_and_status_1(trained, begin):
    with Path("/dev/full").open("w") as full:
        process = begin("predict", trained, "--beam", 1, stdin=subprocess.PIPE, stdout=full)
        _, stderr = process.communicate("1 2\n", timeout=60)
    assert (process.returncode, stderr) == (1, "regard: No space left on device.\n")


def test_texts_in_and_out_are_utf_8_whatever_the_locale(trained, begin):
    locale = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    process = begin("look", trained, "é", "--json", env=locale)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert json.loads(stdout)["records"][0]["input_words"] == ["é"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 128 KiB, which is enough for some checkpoints but not for a whole run."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    try:
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("needs the right to mount a file system")
    except FileNotFoundError:
        pytest.skip("needs mount, which this system does not have")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing_already_saved(small_disk, command, fit, whole):
    run = small_disk / "run"
    ended = command(*fit, run)
    assert ended.status == 1
    assert ended.stderr.count("\n") == 1
    assert "cannot be written: No space left on device. What was saved before is whole" in ended.stderr
    assert 0 < step_of(run) < STEPS
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert command("fit", "--resume", run).status == 0
    assert equal(run, whole)
    assert not [path for path in run.rglob("*") if path.name.endswith(".part")]


def test_what_ails_several_processes_is_said_once_and_what_ails_one_too(begin, tmp_path):
    gone = tmp_path / "no-such-run"
    launched = begin("fit", "--resume", gone, env={"WORLD_SIZE": "2", "RANK": "0"})
    assert launched.communicate(timeout=60)[1].startswith(f"regard: {gone}: ")
    assert launched.returncode == 2
    alone = begin("fit", "--resume", gone, env={"WORLD_SIZE": "2", "RANK": "1"})  # the first never spoke
    ended_by_the_launcher = begin("fit", "--resume", gone, env={"WORLD_SIZE": "2", "RANK": "1"})
    time.sleep(1)
    ended_by_the_launcher.terminate()  # as `torchrun` ends it, after the first has spoken and gone
    assert alone.communicate(timeout=60)[1].startswith(f"regard: process 1: {gone}: ")
    assert alone.returncode == 2
    assert ended_by_the_launcher.communicate(timeout=60) == ("", "")
