"""The page while a model is at hand: it takes new text, says how far it is, and hands out parts of long maps.

It listens on 127.0.0.1 alone, answers only requests that name that address as their host and come from its
own page, and knows no path but its own. It is handed functions and knows no model.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regard.errors import InputError, RegardError
from regard.record import AttentionRecord
from regard.viewer.html import page

HOST = "127.0.0.1"
LARGEST_BODY = 1_000_000
LARGEST_PART = 1024
"""A part has at most so many rows and columns."""

NEVER_KEPT = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Live:
    """What the page asks of a model.

    Attributes:
        look: from a text to records; told of how far it is by the function it is handed. Its errors are said
            to the reader.
        part: from the number of a record of the last look, a layer, a head, and the first and last of some
            rows and columns, to their weights (Q, K); None where records are never pooled.
        subwords: as for `page`.
    """

    look: Callable[[str, Progress], Sequence[AttentionRecord]]
    part: Callable[[int, int, int, slice, slice], np.ndarray] | None = None
    subwords: bool = False


def application(live: Live, text: str, records: Sequence[AttentionRecord], port: int) -> Any:
    """The page as an ASGI application.

    Args:
        live: what it asks of the model.
        text: that was looked at first, and records: what was found.
        port: it listens on, which requests have to name.

    Raises:
        InputError: starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
        from starlette.routing import Route
    except ImportError:
        raise InputError("the live page needs starlette and uvicorn: pip install 'regard[look]'.") from None
    names = {f"{host}:{port}" for host in (HOST, "localhost")}
    origins = {f"http://{name}" for name in names}
    busy, shown, texts = threading.Lock(), list(records), [text]

    async def first(request: Request) -> Response:
        return HTMLResponse(page(shown, live=texts[-1], subwords=live.subwords), headers=NEVER_KEPT)

    async def look(request: Request) -> Response:
        body = await _body(request)
        try:
            text = json.loads(body or b"")["text"]
            if not isinstance(text, str):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            return PlainTextResponse("The request is a JSON object with a text.", 400)
        return StreamingResponse(_answer(live, text, shown, texts, busy), media_type="application/x-ndjson")

    async def part(request: Request) -> Response:
        asked = request.query_params
        try:
            numbers = [
                int(asked[name]) for name in ("record", "layer", "head", "top", "bottom", "left", "right")
            ]
        except (KeyError, ValueError):
            return PlainTextResponse("A part is named by record, layer, head, top, bottom, left, right.", 400)
        record, layer, head, top, bottom, left, right = numbers
        sizes = (bottom - top, right - left)
        if live.part is None or min(numbers) < 0 or not all(0 < size <= LARGEST_PART for size in sizes):
            return PlainTextResponse("There is no such part.", 404)
        try:
            found = await asyncio.to_thread(
                live.part, record, layer, head, slice(top, bottom), slice(left, right)
            )
        except (RegardError, IndexError) as error:
            return PlainTextResponse(str(error), 404)
        if found.shape != sizes:
            return PlainTextResponse("There is no such part.", 404)
        return Response(np.ascontiguousarray(found, "<f4").tobytes(), media_type="application/octet-stream")

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            request = Request(scope, receive)
            refused = _refusal(request, names, origins)
            if refused is not None:
                await PlainTextResponse(refused, 403)(scope, receive, send)
                return
            if int(request.headers.get("content-length") or 0) > LARGEST_BODY:
                await PlainTextResponse(f"A text has at most {LARGEST_BODY:,} bytes.", 413)(
                    scope, receive, send
                )
                return
        await routes(scope, receive, send)

    routes = Starlette(
        routes=[Route("/", first), Route("/look", look, methods=["POST"]), Route("/part", part)],
        exception_handlers={_TooLarge: lambda request, error: PlainTextResponse(str(error), 413)},
    )
    return guarded


def serve(
    live: Live,
    text: str,
    records: Sequence[AttentionRecord],
    *,
    port: int = 0,
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Show the page until Ctrl-C, or until the terminal is closed.

    Args:
        live, text, records: as for `application`.
        port: to listen on; 0 takes a free one.
        browser: whether to open one. Where there is none the address is all there is.
        say: is handed the address.

    Raises:
        InputError: starlette or uvicorn is not installed, or the port is taken.
    """
    try:
        import uvicorn
    except ImportError:
        raise InputError("the live page needs starlette and uvicorn: pip install 'regard[look]'.") from None
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise InputError(f"port {port} cannot be listened on: {error.strerror}. Choose another.") from None
    port = listening.getsockname()[1]
    address = f"http://{HOST}:{port}/"
    config = uvicorn.Config(
        application(live, text, records, port),
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    say(f"{address}  (Ctrl-C ends it)")
    if browser:
        threading.Timer(0.3, _open, (address,)).start()
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def _open(address: str) -> None:
    with contextlib.suppress(webbrowser.Error):  # the address has been said
        webbrowser.open(address)


class _TooLarge(Exception):
    """A body larger than allowed."""


async def _body(request: Any) -> bytes:
    """The body of a request, refused as soon as it is too large, whatever its header says."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            raise _TooLarge(f"A text has at most {LARGEST_BODY:,} bytes.")
        parts.append(part)
    return b"".join(parts)


def _refusal(request: Any, names: set[str], origins: set[str]) -> str | None:
    """Why a request is not answered; None where it is."""
    if request.headers.get("host", "") not in names:
        return "This page answers to its own address only."
    origin = request.headers.get("origin")
    if origin is not None and origin not in origins:
        return "This page answers to itself only."
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "This page answers to itself only."
    kind = request.headers.get("content-type", "").partition(";")[0]
    if request.method == "POST" and kind != "application/json":
        return "A text is sent as application/json."
    return None


async def _answer(
    live: Live, text: str, shown: list[AttentionRecord], texts: list[str], busy: threading.Lock
) -> AsyncIterator[bytes]:
    """A line of JSON for each step: how far it is, then that the page may load anew, or what went wrong."""
    loop, steps = asyncio.get_running_loop(), asyncio.Queue()

    def told(value: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(steps.put_nowait, value)

    def work() -> None:
        try:
            with busy:  # one model, one text at a time
                found = live.look(text, lambda done, total: told({"done": done, "total": total}))
                shown[:], texts[:] = found, [text]
                told({"ready": True})
        except RegardError as error:
            told({"error": str(error)})
        except MemoryError:
            told({"error": "There is not enough memory for this text. Give a shorter one."})
        except Exception as error:  # said on the page; a traceback would be lost
            told({"error": f"{type(error).__name__}: {error}"})

    threading.Thread(target=work, daemon=True).start()
    while True:
        step = await steps.get()
        yield json.dumps(step, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        if "done" not in step:
            return
