"""Classifiers that read words with their characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reporters import Quiet

import comporta
from comporta.errors import ConfigurationError
from comporta.tasks.classifier import KIND, ClassifierTask
from comporta.training import Progress, RunFolder

RANDOM = np.random.default_rng(0)


def endings(path: Path, count: int) -> Path:
    """Words that never come twice; how the second one ends decides."""
    lines = []
    for number in range(count):
        stems = ["".join(RANDOM.choice(list("bcdfgklmnoprstu"), 5)) for _ in range(3)]
        stems[1] += "ing" if number % 2 else "ed"
        lines.append(f"{'now' if number % 2 else 'then'}\t{' '.join(stems)} .\n")
    path.write_text("".join(lines))
    return path


def train(out: Path, data: Path, **settings: Any) -> Progress:
    given = {"files": (str(data),), "hidden": 16, "batch_size": 8, "lr": 0.01, "characters": 8}
    return KIND.start(given | settings, RunFolder(out), Quiet())


def test_words_never_seen_are_known_by_their_characters(tmp_path: Path) -> None:
    data, test = endings(tmp_path / "a.tsv", 160), endings(tmp_path / "b.tsv", 60)
    train(tmp_path / "out", data, steps=150, embedding=4, dropout=0.0, token_dropout=0.25)
    model = comporta.load(tmp_path / "out")
    assert model.evaluate_files([test])["accuracy"] > 0.9
    one, empty = model.predict(["the walked dog", ""])
    assert one.label == "then"
    assert one.probabilities == pytest.approx(model.predict(["the walked dog"])[0].probabilities)
    assert empty.probabilities == pytest.approx(model.predict(["<unk>"])[0].probabilities)


def final(folder: RunFolder) -> dict[str, torch.Tensor]:
    last = folder.last()
    assert last is not None
    return last.model | last.training


def test_resumed_the_bits_are_the_same(tmp_path: Path) -> None:
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    given = {"files": (str(endings(tmp_path / "a.tsv", 40)),), "characters": 4, "hidden": 4}
    given |= {"steps": 6, "validate_every": 3, "token_dropout": 0.25}
    assert KIND.start(given, whole, Quiet()).finished
    assert not KIND.start(given, broken, Quiet(stop_at=4)).finished
    assert KIND.resume({}, broken, Quiet()).finished
    expected = final(whole)
    for name, tensor in final(broken).items():
        assert torch.equal(tensor, expected[name]), name


def test_words_begin_with_vectors(tmp_path: Path) -> None:
    data = tmp_path / "a.tsv"
    data.write_text("rise\tup\nfall\tdown\n" * 10)
    (tmp_path / "v.txt").write_text("up 1 2 3\ndown 4 5 6\n")
    settings = {"vectors": str(tmp_path / "v.txt"), "characters": 4, "steps": 1}
    task = ClassifierTask(KIND.parts.recipe(settings | {"files": (str(data),), "embedding": 3}))
    place = task.inputs.words.words.index("down")
    assert task.build().inputs.embedding.weight[place].tolist() == [4.0, 5.0, 6.0]
    # The unknown word has none.
    assert task.report["words with vectors"] == "66.67%"
    with pytest.raises(ConfigurationError, match="give --embedding 3"):
        train(tmp_path / "out", data, embedding=5, **settings)


def test_characters_are_those_of_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="read texts with --level word"):
        train(tmp_path / "out", endings(tmp_path / "a.tsv", 20), level="char", steps=1)
    table = tmp_path / "b.csv"
    table.write_text("x,label\n1,a\n2,b\n3,a\n4,b\n")
    with pytest.raises(ConfigurationError, match="a vocabulary of 1 words is too small"):
        train(tmp_path / "out", endings(tmp_path / "a.tsv", 20), vocab_size=1, steps=1)
    with pytest.raises(ConfigurationError, match="characters are those of words"):
        train(tmp_path / "out", table, kind="series", label="label", steps=1)
