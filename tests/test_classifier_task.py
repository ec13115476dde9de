"""Classifiers on small data of every kind: they learn, are kept, go on and say what is wrong."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from reporters import Quiet
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score

import comporta
from comporta.data import write_video
from comporta.errors import CheckpointError, ConfigurationError, DataError
from comporta.tasks import kind
from comporta.tasks.classifier import KIND, ClassifierTask
from comporta.training import Progress, RunFolder

RANDOM = np.random.default_rng(0)


def train(out: Path, *files: Path, **settings: Any) -> Progress:
    given = {"files": tuple(map(str, files)), "hidden": 16, "batch_size": 8, "lr": 0.01}
    return KIND.start(given | settings, RunFolder(out), Quiet())


def sentences(path: Path, count: int = 120) -> Path:
    """Which of two words comes first decides: order counts, and not the words alone."""
    lines = []
    for number in range(count):
        words = [f"w{word}" for word in RANDOM.integers(4, size=RANDOM.integers(2, 7))]
        first, second = sorted(RANDOM.choice(len(words), 2, replace=False))
        pair = ("up", "down") if number % 2 else ("down", "up")
        words[first], words[second] = pair
        lines.append(f"{'rise' if number % 2 else 'fall'}\t{' '.join(words)}\n")
    path.write_text("".join(lines))
    return path


def series(path: Path, count: int = 60) -> Path:
    """Sines that are slow or fast, on a channel far from zero."""
    rows, lengths, labels = [], [], []
    for number in range(count):
        time = np.arange(RANDOM.integers(12, 20))
        wave = np.sin((0.4 if number % 2 else 1.2) * time + RANDOM.uniform(0, 6))
        rows.append(np.stack([wave * 100 + 1000, RANDOM.normal(size=len(time))], axis=1))
        lengths.append(len(time))
        labels.append("slow" if number % 2 else "fast")
    np.savez(path, x=np.concatenate(rows), lengths=np.array(lengths), y=np.array(labels))
    return path


def tones(folder: Path, count: int = 24, rate: int = 8000) -> Path:
    """Low and high tones of unequal length, a folder each."""
    for number in range(count):
        name, pitch = ("low", 300) if number % 2 else ("high", 1500)
        (folder / name).mkdir(parents=True, exist_ok=True)
        time = np.arange(int(rate * RANDOM.uniform(0.1, 0.2))) / rate
        wave = 0.3 * np.sin(2 * math.pi * pitch * RANDOM.uniform(0.8, 1.2) * time)
        wave += 0.01 * RANDOM.normal(size=len(time))
        soundfile.write(folder / name / f"{number}.wav", wave, rate)
    return folder


def clips(folder: Path, count: int = 24) -> Path:
    """A bar that moves left or right."""
    for number in range(count):
        name, way = ("left", -2) if number % 2 else ("right", 2)
        (folder / name).mkdir(parents=True, exist_ok=True)
        frames = np.zeros((6, 16, 16, 3), np.uint8)
        for time in range(6):
            place = 8 + way * (time - 3)
            frames[time, :, max(0, place) : place + 2] = RANDOM.integers(150, 255)
        write_video(folder / name / f"{number}.mp4", frames, rate=10)
    return folder


def genes(path: Path, count: int = 80) -> Path:
    lines = []
    for number in range(count):
        letters = RANDOM.choice(list("ACGT"), RANDOM.integers(10, 16))
        place = RANDOM.integers(3, 6)
        letters[place : place + 2] = list("GT") if number % 2 else list("AC")
        lines.append(f">gene{number} {'donor' if number % 2 else 'none'}\n{''.join(letters)}\n")
    path.write_text("".join(lines))
    return path


MAKERS = {
    "text": (sentences, "a.tsv", {"steps": 120, "embedding": 8}),
    "series": (series, "a.npz", {"steps": 100}),
    "audio": (tones, "a", {"steps": 40, "stack": 2}),
    "video": (clips, "a", {"steps": 40, "frame_size": 16, "embedding": 16}),
    "fasta": (genes, "a.fasta", {"steps": 40, "embedding": 8}),
}


@pytest.mark.parametrize("name", MAKERS)
def test_each_kind_of_data_is_recognized_kept_and_predicted_as_measured(
    tmp_path: Path, name: str
) -> None:
    make, file, settings = MAKERS[name]
    data, out = make(tmp_path / file), tmp_path / "out"
    train(out, data, **settings)
    assert RunFolder(out).config()["learned"]["kind"] == name
    model = comporta.load(out)
    figures = model.evaluate_files([data])
    if name != "fasta":
        assert figures["accuracy"] > 0.9
    found = [prediction.label for prediction in model.predict(model.read_inputs(data))]
    labels = [example.label.text for example in model._source.read([data])]
    assert figures["accuracy"] == pytest.approx(accuracy_score(labels, found))
    assert figures["macro_f1"] == pytest.approx(f1_score(labels, found, average="macro"))
    assert figures["examples"] == len(labels)


def test_what_is_learned_is_learned_from_the_training_part_alone(tmp_path: Path) -> None:
    data = series(tmp_path / "a.npz")
    recipe = KIND.parts.recipe({"files": (str(data),), "steps": 1, "hold_out": 0.5})
    task = ClassifierTask(recipe)
    arrays = np.load(data)
    rows = np.split(arrays["x"], arrays["lengths"].cumsum()[:-1])
    steps = np.concatenate([rows[number] for number in task.division.training])
    assert len(task.division.training) == 30
    facts = task.learned.facts
    np.testing.assert_allclose(facts["mean"], steps.mean(0), rtol=1e-6)
    np.testing.assert_allclose(facts["deviation"], steps.std(0), rtol=1e-5)

    text = tmp_path / "a.tsv"
    text.write_text("".join(f"{'ab'[n % 2]}\tword{n}\n" for n in range(20)))
    words = ClassifierTask(KIND.parts.recipe({"files": (str(text),), "steps": 1}))
    unknown = {f"word{number}" for number in words.division.validation}
    assert set(words.inputs.vocabulary.encode(" ".join(unknown)).unknown) == unknown
    assert "accuracy" in str(words.report["always the most frequent class"])


def rated(path: Path, label: Any, count: int = 150) -> Path:
    """Texts of the words a, b and c, labelled by how often each comes."""
    lines = []
    for _ in range(count):
        words = RANDOM.choice(["a", "b", "c", "x"], RANDOM.integers(2, 6))
        lines.append(json.dumps({"text": " ".join(words), "label": label(words)}) + "\n")
    path.write_text("".join(lines))
    return path


def test_one_of_two_is_one_sigmoid(tmp_path: Path) -> None:
    data = rated(tmp_path / "a.jsonl", lambda words: "yes" if "a" in words else "no")
    train(tmp_path / "out", data, output="sigmoid", steps=80)
    model = comporta.load(tmp_path / "out")
    assert model.model.output.out_features == 1
    assert model.evaluate_files([data])["accuracy"] > 0.95
    (found,) = model.predict(["x a x"])
    assert found.label == "yes"
    assert found.to_json()["probabilities"]["yes"] > 0.5
    assert sum(found.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_balanced_classes_are_as_probable_as_their_share_to_a_power(
    tmp_path: Path, balance: float
) -> None:
    """Where the text says nothing, log p(class) = (1 - balance) log share(class) + c is best."""
    data = tmp_path / "a.tsv"
    data.write_text("often\tx\n" * 180 + "seldom\tx\n" * 20)
    settings = {"dropout": 0.0, "weight_decay": 0.0, "batch_size": 200, "validate_every": 150}
    train(tmp_path / "out", data, steps=150, balance=balance, **settings)
    task = ClassifierTask(KIND.parts.recipe({"files": (str(data),), "steps": 1}))
    share = np.mean([number >= 180 for number in task.division.training])
    seldom, often = share ** (1 - balance), (1 - share) ** (1 - balance)
    (found,) = comporta.load(tmp_path / "out").predict(["x"])
    assert found.probabilities["seldom"] == pytest.approx(seldom / (seldom + often), abs=0.01)


def test_balance_is_for_classes(tmp_path: Path) -> None:
    data = rated(tmp_path / "a.jsonl", lambda words: int((words == "a").sum()))
    with pytest.raises(ConfigurationError, match="balance is for classes, and output is score"):
        train(tmp_path / "out", data, output="score", steps=1, balance=0.5)
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        train(tmp_path / "out", data, steps=1, balance=2.0)
    assert not (tmp_path / "out").exists()


def test_any_number_of_labels(tmp_path: Path) -> None:
    data = rated(
        tmp_path / "a.jsonl", lambda words: ", ".join(sorted({*words} - {"x"}) or ["none"])
    )
    train(tmp_path / "out", data, output="sigmoid", steps=150, hold_out=0.3)
    model = comporta.load(tmp_path / "out")
    figures = model.evaluate_files([data])
    texts = [json.loads(line) for line in data.read_text().splitlines()]
    found = model.predict([row["text"] for row in texts])
    expected = [set(row["label"].split(", ")) for row in texts]
    exact = [set(each.labels) == labels for each, labels in zip(found, expected, strict=True)]
    assert figures["accuracy"] == pytest.approx(np.mean(exact))
    assert figures["accuracy"] > 0.9
    assert found[0].to_json()["labels"] == list(found[0].labels)
    assert set(model.predict(["a x c"])[0].labels) == {"a", "c"}
    assert str(model.predict(["a x c"])[0]).startswith("a (")


def test_scores_are_in_the_units_of_the_labels(tmp_path: Path) -> None:
    data = rated(tmp_path / "a.jsonl", lambda words: 1000 + 50 * int((words == "a").sum()))
    train(tmp_path / "out", data, output="score", steps=120, pooling="mean", dropout=0.0)
    model = comporta.load(tmp_path / "out")
    figures = model.evaluate_files([data])
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    found = [prediction.score for prediction in model.predict([row["text"] for row in rows])]
    expected = [row["label"] for row in rows]
    assert figures["mae"] == pytest.approx(mean_absolute_error(expected, found))
    assert figures["r2"] == pytest.approx(r2_score(expected, found))
    assert figures["r2"] > 0.8
    assert model.predict(["x x"])[0].to_json().keys() == {"score"}


def final(folder: RunFolder) -> dict[str, torch.Tensor]:
    last = folder.last()
    assert last is not None
    return last.model | last.training


def test_resumed_the_bits_are_the_same(tmp_path: Path) -> None:
    data = sentences(tmp_path / "a.tsv")
    settings = {"files": (str(data),), "steps": 12, "hidden": 8, "token_dropout": 0.1}
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    KIND.start(settings, whole, Quiet())
    assert not KIND.start(settings, broken, Quiet(stop_at=5)).finished
    assert KIND.resume({}, broken, Quiet()).finished
    expected, found = final(whole), final(broken)
    assert expected.keys() == found.keys()
    assert all(expected[name].equal(found[name]) for name in expected)
    KIND.start(settings, RunFolder(tmp_path / "third"), Quiet(stop_at=3))
    data.write_text(data.read_text() + "rise\tup down\n")
    with pytest.raises(DataError, match="has changed"):
        KIND.resume({}, RunFolder(tmp_path / "third"), Quiet())


def test_vectors_and_small_letters(tmp_path: Path) -> None:
    data = tmp_path / "a.txt"
    data.write_text("good Fine Day\nbad bad day\n" * 10)
    vectors = tmp_path / "v.txt"
    vectors.write_text("fine 1 2 3\nday 4 5 6\n")
    given = {"files": (str(data),), "steps": 1, "lower": True, "vectors": str(vectors)}
    task = ClassifierTask(KIND.parts.recipe(given | {"embedding": 3}))
    weight = task.build().inputs.embedding.weight
    rows = task.inputs.encode("FINE day").tolist()
    assert weight[rows].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert task.report["tokens with vectors"] == "40.00%"
    with pytest.raises(ConfigurationError, match="give --embedding 3"):
        train(tmp_path / "out", data, vectors=str(vectors), steps=1)
    assert not (tmp_path / "out").exists()


def test_a_recording_of_another_rate_is_resampled_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tones(tmp_path / "a")
    other = tones(tmp_path / "b", count=4, rate=16000)
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "out", data, steps=20)
        assert not caplog.records
        model = comporta.load(tmp_path / "out")
        model.evaluate_files([other])
    (record,) = caplog.records
    assert "4 of 4 recordings were resampled to 8000 samples a second" in record.getMessage()
    assert "16000" in record.getMessage()


def test_tables_of_numbers_are_labelled_without_the_column_of_labels(tmp_path: Path) -> None:
    rows = [(n, t, (n % 2) * 5 + t) for n in range(20) for t in range(4)]
    full, bare = tmp_path / "full.csv", tmp_path / "bare.csv"
    full.write_text("id,x,kind\n" + "".join(f"{n},{x},{'lh'[n % 2]}\n" for n, _, x in rows))
    bare.write_text("id,x\n" + "".join(f"{n},{x}\n" for n, _, x in rows))
    train(tmp_path / "out", full, series="id", label="kind", steps=30)
    model = comporta.load(tmp_path / "out")
    predictions = [model.predict([str(path)]) for path in (full, bare)]
    assert len(predictions[0]) == 20
    assert predictions[0] == predictions[1]
    array = np.array([[0.0], [1.0], [2.0], [3.0]])
    assert model.predict([array])[0].label == predictions[0][0].label


HEADER = "@dimensions 2\n@classLabel true up down\n@data\n"
REFUSED: dict[str, tuple[dict[str, str], Sequence[str], str]] = {
    "all the same": ({"a.tsv": "x\tone\nx\ttwo\n"}, [], "a.tsv, line 1: all 2 examples have the"),
    "one example": ({"a.tsv": "x\tone\n"}, [], "a.tsv, line 1: there are 1 examples"),
    "ragged": ({"a.csv": "label,text\nx,one\ny,two,three\n"}, [], "a.csv, line 3: 3 columns"),
    "no label": ({"a.csv": "label,text\n,one\n"}, [], "a.csv, line 2: the label is empty"),
    "empty class": ({"f/a.txt": "one\ntwo\n", "f/b.txt": ""}, [], "b.txt is empty"),
    "dimensions": ({"a.ts": HEADER + "1,2:3,4:up\n1,2:up\n"}, [], "a.ts, line 5"),
    "validation": (
        {"a.tsv": "x\tone\ny\ttwo\n", "b.tsv": "x\tone\nz\ttwo\n"},
        ["--validation", "b.tsv"],
        "b.tsv, line 2: the class 'z' is not among those of the training data",
    ),
    "no number": (
        {"a.tsv": "1\tone\ntwo\ttwo\n3\tthree\n4\tfour\n"},
        ["--output", "score"],
        "a.tsv, line 2: the label 'two' is not a number",
    ),
    "no name": ({"a.fa": ">one up\nACGT\n>two\nACGT\n"}, [], "a.fa, line 3: no label"),
    "level": ({"a.ts": HEADER + "1,2:3,4:up\n"}, ["--level", "char"], "level and vectors are for"),
    "kind": ({"a.tsv": "x\tone\ny\ttwo\n"}, ["--kind", "sound"], "unknown kind 'sound'"),
    "broken": ({"f/x/a.wav": "no sound", "f/y/a.wav": "no"}, [], "cannot be read as sound"),
    "empty folder": ({"f/x/a.wav": "no sound", "f/y/readme": "no"}, [], "class 'y' is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_from_is_refused_and_nothing_is_written(
    tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    files, options, message = REFUSED[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    first = next(iter(files)).split("/")[0]
    status, out, err = call("train", "classifier", first, *options, "--steps", 1, "--out", "out")
    assert (status, out) == (2, "")
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_a_line_without_end_is_refused_at_once(tmp_path: Path, call: Any) -> None:
    data = tmp_path / "a.txt"
    with data.open("wb") as file:
        file.write(b"x one\ny two\n")
        file.seek(200_000_000)
        file.write(b"\n")
    status, _, err = call("train", "classifier", data, "--steps", 1, "--out", tmp_path / "out")
    assert status == 2
    assert "line 3: longer than 1,000,000 characters" in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_a_class_that_training_never_saw_is_refused_at_evaluation(
    tmp_path: Path, call: Any
) -> None:
    data, out = sentences(tmp_path / "a.tsv"), tmp_path / "out"
    train(out, data, steps=2)
    other = tmp_path / "b.tsv"
    other.write_text("rise\tup down\nrose\tup down\n")
    status, printed, err = call("evaluate", out, other, "--json")
    assert (status, printed) == (2, "")
    message = " ".join(err.split())
    assert "b.tsv, line 2: the class 'rose' is not among those of the training data" in message
    assert "did you mean rise?" in message
    status, printed, _ = call("predict", out, "up down", "--file", other, "--json")
    assert status == 0
    found = json.loads(printed)
    assert len(found) == 3
    assert found[0]["probabilities"].keys() == {"fall", "rise"}


def test_series_of_other_channels_are_refused_with_their_place(tmp_path: Path) -> None:
    train(tmp_path / "out", series(tmp_path / "a.npz"), steps=2)
    other = tmp_path / "b.ts"
    other.write_text("@classLabel true slow fast\n@data\n1,2:3,4:5,6:slow\n")
    with pytest.raises(DataError, match=r"b\.ts, line 3: 3 channels, expected 2"):
        comporta.load(tmp_path / "out").evaluate_files([other])


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "out", sentences(tmp_path / "a.tsv"), steps=2)
    with pytest.raises(CheckpointError, match="holds no tagger"):
        kind("tagger").load(RunFolder(tmp_path / "out"))


def test_questions(tmp_path: Path, data_folder: Path) -> None:
    """A few seconds on real questions: far above the most frequent class, 0.276."""
    files = [data_folder / "trec" / f"TREC.{part}.all" for part in ("train", "test")]
    train(tmp_path / "out", files[0], encoding="latin-1", steps=80, batch_size=32)
    assert comporta.load(tmp_path / "out").evaluate_files([files[1]])["accuracy"] > 0.55
