"""Inputs of thousands of tokens are read in bounded memory: no map of all words with all others is held."""

from __future__ import annotations

import subprocess
import sys

import pytest

TOKENS = 8_000
MOST = 400
"""MiB above what a short input takes; the maps of one layer alone, of four heads, would be 977."""

SCRIPT = """
import resource, sys
import torch
from regard.models.architectures import CONFIGS, make

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def trained(length):
    source = torch.randint(4, 1000, (1, length))
    network.train().loss(source, torch.tensor([length]), given, given, smoothing=0.1).backward()
    return source

torch.set_num_threads(1)
torch.manual_seed(0)
architecture, *settings, length = sys.argv[1:]
values = {key: value if value.isalpha() else int(value) for key, value in (s.split("=") for s in settings)}
config = CONFIGS[architecture](width=64, copy=True, coverage_loss=1.0, **values)
network, given = make(config, 1000), torch.randint(4, 1000, (1, 12))
trained(100)
before = peak()
source = trained(int(length))
with torch.inference_mode():
    steps, state = network.eval().start(network.encode(source, torch.tensor([source.shape[1]])))
    state = state.select(torch.zeros(5, dtype=torch.long))
    for words in given.T[:3]:
        said, weights, state = network.step(steps, state, words.expand(5))
assert said.isfinite().all() and weights.shape == (5, source.shape[1])
print(peak() - before)
"""


@pytest.mark.parametrize(
    "settings",
    [
        ("transformer", "feed_forward=128", "encoder_layers=2", "decoder_layers=2", "encoder_window=128"),
        ("transformer", "feed_forward=128", "encoder_layers=2", "decoder_layers=2", "positions=rotary"),
        ("recurrent", "embedding=64"),
    ],
    ids=["window", "everything", "recurrent"],
)
def test_an_input_of_thousands_of_tokens_is_learned_from_and_answered_in_bounded_memory(settings):
    command = [sys.executable, "-c", SCRIPT, *settings, str(TOKENS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < MOST
