"""How fast does JoeyNMT 2.3.0 translate with a Transformer trained by regard: one JSON object on stdout.

Run by the Python of an environment as in joeynmt_train.py, on a folder that ../decode_speed.py writes:

    PEER/bin/python joeynmt_translate.py --model FOLDER --pieces test.pieces --beam 5

Model, vocabulary, data set, batches, search and output are JoeyNMT's, put together and called as by
`joeynmt translate config.yaml < test.pieces`, with its own defaults: 64 sentences a batch, as they come.
Only the search is timed, with the making of the data set; loading the model is not.

Four things differ between the two models, and are made alike. JoeyNMT interleaves the sines and cosines of
its positions where regard has all sines first: the features are put into another order, everywhere. Its
output layer has no bias and is given one. Its layer norms add 1e-6 to the variance and are told regard's
1e-5. It ends sources by </s>, which regard's models never saw, and is kept from it.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from functools import partial
from pathlib import Path
from typing import Any

from timing import peak_mib, pin_threads, read_lines

SPECIAL = [1, 0, 2, 3]
"""regard's ids of JoeyNMT's first four tokens: unknown, padding, start, end."""
EPSILON = 1e-5


def configuration(about: dict[str, Any], args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what a user of JoeyNMT would write into the YAML file of this model."""
    side = {"level": "word", "lowercase": False, "normalize": False}
    vocabulary = str(folder / "pieces.txt")
    layers = {
        "type": "transformer",
        "embeddings": {"embedding_dim": about["width"], "scale": True},
        "hidden_size": about["width"],
        "ff_size": about["feed_forward"],
        "num_heads": about["heads"],
        "dropout": 0.1,
        "layer_norm": about["norm"],
        "activation": about["activation"],
    }
    return {
        "name": "decode-speed",
        "joeynmt_version": "2.3.0",
        "model_dir": str(folder),
        "use_cuda": False,
        "data": {
            # an interactive data set needs no files, but the key is asked for
            "test": "none",
            "dataset_type": "plain",
            "src": {"lang": "src", "voc_file": vocabulary, **side},
            "trg": {"lang": "trg", "voc_file": vocabulary, **side},
        },
        "testing": {
            "beam_size": args.beam,
            "beam_alpha": args.length_penalty,
            "generate_unk": args.generate_unknown,
            **({"batch_size": args.batch_size} if args.batch_size else {}),
            **({"batch_type": args.batch_type} if args.batch_type else {}),
            **({"max_output_length": args.longest} if args.longest else {}),
        },
        "training": {"batch_size": 1},
        "model": {
            "tied_embeddings": about["tied"] == "all",
            "tied_softmax": about["tied"] != "none",
            "encoder": {**layers, "num_layers": about["encoder_layers"]},
            "decoder": {**layers, "num_layers": about["decoder_layers"]},
        },
    }


