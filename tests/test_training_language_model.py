"""Training a language model: what it learns from, that it learns, and that it loads."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from reporters import Quiet
from torch import Tensor

from comporta import cells
from comporta.cli.settings import described
from comporta.data import LEVELS, split
from comporta.errors import CheckpointError, ConfigurationError, DataError
from comporta.models import Sampling
from comporta.tasks import NAMES, kind, load
from comporta.tasks.language_model import KIND, LanguageModelTask
from comporta.tasks.trained_language_model import TrainedLanguageModel
from comporta.training import RunFolder
from comporta.training.task import Carried

start, resume = KIND.start, KIND.resume

TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(60))
OWN = cells.Cell("own", "h = tanh(W_h @ x + U_h @ h + b_h)")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path / "text.txt"


def settings(text: Path, **changes: object) -> dict[str, object]:
    few = {"files": (str(text),), "hidden": 8, "embedding": 4, "window": 10, "batch_size": 4}
    return few | {"steps": 6, "lr": 0.01, "validate_every": 100} | changes


def trained(text: Path, **changes: object) -> TrainedLanguageModel:
    folder = RunFolder(text.parent / "run")
    start(settings(text, **changes), folder, Quiet(), overwrite=True)
    return load(folder.path)


def test_one_epoch_with_full_gradients_is_one_window_over_the_text(text: Path) -> None:
    """A window that covers the streams: the loss of the task is that of the whole text."""
    recipe = KIND.parts.recipe(settings(text, window=600, batch_size=1))
    task = LanguageModelTask(recipe)
    assert task.steps_per_epoch == 2
    model = task.build().double()
    parts: list[Tensor] = []
    tokens = 0
    carried: Carried = None
    for index in range(task.steps_per_epoch):
        step = task.loss(model, index, carried)
        parts.append(step.mean * step.count)
        tokens += step.count
        carried = step.carried
    found = torch.autograd.grad(torch.stack(parts).sum(), list(model.parameters()))

    ids = task.vocabulary.encode(split(TEXT)[0]).ids
    assert tokens == len(ids)
    first = -1 if task.vocabulary.start is None else task.vocabulary.start
    inputs = torch.cat([torch.tensor([first]), ids[:-1]])
    logits, _ = model(inputs[None])
    whole = torch.nn.functional.cross_entropy(logits[0], ids, reduction="sum")
    for one, other in zip(found, torch.autograd.grad(whole, list(model.parameters())), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("level", LEVELS)
def test_it_learns(text: Path, level: str) -> None:
    model = trained(text, level=level, hidden=16, steps=60, lr=0.03)
    uniform = math.log(len(model.vocabulary))
    measure = model.evaluate(split(TEXT)[1])
    assert measure["nats_per_token"] < 0.75 * uniform
    assert measure["perplexity"] == pytest.approx(math.exp(measure["nats_per_token"]))
    assert measure["bits_per_token"] == pytest.approx(measure["nats_per_token"] / math.log(2))
    assert measure["characters"] == len(split(TEXT)[1])


def test_a_loaded_model_is_the_best_one_and_leaves_the_generator_alone(text: Path) -> None:
    folder = RunFolder(text.parent / "run")
    progress = start(settings(text, steps=20), folder, Quiet())
    before = torch.get_rng_state()
    model = load(folder.path)
    assert torch.equal(torch.get_rng_state(), before)
    assert progress.best is not None
    # Four streams that begin blank against one: not the same number, but nearly.
    validation = model.evaluate(split(TEXT)[1])["nats_per_token"]
    assert validation == pytest.approx(progress.best.loss, abs=0.1)


def test_a_cell_of_ones_own_comes_along_as_its_text(text: Path) -> None:
    model = trained(text, cell=OWN)
    assert model.model.config.cell.text == OWN.text
    assert "own" not in cells.names()
    assert len(model.generate(length=5, seed=1)[0]) == 5


def test_scores_of_a_loaded_model(text: Path) -> None:
    model = trained(text)
    score = model.score("7 times ŷ")
    assert score.tokens == 9
    assert score.unknown == {"ŷ": 1}
    assert [name for name, _ in score.steps] == [*"7 times ", "<unk>"]
    assert score.log_probability == pytest.approx(sum(value for _, value in score.steps))
    assert score.perplexity == pytest.approx(math.exp(-score.log_probability / 9))
    assert -9 * model.evaluate("7 times ŷ")["nats_per_token"] == pytest.approx(
        score.log_probability
    )
    with pytest.raises(DataError, match="no tokens to score"):
        model.score("")


def test_a_scored_sentence_of_words_has_an_end(text: Path) -> None:
    score = trained(text, level="word").score("3 times 3 is 9")
    assert [name for name, _ in score.steps] == ["3", "times", "3", "is", "9", "<eos>"]


def test_writing(text: Path) -> None:
    model = trained(text)
    free = model.generate("1 t", length=20, seed=1, count=2)
    assert [len(each) for each in free] == [23, 23]
    assert all(each.startswith("1 t") for each in free)
    assert free == model.generate("1 t", length=20, seed=1, count=2)
    assert model.generate("1 t", length=20, seed=1) == free[:1]
    assert free[0] != free[1]
    assert len(model.generate(seed=1)[0]) == 500
    greedy = Sampling(temperature=0)
    assert model.generate(length=9, sampling=greedy) == model.generate(length=9, sampling=greedy)
    with pytest.raises(ConfigurationError, match="count is 0"):
        model.generate(count=0)


def test_words_are_written_to_the_end_of_the_sentence(text: Path) -> None:
    model = trained(text, level="word", steps=40, lr=0.03)
    lines = model.generate("7 times", seed=1, count=5)
    assert all("\n" not in line for line in lines)
    assert all(line.startswith("7 times") for line in lines)
    assert "\n" in model.generate("7 times", seed=1, length=80)[0]


def test_unknown_is_drawn_again_unless_allowed(text: Path) -> None:
    model = trained(text, vocab_size=5, steps=20)
    assert "<unk>" not in model.generate(length=100, seed=1)[0]
    assert "<unk>" in model.generate(length=100, seed=1, allow_unk=True)[0]


def test_a_text_too_short_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("abcdefghij")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(DataError, match="its training part has 9 tokens, and a window"):
        start(settings(tmp_path / "short.txt"), folder, Quiet())
    assert not folder.path.exists()
    # The last tenth is white space, which has no words.
    (tmp_path / "blank.txt").write_text("word " * 30 + " " * 60)
    with pytest.raises(DataError, match="its validation part has 0 tokens"):
        start(settings(tmp_path / "blank.txt", level="word"), folder, Quiet())


def test_a_mistake_does_not_cost_the_model_that_is_there(text: Path) -> None:
    trained(text)
    folder = RunFolder(text.parent / "run")
    weights = folder.best_weights()
    for wrong in ({"files": ("/no/such/file",)}, {"lr": -1.0}, {"hiden": 3}, {"window": 10**6}):
        with pytest.raises((DataError, ConfigurationError)):
            start(settings(text, **wrong), folder, Quiet(), overwrite=True)
    with pytest.raises(ConfigurationError, match="already holds a model"):
        start(settings(text), folder, Quiet())
    assert all(torch.equal(weights[k], v) for k, v in folder.best_weights().items())


def test_a_run_killed_before_its_first_checkpoint_begins_again(text: Path) -> None:
    whole, killed = (RunFolder(text.parent / name) for name in ("whole", "killed"))
    start(settings(text), whole, Quiet())
    config = {k: v for k, v in whole.config().items() if k not in ("format", "texts")}
    killed.begin(config, texts=whole.texts())
    assert resume({}, killed, Quiet()).step == 6
    expected, found = whole.last(), killed.last()
    assert expected is not None
    assert found is not None
    assert all(torch.equal(expected.model[k], v) for k, v in found.model.items())
    assert all(torch.equal(expected.training[k], v) for k, v in found.training.items())


def test_resuming_with_other_settings_or_another_text_is_refused(text: Path) -> None:
    trained(text)
    folder = RunFolder(text.parent / "run")
    assert resume({"hidden": 8}, folder, Quiet()).finished
    with pytest.raises(ConfigurationError, match="hidden is 8 there, and 9 was given"):
        resume({"hidden": 9}, folder, Quiet())
    with pytest.raises(ConfigurationError, match="cell is gru there, and own was given"):
        resume({"cell": OWN}, folder, Quiet())
    text.write_text(TEXT + "more")
    with pytest.raises(DataError, match=r"the data has changed.*text\.txt"):
        resume({}, folder, Quiet())
    text.unlink()
    with pytest.raises(DataError, match="no such file"):
        resume({}, folder, Quiet())


def test_settings_round_trip_as_json(text: Path) -> None:
    recipe = KIND.parts.recipe(settings(text, feed_forward=(3, 4), tied=False, cell=OWN))
    data = recipe.to_json()
    assert set(data) == {f.name for part in recipe.parts for f in fields(part)}
    assert data["feed_forward"] == [3, 4]
    assert KIND.parts.from_json(data) == recipe


@pytest.mark.parametrize("name", NAMES)
def test_no_two_settings_share_a_name_and_each_is_described(name: str) -> None:
    """By construction for every task: an option is a field, and its help what the field is."""
    parts = kind(name).parts
    names = [f.name for part in parts.all for f in fields(part)]
    assert len(names) == len(set(names))
    for part in parts.all:
        assert list(described(part)) == [f.name for f in fields(part)]


def test_weights_of_another_model_are_refused(text: Path) -> None:
    trained(text)
    folder = RunFolder(text.parent / "run")
    checkpoint = folder.last()
    assert checkpoint is not None
    checkpoint.model["output.bias"] = torch.zeros(3)
    folder.save(checkpoint, best=True)
    with pytest.raises(CheckpointError, match="of another model"):
        load(folder.path)
    with pytest.raises(CheckpointError, match="of another model"):
        resume({}, folder, Quiet())
