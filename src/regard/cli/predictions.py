"""How predictions are written: as JSON values, and from these as plain lines, n-best lists and links."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from regard.cli.output import one_line

if TYPE_CHECKING:
    from regard.decoding.translator import Prediction


def plain(line: str, prediction: Prediction) -> dict[str, Any]:
    """What is said of a line, as JSON values."""
    return (
        {"source": line}
        | _option(prediction)
        | {"alternatives": [_option(o) for o in prediction.alternatives]}
    )


def _option(prediction: Prediction) -> dict[str, Any]:
    record = prediction.alignment
    return {
        "text": prediction.text,
        "score": prediction.score,
        "input_words": list(record.key_tokens),
        "output_words": list(record.query_tokens),
        "links": [[key, query] for query, key in sorted(record.links())],
    }


def printed(number: int, said: dict[str, Any], nbest: int) -> Iterator[str]:
    """The lines for what is said of line `number`, from 0."""
    if nbest == 1:
        yield f"{one_line(said['text'])}\n"
        return
    for option in said["alternatives"] or [said]:
        yield f"{number} ||| {one_line(option['text'])} ||| {option['score']:.4f}\n"


def linked(said: dict[str, Any]) -> str:
    """The links of an output as word aligners write them: input word, hyphen, output word, both from 0."""
    return " ".join(f"{key}-{query}" for key, query in said["links"]) + "\n"


def report_unknown(unknown: Sequence[int]) -> None:
    """Say on stderr how much was never seen in training, of texts with so many unknown tokens each."""
    if total := sum(unknown):
        texts = sum(count > 0 for count in unknown)
        print(f"regard: {total:,} tokens in {texts:,} texts were never seen in training.", file=sys.stderr)
