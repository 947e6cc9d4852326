"""The live page in a browser: other text, how far it is, what went wrong, and parts of long maps."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest

from regard.errors import InputError
from regard.record import AttentionRecord
from regard.viewer.server import Live, application

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("starlette")

LENGTH = 2048


def pooled_record():
    """A long text, of which rectangles are kept: a diagonal."""
    words = tuple(f"w{n}" for n in range(LENGTH))
    small = np.eye(128, dtype=np.float32)[None, None] / 16
    axes = ("layer", "head", "query", "key")
    return AttentionRecord(small, words, words, axes, title="long", pooled=(16, 16), largest=small * 16)


def look(text, progress):
    if text == "too long":
        raise InputError("look(): a text of 600 tokens, but the model knows 512 positions.")
    progress(1, 2)
    words = tuple(text.split())
    return [AttentionRecord(np.eye(len(words)), words, words, title="a model")]


@pytest.fixture
def live(browser):
    """Opens a page that a server in a thread serves; it asks nobody else."""
    asked, ends = [], []

    def part(record, layer, head, rows, columns):
        asked.append((rows, columns))
        return np.eye(LENGTH, dtype=np.float32)[rows, columns]

    def open_one(records):
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        made = application(Live(look, part), "first words", records, port)
        server = uvicorn.Server(uvicorn.Config(made, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        context = browser.new_context(viewport={"width": 1200, "height": 900})
        page = context.new_page()
        urls, complaints = [], []
        page.on("request", lambda request: urls.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        ends.append((context, server, thread, listening, urls, complaints, port))
        page.goto(f"http://127.0.0.1:{port}/")
        return page

    yield open_one, asked
    for context, server, thread, listening, urls, complaints, port in ends:
        context.close()
        server.should_exit = True
        thread.join()
        listening.close()
        assert complaints == []
        assert all(url.startswith((f"http://127.0.0.1:{port}/", "data:")) for url in urls)


def test_another_text_is_looked_at_when_it_is_entered(live):
    open_one, _ = live
    page = open_one(look("first words", lambda done, total: None))
    assert page.locator("#live-text").input_value() == "first words"
    page.fill("#live-text", "other <b>words</b> here")
    page.press("#live-text", "Enter")
    page.locator("[data-part=input]").filter(has_text="other <b>words</b> here").wait_for()
    assert page.locator("#live-text").input_value() == "other <b>words</b> here"
    assert page.locator("main b").count() == 0


def test_what_cannot_be_looked_at_is_said_and_nothing_is_lost(live):
    open_one, _ = live
    page = open_one(look("first words", lambda done, total: None))
    page.fill("#live-text", "too long")
    page.get_by_role("button", name="Look").click()
    page.get_by_text("the model knows 512 positions").wait_for()
    assert "first" in page.locator("[data-part=input]").inner_text()
    page.fill("#live-text", " ")
    page.get_by_role("button", name="Look").click()
    page.get_by_text("Type some words to look at.").wait_for()


def test_keys_typed_into_the_text_are_text(live):
    open_one, _ = live
    page = open_one([pooled_record()])
    page.fill("#live-text", "")
    page.locator("#live-text").press_sequentially("jk?/1")
    assert page.locator("#live-text").input_value() == "jk?/1"


def test_zooming_into_a_long_map_asks_for_the_weights_themselves(live):
    open_one, asked = live
    page = open_one([pooled_record()])
    view = page.locator("[data-part=view]")
    view.wait_for()
    box = view.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(8):
        page.mouse.wheel(0, -240)
        page.wait_for_timeout(30)
    for _ in range(40):
        if asked:
            break
        page.wait_for_timeout(100)
    rows, columns = asked[-1]
    assert 0 < rows.stop - rows.start < LENGTH and 0 < columns.stop - columns.start < LENGTH
