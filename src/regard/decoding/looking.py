"""Where a model looks, as something to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from regard.decoding.heads import heads
from regard.decoding.translator import Model
from regard.errors import InputError
from regard.viewer.view import View


def look(
    model: Model,
    text: str | Sequence[str],
    *,
    target: str | Sequence[str] | None = None,
    nbest: int = 1,
    kind: str | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> View:
    """The alignment of a model's output with a text.

    Args:
        model: trained.
        text: one input, or several.
        target: what the model is made to say; where None, what it says by itself.
        nbest: how many outputs of each text to show.
        kind, layer, head: which heads of a Transformer to look at, see `regard.decoding.heads`; with any of
            them each head is a picture of its own, and `kind` is "cross" where it is None.

    Returns:
        A view: a picture in a notebook, text in a terminal, and a file by ``view.save("x.html")``, ``.png``
            or ``.svg``.

    Raises:
        InputError: something else than a model, or what `Model.predict` raises.
    """
    if not callable(getattr(model, "predict", None)):
        raise InputError(
            f"look(): model is a trained model, such as regard.load(folder) gives. Got {model!r}."
        )
    texts = [text] if isinstance(text, str) else list(text)
    targets = [target] if isinstance(target, str) else target if target is None else list(target)
    if (kind, layer, head) != (None, None, None):
        if nbest != 1:
            raise InputError(f"look(): nbest is {nbest}, but heads are shown of one output. Leave it out.")
        said = [prediction.text for prediction in model.predict(texts)] if targets is None else targets
        return View(heads(model, texts, said, kind=kind or "cross", layer=layer, head=head))
    if targets is not None:
        return View(model.align(texts, targets))
    predictions = model.predict(texts, nbest=nbest, beam=max(nbest, model.search.beam))
    return View(
        [
            replace(
                option.alignment, metadata=dict(option.alignment.metadata) | {"score": f"{option.score:.3f}"}
            )
            for prediction in predictions
            for option in prediction.alternatives or (prediction,)
        ]
    )
