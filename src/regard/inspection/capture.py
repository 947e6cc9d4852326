"""What any model looks at: records of its attention, while its own kernel computes.

    captured = capture(model, "the law will be obeyed", tokenizer=tokenizer)
    captured.record("decoder").weights        (layer, head, query, key)

What is kept is bounded: the weights of a short text, and of a long one their means in rectangles with numbers
about each head, from which any part is worked out again by `Captured.part`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from regard.errors import InputError
from regard.inspection import huggingface, modules
from regard.inspection.calls import Call
from regard.inspection.kept import Kept, Whole, kept
from regard.inspection.norms import out_projection, value_norms
from regard.inspection.spelling import encoded, separators_of, spelt
from regard.record import AttentionRecord

Kind = Literal["encoder", "decoder", "cross"]
KINDS: tuple[Kind, ...] = ("encoder", "decoder", "cross")
MEMORY = 256
SIDE = 256

Progress = Callable[[int, int], None]
"""How much is done, and of how much."""

CROSS = ("cross", "encoder_attn", "encdec", "encoder_decoder", "multihead_attn")


@dataclass(frozen=True, eq=False)
class Captured:
    """What a model looked at.

    Attributes:
        records: one for each kind of attention and text, its axes layer, head, query and key.
        outputs: what the model returned.
    """

    records: tuple[AttentionRecord, ...]
    outputs: Any
    _kept: Mapping[tuple[str, int], Sequence[Kept]] = field(repr=False)

    def record(self, kind: str | None = None, text: int = 0) -> AttentionRecord:
        """The record of one kind, "encoder", "decoder" or "cross", and one text.

        Args:
            kind: None where there is one only.
            text: which, from 0.

        Raises:
            InputError: no such kind or text, and which there are.
        """
        kinds = list(dict.fromkeys(record.metadata["kind"] for record in self.records))
        if not kinds:
            raise InputError("record(): nothing of the kinds that were asked for was captured.")
        if kind is None and len(kinds) == 1:
            kind = kinds[0]
        for record in self.records:
            if record.metadata["kind"] == kind and record.metadata["text"] == str(text):
                return record
        texts = 1 + max(int(record.metadata["text"]) for record in self.records)
        raise InputError(
            f"record(): kind is one of {', '.join(kinds)}, text from 0 to {texts - 1}; got {kind!r}, {text}."
        )

    def part(
        self, layer: int, head: int, queries: slice, keys: slice, *, kind: str | None = None, text: int = 0
    ) -> np.ndarray:
        """The weights of a part of one map, whole or pooled.

        Args:
            layer, head: from 0.
            queries, keys: which rows and columns, with step 1.
            kind, text: as for `record`.

        Returns:
            (Q, K) weights.

        Raises:
            InputError: a layer, a head, a kind or a text that there is not.
        """
        record = self.record(kind, text)
        layers = self._kept[record.metadata["kind"], text]
        heads = record.weights.shape[1]
        if not (0 <= layer < len(layers) and 0 <= head < heads):
            raise InputError(
                f"part(): layer is from 0 to {len(layers) - 1} and head from 0 to {heads - 1}; got layer "
                f"{layer}, head {head}."
            )
        if record.whole:
            return record.weights[layer, head, queries, keys]
        return layers[layer].part(head, queries, keys)

    def by_value_norm(self, kind: str | None = None, text: int = 0) -> AttentionRecord:
        """The record with each weight times the length of what its key brings, ‖w · W_O v‖.

        A key with a large weight and a value of nothing, such as a sink, brings nothing.

        Args:
            kind, text: as for `record`.

        Raises:
            InputError: rectangles of a long text, or a model whose projection after attention is not known.

        Source:
            Kobayashi et al. 2020, eq. 5; arXiv:2004.10102.
        """
        record = self.record(kind, text)
        layers = self._kept[record.metadata["kind"], text]
        norms = [layer.norms for layer in layers if layer.norms is not None]
        if len(norms) < len(layers):
            reason = (
                "no projection after its attention was found" if record.whole else "only rectangles are kept"
            )
            raise InputError(f"by_value_norm(): what keys bring is not known of this record: {reason}.")
        weights = record.weights * np.concatenate(norms)[:, :, None]
        return replace(record, weights=weights, title=f"{record.title}, by value norm", statistics={})


def capture(
    model: nn.Module,
    text: str | Sequence[str] | Mapping[str, Any],
    *,
    tokenizer: Any = None,
    target: str | Sequence[str] | None = None,
    generate: int = 0,
    kinds: Sequence[str] | None = None,
    memory: float = MEMORY,
    side: int = SIDE,
    name: str | None = None,
    progress: Progress | None = None,
) -> Captured:
    """Run a model, and keep what it looks at.

    Args:
        model: of `transformers`, whatever attention it was loaded with but flex attention; of regard; or any
            module with `torch.nn.MultiheadAttention` in it. It is left as it was found.
        text: one text or several; or what the model's forward pass takes by name, such as what a tokenizer or
            an image processor returns.
        tokenizer: the model's own, of `transformers` or `tokenizers`; texts need it.
        target: of an encoder–decoder, what it is made to say of each text.
        generate: how many tokens it says by itself after that, the likeliest each; 0 for none. Models of
            `transformers` and regard's GPT can.
        kinds: those to keep of "encoder", "decoder" and "cross"; None for all there are.
        memory: MiB that the weights of a kind may take. Of larger ones their means and largest in at most
            `side` × `side` rectangles are kept.
        side: see above.
        name: of the model, for titles; None for its class.
        progress: told after each attention how many have been heard, and how many there will be.

    Returns:
        `Captured`: the records, and what the model returned. Positions that only fill up are left out of the
        records. In training weights are those before dropout.

    Raises:
        InputError: no text, more than the model has positions for, a model without attention, or with one
            that is not understood and would be shown wrong.
    """
    wanted = KINDS if kinds is None else tuple(kinds)
    if side < 1 or generate < 0 or memory < 0:
        raise InputError(
            f"capture(): side is at least 1, generate and memory at least 0; got {side}, {generate} and "
            f"{memory}."
        )
    model = getattr(model, "_orig_mod", model)  # of torch.compile, whose programs cannot be listened to
    if unknown := [kind for kind in wanted if kind not in KINDS]:
        raise InputError(f"capture(): kinds are of {', '.join(KINDS)}; got {unknown[0]!r}.")
    prepared = prepare(model, text, tokenizer, target, before=bool(generate))
    _require_room(model, prepared, generate)
    heard = _Heard(model, wanted, memory * 2**20, side, prepared, progress)
    with heard.listening(), torch.no_grad():
        outputs = _run(model, prepared, generate)
    if not heard.count and (not generate or "input_ids" in prepared.inputs):
        with torch.no_grad():
            if generate:
                prepared.inputs = _gone_on(prepared, outputs)
            else:  # as it is, since some models go by the name of their attention
                outputs = _run(model, prepared, 0)
            heard.told(_run_telling(model, prepared))
    return heard.captured(outputs, name or type(model).__name__)


@dataclass
class Prepared:
    """What the model is handed, and which tokens that is.

    Attributes:
        inputs: arguments of its forward pass.
        tokens: numbers (B, L) of each side, "source" and "target"; a model with one side has "source" alone.
        there: (B, L) booleans of each side, False where a position only fills up.
        tokenizer: which knows the tokens; None where nobody does.
    """

    inputs: dict[str, Any]
    tokens: dict[str, Tensor] = field(default_factory=dict)
    there: dict[str, Tensor] = field(default_factory=dict)
    tokenizer: Any = None


def prepare(
    model: nn.Module,
    text: str | Sequence[str] | Mapping[str, Any],
    tokenizer: Any,
    target: str | Sequence[str] | None = None,
    *,
    before: bool = False,
) -> Prepared:
    """The arguments of the model's forward pass for these texts; see `capture`. With `before`, shorter ones
    are filled up before them, so that a decoder goes on behind the text.

    Raises:
        InputError: no text, no tokenizer, or more tokens than the model has positions for.
    """
    if isinstance(text, Mapping):
        if target is not None:
            raise InputError("capture(): target goes with texts; put decoder_input_ids among the inputs.")
        return _given(dict(text), tokenizer)
    texts, targets = _texts("text", text), None if target is None else _texts("target", target)
    if targets is not None and len(targets) != len(texts):
        raise InputError(f"capture(): {len(texts)} texts but {len(targets)} targets; one is needed for each.")
    place = next(iter(model.parameters()), torch.zeros(())).device
    before = before and not getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    tokens, there = _padded(*encoded(tokenizer, texts), place, before)
    if modules.is_ours(model):
        if targets is not None:
            raise InputError("capture(): target is what an encoder–decoder says; add it to the text.")
        return Prepared({"tokens": tokens, "mask": there}, {"source": tokens}, {"source": there}, tokenizer)
    found = Prepared(
        {"input_ids": tokens, "attention_mask": there.long()},
        {"source": tokens},
        {"source": there},
        tokenizer,
    )
    if targets is not None:
        rows, fill = encoded(tokenizer, targets)
        start = getattr(getattr(model, "config", None), "decoder_start_token_id", None)
        if start is None:
            raise InputError(
                f"capture(): target is what an encoder–decoder says, but {type(model).__name__} has no "
                f"decoder_start_token_id. Leave target out, or add it to the text."
            )
        said, said_there = _padded([[start, *row[:-1]] for row in rows], fill, place)
        found.inputs |= {"decoder_input_ids": said, "decoder_attention_mask": said_there.long()}
        found.tokens["target"], found.there["target"] = said, said_there
    elif getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        start = getattr(model.config, "decoder_start_token_id", None)
        found.inputs["decoder_input_ids"] = torch.full((len(texts), 1), start or 0, device=place)
        found.tokens["target"] = found.inputs["decoder_input_ids"]
    return found


def _texts(name: str, given: str | Sequence[str]) -> list[str]:
    texts = [given] if isinstance(given, str) else list(given)
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(f"capture(): {name} is empty. Give some words to look at.")
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"capture(): {name} is no valid text: {error.reason} at {error.start}."
            ) from None
    return texts


def _padded(
    rows: Sequence[Sequence[int]], fill: int, place: torch.device, before: bool = False
) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    tokens = torch.full((len(rows), longest), fill, device=place)
    there = torch.zeros(len(rows), longest, dtype=torch.bool, device=place)
    for number, row in enumerate(rows):
        own = slice(longest - len(row), None) if before else slice(len(row))
        tokens[number, own], there[number, own] = torch.tensor(row, device=place), True
    return tokens, there


def _given(inputs: dict[str, Any], tokenizer: Any) -> Prepared:
    found = Prepared(inputs, tokenizer=tokenizer)
    for side, tokens, mask in (
        ("source", "input_ids", "attention_mask"),
        ("target", "decoder_input_ids", "decoder_attention_mask"),
    ):
        if isinstance(inputs.get(tokens), Tensor):
            found.tokens[side] = inputs[tokens]
        if isinstance(inputs.get(mask), Tensor) and inputs[mask].ndim == 2:
            found.there[side] = inputs[mask].bool()
    if isinstance(inputs.get("tokens"), Tensor):
        found.tokens["source"] = inputs["tokens"]
        if inputs.get("mask") is not None:
            found.there["source"] = inputs["mask"].bool()
    return found


def _require_room(model: nn.Module, prepared: Prepared, generate: int) -> None:
    """InputError where there are more tokens than the model has positions."""
    config: Any = getattr(model, "config", None)
    if callable(getattr(config, "get_text_config", None)):
        config = config.get_text_config()
    if getattr(config, "relative_attention_num_buckets", None):  # positions count back from each token
        return
    said = "target" if "target" in prepared.tokens else "source"
    for known in ("max_position_embeddings", "n_positions", "longest"):
        most = getattr(config, known, None)
        if not isinstance(most, int) or most <= 0:
            continue
        if "roberta" in str(getattr(config, "model_type", "")):  # theirs begin behind the one for padding
            most -= (getattr(config, "pad_token_id", None) or 0) + 1
        for side, tokens in prepared.tokens.items():
            length = tokens.shape[-1] + (generate if side == said else 0)
            if length > most:
                raise InputError(
                    f"capture(): a text of {length:,} tokens, but the model knows {most:,} positions. Cut it "
                    f"into parts."
                )


def _run(model: Any, prepared: Prepared, generate: int) -> Any:
    if not generate:
        return model(**prepared.inputs)
    if modules.is_gpt(model):
        return _said_by_ours(model, prepared, generate)
    if not callable(getattr(model, "generate", None)):
        raise InputError(f"capture(): {type(model).__name__} generates nothing; leave generate out.")
    config = getattr(model, "generation_config", None)
    said = model.generate(
        **prepared.inputs,
        max_new_tokens=generate,
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        use_cache=True,
        pad_token_id=getattr(config, "pad_token_id", None) or 0,
    )
    side = "target" if getattr(model.config, "is_encoder_decoder", False) else "source"
    prepared.tokens[side] = said
    given = prepared.there.get(side)
    if given is None:
        tokens = prepared.inputs.get("decoder_input_ids" if side == "target" else "input_ids")
        length = tokens.shape[1] if isinstance(tokens, Tensor) else 1
        given = torch.ones(len(said), length, dtype=torch.bool, device=said.device)
    prepared.there[side] = torch.cat([given, _before_the_end(said[:, given.shape[1] :], config)], dim=1)
    return said


def _gone_on(prepared: Prepared, said: Tensor) -> dict[str, Any]:
    """The inputs of one pass over all that was said but the last token, which looks at nothing."""
    if "target" in prepared.tokens:
        there = prepared.there["target"][:, :-1].long()
        return prepared.inputs | {"decoder_input_ids": said[:, :-1], "decoder_attention_mask": there}
    return {"input_ids": said[:, :-1], "attention_mask": prepared.there["source"][:, :-1].long()}


def _before_the_end(said: Tensor, config: Any) -> Tensor:
    """Which of the tokens said (B, T) come before a text has ended, the end itself included."""
    ends = getattr(config, "eos_token_id", None)
    ends = [] if ends is None else torch.as_tensor(ends).flatten().tolist()
    ended = torch.zeros_like(said, dtype=torch.bool)
    for end in ends:
        ended |= said == end
    return ended.cumsum(1) - ended.int() == 0


def _said_by_ours(model: Any, prepared: Prepared, count: int) -> Tensor:
    """What a GPT of regard goes on with, after which all of it is looked at in one pass."""
    tokens, there = prepared.tokens["source"], prepared.there.get("source")
    if there is not None and not bool(there.all()):
        raise InputError(
            "capture(): regard's own GPT goes on with texts of one length. Hand them in one by one."
        )
    said = model.generate(tokens, count)
    prepared.tokens["source"] = said
    prepared.there.pop("source", None)
    model(**{**prepared.inputs, "tokens": said[:, :-1], "mask": None})
    return said


def _run_telling(model: Any, prepared: Prepared) -> Mapping[str, Sequence[Any]]:
    """The weights (B, H, Q, K) of each layer by kind, of a model that can be asked for them by name."""
    try:
        outputs = model(**prepared.inputs, output_attentions=True)
    except TypeError:  # it takes no such argument
        return {}
    names = {"encoder": "encoder_attentions", "decoder": "decoder_attentions", "cross": "cross_attentions"}
    found = {kind: getattr(outputs, name, None) for kind, name in names.items()}
    found["own"] = getattr(outputs, "attentions", None)
    kept: dict[str, Sequence[Any]] = {}
    for kind, layers in found.items():
        if not layers or any(layer is None for layer in layers):
            continue
        *leading, queries, keys = layers[0].shape
        if (
            len(leading) != 2
            or (kind != "cross" and queries != keys)
            or len(layers[0]) != _texts_of(prepared)
        ):
            raise InputError(
                f"capture(): {type(model).__name__} gives weights {tuple(layers[0].shape)}, which are no map "
                f"of a whole text, but of windows or parts of it. There is no picture of that."
            )
        total = float(layers[0].sum(-1).max()) if layers[0].numel() else 0.0
        if float(layers[0].min()) < 0 or not total <= 1 + 1e-3:
            raise InputError(
                f"capture(): what {type(model).__name__} gives for weights are none: they are below 0, or "
                f"a row of them is more than 1. There is no picture of that."
            )
        kept[kind if kind != "own" else _direction(layers, prepared)] = layers
    return kept


def _texts_of(prepared: Prepared) -> int:
    """How many texts, images or recordings there are."""
    return len(next(value for value in prepared.inputs.values() if isinstance(value, Tensor)))


def _direction(layers: Sequence[Tensor], prepared: Prepared) -> Kind:
    """Whether a text looks back only, as far as the first one shows."""
    seen = torch.stack([layer[0] > 0 for layer in layers])
    if "source" in prepared.there:
        there = prepared.there["source"][0, : seen.shape[-1]]
        seen = seen[..., there, :][..., there]
    return "decoder" if _looks_back(seen) else "encoder"


class _Heard:
    """All calls of a run, by layer."""

    def __init__(
        self,
        model: nn.Module,
        kinds: Sequence[str],
        most: float,
        side: int,
        prepared: Prepared,
        progress: Progress | None,
    ) -> None:
        self.progress, self.count = progress, 0
        self.attentions = max(sum(1 for module in model.modules() if is_attention(module)), 1)
        self.model, self.kinds, self.most, self.side, self.prepared = model, kinds, most, side, prepared
        self.modules = dict(model.named_modules())
        self.names = {module: name for name, module in self.modules.items()}
        self.layers: dict[str, dict[tuple[nn.Module, int], list[Kept]]] = {kind: {} for kind in KINDS}
        self.calls: dict[nn.Module, int] = {}

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear whatever the model is made of."""
        with contextlib.ExitStack() as stack:
            hook = self.model.register_forward_pre_hook(self._next, with_kwargs=True)
            stack.callback(hook.remove)
            stack.enter_context(huggingface.listening(self.model, self.hear))
            stack.enter_context(modules.listening(self.model, self.hear))
            if modules.is_ours(self.model):
                self.prepared.inputs["seen"] = modules.asked(self.model, self.hear)
            yield

    def _next(self, *_: Any) -> None:
        self.calls = {}

    def hear(self, module: nn.Module, call: Call, context: Tensor | None) -> None:
        """Keep what is to be kept of a call."""
        self.count += 1
        if self.progress is not None:
            self.progress(self.count, max(self.attentions, self.count))
        name = self.names.get(module, "")
        kind = kind_of(module, name, call)
        nth = self.calls.get(module, 0)
        self.calls[module] = nth + 1
        if kind not in self.kinds:
            return
        who = f"{name or 'the model'} ({type(module).__name__})"
        found = kept(call, context, who, self._rectangle(call), kind != "cross")
        if isinstance(found, Whole):
            width = call.query.shape[1] * call.values.shape[-1]
            projection = out_projection(module, name, self.modules, width)
            if projection is not None:
                found.norms = value_norms(call, projection).cpu().numpy()
        self.layers[kind].setdefault((module, nth), []).append(found)

    def told(self, weights: Mapping[str, Sequence[Tensor]]) -> None:
        """Keep weights that the model itself gives, where no attention was heard."""
        for kind, layers in weights.items():
            self.count += len(layers)
            for number, layer in enumerate(layers):
                if kind in self.kinds:
                    self.layers[kind][self.model, number] = [Whole(layer.float().cpu().numpy())]

    def _rectangle(self, call: Call) -> tuple[int, int] | None:
        """How large the rectangles are of which means are kept; None where the weights are."""
        batch, heads, queries, keys = call.shape
        if 4 * batch * heads * queries * keys * self.attentions <= self.most:
            return None
        return max(-(-queries // self.side), 1), max(-(-keys // self.side), 1)

    def captured(self, outputs: Any, name: str) -> Captured:
        """The records of all kinds and texts."""
        if not self.count:
            raise InputError(
                f"capture(): no attention of {type(self.model).__name__} was heard: it has none, or computes "
                f"it in a way of its own that neither transformers' AttentionInterface nor "
                f"torch.nn.MultiheadAttention is. Hand its weights to AttentionRecord."
            )
        self._require_encoder()
        records, whose = [], {}
        for kind, layers in self.layers.items():
            if not layers:
                continue
            _require_one_stack(kind, [self.names.get(module, "") for module, _ in layers])
            stacked = [Kept.joined(calls, kind != "cross") for calls in layers.values()]
            _require_alike(kind, stacked)
            for text in range(stacked[0].batch):
                own = [layer.text(text) for layer in stacked]
                record, own = self._record(kind, text, own, name)
                records.append(record)
                whose[kind, text] = own
        return Captured(tuple(records), outputs, whose)

    def _require_encoder(self) -> None:
        """InputError where an encoder was wanted and ran, but could not be heard."""
        twofold = getattr(getattr(self.model, "config", None), "is_encoder_decoder", False)
        ran = self.prepared.inputs.get("encoder_outputs") is None
        if twofold and ran and "encoder" in self.kinds and not self.layers["encoder"]:
            raise InputError(
                f"capture(): the encoder of {type(self.model).__name__} computes its attention in a way of "
                f'its own, which was not heard. For the rest of it give kinds=["decoder", "cross"].'
            )

    def _record(
        self, kind: str, text: int, layers: list[Kept], name: str
    ) -> tuple[AttentionRecord, list[Kept]]:
        rows, columns = layers[0].sizes
        sides = {"encoder": ("source", "source"), "cross": ("target", "source")}
        query_side, key_side = sides.get(kind, ("target", "target"))
        if "target" not in self.prepared.tokens and kind == "decoder":
            query_side = key_side = "source"
        at = self._tokens(query_side, text, rows if kind == "cross" else columns)
        keys = self._tokens(key_side, text, columns)
        queries = at if kind == "cross" else at[columns - rows :]
        where_keys = self._there(key_side, text, columns)
        at_there = self._there(query_side, text, rows if kind == "cross" else columns)
        where_queries = at_there if kind == "cross" else at_there[columns - rows :]
        layers = [layer.only(where_queries, where_keys) for layer in layers]
        numbers = self._numbers(key_side, text, columns)
        if numbers is not None:
            numbers = [number for number, there in zip(numbers, where_keys, strict=True) if there]
        itself = kind != "cross"
        found = [
            layer.described(
                None if not itself else int(where_keys.sum()) - int(where_queries.sum()),
                numbers,
                separators_of(self.prepared.tokenizer, numbers or ()),
            )
            for layer in layers
        ]
        weights, largest, pooled = layers[0].stacked(layers)
        shown = [name for name in found[0] if all(name in one for one in found)]
        return (
            AttentionRecord(
                weights,
                tuple(token for token, there in zip(queries, where_queries, strict=True) if there),
                tuple(token for token, there in zip(keys, where_keys, strict=True) if there),
                ("layer", "head", "query", "key"),
                title=f"{name} {kind}",
                metadata={"kind": kind, "text": str(text)},
                pooled=pooled,
                largest=largest,
                statistics={key: np.stack([one[key] for one in found]) for key in shown},
            ),
            layers,
        )

    def _numbers(self, side: str, text: int, size: int) -> list[int] | None:
        tokens = self.prepared.tokens.get(side)
        # Of what was said the last token looks at nothing; other sizes are those of an image, or of speech.
        if tokens is None or tokens.ndim != 2 or tokens.shape[1] not in (size, size + 1):
            return None
        return tokens[text % len(tokens), :size].tolist()

    def _tokens(self, side: str, text: int, size: int) -> tuple[str, ...]:
        numbers = self._numbers(side, text, size)
        if numbers is not None:
            return spelt(self.prepared.tokenizer, numbers)
        pixels = self.prepared.inputs.get("pixel_values")
        if isinstance(pixels, Tensor) and (names := _patches(self.model, pixels, size)):
            return names
        return tuple(map(str, range(size)))

    def _there(self, side: str, text: int, size: int) -> np.ndarray:
        mask = self.prepared.there.get(side)
        if mask is None or mask.shape[1] < size:
            return np.ones(size, bool)
        return mask[text % len(mask), :size].cpu().numpy()


def is_attention(module: nn.Module) -> bool:
    """Whether a module is one that is heard, as far as its name tells."""
    name = type(module).__name__.lower()
    return name.endswith(("attention", "attn")) and not any(
        is_attention(child) for child in module.children()
    )


def kind_of(module: nn.Module, name: str, call: Call) -> Kind:
    """Whether a text looks at itself, only back, or at another."""
    if call.itself is not None:
        decodes = "decoder" in name.split(".")
        back = decodes or call.offset is not None or _looks_back(call.mask)
        return "cross" if not call.itself else "decoder" if back else "encoder"
    if getattr(module, "is_cross_attention", False) or any(mark in name.lower() for mark in CROSS):
        return "cross"
    if getattr(module, "is_causal", False) or getattr(module, "is_decoder", False):
        return "decoder"
    return "decoder" if name.split(".")[0] == "decoder" else "encoder"


def _looks_back(mask: Tensor | None) -> bool:
    """Whether the first position sees none of those after it."""
    return mask is not None and mask.shape[-2] > 1 and not bool(mask[..., 0, 1:].any())


def _patches(model: nn.Module, pixels: Tensor, size: int) -> tuple[str, ...]:
    """The names of the positions of an image: row and column of each patch, and what stands before them."""
    patch = getattr(getattr(model, "config", None), "patch_size", None)
    if not isinstance(patch, int) or pixels.ndim != 4:
        return ()
    rows, columns = pixels.shape[-2] // patch, pixels.shape[-1] // patch
    before = size - rows * columns
    if before < 0:
        return ()
    names = [f"{row + 1},{column + 1}" for row in range(rows) for column in range(columns)]
    return (*(("[CLS]",) if before == 1 else tuple(f"[{n + 1}]" for n in range(before))), *names)


def _require_one_stack(kind: str, names: Sequence[str]) -> None:
    """InputError where layers of one kind are not of one list, but of two encoders side by side, say."""
    found: dict[tuple[str, ...], str] = {}
    for name in names:
        parts = name.split(".")
        number = next((place for place, part in enumerate(parts) if part.isdecimal()), None)
        if number is not None:
            found.setdefault(tuple(parts[:number]), name)
    if len(found) > 1:
        first, second = [list(stack) for stack in found][:2]
        differ = next(
            (at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other), 0
        )
        listed = " and ".join(".".join(stack) for stack in found)
        example = ".".join(["model", *first[: differ + 1]])
        raise InputError(
            f"capture(): several stacks have layers of the kind {kind}, {listed}; one record cannot hold "
            f"them all. Capture one of them, such as capture({example}, …)."
        )


def _require_alike(kind: str, layers: Sequence[Kept]) -> None:
    shapes = {(layer.batch, *layer.shape) for layer in layers}
    if len(shapes) > 1:
        listed = ", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))
        raise InputError(
            f"capture(): the layers of the {kind} have maps of different sizes ({listed}: texts or windows, "
            f"heads, queries, keys), which one record cannot hold. Capture a part of the model."
        )
