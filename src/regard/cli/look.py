"""``regard look``: see which input words each output word looks at."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regard.cli.output import Json, print_json, verb
from regard.errors import InputError, RunError

if TYPE_CHECKING:
    from regard.record import AttentionRecord

TOLD = ("kind", "belief")


def look(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|MODEL",
            help="The folder of a trained run, or a model of transformers or .gguf file.",
            show_default=False,
        ),
    ],
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Texts to look at; stdin where left out.", show_default=False),
    ] = None,
    target: Annotated[str | None, typer.Option(help="What the model is made to say of the one text.")] = None,
    nbest: Annotated[int, typer.Option(help="Outputs of each text.", min=1)] = 1,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Look at single heads of a Transformer: of the encoder, the decoder, or cross (the default)."
        ),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="The layer whose heads to show, from 0; all by default.", min=0)
    ] = None,
    head: Annotated[int | None, typer.Option(help="The head to show, from 0; all by default.", min=0)] = None,
    text_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One text to look at, the whole file.")
    ] = None,
    generate: Annotated[
        int, typer.Option(help="How many tokens a MODEL says by itself after the text.", min=0)
    ] = 0,
    believe: Annotated[
        bool, typer.Option("--believe", help="Try how far a MODEL's weights can be trusted.")
    ] = False,
    subwords: Annotated[
        bool, typer.Option("--subwords", help="Show a MODEL's tokens one by one, not joined into words.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a page (.html), a picture (.png, .svg) or a record (.safetensors)."
        ),
    ] = None,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="Draw in the terminal, also with --save.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(help="Where the page listens on 127.0.0.1; a free port by default.", min=0, max=65535),
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    as_json: Json = False,
) -> None:
    """See what a model looks at: in the browser, where one sits at a terminal; else drawn in characters."""
    with verb(as_json):
        from rich.console import Console

        from regard.data.corpora import read_lines
        from regard.looking import live as live_of
        from regard.looking import look as look_at
        from regard.viewer.server import serve

        texts = [utf8(argument, "TEXT").strip() for argument in text or []]
        if text_file is not None:
            if texts:
                raise InputError("--text-file is the text; give no TEXT beside it.")
            texts = ["\n".join(read_lines(text_file)).strip()]
        texts = [line for line in texts or read_lines(sys.stdin.buffer, name="stdin") if line]
        if not texts:
            raise InputError("nothing to look at: give a text.")
        if target is not None and (len(texts) != 1 or nbest != 1 or not target.strip()):
            raise InputError(
                "--target is one output for one text, neither of them empty; --nbest does not go with it."
            )
        model = opened(run)
        if not (save or terminal or as_json or believe or target or nbest > 1) and at_a_screen(texts):
            live = live_of(model, kind=kind, layer=layer, head=head, generate=generate, subwords=subwords)
            records = live.look(texts[0], lambda done, total: None)
            serve(live, texts[0], records, port=port, browser=browser, say=Console(soft_wrap=True).print)
            return
        wanted = None if target is None else utf8(target, "--target").strip()
        view = look_at(
            model,
            texts,
            target=wanted,
            nbest=nbest,
            kind=kind,
            layer=layer,
            head=head,
            generate=generate,
            believe=believe,
            subwords=subwords,
        )
        saved = None if save is None else view.save(save)
        if as_json:
            shown = [plain(record) for record in view.records]
            print_json({"run": str(run), "saved": None if saved is None else str(saved), "records": shown})
            return
        told = view.records[0].metadata.get("belief")
        if saved is None or terminal:
            Console().print(view)
        if told is not None:
            print(told)
        if saved is not None:
            print(f"saved {saved}")


def at_a_screen(texts: list[str]) -> bool:
    """Whether there is one text, somebody at a terminal, and what serves a page."""
    served = all(find_spec(name) is not None for name in ("starlette", "uvicorn"))
    return served and len(texts) == 1 and sys.stdout.isatty()


def plain(record: AttentionRecord) -> dict[str, Any]:
    """A record as JSON values."""
    found: dict[str, Any] = {
        "input_words": list(record.key_tokens),
        "output_words": list(record.query_tokens),
        "weights": record.weights.tolist(),
    }
    found |= {key: record.metadata[key] for key in TOLD if key in record.metadata}
    if record.statistics:
        found["statistics"] = {name: numbers.tolist() for name, numbers in record.statistics.items()}
    return found


def opened(path: Path) -> Any:
    """A trained run, a model of the classes that `regard.load` opens as one, or any other model."""
    from regard.export.huggingface import CLASSES
    from regard.inspection.opening import open_model
    from regard.models.foreign import read_json
    from regard.training.run import load

    if not path.exists():
        raise RunError(
            f"{path}: no such run or model. Name the folder that `regard fit … --out RUN` writes, one of "
            f"transformers, or a .gguf file; models are not fetched from the network."
        )
    config = path / "config.json"
    theirs = config.is_file() and not (path / "regard.toml").exists()
    if path.is_file() or (theirs and read_json(config).get("model_type") not in CLASSES):
        return open_model(path)
    return load(path)


def utf8(argument: str, name: str) -> str:
    """An argument as its bytes spell it in UTF-8, whatever the locale; InputError where they do not."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        raise InputError(f"{name} is not UTF-8 text: {argument!r}.") from None
