"""`regard evaluate`: scores on pairs the model has not seen."""

from __future__ import annotations

import shutil

import pytest

import regard

PAIRS = [("1 2 3", "3 2 1"), ("4 5", "5 4"), ("6 7 8 9", "9 8 7 6")]
LINKS = "0-2 1-1 2-0\n0-1 1-0\n0-3 1-2 2-1 3?0\n"


@pytest.fixture
def test_file(write_tsv, tmp_path):
    return write_tsv(tmp_path / "test.tsv", PAIRS)


def test_the_scores_are_told_with_their_signatures(trained, test_file, cli):
    ended = cli("evaluate", trained, test_file)
    assert (ended.status, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0] == "3 pairs"
    assert [line.split()[0] for line in lines[1:]] == ["BLEU", "chrF2", "exact"]
    assert "(95 %: " in lines[1]
    assert "tok:13a" in lines[1]


def test_with_json_stdout_is_one_object(trained, test_file, answer):
    found = answer("evaluate", trained, test_file)
    assert (found["run"], found["test"], found["sentences"]) == (str(trained), str(test_file), 3)
    assert 0 <= found["bleu"]["low"] <= found["bleu"]["high"] <= 100
    outputs = [
        prediction.text for prediction in regard.load(trained).predict([source for source, _ in PAIRS])
    ]
    right = sum(output == target for output, (_, target) in zip(outputs, PAIRS, strict=True))
    assert found["exact_match"] == right / 3
    assert "alignment" not in found


def test_links_drawn_by_hand_give_an_alignment_error_rate(trained, test_file, answer, cli, tmp_path):
    (tmp_path / "links").write_text(LINKS)
    found = answer("evaluate", trained, test_file, "--links", tmp_path / "links")
    assert found["alignment"]["sure"] == 8
    assert found["alignment"]["predicted"] == 9
    assert found["alignment_error_rate"] == found["alignment"]["error_rate"]
    records = regard.load(trained).align(*map(list, zip(*PAIRS, strict=True)))
    gold = [
        {(len(record.query_tokens) - 1 - key, key) for key in range(len(record.key_tokens))}
        for record in records
    ]
    possible = sum(len(record.links() & links) for record, links in zip(records, gold, strict=True))
    sure = possible - ((0, 3) in records[2].links())
    assert found["alignment_error_rate"] == pytest.approx(1 - (sure + possible) / (9 + 8))
    assert (
        cli("evaluate", trained, test_file, "--links", tmp_path / "links")
        .stdout.splitlines()[-1]
        .startswith("AER ")
    )


def test_the_outputs_are_written_a_line_each(trained, test_file, answer, tmp_path):
    answer("evaluate", trained, test_file, "--outputs", tmp_path / "new" / "out.txt", "--beam", 1)
    outputs = [prediction.text for prediction in regard.load(trained).predict([s for s, _ in PAIRS], beam=1)]
    assert (tmp_path / "new" / "out.txt").read_text().splitlines() == outputs


def test_another_tokenizer_of_bleu_shows_in_the_signature(trained, test_file, answer):
    found = answer("evaluate", trained, test_file, "--bleu-tokenizer", "none")
    assert "tok:none" in found["bleu"]["signature"]


def test_pairs_with_an_empty_side_are_skipped_counted_and_reported(trained, write_tsv, tmp_path, cli, answer):
    path = write_tsv(tmp_path / "test.tsv", [*PAIRS, ("", "1"), ("2", "")])
    assert cli("evaluate", trained, path).stderr == "regard: 2 pairs with an empty side skipped.\n"
    found = answer("evaluate", trained, path)
    assert (found["sentences"], found["skipped_empty"]) == (3, 2)


def test_two_plain_files_are_scored_too(trained, answer, tmp_path):
    (tmp_path / "a.src").write_text("".join(f"{source}\n" for source, _ in PAIRS))
    (tmp_path / "a.tgt").write_text("".join(f"{target}\n" for _, target in PAIRS))
    found = answer("evaluate", trained, "--source", tmp_path / "a.src", "--target", tmp_path / "a.tgt")
    assert found["sentences"] == 3


def test_rouge_is_counted_where_it_is_asked_for(trained, test_file, answer, cli):
    found = answer("evaluate", trained, test_file, "--rouge")
    assert [found[kind]["name"] for kind in ("rouge1", "rouge2", "rougeL")] == [
        "ROUGE-1",
        "ROUGE-2",
        "ROUGE-L",
    ]
    assert "ROUGE-L" in cli("evaluate", trained, test_file, "--rouge").stdout
    assert "rouge1" not in answer("evaluate", trained, test_file)


def test_pairs_that_were_trained_on_are_counted_and_said(trained, pairs, write_tsv, tmp_path, cli, answer):
    known = pairs[:150]
    path = write_tsv(tmp_path / "test.tsv", [*known, (known[0][0], "another"), ("0 0 0 0 0 0", "0")])
    found = answer("evaluate", trained, path)["in_training"]
    held_out = 10  # of 200 pairs, of which some may be among these
    assert 150 - held_out <= found["pairs"] <= 150
    assert found["sources"] in (found["pairs"], found["pairs"] + 1)
    said = cli("evaluate", trained, path).stderr
    assert said.startswith(f"regard: {found['pairs']} of 152 pairs were in the training data")


def test_a_run_that_does_not_know_its_pairs_says_nothing_of_them(trained, pairs, write_tsv, tmp_path, answer):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "training-pairs.safetensors").unlink()
    path = write_tsv(tmp_path / "test.tsv", pairs[:5])
    assert answer("evaluate", copy, path)["in_training"] is None


def test_a_damaged_file_of_fingerprints_is_named(trained, pairs, write_tsv, tmp_path, cli):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "training-pairs.safetensors").write_bytes(b"{}")
    ended = cli("evaluate", copy, write_tsv(tmp_path / "test.tsv", pairs[:5]))
    assert ended.status == 2
    assert "training-pairs.safetensors: not a whole file of fingerprints" in ended.stderr


def test_length_penalties_are_tried_and_the_best_is_named(trained, corpus, cli, answer):
    lines = cli("evaluate", trained, corpus, "--tune-length-penalty", "--beam", 3).stdout.splitlines()
    assert lines[0].split() == ["penalty", "score", "length"]
    assert sum(line.endswith("best") for line in lines) == 1
    found = answer("evaluate", trained, corpus, "--tune-length-penalty", "--beam", 3)
    assert len(found["tried"]) == len(lines) - 1
    assert found["best"] in [tried["length_penalty"] for tried in found["tried"]]


def test_the_outputs_are_not_written_over_the_pairs(trained, test_file, said):
    before = test_file.read_bytes()
    assert "--outputs would write over TEST" in said("evaluate", trained, test_file, "--outputs", test_file)
    assert test_file.read_bytes() == before
