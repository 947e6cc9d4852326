"""Attention that links guide: whose links, what is refused, what is learned, what is resumed."""

import json

import numpy as np
import pytest

import regard
from regard.data.corpora import from_pairs
from regard.data.tokenization import Tokenizer
from regard.errors import CorpusError, InputError, Interrupted, RecipeError, RunError
from regard.evaluation.alignment import alignment_error_rate
from regard.training.guidance import check_links, given_links, word_links
from regard.training.recipe import Recipe
from regard.training.run import RunFolder

LETTERS = "abcdefgh"


def reversals(count: int, seed: int) -> list[tuple[str, str]]:
    """Words that come out in capitals and turned round."""
    random = np.random.default_rng(seed)
    texts = ["".join(random.choice(list(LETTERS), 6)) for _ in range(count)]
    return [(" ".join(text), " ".join(text[::-1].upper())) for text in texts]


PAIRS = reversals(120, 1)
LINKS = [{(5 - i, i) for i in range(6)} for _ in PAIRS]
SETTINGS = {
    "data": {"tokenizer": "word"},
    "model": {
        "width": 32,
        "heads": 2,
        "feed_forward": 64,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "dropout": 0.0,
    },
    "training": {
        "steps": 60,
        "validate_every": 60,
        "warmup": 10,
        "learning_rate": 0.005,
        "batch_tokens": 256,
    },
}


def recipe(**training) -> Recipe:
    return Recipe().changed(SETTINGS | {"training": SETTINGS["training"] | training})


def as_lines(links) -> str:
    return "".join(" ".join(f"{i}-{j}" for j, i in sorted(each)) + "\n" for each in links)


def error_rate(model) -> float:
    pairs = reversals(50, 2)
    records = model.align(*map(list, zip(*pairs, strict=True)))
    gold = [{(5 - i, i) for i in range(6)} for _ in pairs]
    return alignment_error_rate([record.links() for record in records], gold, gold).error_rate


def test_a_guided_transformer_looks_where_the_links_say_long_before_another_does(tmp_path):
    plain = regard.fit(PAIRS, recipe=recipe(), out=tmp_path / "plain")
    guided = regard.fit(PAIRS, recipe=recipe(guided_alignment=1.0), links=LINKS, out=tmp_path / "guided")
    assert guided.network.config.alignment_head == 1
    assert error_rate(guided) < 0.2 and error_rate(plain) > 0.5


def test_links_are_induced_where_none_are_given(tmp_path):
    model = regard.fit(PAIRS, recipe=recipe(guided_alignment=1.0), out=tmp_path / "run")
    assert error_rate(model) < 0.2


def test_a_file_of_links_is_read_and_found_again_when_the_run_goes_on(tmp_path, listener):
    (tmp_path / "links").write_text(as_lines(LINKS))
    (tmp_path / "p.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in PAIRS))
    settings = recipe(guided_alignment=0.5, steps=6, validate_every=6)
    regard.fit(tmp_path / "p.tsv", recipe=settings, links=tmp_path / "links", out=tmp_path / "whole")

    def stop():
        import os
        import signal

        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        regard.fit(
            tmp_path / "p.tsv",
            recipe=settings,
            links=tmp_path / "links",
            out=tmp_path / "cut",
            reporter=listener({3: stop}),
        )
    from regard.training.fit import resume

    resume(tmp_path / "cut")
    whole, cut = ((tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "cut"))
    assert whole == cut
    assert RunFolder.open(tmp_path / "cut").about["corpus"]["links_file"] == str(tmp_path / "links")


def test_other_links_are_not_those_of_the_run(tmp_path):
    settings = recipe(guided_alignment=0.5, steps=2, validate_every=2)
    regard.fit(PAIRS, recipe=settings, links=LINKS, out=tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    for links in (None, [set() for _ in PAIRS]):
        with pytest.raises(RunError, match="the links are not those the run was started with"):
            regard.fit(PAIRS, links=links, out=tmp_path / "run", resume=True)


def test_links_for_nothing_are_refused():
    with pytest.raises(RecipeError, match=r"training\.guided_alignment is 0"):
        regard.fit(PAIRS, links=LINKS, recipe=recipe(), out="nowhere")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model": {"copy": True}}, "model.copy"),
        ({"model": {"normalizer": "sigmoid"}}, "model.normalizer sigmoid"),
        ({"model": {"architecture": "recurrent", "attention": "marginal"}}, "model.attention marginal"),
        ({"model": {"architecture": "recurrent", "attention": "reinforce"}}, "model.attention reinforce"),
    ],
)
def test_attention_that_cannot_be_guided_is_refused_with_both_settings(settings, named):
    with pytest.raises(RecipeError, match=r"training\.guided_alignment is 0\.1") as caught:
        Recipe().changed(settings | {"training": {"guided_alignment": 0.1}})
    assert named in str(caught.value)


def test_one_line_of_links_is_needed_for_each_pair(tmp_path):
    (tmp_path / "links").write_text("0-0\n")
    with pytest.raises(InputError, match="1 lines of links but 2 pairs, after 1 with an empty side"):
        given_links(tmp_path / "links", from_pairs([("a", "b"), ("", "c"), ("d", "e")]))


def test_a_link_to_a_word_that_is_not_there_is_named_with_its_line():
    corpus = from_pairs([("a b", "c"), ("d", "e f")])
    words = Tokenizer.train(["a b c d e f"], "word")
    check_links([{(0, 1)}, {(1, 0)}], corpus, words, "links")
    with pytest.raises(CorpusError, match=r"links:2: links source word 1 with target word 0"):
        check_links([{(0, 1)}, {(0, 1)}], corpus, words, "links")


def test_each_pair_keeps_its_own_links_when_some_are_set_aside():
    corpus = from_pairs([("a b", "c d"), ("b a", "c c"), ("a a", "d d")])
    links = [{(0, 1)}, {(1, 1)}, {(1, 0)}]
    words = Tokenizer.train(["a b c d"] * 2, "word")
    found = word_links(corpus.pairs[1:], words, (corpus, links))
    assert list(zip(found.target_ends.tolist(), found.source_ends.tolist(), strict=True)) == [
        ([1], [1]),
        ([1], [0]),
    ]


def test_punctuation_is_a_word_of_its_own_for_links_that_are_induced():
    pairs = from_pairs(
        [("der Hund.", "the dog."), ("der Baum.", "the tree."), ("ein Hund.", "a dog.")] * 5
    ).pairs
    texts = [text for pair in pairs for text in (pair.source, pair.target)]
    cutter = Tokenizer.train(texts, "bpe", vocabulary=60)
    found = word_links(pairs, cutter)
    assert dict(zip(found.target_ends[0].tolist(), found.source_ends[0].tolist(), strict=True)) == {
        0: 0,
        1: 1,
        2: 2,
    }


def test_the_run_says_what_links_it_was_started_with(tmp_path):
    regard.fit(
        PAIRS, recipe=recipe(guided_alignment=0.5, steps=2, validate_every=2), links=LINKS, out=tmp_path / "r"
    )
    about = RunFolder.open(tmp_path / "r").about
    assert len(about["corpus"]["links_digest"]) == 64
    assert about["recipe"]["training"]["guided_alignment"] == 0.5
    line = json.loads((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["loss"] > 0
