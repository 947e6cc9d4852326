"""Models are opened without running anything, and what cannot be opened says why."""

import json

import pytest
import torch

from regard.errors import InputError, RunError
from regard.inspection.opening import open_model, over_training
from regard.looking import look
from regard.models.gpt import Gpt

transformers = pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path):
    config = transformers.BertConfig(
        vocab_size=97, hidden_size=32, num_attention_heads=4, intermediate_size=48, num_hidden_layers=2
    )
    torch.manual_seed(0)
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def changed(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


def test_a_folder_is_opened_as_what_it_was_saved_as(folder):
    opened = open_model(folder)
    assert type(opened.network).__name__ == "BertForMaskedLM" and not opened.network.training
    assert opened.name == "bert" and opened.tokenizer is None


def test_a_gguf_file_is_opened_with_its_vocabulary(smollm):
    opened = open_model(smollm)
    assert isinstance(opened.network, Gpt) and opened.tokenizer.encode("a b").tokens == ["a", "Ġb"]


def test_code_is_never_run(folder):
    with pytest.raises(RunError, match="brings code of its own"):
        open_model(changed(folder, auto_map={"AutoModel": "evil.Model"}))
    (folder / "model.safetensors").unlink()
    with pytest.raises(RunError, match="no weights"):
        open_model(changed(folder, auto_map=None))
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit'\ntR.")
    with pytest.raises(RunError, match=r"pytorch_model\.bin: a pickle"):
        open_model(folder)


def test_what_is_no_model_says_what_was_expected(tmp_path, folder):
    with pytest.raises(RunError, match="no such folder"):
        open_model(tmp_path / "none")
    with pytest.raises(RunError, match=r"neither a run \(no regard.toml\) nor a model"):
        open_model(tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="transformers cannot open this model"):
        open_model(folder)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\x00")
    pytest.importorskip("gguf")
    with pytest.raises(RunError, match="not a whole GGUF file"):
        open_model(broken)


def test_a_gguf_file_cut_short_is_refused(tmp_path, smollm):
    cut = tmp_path / "cut.gguf"
    with smollm.open("rb") as file:
        cut.write_bytes(file.read(3_000_000))
    with pytest.raises(RunError, match=r"cut\.gguf"):
        open_model(cut)


def test_all_heads_of_a_model_are_looked_at_or_one(minilm):
    opened = open_model(minilm)
    view = look(opened, "The law will be perfect.")
    assert view.record.weights.shape == (6, 12, 8, 8) and view.record.title == "model encoder"
    one = look(opened, "The law will be perfect.", layer=0, head=2).record
    assert one.weights.shape == (1, 1, 8, 8) and one.statistics["previous"].shape == (1, 1)
    with pytest.raises(InputError, match="head is from 0 to 11 in the encoder; got 12"):
        look(opened, "A text.", head=12)


def test_the_checkpoints_of_a_model_are_looked_into_in_their_order(minilm, tmp_path):
    for name in ("checkpoint-10", "checkpoint-2"):
        (tmp_path / name).symlink_to(minilm, target_is_directory=True)
    records = over_training([tmp_path / "checkpoint-10", tmp_path / "checkpoint-2"], "A text.")
    assert [record.metadata["step"] for record in records] == ["2", "10"]
    assert records[0].query_tokens == ("[CLS]", "a", "text", ".", "[SEP]")
    with pytest.raises(InputError, match="which step is this"):
        over_training([minilm], "A text.")
    with pytest.raises(InputError, match="no checkpoint is given"):
        over_training([], "A text.")


def test_a_view_can_say_how_far_to_believe_it(minilm):
    record = look(open_model(minilm), "The cat sat on the mat because it was tired.", believe=True).record
    assert "by chance" in record.metadata["belief"]


def test_options_that_a_model_cannot_have_are_refused(minilm):
    opened = open_model(minilm)
    with pytest.raises(InputError, match="nbest is 2"):
        look(opened, "a", nbest=2)
    with pytest.raises(InputError, match="model has no attention of the kind cross"):
        look(opened, "a text", kind="cross")
    with pytest.raises(InputError, match="no valid text"):
        look(opened, "a \ud800 text")
    with pytest.raises(InputError, match="one text at a time"):
        look(opened, ["a text here", "b text here"], believe=True)
    with pytest.raises(InputError, match="a module of PyTorch"):
        look(3, "a")
    with pytest.raises(InputError, match="has no decoder_start_token_id"):
        look(opened, "a text", target="ein Text")


def test_layers_that_are_not_in_the_folder_are_not_made_up(folder):
    with pytest.raises(RunError, match="what they look at would be chance"):
        open_model(changed(folder, num_hidden_layers=3))
    with pytest.raises(RunError, match="cannot open this model"):
        open_model(changed(folder, num_hidden_layers=2, dtype="nonsense"))
