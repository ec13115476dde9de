"""A translator from its files to its translations: what it learns, shows, repeats and refuses."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Call
from reporters import Quiet

import comporta
from comporta.errors import ConfigurationError, DataError
from comporta.models import Translator
from comporta.tasks.trained_translator import TrainedTranslator
from comporta.tasks.translator import KIND, TranslatorTask
from comporta.tasks.translator_data import Side
from comporta.training import RunFolder


def reversals() -> list[str]:
    words = ["".join(x) for n in (1, 2, 3, 4) for x in itertools.product("abcde", repeat=n)]
    random.Random(0).shuffle(words)
    return [f"{word}\t{word[::-1]}\n" for word in words]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reversals: train.tsv, test.tsv, and a model of the first in `model`."""
    folder = tmp_path_factory.mktemp("reversals")
    lines = reversals()
    (folder / "train.tsv").write_text("".join(lines[:680]))
    (folder / "test.tsv").write_text("".join(lines[680:]))
    settings = {
        "files": (str(folder / "train.tsv"),),
        "level": "char",
        "hidden": 32,
        "embedding": 16,
        "batch_size": 32,
        "lr": 0.01,
        "steps": 300,
        "validate_every": 150,
    }
    KIND.start(settings, RunFolder(folder / "model"), Quiet())
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> TrainedTranslator:
    found = comporta.load(folder / "model")
    assert isinstance(found, TrainedTranslator)
    return found


def pairs_of(path: Path) -> tuple[list[str], list[str]]:
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return [row[0] for row in rows], [row[1] for row in rows]


def test_it_learns_to_reverse_and_predicts_what_is_evaluated(folder: Path, call: Call) -> None:
    from sacrebleu.metrics.chrf import CHRF

    status, out, _ = call("evaluate", folder / "model", folder / "test.tsv", "--json")
    figures = json.loads(out)
    sources, targets = pairs_of(folder / "test.tsv")
    assert status == 0
    assert figures["exact_match"] > 0.9

    (folder / "test.txt").write_text("\n".join(sources) + "\n")
    _, out, _ = call("predict", folder / "model", "--file", folder / "test.txt", "--json")
    found = [each["translation"] for each in json.loads(out)]
    exact = [a == b for a, b in zip(found, targets, strict=True)]
    assert figures["exact_match"] == sum(exact) / len(exact)
    assert figures["chrf"] == CHRF().corpus_score(found, [targets]).score
    assert figures["pairs"] == len(targets)
    assert "tok:13a" in figures["bleu_signature"]
    status, _, err = call("evaluate", folder / "model", folder / "test.tsv", "--beam", 0)
    assert (status, "width is 0" in " ".join(err.split())) == (2, True)

    _, out, _ = call("predict", folder / "model", "--file", folder / "test.tsv")
    assert out.splitlines() == found


def test_what_is_measured_in_training_is_what_the_model_does(folder: Path) -> None:
    """The loss of every held-out pair, one at a time, and its greedy translation."""
    recipe = KIND.parts.recipe(
        {"files": (str(folder / "train.tsv"),), "level": "char", "steps": 1, "hidden": 8}
    )
    task = TranslatorTask(recipe)
    model = task.build().eval()
    with torch.no_grad():
        measure = task.validate(model)
    trained = TrainedTranslator(recipe, model, task.sides)
    nats, tokens, exact = 0.0, 0, 0
    sources, targets = pairs_of(folder / "train.tsv")
    for number in task.division.validation:
        wanted = trained.sides.target.encode(targets[number]).tolist()
        nats -= forced(trained, sources[number], wanted)
        tokens += len(wanted)
        exact += trained.predict([sources[number]], beam=1)[0].text == targets[number]
    assert measure.loss == pytest.approx(nats / tokens, rel=1e-5)
    assert measure.figures["exact_match"] == exact / len(task.division.validation)
    assert "copying the source" in task.report


@torch.no_grad()
def forced(trained: TrainedTranslator, source: str, tokens: list[int]) -> float:
    """log p(tokens | source), by reading them all at once."""
    read = torch.from_numpy(trained.sides.source.encode(source)).unsqueeze(0)
    targets = torch.tensor([tokens])
    logits, _ = trained.model(read, None, trained.model.inputs(targets))
    return float(logits.log_softmax(-1).gather(2, targets.unsqueeze(2)).sum())


def test_a_beam_of_one_takes_the_most_probable_token(trained: TrainedTranslator) -> None:
    side = trained.sides.target
    for source, found in zip(
        ("abc", "edcb", "aaaaaaa"), trained.predict(["abc", "edcb", "aaaaaaa"], beam=1), strict=True
    ):
        tokens: list[int] = []
        while not tokens or tokens[-1] != side.end:
            read = torch.from_numpy(trained.sides.source.encode(source)).unsqueeze(0)
            inputs = torch.tensor([[side.end, *tokens]])
            logits = trained.model(read, None, inputs)[0][0, -1].detach()
            logits[side.vocabulary.unk] = -torch.inf
            tokens.append(int(logits.argmax()))
        assert found.text == side.decode(tokens[:-1])
        assert found.log_probability == pytest.approx(forced(trained, source, tokens), abs=1e-4)


