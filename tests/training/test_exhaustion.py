"""Where the memory is not enough, the batch and the setting that makes it smaller are named."""

import subprocess
import sys

import numpy as np
import pytest

from regard.data.batches import Batch
from regard.errors import TrainingError
from regard.training.exhaustion import is_exhaustion, naming_exhaustion
from regard.training.recipe import Recipe

SCRIPT = """
import resource
import numpy as np
import torch
from regard.data.batches import Batch
from regard.errors import TrainingError
from regard.models.transformer import TransformerConfig, TransformerTranslator
from regard.training.distributed import Loss
from regard.training.exhaustion import naming_exhaustion
from regard.training.loop import batch_loss
from regard.training.recipe import Recipe

torch.set_num_threads(1)
config = TransformerConfig(width=64, heads=8, encoder_layers=2, decoder_layers=2)
network = TransformerTranslator(config, 1000)
words = np.full((256, 512), 7)
batch = Batch(np.arange(256), words, np.full(256, 512), words, words)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + 300 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    with naming_exhaustion(batch, 17, Recipe()):
        batch_loss(Loss(network), batch, Recipe().training, torch.float32, narrow=True).backward()
except TrainingError as error:
    print(error)
"""


def batch(rows: int, source: int, target: int) -> Batch:
    words = np.ones((rows, target), np.int64)
    return Batch(np.arange(rows), np.ones((rows, source), np.int64), np.full(rows, source), words, words)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
def test_a_process_out_of_memory_names_step_batch_and_setting():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert "memory is not enough for the batch of step 17: 256 pairs of up to 512 source and 512 target" in (
        done.stdout
    ), done.stdout + done.stderr
    assert "data.longest (now 200)" in done.stdout


def test_batch_tokens_is_suggested_where_batches_are_large_and_longest_where_texts_are():
    for shape, setting in (
        ((128, 32, 28), "training.batch_tokens (now 4,096)"),
        ((8, 4000, 30), "data.longest"),
    ):
        with (
            pytest.raises(TrainingError, match=r"Train anew with a smaller") as caught,
            naming_exhaustion(batch(*shape), 3, Recipe()),
        ):
            raise MemoryError
        assert setting in str(caught.value)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_other_errors_are_left_as_they_are(error, verdict):
    assert is_exhaustion(error) is verdict
    with (
        pytest.raises(TrainingError if verdict else type(error)),
        naming_exhaustion(batch(1, 2, 3), 1, Recipe()),
    ):
        raise error