def weights(own: dict[str, Any], width: int, norm: str) -> dict[str, Any]:
    """regard's weights under JoeyNMT's names, their features in JoeyNMT's order.

    Args:
        own: regard's, by name, float32.
        width: W, of the residual stream.
        norm: "pre" or "post"; "pre" has a norm at the end of each side.
    """
    order = [
        place for pair in zip(range(width // 2), range(width // 2, width), strict=True) for place in pair
    ]
    rows = [*SPECIAL, *range(len(SPECIAL), len(own["output.bias"]))]
    found = {
        "src_embed.lut.weight": own["source_embedding.weight"][rows][:, order],
        "trg_embed.lut.weight": own["target_embedding.weight"][rows][:, order],
        "decoder.output_layer.weight": own["output.weight"][rows][:, order],
        "decoder.output_layer.bias": own["output.bias"][rows],
    }

    def put(theirs: str, ours: str, *, reads: bool = False, writes: bool = False) -> None:
        """One layer, which reads features of the stream, or writes them, or both."""
        weight = own[f"{ours}.weight"]
        bias = own.get(f"{ours}.bias", weight[..., 0] * 0)
        if reads:
            weight = weight[:, order]
        if writes:
            weight, bias = weight[order], bias[order]
        found[f"{theirs}.weight"], found[f"{theirs}.bias"] = weight, bias

    def put_attention(theirs: str, ours: str) -> None:
        for name, kind in (("q_layer", "query"), ("k_layer", "keys"), ("v_layer", "values")):
            put(f"{theirs}.{name}", f"{ours}.{kind}", reads=True)
        put(f"{theirs}.output_layer", f"{ours}.out", writes=True)

    for side in ("encoder", "decoder"):
        number = 0
        while f"{side}.layers.{number}.attention.query.weight" in own:
            layer = f"{side}.layers.{number}"
            if side == "encoder":
                put_attention(f"{layer}.src_src_att", f"{layer}.attention")
                put(f"{layer}.layer_norm", f"{layer}.attention_norm", writes=True)
            else:
                put_attention(f"{layer}.trg_trg_att", f"{layer}.attention")
                put_attention(f"{layer}.src_trg_att", f"{layer}.cross_attention")
                put(f"{layer}.x_layer_norm", f"{layer}.attention_norm", writes=True)
                put(f"{layer}.dec_layer_norm", f"{layer}.cross_attention_norm", writes=True)
            put(f"{layer}.feed_forward.layer_norm", f"{layer}.feed_forward_norm", writes=True)
            put(f"{layer}.feed_forward.pwff_layer.0", f"{layer}.feed_forward.inner", reads=True)
            put(f"{layer}.feed_forward.pwff_layer.3", f"{layer}.feed_forward.outer", writes=True)
            number += 1
        if norm == "pre":
            put(f"{side}.layer_norm", f"{side}.norm", writes=True)
    return found


def model_and_data(
    config: dict[str, Any], own: dict[str, Any], about: dict[str, Any]
) -> tuple[Any, Any, Any]:
    """JoeyNMT's settings, its model with regard's weights, and its data set."""
    import joeynmt.prediction as prediction  # pyright: ignore[reportMissingImports]
    import torch
    from joeynmt.config import parse_global_args  # pyright: ignore[reportMissingImports]

    prediction.resolve_ckpt_path = lambda *given: None

    def checkpoint(path: None, map_location: Any) -> dict[str, Any]:
        """In place of a file: the weights, put in below."""
        return {"model_state": None}

    def build(cfg: dict[str, Any], **vocabularies: Any) -> Any:
        made = build_model(cfg, **vocabularies)
        state = {k: torch.from_numpy(v) for k, v in weights(own, about["width"], about["norm"]).items()}
        made.decoder.output_layer.bias = torch.nn.Parameter(state["decoder.output_layer.bias"])
        for module in made.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = EPSILON
        missing = made.load_state_dict(state, strict=False)
        # the positions are JoeyNMT's own
        assert set(missing.missing_keys) <= {"encoder.pe.pe", "decoder.pe.pe"}, missing
        assert not missing.unexpected_keys, missing
        made.load_state_dict = lambda state: None
        return made

    build_model, prediction.build_model = prediction.build_model, build
    prediction.load_checkpoint = checkpoint
    args = parse_global_args(config, rank=0, mode="translate")
    model, _, _, data = prediction.prepare(args, rank=0, mode="translate")
    encode = data.sequence_encoder[data.src_lang]

    def without_end(sentences: Any, bos: bool, eos: bool) -> Any:
        return encode(sentences, bos=bos, eos=False)

    data.sequence_encoder = {**data.sequence_encoder, data.src_lang: without_end}
    return args, model, data


def translated(
    args: Any, model: Any, data: Any, lines: list[str]
) -> tuple[list[list[str]], dict[str, float]]:
    """The pieces that JoeyNMT says for each line, and the time that took."""
    from joeynmt.prediction import predict  # pyright: ignore[reportMissingImports]

    data.reset_cache()
    began, worked = time.perf_counter(), time.process_time()
    for line in lines:
        data.set_item(line)
    found = predict(
        model=model,
        data=data,
        compute_loss=False,
        device=args.device,
        rank=0,
        n_gpu=args.n_gpu,
        normalization="none",
        num_workers=args.num_workers,
        args=args.test,
        autocast=args.autocast,
    )
    taken = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - worked}
    return [[piece for piece in pieces if piece != "</s>"] for pieces in found[3]], taken


def main() -> None:
    """Translate, and print what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="a folder with about.json, weights.npz and pieces.txt")
    add("--pieces", type=Path, required=True, help="pieces separated by a space, a sentence a line")
    add("--beam", type=int, default=5)
    add("--length-penalty", type=float, default=1.0)
    add("--generate-unknown", action="store_true")
    add(
        "--longest",
        type=int,
        help="pieces that an output may have; JoeyNMT's default: 1.5 times the source's",
    )
    add("--batch-size", type=int, help="JoeyNMT's default: 64")
    add("--batch-type", choices=("sentence", "token"))
    add("--warmup", type=int, default=64, help="sentences that are translated before the clock starts")
    add("--threads", type=int, default=2)
    args = parser.parse_args()
    pin_threads(args.threads)
    import numpy
    import torch

    about = json.loads((args.model / "about.json").read_text(encoding="utf-8"))
    own = dict(numpy.load(args.model / "weights.npz"))
    settings, model, data = model_and_data(configuration(about, args, args.model), own, about)
    lines = read_lines(args.pieces)
    run = partial(translated, settings, model, data)
    run(lines[: args.warmup])
    outputs, taken = run(lines)
    print(
        json.dumps(
            {
                **taken,
                "pieces": sum(map(len, outputs)),
                "max_rss_mib": peak_mib(),
                "threads": torch.get_num_threads(),
                "versions": {
                    "joeynmt": "2.3.0",
                    "torch": torch.__version__,
                    "python": platform.python_version(),
                },
                "outputs": outputs,
            }
        )
    )


if __name__ == "__main__":
    main()