def test_a_translation_does_not_depend_on_its_company(trained: TrainedTranslator) -> None:
    texts = ["abcd", "e", "dcbaabcd", "", "cab"]
    together = trained.predict(texts)
    for text, found in zip(texts, together, strict=True):
        (alone,) = trained.predict([text])
        assert alone.text == found.text
        assert alone.score == pytest.approx(found.score, abs=1e-4)
        end = [trained.sides.target.end]
        tokens = trained.sides.target.encode(found.text).tolist()[:-1] + end
        assert found.log_probability == pytest.approx(forced(trained, text, tokens), abs=1e-4)
        # score = log p / ((5 + tokens) / 6)^alpha
        penalty = ((5 + len(tokens)) / 6) ** trained.recipe.data.length_normalization
        assert found.score == pytest.approx(found.log_probability / penalty)


def test_attention_is_returned_when_asked_for(trained: TrainedTranslator) -> None:
    plain, shown = trained.predict(["abcd"]), trained.predict(["abcd", "e"], attention=True)
    assert plain[0].attention is None
    for text, found in zip(("abcd", "e"), shown, strict=True):
        attention = found.attention
        assert attention is not None
        assert attention.source == [*text, "<end>"]
        assert attention.target == [*found.text, "<end>"]
        assert attention.weights.shape == (len(found.text) + 1, len(text) + 1)
        assert torch.from_numpy(attention.weights).sum(1).tolist() == pytest.approx(
            [1.0] * (len(found.text) + 1)
        )


