"""A model says the same in `transformers`, and one of theirs says the same here."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import regard
from regard.data.tokenization import END, PAD, START, UNKNOWN
from regard.decoding.beam import beam_search
from regard.errors import InputError, RunError
from regard.export import huggingface

transformers = pytest.importorskip("transformers")

KINDS = [
    {},
    {"norm": "pre"},
    {"activation": "gelu", "tied": "target", "bias": False},
    {"activation": "silu"},
    {"norm": "pre", "activation": "gelu", "tied": "none", "bias": False},
]
REFUSED = [
    ("positions", "rotary", {}),
    ("positions", "alibi", {}),
    ("activation", "swiglu", {}),
    ("score", "cosine", {}),
    ("normalizer", "sparsemax", {}),
    ("key_heads", "2", {}),
    ("encoder_window", "3", {}),
    ("copy", "true", {}),
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """What transformers prints while it loads is nobody's business here."""
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)


def opened(folder: Path) -> tuple[Any, Any]:
    model, found = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, output_loading_info=True)
    assert not any(found.values()), found
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def logits(model: Any, source: Tensor, lengths: Tensor, given: Tensor) -> Tensor:
    """Of a model of regard's."""
    return model.network.logits(model.network(source, lengths, given)[0])


@torch.no_grad()
def their_logits(model: Any, source: Tensor, lengths: Tensor, given: Tensor) -> Tensor:
    mask = torch.arange(source.shape[1]) < lengths[:, None]
    return model(input_ids=source, attention_mask=mask.long(), decoder_input_ids=given).logits


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_an_exported_model_has_the_same_logits_and_comes_back_the_same(settings, tiny, forced, tmp_path):
    model = tiny(**settings)
    huggingface.write(model, tmp_path / "out")
    theirs, _ = opened(tmp_path / "out")
    inputs = forced(model.tokenizer)
    expected = logits(model, *inputs)
    torch.testing.assert_close(their_logits(theirs, *inputs), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(logits(regard.load(tmp_path / "out"), *inputs), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["bpe", "word", "character"])
def test_the_exported_tokenizer_gives_the_same_numbers(kind, tiny, texts, tmp_path):
    model = tiny(tokenizer=kind)
    huggingface.write(model, tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    said = [*texts, "  a  horse ", "a </s> b"]
    expected = [encoded.ids for encoded in model.tokenizer.encode([text.strip() for text in said])]
    found = tokenizer(said)["input_ids"]
    assert [[UNKNOWN if i in (PAD, START, END) else i for i in row] for row in found] == expected
    ids = [i for i in expected[0] if i != UNKNOWN]
    assert tokenizer.decode(ids) == model.tokenizer.join([model.tokenizer.tokens[i] for i in ids])


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_generate_says_what_regard_says(norm, beam, tiny, texts, tmp_path):
    model = tiny(norm=norm, taught=True)
    huggingface.write(model, tmp_path / "out")
    theirs, tokenizer = opened(tmp_path / "out")
    for text in texts:
        batch = tokenizer([text], return_tensors="pt")
        length = batch.input_ids.shape[1]
        limit = length + 10
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = theirs.generate(
                **batch,
                num_beams=beam,
                length_penalty=0.0,
                early_stopping="never" if beam > 1 else None,
                max_length=limit + 2,
            )[0]
        (found,) = beam_search(
            model.network,
            batch.input_ids,
            torch.tensor([length]),
            torch.tensor([limit]),
            beam=beam,
            alpha=0.0,
        )
        assert said[1:-1].tolist() == found[0].tokens
        assert said[0] == START and said[-1] == END


@pytest.mark.parametrize(("name", "value", "_"), REFUSED, ids=lambda value: str(value))
def test_what_transformers_cannot_hold_is_refused_with_the_setting(name, value, _, tiny, tmp_path):
    given = {"2": 2, "3": 3, "true": True}.get(value, value)
    with pytest.raises(InputError, match=rf"model\.{name} is .*{value}.*cannot hold; it holds .*onnx"):
        huggingface.write(tiny(**{name: given}), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_recurrent_model_is_refused(tiny, tmp_path):
    with pytest.raises(InputError, match=r"model\.architecture is 'recurrent'.*holds 'transformer'"):
        huggingface.write(tiny("recurrent"), tmp_path / "out")


def test_a_folder_that_is_not_empty_is_left_alone(tiny, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        huggingface.write(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_where_writing_fails_nothing_is_left(tiny, tmp_path, monkeypatch):
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface, "save_file", fails)
    with pytest.raises(regard.errors.TrainingError, match="No space left on device"):
        huggingface.write(tiny(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def foreign(folder: Path, **settings: Any) -> Any:
    """A Marian or Pegasus model of `transformers` with weights by chance, saved without a tokenizer."""
    torch.manual_seed(0)
    sizes = {
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 20,
        "decoder_ffn_dim": 20,
        "vocab_size": 40,
        "max_position_embeddings": 32,
        "init_std": 0.3,
    }
    kind = settings.pop("kind", "Marian")
    config = getattr(transformers, f"{kind}Config")(**sizes | settings)
    name = "MarianMTModel" if kind == "Marian" else "PegasusForConditionalGeneration"
    model = getattr(transformers, name)(config).eval()
    model.final_logits_bias.normal_()
    model.final_logits_bias[0, config.eos_token_id] += 4.0  # it ends before it has to, where engines differ
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    return model


MARIAN = {"pad_token_id": 39, "decoder_start_token_id": 39, "eos_token_id": 0, "activation_function": "relu"}


@pytest.mark.parametrize(
    "settings",
    [
        MARIAN | {"scale_embedding": True},
        MARIAN | {"activation_function": "swish"},
        MARIAN | {"share_encoder_decoder_embeddings": False, "scale_embedding": True},
        MARIAN | {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
        MARIAN | {"pad_token_id": 5, "decoder_start_token_id": 7, "eos_token_id": 2},
        {"kind": "Pegasus", "scale_embedding": True},
    ],
    ids=str,
)
def test_a_model_of_transformers_has_the_same_logits_here(settings, tmp_path):
    theirs = foreign(tmp_path / "theirs", **settings)
    model = regard.load(tmp_path / "theirs")
    original = torch.tensor(model.tokenizer.original)
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(4, 40, (3, 7), generator=generator)
    given = torch.cat([torch.full((3, 1), START), torch.randint(4, 40, (3, 5), generator=generator)], dim=1)
    lengths = torch.tensor([7, 4, 1])
    found = logits(model, source, lengths, given)
    expected = their_logits(theirs, original[source], lengths, original[given])
    there = [i for i in range(len(original)) if int(original[i]) not in original[:i].tolist()]
    assert sorted(original[there].tolist()) == list(range(40))
    torch.testing.assert_close(found[..., there], expected[..., original[there]], atol=1e-4, rtol=0)
    said, wanted = torch.log_softmax(found, -1), torch.log_softmax(expected, -1)  # a copy takes no share
    torch.testing.assert_close(said[..., there], wanted[..., original[there]], atol=1e-4, rtol=0)
    assert [int(original[i]) for i in (PAD, END)] == [theirs.config.pad_token_id, theirs.config.eos_token_id]


def test_a_folder_without_a_tokenizer_says_so_when_it_is_asked_with_texts(tmp_path):
    foreign(tmp_path / "theirs", **MARIAN)
    with pytest.raises(RunError, match="there is no tokenizer"):
        regard.load(tmp_path / "theirs").predict(["a man"])


@pytest.fixture
def marian_folder(tmp_path, texts) -> Path:
    """A Marian model with a sentencepiece vocabulary, as they are on the hub."""
    import sentencepiece

    folder = tmp_path / "marian"
    folder.mkdir()
    (tmp_path / "texts").write_text("\n".join(texts * 4), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.Train(
        input=str(tmp_path / "texts"), model_prefix=str(tmp_path / "spm"), vocab_size=50, minloglevel=3
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spm.model"))
    spelt = [pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())]
    tokens = ["</s>", "<unk>", *spelt, "<pad>"]
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes((tmp_path / "spm.model").read_bytes())
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    about = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    pad = len(tokens) - 1
    numbers = {"pad_token_id": pad, "decoder_start_token_id": pad, "vocab_size": len(tokens)}
    foreign(folder, **MARIAN | numbers | {"scale_embedding": True})
    return folder


def test_a_sentencepiece_vocabulary_cuts_as_in_transformers(marian_folder, texts):
    model = regard.load(marian_folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoTokenizer.from_pretrained(marian_folder)
    said = [*texts, "日本 horse"]
    original = model.tokenizer.original
    encoded = model.tokenizer.encode(said)
    assert [[original[i] for i in e.ids] for e in encoded] == theirs(said)["input_ids"]
    assert encoded[-1].unknown and "日" in "".join(encoded[-1].tokens)
    assert model.tokenizer.join(encoded[0].tokens[:-1]) == texts[0]


def test_a_marian_model_predicts_as_generate_does(marian_folder, texts):
    model = regard.load(marian_folder)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(marian_folder).eval()
    original = torch.tensor(model.tokenizer.original)
    for text in texts[:3]:
        (encoded,) = model.tokenizer.encode([text])
        source, limit = torch.tensor([encoded.ids]), 12
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = theirs.generate(
                original[source],
                num_beams=4,
                length_penalty=0.0,
                early_stopping="never",
                max_length=limit + 2,
                suppress_tokens=[theirs.config.pad_token_id],
            )[0]
        limits = torch.tensor([limit])
        (found,) = beam_search(
            model.network, source, torch.tensor([len(encoded.ids)]), limits, beam=4, alpha=0.0
        )
        assert [int(original[i]) for i in found[0].tokens] == said[1:-1].tolist()
    (prediction,) = model.predict(texts[:1])
    assert prediction.alignment.key_tokens == (*texts[0].split(), "</s>")


def test_a_model_of_another_kind_is_refused(tmp_path):
    foreign(tmp_path / "theirs", **MARIAN)
    path = tmp_path / "theirs" / "config.json"
    about = json.loads(path.read_text())
    for change, says in (
        ({"model_type": "bart"}, "of type 'bart'; regard opens those of type marian and pegasus"),
        ({"activation_function": "tanh"}, "activation_function is 'tanh'"),
        ({"decoder_ffn_dim": 21}, "encoder_ffn_dim is 20 and decoder_ffn_dim 21"),
        ({"decoder_vocab_size": 30}, "decoder_vocab_size 30"),
        ({"encoder_layers": 3}, "is missing"),
        ({"d_model": 32}, "its weights are not those that config.json describes"),
    ):
        path.write_text(json.dumps(about | change))
        with pytest.raises(RunError, match=says):
            regard.load(tmp_path / "theirs")


def test_pickled_weights_are_refused_and_damaged_ones_named(tmp_path):
    foreign(tmp_path / "theirs", **MARIAN)
    weights = tmp_path / "theirs" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(RunError, match="not a whole safetensors file"):
        regard.load(tmp_path / "theirs")
    weights.rename(tmp_path / "theirs" / "pytorch_model.bin")
    with pytest.raises(RunError, match="a pickle, which may run code"):
        regard.load(tmp_path / "theirs")


def test_weights_in_several_files_are_read(tmp_path, forced, tiny):
    model = tiny()
    huggingface.write(model, tmp_path / "out")
    whole = tmp_path / "out" / "model.safetensors"
    tensors = load_file(whole)
    names = sorted(tensors)
    parts = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    for part, mine in parts.items():
        save_file({name: tensors[name] for name in mine}, tmp_path / "out" / part)
    index = {"weight_map": {name: part for part, mine in parts.items() for name in mine}}
    (tmp_path / "out" / "model.safetensors.index.json").write_text(json.dumps(index))
    whole.unlink()
    inputs = forced(model.tokenizer)
    torch.testing.assert_close(logits(regard.load(tmp_path / "out"), *inputs), logits(model, *inputs))
