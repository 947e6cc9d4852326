from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regard.viewer import View

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, "--disable-sync"])
        yield found
        found.close()


@dataclass
class Opened:
    """A page, with all that it asked for and all that it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def open_view(browser: Browser, tmp_path: Path):
    """Opens a view's page in Chromium; it must neither ask for anything nor complain of anything."""
    opened: list[Opened] = []

    def open_one(records, fragment: str = "", **options) -> Page:
        path = View(records).save(tmp_path / "view.html")
        context = browser.new_context(viewport={"width": 1200, "height": 800}, **options)
        one = Opened(context.new_page())
        one.page.on("request", lambda request: one.requests.append(request.url))
        one.page.on("console", lambda message: one.complaints.append(message.text))
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        opened.append(one)
        one.page.goto(f"{path.as_uri()}{fragment}")
        return one.page

    yield open_one
    for one in opened:
        assert [url for url in one.requests if not url.startswith(("file:", "data:"))] == []
        assert len({url for url in one.requests if url.startswith("file:")}) == 1
        assert one.complaints == []
        one.page.context.close()