def test_unknown_characters_are_said_and_never_written(
    trained: TrainedTranslator, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = trained.sides.target.vocabulary.unk
    assert unknown is not None
    with torch.no_grad():
        kept = trained.model.output.bias[unknown].clone()
        trained.model.output.bias[unknown] = 100.0
    found = trained.predict(["axb"]) + trained.predict(["ab"], beam=1)
    with torch.no_grad():
        trained.model.output.bias[unknown] = kept
    assert not any("<unk>" in each.text for each in found)
    assert "'x' (1)" in caplog.text


NOISY = {
    "level": "char",
    "hidden": 8,
    "embedding": 4,
    "batch_size": 16,
    "dropout": 0.3,
    "label_smoothing": 0.1,
    "scheduled_sampling": 0.5,
    "hold_out": 0.1,
    "validate_every": 12,
    "steps": 24,
}


def test_interrupted_and_resumed_the_bits_are_the_same(folder: Path, tmp_path: Path) -> None:
    settings = {"files": (str(folder / "train.tsv"),), **NOISY}
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    assert KIND.start(settings, whole, Quiet()).finished
    assert not KIND.start(settings, broken, Quiet(stop_at=9)).finished
    assert not KIND.resume({}, broken, Quiet(stop_at=17)).finished
    assert KIND.resume(settings, broken, Quiet()).finished
    ends = [each.last() for each in (whole, broken)]
    expected, found = (end.model | end.training for end in ends if end is not None)
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def test_scheduled_sampling_rises_over_five_epochs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = KIND.parts.recipe({"files": (str(folder / "train.tsv"),), **NOISY})
    task = TranslatorTask(recipe)
    model, given = task.build(), []
    losses = model.losses

    def watched(*arguments: Any, **options: Any) -> torch.Tensor:
        given.append((options.get("scheduled_sampling", 0.0), options.get("label_smoothing", 0.0)))
        return losses(*arguments, **options)

    monkeypatch.setattr(model, "losses", watched)
    epoch = task.steps_per_epoch
    for step in (0, epoch, 5 * epoch, 50 * epoch):
        task.loss(model, step, None)
    with torch.no_grad():
        task.batch_loss(model, [0])
    assert given == [(0.0, 0.1), (pytest.approx(0.1), 0.1), (0.5, 0.1), (0.5, 0.1), (0.0, 0.0)]


def test_words_of_phonemes_and_byte_pairs_come_back_as_written() -> None:
    for level, learned, text in (
        ("word", "AH0 B AO1 R SH IY2", "SH IY2 B AH0"),
        ("word", "One. Two.", "Two. One."),
        ("char", "a+b =", "b=a +a"),
        ("bpe", "Ein Mädchen  klettert.", "Zwölf «Mäuse» …"),
    ):
        side = Side.learn([learned], level=level, size=300)
        tokens = side.encode(text)
        assert side.decode(tokens[:-1]) == text
        assert tokens[-1] == side.end == len(side) - 1


def test_packed_parallel_files_other_levels_and_no_attention(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [line.rstrip("\n").split("\t") for line in reversals()[:60]]
    for column, name in enumerate(("a.src.gz", "a.trg.gz")):
        text = "".join(" ".join(row[column]) + "\n" for row in rows)
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    files = ["a.src.gz", "a.trg.gz"]
    held_out = ["--validation", files[0], "--validation", files[1]]
    small = "--level bpe --vocab-size 260 --target-level word --hidden 8 --steps 2 --beam 2"
    status, out, err = call(
        *("train", "translator", *files, *held_out, *small.split()),
        *("--attention", "none", "--out", tmp_path / "out", "--json"),
    )
    assert status == 0, err
    assert json.loads(out)["validation"]["pairs"] == 60
    assert "training pairs: 60" in err
    status, out, _ = call("evaluate", tmp_path / "out", *files, "--json")
    assert status == 0
    assert json.loads(out)["pairs"] == 60
    trained = comporta.load(tmp_path / "out")
    # A run can be resumed from any folder.
    assert trained.recipe.data.validation == tuple(str(tmp_path / name) for name in files)
    with pytest.raises(ConfigurationError, match="attention none"):
        trained.predict(["a b"], attention=True)


def test_a_table_of_any_name_is_no_half_of_parallel_files(tmp_path: Path) -> None:
    """Three pairs to train on; to validate on, the two of a table, or one of parallel files."""
    contents = {"a.txt": "a\tb\nb\tc\nc\td\n", "v.txt": "a\td\nb\tb\n", "s": "a\n", "t": "c\n"}
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    for names, expected in ((["v.txt"], ["d", "b"]), (["s", "t"], ["c"])):
        validation = tuple(str(tmp_path / name) for name in names)
        settings = {"files": (str(tmp_path / "a.txt"),), "validation": validation, "steps": 1}
        task = TranslatorTask(KIND.parts.recipe(settings))
        assert task.report["training pairs"] == 3
        assert task.report["validation pairs"] == len(expected)
        held_out = [task._targets[number] for number in task.division.validation]
        assert [task.sides.target.decode(tokens[:-1]) for tokens in held_out] == expected


@pytest.mark.parametrize(
    ("contents", "arguments", "message"),
    [
        ({"a": "x\ny\n", "b": "x\ny\nz\n"}, "a b", r"a has 2 lines, but .*b has 3"),
        ({"a": "x\n\n", "b": "x\ny\n"}, "a b", r"a, line 2: the source is empty"),
        ({"a": "x\ny\n", "b": "x\n \n"}, "a b", r"b, line 2: the target is empty"),
        ({"a.tsv": "x\ty\nz\n"}, "a.tsv", r"a.tsv, line 2: 1 columns"),
        ({"a.tsv": "x\ty\n"}, "a.tsv", r"there are 1 examples"),
        ({"a.tsv": "x" * 1_000_001}, "a.tsv", r"a.tsv, line 1: longer than 1,000,000 characters"),
        ({"a": "x\n", "b": "y\n", "c": "z\n"}, "a b c", r"c has no file of targets"),
        ({"a.tsv": "x\ty\n"}, "a.tsv b", r"b has no file of targets"),
        ({}, "", r"no files to train on"),
        ({"a.tsv": "x\ty\nz\tw\n"}, "a.tsv --beam 0", r"beam is 0; it must be at least 1"),
        ({"a.tsv": "x\ty\nz\tw\n"}, "a.tsv --target-level wort", r"did you mean word"),
        ({"a.tsv": "x\ty\nz\tw\n"}, "a.tsv --length-normalization -1", r"must be 0 or more"),
    ],
)
def test_bad_pairs_are_refused_and_nothing_is_written(
    tmp_path: Path, call: Call, contents: dict[str, str], arguments: str, message: str
) -> None:
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    given = [
        tmp_path / each if each[0] in "abc" and not each.startswith("-") else each
        for each in arguments.split()
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        status, out, err = call("train", "translator", *given, "--out", tmp_path / "o")
    assert (status, out) == (2, "")
    assert re.search(message, err), err
    assert not (tmp_path / "o").exists()


def test_at_evaluation_pairs_are_checked_as_in_training(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\n")
    (tmp_path / "b").write_text("x\ny\n")
    trained = comporta.load(folder / "model")
    with pytest.raises(DataError, match=r"a has 1 lines, but .*b has 2"):
        trained.evaluate_files([tmp_path / "a", tmp_path / "b"])


def test_a_short_run_on_multi30k(data_folder: Path, tmp_path: Path, call: Call) -> None:
    files = [data_folder / "multi30k" / f"val.{language}.gz" for language in ("de", "en")]
    small = "--level word --vocab-size 500 --hidden 32 --embedding 32 --steps 30 --hold-out 0.05"
    status, out, err = call(
        "train", "translator", *files, *small.split(), "--out", tmp_path / "out", "--json"
    )
    assert status == 0, err
    # A uniform guess among 501 tokens has perplexity 501.
    assert json.loads(out)["validation"]["perplexity"] < 150
    (found,) = comporta.load(tmp_path / "out").predict(["Ein Mann schläft."])
    assert isinstance(found.text, str)
    assert isinstance(comporta.load(tmp_path / "out").model, Translator)
