"""The task of a tagger, from files of columns to answers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from conftest import Call
from reporters import Quiet
from seqeval.metrics import f1_score, precision_score, recall_score

from comporta.data import Sentence, spans
from comporta.errors import ConfigurationError, DataError
from comporta.tasks import load
from comporta.tasks.tagger import KIND, TaggerTask
from comporta.tasks.tags import Tags
from comporta.training import RunFolder

SMALL = {"hidden": 16, "embedding": 12, "characters": 6, "lr": 0.02, "dropout": 0.1}
PEOPLE = ["Ana", "Rui Costa", "Eva", "Ivo Reis Lima"]
PLACES = ["Faro", "Beja", "Vila Real"]
REST = ["the", "a", "of", "in", "sees", "goes", "with", "big", "old", "and"]


def sentence(chance: random.Random) -> tuple[list[str], list[str]]:
    """Words and tags in BIO: names, some of them never seen again, after a word of their kind."""
    words: list[str] = []
    tags: list[str] = []
    for _ in range(chance.randint(2, 5)):
        words.append(chance.choice(REST))
        tags.append("O")
        if chance.random() < 0.6:
            label = chance.choice(["PER", "LOC"])
            word = {"PER": "Sr", "LOC": "em"}[label]
            new = "".join(chance.choice("aeioubdgl") for _ in range(5)).title()
            name = chance.choice([*(PEOPLE if label == "PER" else PLACES), new]).split()
            words += [word, *name]
            tags += ["O", f"B-{label}", *[f"I-{label}"] * (len(name) - 1)]
    return words, tags


def columns(path: Path, count: int, *, seed: int = 0, style: str = "bio") -> Path:
    chance = random.Random(seed)
    text = ""
    for words, tags in (sentence(chance) for _ in range(count)):
        shown = {"bio": tags, "bioes": bioes(tags), "plain": plain(words, tags)}[style]
        text += "".join(f"{w} {t}\n" for w, t in zip(words, shown, strict=True)) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


def bioes(tags: list[str]) -> list[str]:
    written = ["O"] * len(tags)
    for start, end, label in spans(tags):
        letters = "S" if end == start + 1 else "B" + "I" * (end - start - 2) + "E"
        written[start:end] = [f"{letter}-{label}" for letter in letters]
    return written


def plain(words: list[str], tags: list[str]) -> list[str]:
    return ["NAME" if tag != "O" else "WORD" if len(word) > 2 else "SHORT"
            for word, tag in zip(words, tags, strict=True)]  # fmt: skip


def train(out: Path, *files: Path, **settings: object) -> RunFolder:
    folder = RunFolder(out)
    KIND.start({"files": tuple(map(str, files)), **SMALL, **settings}, folder, Quiet())
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tagger")
    train(folder / "run", columns(folder / "train.conll", 300), steps=150, seed=1)
    return folder / "run"


def test_entities_are_learned_and_legal(trained: Path, tmp_path: Path) -> None:
    test = columns(tmp_path / "test.conll", 100, seed=5)
    model = load(trained)
    figures = model.evaluate_files([test])
    assert list(figures) == ["precision", "recall", "f1", "accuracy", "sentences"]
    assert figures["f1"] > 0.9
    assert model.tags.output == "crf"
    for answer in model.predict([s.words for s in _sentences(test)]):
        assert not any(
            after[0] == "I" and before[2:] != after[2:]
            for before, after in zip(["O", *answer.tags], answer.tags, strict=False)
        )


def _sentences(path: Path) -> list[Sentence]:
    from comporta.data import read_columns

    return list(read_columns(path))


def test_what_is_predicted_is_what_is_evaluated(trained: Path, tmp_path: Path) -> None:
    test = columns(tmp_path / "test.conll", 40, seed=6)
    model = load(trained)
    expected = [list(s.tags) for s in _sentences(test)]
    inputs = model.read_inputs(test)
    found = [list(answer.tags) for answer in model.predict(inputs)]
    alone = [list(model.predict([" ".join(words)])[0].tags) for words in inputs]
    assert found == alone
    figures = model.evaluate_files([test])
    assert figures["precision"] == pytest.approx(precision_score(expected, found))
    assert figures["recall"] == pytest.approx(recall_score(expected, found))
    assert figures["f1"] == pytest.approx(f1_score(expected, found))
    flat = [a == b for x, y in zip(found, expected, strict=True) for a, b in zip(x, y, strict=True)]
    assert figures["accuracy"] == pytest.approx(sum(flat) / len(flat))


def test_the_command_line_shows_words_tags_and_spans(trained: Path, call: Call) -> None:
    status, out, _ = call("predict", trained, "the Sr Rui Costa sees", "em Faro", "--json")
    first, second = json.loads(out)
    assert status == 0
    assert first["words"] == ["the", "Sr", "Rui", "Costa", "sees"]
    assert first["tags"] == ["O", "O", "B-PER", "I-PER", "O"]
    assert first["spans"] == [{"start": 2, "end": 4, "label": "PER", "text": "Rui Costa"}]
    assert second["spans"] == [{"start": 1, "end": 2, "label": "LOC", "text": "Faro"}]
    assert call("predict", trained, "em Faro")[1] == "em O\nFaro B-LOC\n\n"


def test_a_file_of_words_alone_is_tagged(trained: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "words.txt").write_text("Sr\nAna\n\nem\nBeja\n")
    status, out, _ = call("predict", trained, "--file", tmp_path / "words.txt", "--json")
    assert status == 0
    assert [row["tags"] for row in json.loads(out)] == [["O", "B-PER"], ["O", "B-LOC"]]


def test_a_sentence_without_words_is_refused(trained: Path) -> None:
    with pytest.raises(DataError, match="sentence 2 of 2 has no words"):
        load(trained).predict(["a", " "])


@pytest.mark.parametrize("output", ["softmax", "crf"])
def test_tags_that_mark_no_entities_are_learned_as_they_are(tmp_path: Path, output: str) -> None:
    settings = {"steps": 60, "output": output} if output == "crf" else {"steps": 60}
    file = columns(tmp_path / "train", 200, style="plain")
    folder = train(tmp_path / "run", file, **settings)
    model = load(folder.path)
    assert (model.tags.scheme, model.tags.output) == ("none", output)
    assert model.tags.names == ["NAME", "SHORT", "WORD"]
    figures = model.evaluate_files([columns(tmp_path / "test", 50, seed=3, style="plain")])
    assert figures["accuracy"] > 0.9
    assert model.predict(["Sr Ana"])[0].spans == []


def test_a_word_may_have_any_number_of_labels(tmp_path: Path) -> None:
    chance = random.Random(0)
    forms = {"ab": "A|B", "a": "A", "b": "B", "x": "_", "y": "O"}
    words = [chance.choice(list(forms)) for _ in range(400)]
    text = "".join(f"{w}\t{forms[w]}\n" + "\n" * (i % 4 == 3) for i, w in enumerate(words))
    (tmp_path / "a.tsv").write_text(text)
    folder = train(
        tmp_path / "run", tmp_path / "a.tsv", steps=90, output="sigmoid", separator=r"\t"
    )
    model = load(folder.path)
    assert model.tags.names == ["A", "B"]
    assert model.predict(["ab x b a"])[0].tags == ["A|B", "O", "B", "A"]
    assert model.evaluate_files([tmp_path / "a.tsv"])["f1"] > 0.98


def test_letters_of_a_sequence_are_tagged_one_by_one(tmp_path: Path) -> None:
    """Is a base inside of ATG? It takes both directions to say so."""
    chance = random.Random(0)
    text = ""
    for _ in range(150):
        bases = "".join(chance.choice(["A", "C", "G", "T", "ATG"]) for _ in range(20))
        inside = bases.replace("ATG", "+++")
        pairs = zip(bases, inside, strict=True)
        text += "".join(f"{b} {'in' if i == '+' else 'out'}\n" for b, i in pairs) + "\n"
    (tmp_path / "dna").write_text(text)
    folder = train(tmp_path / "run", tmp_path / "dna", steps=120, characters=0)
    assert load(folder.path).evaluate_files([tmp_path / "dna"])["accuracy"] > 0.98


def test_other_schemes_are_converted(tmp_path: Path) -> None:
    given = {style: columns(tmp_path / style, 60, style=style) for style in ("bio", "bioes")}
    tasks = {
        style: KIND.prepare(KIND.parts.recipe({"files": (str(path),), "steps": 1, **SMALL}), None)
        for style, path in given.items()
    }
    bio, other = (tasks[style] for style in ("bio", "bioes"))
    assert isinstance(bio, TaggerTask)
    assert isinstance(other, TaggerTask)
    assert other.tags.names == bio.tags.names == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert [other._targets[i].tolist() for i in range(60)] == [
        bio._targets[i].tolist() for i in range(60)
    ]
    assert "BIOES, converted to BIO" in str(other.report["tags"])
    assert "(BIO)" in str(bio.report["tags"])


def test_a_label_that_never_goes_on_may_still_go_on() -> None:
    tags = Tags.of(["O", "B-X"], scheme="bio", output=None)
    assert tags.names == ["O", "B-X", "I-X"]


def test_the_floor_is_the_most_frequent_tag_of_each_word(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a X\nb Y\na X\n\na Y\nc Y\nd Y\n\n")
    (tmp_path / "b").write_text("a X\nb X\ne Y\nc Y\n")
    settings = {"files": (str(tmp_path / "a"),), "validation": str(tmp_path / "b"), "steps": 1}
    report = KIND.prepare(KIND.parts.recipe(settings), None).report
    assert str(report["most frequent tag of each word"]).endswith("accuracy 0.750")
    assert report["unknown in validation"] == "25.00%"


@pytest.mark.parametrize("output", ["softmax", "crf"])
def test_resumed_it_gives_the_same_bits(tmp_path: Path, output: str) -> None:
    file = columns(tmp_path / "train.conll", 60)
    settings = {"files": (str(file),), "steps": 9, "validate_every": 4, "output": output, **SMALL}
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    KIND.start(settings, whole, Quiet())
    assert not KIND.start(settings, broken, Quiet(stop_at=5)).finished
    assert KIND.resume({}, broken, Quiet()).finished
    ours, theirs = whole.last(), broken.last()
    assert ours is not None
    assert theirs is not None
    assert ours.model.keys() == theirs.model.keys()
    assert all(torch.equal(ours.model[name], theirs.model[name]) for name in ours.model)
    assert ours.progress["best"] == theirs.progress["best"]


def test_vectors_are_where_training_begins(tmp_path: Path) -> None:
    file = columns(tmp_path / "train.conll", 40)
    (tmp_path / "v.txt").write_text("ana 1 2 3\nthe 4 5 6\n")
    settings = {"files": (str(file),), "vectors": str(tmp_path / "v.txt"), "embedding": 3}
    task = KIND.prepare(KIND.parts.recipe(settings | {"lower": True, "steps": 1}), None)
    assert isinstance(task, TaggerTask)
    weight = task.build().inputs.embedding.weight
    assert weight[task.inputs.number("Ana")].tolist() == [1, 2, 3]
    assert weight[task.inputs.number("the")].tolist() == [4, 5, 6]
    train(tmp_path / "run", file, steps=2, vectors=str(tmp_path / "v.txt"), embedding=3)
    with pytest.raises(ConfigurationError, match="give --embedding 3"):
        KIND.prepare(KIND.parts.recipe(settings | {"embedding": 4, "steps": 1}), None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Sr O\nAna B-PER\nem O\nLua B-MOON\n", r"bad.conll, line 4: the tag 'B-MOON' of 'Lua'"),
        ("Sr O\n-DOCSTART- O\nLua B-MOON\n", r"bad.conll, line 3: the tag 'B-MOON'"),
        ("Sr O\n\nAna E-PER\n", r"bad.conll, line 3: the tag 'E-PER' is not of the scheme bio"),
        ("Sr O\nAna\n", r"bad.conll, line 2: 1 columns, while line 1 has 2"),
        ("\n\n", r"bad.conll has no words"),
    ],
)
def test_what_cannot_be_evaluated_is_named_with_its_line(
    trained: Path, tmp_path: Path, call: Call, text: str, message: str
) -> None:
    (tmp_path / "bad.conll").write_text(text)
    with pytest.raises(DataError, match=message):
        load(trained).evaluate_files([tmp_path / "bad.conll"])
    status, out, _ = call("evaluate", trained, tmp_path / "bad.conll", "--json")
    assert (status, out) == (2, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\n\nb O\n\n", "all tags are 'O'"),
        ("a X\nb Y\n", "there are 1 examples"),
        ("a X\nb Y Z\n\n", "line 2: 3 columns, while line 1 has 2"),
        ("a X\n\nb Y\n\n", None),
    ],
)
def test_what_cannot_be_learned_from_leaves_nothing_behind(
    tmp_path: Path, call: Call, text: str, message: str | None
) -> None:
    (tmp_path / "a.conll").write_text(text)
    status, _, err = call("train", "tagger", tmp_path / "a.conll", "--out", tmp_path / "run",
                          "--steps", "1", "--hidden", "4")  # fmt: skip
    assert (status == 0) == (message is None)
    assert (message or "") in " ".join(err.split())
    assert (tmp_path / "run").exists() == (message is None)


def test_a_tag_of_the_validation_file_alone_is_refused(tmp_path: Path) -> None:
    file = columns(tmp_path / "train.conll", 20)
    (tmp_path / "dev.conll").write_text("Ana B-PER\nLua B-MOON\n")
    with pytest.raises(DataError, match=r"dev.conll, line 2: the tag 'B-MOON'"):
        train(tmp_path / "run", file, validation=str(tmp_path / "dev.conll"), steps=1)
    assert not (tmp_path / "run").exists()


def test_a_real_file_is_learned_from(data_folder: Path, tmp_path: Path) -> None:
    lines = (data_folder / "lener_br" / "train.conll").read_text(encoding="utf-8").splitlines()
    some = tmp_path / "some.conll"
    some.write_text("\n".join(lines[3_200:5_200]), encoding="utf-8")
    settings = {"validation": str(some), "batch_size": 8, "schedule": "constant"}
    folder = train(tmp_path / "run", some, steps=120, **settings)
    assert load(folder.path).evaluate_files([some])["f1"] > 0.3
