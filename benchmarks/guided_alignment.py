"""How much closer to links drawn by hand a model looks when induced links guide it: Hansards, en to fr.

    python benchmarks/guided_alignment.py --steps 500 > benchmarks/results/guided_alignment.json

The same small Transformer is trained twice on 24,924 pairs, with training.guided_alignment 0 and with a
weight, and made to say the French side of the 237 gold pairs. Beside them stand the links that guide, induced
from the training pairs, of the same gold pairs. All in one run, printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import regard
from regard.data.corpora import read_pairs
from regard.evaluation.alignment import alignment_error_rate, read_links
from regard.evaluation.induced import WordAligner
from regard.training.recipe import Recipe

HANSARDS = Path(__file__).parents[1] / "../shared/data/hansards-en-fr"
SETTINGS = {
    "data": {"split_punctuation": False, "vocabulary": 6000, "longest": 60, "validation": 200},
    "model": {
        "width": 128,
        "heads": 4,
        "feed_forward": 256,
        "encoder_layers": 3,
        "decoder_layers": 3,
        "dropout": 0.1,
    },
    "training": {"batch_tokens": 2048, "learning_rate": 0.002, "warmup": 200, "average": 1},
}


def main() -> None:
    """Train, align, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--weight", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sure, possible = read_links(HANSARDS / "gold.align", transpose=True)
    gold = read_pairs(HANSARDS / "gold.en", HANSARDS / "gold.fr")
    rows = []
    for weight in (0.0, options.weight):
        steps = {"steps": options.steps, "validate_every": options.steps, "seed": options.seed}
        training = SETTINGS["training"] | steps | {"guided_alignment": weight}
        recipe = Recipe().changed(SETTINGS | {"training": training})
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            pairs = HANSARDS / "train.en", HANSARDS / "train.fr"
            model = regard.fit(pairs, recipe=recipe, out=Path(folder) / "run")
        records = model.align(gold.sources(), gold.targets(), at_spaces_only=True)
        score = alignment_error_rate([record.links() for record in records], sure, possible)
        seconds = round(time.monotonic() - began, 1)
        rows.append({"guided_alignment": weight, "seconds": seconds} | score.to_dict())
    began = time.monotonic()
    corpus = read_pairs(HANSARDS / "train.en", HANSARDS / "train.fr")
    sides = ([text.split() for text in side] for side in (corpus.sources(), corpus.targets()))
    aligner = WordAligner.learn(*sides)
    links = aligner.links(*([text.split() for text in side] for side in (gold.sources(), gold.targets())))
    induced = {"seconds": round(time.monotonic() - began, 1)}
    result = {
        "claim": "guided by induced links, a Transformer looks closer to where people link words",
        "settings": SETTINGS,
        "steps": options.steps,
        "seed": options.seed,
        "models": rows,
        "induced_links": induced | alignment_error_rate(links, sure, possible).to_dict(),
        "versions": {"regard": regard.__version__, "torch": torch.__version__, "numpy": np.__version__},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
