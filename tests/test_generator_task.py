"""Training generators: texts by class, captions by vector, music; what is written, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Call
from reporters import Quiet
from scipy import io

from comporta.data import read_midi, write_midi
from comporta.data.notes import parse_notes
from comporta.errors import ConfigurationError, DataError
from comporta.models import Sampling
from comporta.tasks import load
from comporta.tasks.generator import KIND, GeneratorTask
from comporta.tasks.trained_generator import TrainedGenerator
from comporta.training import RunFolder

GREEDY = Sampling(temperature=0)
SMALL = {"embedding": 8, "hidden": 16, "lr": 0.02, "dropout": 0.0, "batch_size": 8}


def settings(file: object, **changes: object) -> dict[str, object]:
    return {"files": (str(file),), "steps": 60, **SMALL, **changes}


def trained(file: object, folder: Path, **changes: object) -> TrainedGenerator:
    KIND.start(settings(file, **changes), RunFolder(folder), Quiet(), overwrite=True)
    found = load(folder)
    assert isinstance(found, TrainedGenerator)
    return found


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "long.txt").write_text("aaab\n" * 20)
    (tmp_path / "texts" / "short.txt").write_text("ba\n" * 20)
    return tmp_path / "texts"


def chords(path: Path) -> Path:
    """Two chords that take turns, in pieces of unequal length, as MATLAB's parts."""
    a, b = parse_notes("60,64,67 62,65")
    pieces = [np.array([[a, b][t % 2] for t in range(n)], dtype=np.uint8) for n in range(4, 12)]
    cell = np.empty((1, len(pieces)), dtype=object)
    cell[0, :] = pieces
    io.savemat(path / "music.mat", {"traindata": cell, "validdata": cell, "testdata": cell[:, :2]})
    return path / "music.mat"


def test_each_class_has_its_text_and_its_end(labelled: Path, tmp_path: Path) -> None:
    model = trained(labelled, tmp_path / "run", steps=120)
    assert model.generate(label="long", sampling=GREEDY) == ["aaab"]
    assert model.generate(label="short", sampling=GREEDY) == ["ba"]
    assert model.generate("aa", label="long", sampling=GREEDY, length=1) == ["aaa"]
    right, wrong = (model.score("ba", label=label) for label in ("short", "long"))
    assert right.log_probability > -0.5 > -3 > wrong.log_probability
    assert [token for token, _ in right.steps] == ["b", "a", ""]
    figures = model.evaluate_files([labelled])
    assert figures["nats_per_token"] < 0.1
    assert (figures["tokens"], figures["sequences"]) == (20 * 5 + 20 * 3, 40)
    assert figures["perplexity"] == pytest.approx(np.exp(figures["nats_per_token"]))


def test_what_is_evaluated_is_what_is_scored(labelled: Path, tmp_path: Path) -> None:
    model = trained(labelled, tmp_path / "run", steps=5)
    scores = [
        20 * model.score(t, label=c).log_probability for t, c in [("aaab", "long"), ("ba", "short")]
    ]
    assert model.evaluate_files([labelled])["nats_per_token"] == pytest.approx(-sum(scores) / 160)


