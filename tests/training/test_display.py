"""What somebody sees while a model trains."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from regard.training.display import Live, PlainLines, Silent, duration, reporter


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (41.6, "42 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (3900, "1 h 5 min"),
        (100_000, "27 h 46 min"),
    ],
)
def test_a_duration_is_said_as_people_say_it(seconds, text):
    assert duration(seconds) == text


def test_a_terminal_gets_a_live_display_and_a_file_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(reporter(Terminal()), Live)
    assert isinstance(reporter(io.StringIO()), PlainLines)


def test_a_file_gets_plain_lines_also_where_colour_is_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(reporter(io.StringIO()), PlainLines)


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(reporter(Terminal()), PlainLines)


def test_plain_lines_tell_validations_notes_the_last_step_and_others_now_and_then():
    stream = io.StringIO()
    lines = PlainLines(stream, every=1000.0)
    lines.note("a [bold] note")
    lines.step(1, 3, 2.5, 1000.0, 70.0)
    lines.validation(1, "bleu", 10.0, 10.0)
    lines.every = 0.0
    lines.step(2, 3, 2.25, 1234.5, 65.0)
    lines.every = 1000.0
    lines.validation(2, "bleu", 9.0, 10.0)
    lines.step(3, 3, 2.0, 1000.0, 0.0)
    lines.close()
    assert stream.getvalue().splitlines() == [
        "a [bold] note",
        "step 1  validation bleu 10.00  (best so far)",
        "step 2 of 3  loss 2.250  1,234 tokens/s  1 min 5 s left",
        "step 2  validation bleu 9.00  (best 10.00)",
        "step 3 of 3  loss 2.000  1,000 tokens/s  0 s left",
    ]


def test_the_live_display_shows_loss_speed_score_and_time_left(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    stream = Terminal()
    live = reporter(stream)
    live.note("a [bold] note with a " + "long " * 40 + "path")
    live.step(1, 20, 2.5, 1000.0, 70.0)
    live.validation(1, "bleu", 10.0, 12.0)
    live.step(20, 20, 2.25, 12_345.0, 0.0)
    live.close()
    live.note("after")
    text = stream.getvalue()
    assert "a [bold] note with a " + "long " * 40 + "path\n" in text, "one line, to be copied whole"
    for part in (
        "step 20 of 20",
        "loss 2.250",
        "12,345 tokens/s",
        "validation bleu 10.00 (best 12.00)",
        "0 s left",
    ):
        assert part in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor comes back"
    assert text.endswith("after\n")


def test_a_live_display_that_never_began_closes():
    Live(Console(file=io.StringIO())).close()


def test_silence_says_nothing(capsys):
    silent = Silent()
    silent.note("x")
    silent.step(1, 2, 3.0, 4.0, 5.0)
    silent.validation(1, "bleu", 2.0, 3.0)
    silent.close()
    assert capsys.readouterr() == ("", "")
