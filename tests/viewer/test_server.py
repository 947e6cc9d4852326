"""The live page answers its own page on this machine, and nobody else."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time

import numpy as np
import pytest

from regard.errors import InputError
from regard.record import AttentionRecord
from regard.viewer.server import LARGEST_BODY, Live, application, serve

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("starlette")


def record_of(text):
    words = tuple(text.split())
    if not words:
        raise InputError("look(): the text is empty. Give some words.")
    return AttentionRecord(np.eye(len(words)), words, words, title="a model")


def look(text, progress):
    if text == "broken":
        raise RuntimeError("something of the model's own")
    for done in range(1, 4):
        progress(done, 3)
    return [record_of(text)]


def part(record, layer, head, rows, columns):
    return record_of("a b c").weights[rows, columns]


@pytest.fixture
def port():
    """Of a page that listens in a thread."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    number = listening.getsockname()[1]
    made = application(Live(look, part), "first <i>text</i>", [record_of("first text")], number)
    server = uvicorn.Server(uvicorn.Config(made, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield number
    server.should_exit = True
    thread.join()
    listening.close()


def ask(port, method="GET", path="/", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, names)
    response = connection.getresponse()
    found = response.status, response.read().decode("latin-1"), response.headers
    connection.close()
    return found


def post(port, text, **headers):
    given = {"content_type": "application/json", **headers}
    return ask(port, "POST", "/look", json.dumps({"text": text}), **given)


def test_the_page_holds_the_text_as_text_and_may_reach_its_server_alone(port):
    status, page, headers = ask(port)
    assert status == 200 and "first &lt;i&gt;text&lt;/i&gt;</textarea>" in page
    assert "connect-src 'self'" in page and "default-src 'none'" in page
    assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"


def test_a_text_is_looked_at_with_how_far_it_is_and_shown_from_then_on(port):
    status, answer, _ = post(port, "other words here")
    assert status == 200
    steps = [json.loads(line) for line in answer.splitlines()]
    assert steps == [*({"done": n, "total": 3} for n in (1, 2, 3)), {"ready": True}]
    _, page, _ = ask(port)
    assert "other words here</textarea>" in page


def test_what_cannot_be_looked_at_is_said_and_the_page_stays(port):
    _, answer, _ = post(port, "")
    assert json.loads(answer.splitlines()[-1])["error"] == "look(): the text is empty. Give some words."
    _, answer, _ = post(port, "broken")
    assert "something of the model's own" in json.loads(answer.splitlines()[-1])["error"]
    assert "first &lt;i&gt;" in ask(port)[1]


def test_parts_of_a_map_come_as_numbers(port):
    asked = "/part?record=0&layer=0&head=0&top=0&bottom=2&left=1&right=3"
    status, body, _ = ask(port, path=asked)
    weights = np.frombuffer(body.encode("latin-1"), "<f4").reshape(2, 2)
    assert status == 200 and weights.tolist() == [[0, 0], [1, 0]]
    assert ask(port, path="/part?record=0")[0] == 400
    assert ask(port, path=asked.replace("bottom=2", "bottom=5000"))[0] == 404
    assert ask(port, path=asked.replace("layer=0", "layer=-1"))[0] == 404
    assert ask(port, path=asked.replace("right=3", "right=9"))[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"content_type": "text/plain"},
    ],
)
def test_requests_from_elsewhere_are_refused(port, headers):
    status, _, _ = post(port, "words", **headers)
    assert status == 403
    assert "first &lt;i&gt;" in ask(port)[1]


def test_its_own_name_and_origin_are_welcome(port):
    assert post(port, "a b", host=f"localhost:{port}", origin=f"http://127.0.0.1:{port}")[0] == 200


@pytest.mark.parametrize("path", ["/../etc/passwd", "/look", "/static/x.js", "//", "/%2e%2e/secret"])
def test_there_is_no_other_path(port, path):
    assert ask(port, path=path)[0] in (404, 405)


def test_bodies_above_the_limit_are_refused(port):
    assert post(port, "a" * LARGEST_BODY)[0] == 413
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"content-type": "application/json", "transfer-encoding": "chunked"}
    parts = (b"a" * 100_000 for _ in range(20))
    try:
        connection.request("POST", "/look", parts, headers, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before all of it was sent
    connection.close()


def test_a_body_that_is_no_text_is_refused(port):
    for body in ("", "{}", "[]", '{"text": 3}', "no json", "[" * 50_000):
        assert ask(port, "POST", "/look", body, content_type="application/json")[0] == 400


def test_a_port_that_is_taken_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="cannot be listened on"):
            serve(Live(look), "a", [record_of("a")], port=taken.getsockname()[1], browser=False)