def test_a_seed_fixes_what_is_written(labelled: Path, tmp_path: Path) -> None:
    model = trained(labelled, tmp_path / "run", steps=3)
    texts = [model.generate(label="long", seed=seed, count=3) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert all(len(t) <= 5 for t in model.generate(label="long", seed=1, count=9, length=5))


def test_a_caption_follows_its_vector(tmp_path: Path) -> None:
    file = tmp_path / "captions.jsonl"
    names = {(1, 0): "red", (0, 1): "blue", (1, 1): "both"}
    lines = [{"vector": [1000.0 * x, 7 + y], "text": t} for (x, y), t in names.items()] * 9
    file.write_text("\n".join(map(json.dumps, lines)))
    model = trained(file, tmp_path / "run", steps=80)
    for (x, y), text in names.items():
        assert model.generate(vector=[1000.0 * x, 7 + y], sampling=GREEDY) == [text]
    for options, words in [
        ({"vector": [1.0]}, "a vector of 1 numbers; those of the training data have 2"),
        ({}, "a vector of 2 numbers is needed"),
        ({"label": "red"}, "a vector of 2 numbers is needed"),
    ]:
        with pytest.raises(DataError, match=words):
            model.generate(**options)  # type: ignore[arg-type]
    (tmp_path / "more.jsonl").write_text('{"vector": [1, 2, 3], "text": "red"}')
    with pytest.raises(DataError, match=r"more.jsonl, line 1: a vector of 3 numbers"):
        model.evaluate_files([tmp_path / "more.jsonl"])


def test_lines_of_text_need_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\n" * 30)
    model = trained(tmp_path / "a.txt", tmp_path / "run", level="word")
    assert model.generate(sampling=GREEDY) == ["one two"]
    with pytest.raises(DataError, match="nothing given; leave it out"):
        model.generate(label="x")


def test_music_goes_on_and_comes_out_as_midi(tmp_path: Path, call: Call) -> None:
    file = chords(tmp_path)
    model = trained(f"{file}#train", tmp_path / "run", validation=f"{file}#valid", steps=120)
    (roll,) = model.generate("62,65", length=3, sampling=GREEDY)
    np.testing.assert_array_equal(roll, parse_notes("62,65 60,64,67 62,65 60,64,67"))
    figures = model.evaluate_files([Path(f"{file}#test")])
    assert figures["nats_per_frame"] < 2
    assert (figures["frames"], figures["sequences"]) == (9, 2)
    total = sum(
        model.score(" ".join(["60,64,67", "62,65"][t % 2] for t in range(n))).log_probability
        for n in (4, 5)
    )
    assert figures["nats_per_frame"] == pytest.approx(-total / 9)
    arguments = ["generate", tmp_path / "run", "--seed", 3, "--count", 2]
    status, out, _ = call(*arguments, "--out", tmp_path / "songs", "--json")
    found = json.loads(out)
    assert status == 0
    expected = model.generate(seed=3, count=2)
    for path, notes, piece in zip(found["files"], found["texts"], expected, strict=True):
        assert len(piece) == 7
        np.testing.assert_array_equal(read_midi(path), piece)
        np.testing.assert_array_equal(parse_notes(notes), piece)
    assert call(*arguments)[1].split("\n\n") == [*found["texts"][:1], found["texts"][1] + "\n"]
    status, out, _ = call("generate", tmp_path / "run", "--out", tmp_path / "one.mid")
    assert (status, out) == (0, f"{tmp_path / 'one.mid'}\n")


def test_a_language_model_of_music_is_the_same_model(tmp_path: Path, call: Call) -> None:
    file = chords(tmp_path)
    sizes = ["--steps", 30, "--hidden", 16, "--embedding", 8, "--lr", 0.02]
    arguments = ["language-model", f"{file}#train", "--out", tmp_path / "lm", *sizes]
    assert call("train", *arguments, "--batch-size", 8)[0] == 0
    file.rename(tmp_path / "moved.mat")
    status, out, _ = call("evaluate", tmp_path / "lm", f"{tmp_path / 'moved.mat'}#test", "--json")
    twin = trained(f"{tmp_path / 'moved.mat'}#train", tmp_path / "run", steps=30)
    assert status == 0
    test = twin.evaluate_files([Path(f"{tmp_path / 'moved.mat'}#test")])
    assert json.loads(out) == pytest.approx(test)
    (tmp_path / "moved.mat").rename(file)
    status, _, err = call("train", *arguments, "--feed-forward", 4, "--overwrite")
    assert (status, "music is predicted without tied weights" in err) == (2, True)


def test_a_genre_is_a_class_and_transposed_pieces_are_learned_from(tmp_path: Path) -> None:
    for genre, notes in (("jazz", "60,63,67 " * 6), ("rock", "40 " * 6)):
        (tmp_path / "songs" / genre).mkdir(parents=True)
        for number in range(5):
            write_midi(tmp_path / "songs" / genre / f"{number}.mid", parse_notes(notes))
    model = trained(tmp_path / "songs", tmp_path / "run")
    (roll,) = model.generate(label="rock", length=4, sampling=GREEDY)
    assert roll.nonzero()[1].tolist() == [19] * 4
    plain = GeneratorTask(KIND.parts.recipe(settings(tmp_path / "songs")))
    assert plain.report["classes"] == "rock 5, jazz 4"
    moved = GeneratorTask(KIND.parts.recipe(settings(tmp_path / "songs", transpose=3)))
    built = plain.build()
    losses = [task.loss(built, 0, None).mean.item() for task in (plain, moved, moved)]
    assert len(set(losses)) == 3
    with torch.no_grad():
        assert plain.validate(built).loss == moved.validate(built).loss


def test_resumed_the_bits_are_the_same(tmp_path: Path) -> None:
    file = chords(tmp_path)
    given = settings(f"{file}#train", steps=9, transpose=2, dropout=0.3, validate_every=4)
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    KIND.start(given, whole, Quiet())
    KIND.start(given, broken, Quiet(stop_at=3))
    assert not KIND.resume({}, broken, Quiet(stop_at=6)).finished
    assert KIND.resume({}, broken, Quiet()).finished
    for name, value in whole.best_weights().items():
        assert torch.equal(value, broken.best_weights()[name])


def test_the_report_and_the_floor(labelled: Path) -> None:
    report = GeneratorTask(KIND.parts.recipe(settings(labelled))).report
    assert report["training sequences"] == 36
    assert report["tokens of a sequence"] == "4 (median), 5 (most)"
    assert "long " in str(report["classes"])
    assert str(report["by frequency alone"]).endswith("nats a token")


CASES = [
    ("broken.mat", {}, "broken.mat"),
    ("music.mat#dev", {}, "part is 'dev'; it must be train or valid or test"),
    ("music.mat", {}, r"has the parts test, train, valid; choose one, in a command like \S*#valid"),
    ("music.mat#train", {"condition": "class"}, "train 1: a class is needed"),
    ("music.mat#train", {"condition": "vector"}, "music has no vectors"),
    ("genres", {}, "the class 'empty' is empty"),
    ("texts", {}, "empty.txt is empty"),
    ("no.txt", {}, "no such file"),
    ("c#/no.tsv", {}, "no such file: .*c#/no.tsv"),
    ("one.txt", {}, "there are 1 examples, of which 10% are to be held out"),
    ("bad.jsonl", {}, "bad.jsonl, line 2: a vector of 2 numbers; the first of the file has 1"),
    ("nan.jsonl", {}, "nan.jsonl, line 1: the field 'vector' must be a list of finite numbers"),
    ("void.jsonl", {}, "void.jsonl, line 1: the field 'text' must be a text that is not empty"),
    ("typo.jsonl", {"condition": "vector"}, "typo.jsonl, line 1: no field 'vector'; did you mean"),
    ("half.jsonl", {"condition": "vector"}, "half.jsonl, line 2: not one JSON object"),
    ("tab.tsv", {}, "tab.tsv, line 2: 1 columns, while line 1 has 2"),
    ("tab2.tsv", {"validation": "other.tsv"}, "other.tsv, line 1: the class 'z' is not among"),
    ("one.txt", {"transpose": 13}, "transpose is 13; it must be at most 12"),
    ("one.txt", {"output": "token"}, "unknown output 'token'; did you mean tokens"),
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    whole = chords(folder).read_bytes()
    (folder / "broken.mat").write_bytes(whole[:300])
    (folder / "genres" / "empty").mkdir(parents=True)
    (folder / "genres" / "full").mkdir()
    write_midi(folder / "genres" / "full" / "a.mid", parse_notes("60 62"))
    (folder / "texts").mkdir()
    (folder / "texts" / "empty.txt").touch()
    (folder / "texts" / "full.txt").write_text("a\nb\n")
    for name, text in {
        "one.txt": "alone\n",
        "bad.jsonl": '{"vector": [1], "text": "a"}\n{"vector": [1, 2], "text": "a"}\n',
        "nan.jsonl": '{"vector": [NaN], "text": "a"}\n',
        "void.jsonl": '{"vector": [1], "text": " "}\n',
        "typo.jsonl": '{"vectors": [1], "text": "a"}\n',
        "half.jsonl": '{"vector": [1], "text": "a"}\n{"vector": [1\n',
        "tab.tsv": "x\ta\ny\n",
        "tab2.tsv": "x\ta\ny\tb\n",
        "other.tsv": "z\ta\n",
    }.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(("file", "changes", "words"), CASES, ids=[c[0] + c[2][:9] for c in CASES])
def test_bad_input(
    bad: Path, file: str, changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    if "validation" in changes:
        changes = changes | {"validation": str(bad / str(changes["validation"]))}
    with pytest.raises((DataError, ConfigurationError), match=words):
        KIND.start(settings(bad / file, **changes), RunFolder(tmp_path / "run"), Quiet())
    assert not (tmp_path / "run").exists()


def test_commands_that_do_not_fit(labelled: Path, tmp_path: Path, call: Call) -> None:
    trained(labelled, tmp_path / "run", steps=1)
    (tmp_path / "v.json").write_text('{"vector": [1, 2]}')
    for options, words in [
        ([], "a class is needed; known: long, short"),
        (["--class", "lon"], "the class 'lon' is not among those"),
        (["--class", "long", "--out", tmp_path / "a.mid"], "only music is written"),
        (["--vector", tmp_path / "v.json"], "a class is needed"),
        (["--vector", "[1, 2"], "--vector [1, 2 is neither a list of numbers"),
        (["--class", "long", "--vector", "[1]"], "a class and a vector are given"),
    ]:
        status, out, err = call("generate", tmp_path / "run", *options)
        assert (status, out) == (2, "")
        assert words in " ".join(err.split())
    status, out, _ = call("generate", tmp_path / "run", "--class", "long", "--length", 2, "--json")
    assert (status, len(json.loads(out)["texts"][0]) <= 2) == (0, True)


def test_a_few_seconds_of_chorales_beat_independent_keys(data_folder: Path, tmp_path: Path) -> None:
    file = data_folder / "jsb" / "JSB_Chorales.mat"
    sizes = {"steps": 100, "hidden": 64, "embedding": 64}
    model = trained(f"{file}#train", tmp_path / "run", validation=f"{file}#valid", **sizes)
    floor = float(str(GeneratorTask(model.recipe).report["by frequency alone"]).split()[0])
    figures = model.evaluate_files([Path(f"{file}#test")])
    assert figures["frames"] == 4725
    assert figures["nats_per_frame"] < floor - 0.25


def test_score_for_a_class(labelled: Path, tmp_path: Path, call: Call) -> None:
    model = trained(labelled, tmp_path / "run", steps=2)
    status, out, _ = call("score", tmp_path / "run", "ba", "aa", "--class", "short", "--json")
    assert status == 0
    for text, found in zip(["ba", "aa"], json.loads(out), strict=True):
        expected = model.score(text, label="short").log_probability
        assert found["log_probability"] == pytest.approx(expected)
    status, _, err = call("score", tmp_path / "run", "ba")
    assert (status, "a class is needed; known: long, short" in err) == (2, True)


def test_a_language_model_of_texts_takes_no_class(tmp_path: Path, call: Call) -> None:
    (tmp_path / "a.txt").write_text("one two three " * 60)
    few = ["--steps", 2, "--hidden", 4, "--window", 9]
    command = ["train", "language-model", tmp_path / "a.txt", "--out", tmp_path / "lm", *few]
    assert call(*command)[0] == 0
    for options, words in [
        (["generate", tmp_path / "lm", "--class", "x"], "--class is for a generator"),
        (["score", tmp_path / "lm", "one", "--vector", "[1]"], "--vector is for a generator"),
        (["generate", tmp_path / "lm", "--out", "x"], "--out is for music"),
    ]:
        status, out, err = call(*options)
        assert (status, out, words in err) == (2, "", True)
