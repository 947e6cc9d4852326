"""Where a model looks, whatever model it is, as something to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from regard.decoding.looking import look as look_at_outputs
from regard.errors import InputError
from regard.inspection.capture import Captured, capture
from regard.inspection.faithfulness import believe as try_weights
from regard.inspection.opening import Opened
from regard.record import AttentionRecord
from regard.viewer.server import Live
from regard.viewer.view import View


def look(
    model: Any,
    text: str | Sequence[str],
    *,
    target: str | Sequence[str] | None = None,
    nbest: int = 1,
    kind: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    tokenizer: Any = None,
    generate: int = 0,
    believe: bool = False,
    subwords: bool = False,
) -> View:
    """What a model looks at.

    Of a trained model of regard it is the alignment of its output with the text; of any other all its heads.

    Args:
        model: trained by regard; or of `transformers`, or any module that `regard.inspection.capture` takes;
            or what `regard.inspection.open_model` gives.
        text: one input, or several.
        target: what an encoder–decoder is made to say; where None, what it says by itself.
        nbest: of a trained model, how many outputs of each text to show.
        kind, layer, head: which heads, counted from 0: kind is "encoder", "decoder", "cross" or, of a trained
            model that copies, "copy".
        tokenizer: the model's own; not for one of regard.
        generate: how many tokens a model of `transformers` says by itself after the text.
        believe: try as well how far the weights of the last position can be trusted; see
            `regard.inspection.faithfulness`. Of one text, not of a trained model.
        subwords: whether tokens that spell a word together are shown one by one.

    Returns:
        A view: a picture in a notebook, text in a terminal, and a file by ``view.save("x.html")``, ``.png``
            or ``.svg``.

    Raises:
        InputError: something that is no model, an option that it cannot have, or what `capture` and
            `Model.predict` raise.
    """
    if callable(getattr(model, "predict", None)):
        if tokenizer is not None or generate or believe:
            raise InputError(
                "look(): a trained model has its own tokenizer and says what it says; leave out tokenizer, "
                "generate and believe."
            )
        return look_at_outputs(model, text, target=target, nbest=nbest, kind=kind, layer=layer, head=head)
    opened = model if isinstance(model, Opened) else Opened(model, tokenizer, type(model).__name__)
    if not callable(getattr(opened.network, "named_modules", None)):
        raise InputError(
            f"look(): model is a trained model, such as regard.load(folder) gives, or a module of PyTorch. "
            f"Got {model!r}."
        )
    if nbest != 1:
        raise InputError(f"look(): nbest is {nbest}, but that is for trained models. Leave it out.")
    _, records = _captured(opened, text, target, kind, layer, head, generate)
    if believe:
        texts = [text] if isinstance(text, str) else list(text)
        if len(texts) != 1:
            raise InputError("look(): believe tries one text at a time.")
        found = try_weights(
            opened.network,
            texts[0],
            tokenizer=opened.tokenizer,
            layer=layer,
            head=head,
        )
        told = {"belief": str(found)}
        records = [replace(record, metadata=dict(record.metadata) | told) for record in records]
    return View(records, subwords=subwords)


def live(
    model: Any,
    *,
    kind: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    generate: int = 0,
    subwords: bool = False,
) -> Live:
    """What the live page asks of a model; see `regard.viewer.server`.

    Args:
        model: as for `look`, with its own tokenizer.
        kind, layer, head, generate, subwords: as for `look`.
    """
    if callable(getattr(model, "predict", None)):
        return Live(
            lambda text, progress: look_at_outputs(model, text, kind=kind, layer=layer, head=head).records
        )
    latest: list[Captured] = []

    def look_live(text: str, progress: Callable[[int, int], None]) -> Sequence[AttentionRecord]:
        captured, records = _captured(model, text, None, kind, layer, head, generate, progress)
        latest[:] = [captured]
        return records

    def part(number: int, above: int, beside: int, rows: slice, columns: slice) -> np.ndarray:
        if not latest:
            raise InputError("part(): nothing has been looked at yet.")
        record = latest[0].records[number]
        above, beside = above if layer is None else layer, beside if head is None else head
        which = {"kind": record.metadata["kind"], "text": int(record.metadata["text"])}
        return latest[0].part(above, beside, rows, columns, **which)

    return Live(look_live, part, subwords)


def _captured(
    opened: Opened,
    text: str | Sequence[str],
    target: str | Sequence[str] | None,
    kind: str | None,
    layer: int | None,
    head: int | None,
    generate: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Captured, list[AttentionRecord]]:
    """What was captured, and the records of what was asked for."""
    captured = capture(
        opened.network,
        text,
        tokenizer=opened.tokenizer,
        target=target,
        generate=generate,
        kinds=None if kind is None else [kind],
        name=opened.name,
        progress=progress,
    )
    if not captured.records:
        raise InputError(f"look(): {opened.name} has no attention of the kind {kind}.")
    return captured, [_chosen(record, layer, head) for record in captured.records]


def _chosen(record: AttentionRecord, layer: int | None, head: int | None) -> AttentionRecord:
    """The record with one layer or head of it."""
    for name, asked, axis in (("layer", layer, 0), ("head", head, 1)):
        if asked is None:
            continue
        if not 0 <= asked < record.weights.shape[axis]:
            kind, most = record.metadata["kind"], record.weights.shape[axis] - 1
            raise InputError(f"look(): {name} is from 0 to {most} in the {kind}; got {asked}.")
        record = replace(
            record,
            weights=record.weights.take([asked], axis),
            largest=None if record.largest is None else record.largest.take([asked], axis),
            statistics={key: of.take([asked], axis) for key, of in record.statistics.items()},
            title=f"{record.title}, {name} {asked}",
        )
    return record
