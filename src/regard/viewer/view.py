"""A view of what was looked at: printed, shown in a notebook, saved as a page, a picture or a record."""

from __future__ import annotations

import html
import io
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from regard.errors import InputError
from regard.evaluation.words import in_words
from regard.record import AttentionRecord, save_records, write_atomically
from regard.viewer import picture, terminal
from regard.viewer.html import page

__all__ = ["View"]


class View:
    """One record, or several to choose from, such as the sentences of a text or the n best outputs of one.

    ``print(view)`` draws it in characters, a Rich console draws it in colour, a notebook shows the page.

    Args:
        record: an `AttentionRecord`, or an iterable of them.
        subwords: whether tokens that spell a word together are shown one by one; see
            `regard.evaluation.words`. The page can be switched.

    Raises:
        InputError: there is no record.
    """

    def __init__(
        self, record: AttentionRecord | Iterable[AttentionRecord], *, subwords: bool = False
    ) -> None:
        self.records = (record,) if isinstance(record, AttentionRecord) else tuple(record)
        if not self.records:
            raise InputError("View(): there is no record to show.")
        self.subwords = subwords

    @property
    def record(self) -> AttentionRecord:
        """The first record."""
        return self.records[0]

    @property
    def page(self) -> str:
        """The page, as HTML."""
        return page(self.records, subwords=self.subwords)

    @property
    def drawn(self) -> Sequence[AttentionRecord]:
        """The records as pictures show them."""
        return self.records if self.subwords else [in_words(record) for record in self.records]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the view to a file; the suffix says as what.

        Args:
            path: ``.html`` for the page, ``.png`` or ``.svg`` for a picture of 120 mm (several records
                beneath each other), ``.safetensors`` for the records themselves.

        Returns:
            The path written.

        Raises:
            InputError: another suffix.
        """
        path = Path(path)
        savers: dict[str, Callable[[], Path]] = {
            ".html": lambda: write_atomically(path, self.page.encode("utf-8")),
            ".png": lambda: picture.draw(self.drawn, path),
            ".svg": lambda: picture.draw(self.drawn, path),
            ".safetensors": lambda: save_records(self.records, path),
        }
        if path.suffix.lower() not in savers:
            given = repr(path.suffix) if path.suffix else "no suffix"
            raise InputError(f"{path}: {given} is not known. Known suffixes: {', '.join(savers)}.")
        return savers[path.suffix.lower()]()

    def __str__(self) -> str:
        width = shutil.get_terminal_size().columns
        console = Console(width=width, color_system=None, file=io.StringIO(), legacy_windows=False)
        with console.capture() as capture:
            console.print(self, end="")
        return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{len(record.query_tokens)}x{len(record.key_tokens)}" for record in self.records[:3]
        )
        more = ", …" if len(self.records) > 3 else ""
        return f"View({len(self.records)} record{'s' * (len(self.records) > 1)}: {sizes}{more})"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for index, record in enumerate(self.drawn):
            if index:
                yield Text()
            yield terminal.draw(record)

    def _repr_html_(self) -> str:
        """The page in a frame of its own, which reaches neither the notebook nor the network."""
        document = html.escape(self.page, quote=True)
        return (
            f'<iframe sandbox="allow-scripts" title="Attention weights" srcdoc="{document}" '
            'style="width:100%;height:44rem;border:0"></iframe>'
        )
