"""The page as a widget of Jupyter, marimo and VS Code, whose records can be changed from Python."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from regard.errors import InputError

try:
    import anywidget
    import traitlets
except ImportError:
    raise InputError("widgets need the package anywidget: pip install 'regard[notebook]'.") from None

from regard.viewer.view import View

__all__ = ["ViewWidget"]


class ViewWidget(anywidget.AnyWidget):
    """A view that stays on the screen while what it shows changes.

        widget = ViewWidget(regard.look(model, "a text"))
        widget.view = regard.look(model, "another text")

    Args:
        view: what to show at first.
        height: of the frame, as CSS says it.
    """

    _esm = files("regard.viewer").joinpath("page", "widget.js").read_text("utf-8")
    page = traitlets.Unicode().tag(sync=True)
    height = traitlets.Unicode("44rem").tag(sync=True)

    def __init__(self, view: View, height: str = "44rem") -> None:
        self._view = view
        super().__init__(page=view.page, height=height)

    @property
    def view(self) -> View:
        """What is shown."""
        return self._view

    @view.setter
    def view(self, view: View) -> None:
        self._view, self.page = view, view.page

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """As a widget, and as the page on its own where no widgets are, as in an exported notebook."""
        found = super()._repr_mimebundle_(**options)
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        return {**data, "text/html": self._view._repr_html_()}, metadata
