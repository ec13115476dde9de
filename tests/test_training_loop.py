"""The loop on a task so small that every step can be done by hand."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import torch
from reporters import Quiet
from torch import Tensor, nn

from comporta.errors import CheckpointError, TrainingError
from comporta.training import Measure, Progress, Run, RunFolder, StepLoss, TrainingOptions
from comporta.training.budget import Budget
from comporta.training.task import Carried


class Slope(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))


class SlopeTask:
    """Fit a slope; the carried state counts the windows since the beginning of the epoch."""

    steps_per_epoch = 4
    unit = "windows"

    def __init__(self, *, spoil: int | None = None, scale: float = 1.0) -> None:
        self.spoil, self.scale = spoil, scale
        self.carried: list[float] = []
        self.measured: list[float] = []
        self.updates = 0

    def build(self) -> nn.Module:
        return Slope()

    def loss(self, model: nn.Module, step: int, carried: Carried) -> StepLoss:
        assert isinstance(model, Slope)
        assert model.training
        count = torch.zeros(()) if carried is None else carried[0]
        assert isinstance(count, Tensor)
        assert not count.requires_grad
        self.carried.append(float(count))
        # Noise from torch's generator, as dropout draws it.
        target = torch.tensor([1.0, 2.0, 3.0]) * (step % 4 + 1) + 0.1 * torch.randn(3)
        loss = self.scale * ((model.weight - target) ** 2).sum()
        self.updates += 1
        if self.updates == self.spoil:
            loss = loss * math.inf
        return StepLoss(mean=loss, count=2, carried=(count + 1 + 0 * model.weight.sum(),))

    def blank_state(self, model: nn.Module) -> Carried:
        return (torch.randn(()),)

    def validate(self, model: nn.Module) -> Measure:
        assert isinstance(model, Slope)
        assert not model.training
        assert not torch.is_grad_enabled()
        self.measured.append(float((model.weight - 2).abs().sum()))
        return Measure(loss=self.measured[-1])

    def describe(self, loss: float) -> dict[str, str]:
        return {}


def new_folder(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.begin({}, texts={})
    return folder


def final(folder: RunFolder) -> dict[str, Tensor]:
    last = folder.last()
    assert last is not None
    return last.model | last.training


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_interrupted_at_every_step_the_bits_are_the_same(tmp_path: Path, optimizer: str) -> None:
    options = TrainingOptions(
        steps=11, optimizer=optimizer, lr=0.1, warmup=3, patience=9, validate_every=3
    )
    whole = new_folder(tmp_path / "whole")
    Run(SlopeTask(), options, whole).train(Quiet())
    broken = new_folder(tmp_path / "broken")
    for step in range(1, 11):
        progress = Run(SlopeTask(), options, broken).train(Quiet(stop_at=step))
        assert (progress.step, progress.finished) == (step, False)
    assert Run(SlopeTask(), options, broken).train(Quiet()).finished
    assert_same_bits(final(broken), final(whole))
    assert_same_bits(broken.best_weights(), whole.best_weights())
    timeless = [
        {k: v for k, v in asdict(Run(SlopeTask(), options, f).progress).items() if k != "seconds"}
        for f in (whole, broken)
    ]
    assert timeless[0] == timeless[1]


def test_the_state_is_carried_within_an_epoch_and_blank_at_its_beginning(tmp_path: Path) -> None:
    task = SlopeTask()
    Run(task, TrainingOptions(steps=10), new_folder(tmp_path)).train(Quiet())
    assert task.carried == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    Run(SlopeTask(), TrainingOptions(steps=3), folder).train(Quiet())
    task = SlopeTask()
    assert Run(task, TrainingOptions(steps=3), folder).train(Quiet()).finished
    assert task.updates == 0


@pytest.mark.parametrize(("norm", "value"), [(0.5, 0.0), (0.0, 0.25), (1.5, 0.9), (0.0, 0.0)])
def test_clipping_by_value_then_by_norm(tmp_path: Path, norm: float, value: float) -> None:
    """One step of plain gradient descent by hand; the cosine begins at its highest rate."""
    options = TrainingOptions(
        steps=1, optimizer="sgd", lr=1.0, warmup=0, clip_norm=norm, clip_value=value
    )
    torch.manual_seed(options.seed)
    weight = torch.randn(3)
    gradient = 2 * (weight - (torch.tensor([1.0, 2.0, 3.0]) + 0.1 * torch.randn(3)))
    if value:
        gradient = gradient.clamp(-value, value)
    if norm and gradient.norm() > norm:
        gradient = gradient * norm / gradient.norm()
    folder = new_folder(tmp_path)
    Run(SlopeTask(), options, folder).train(Quiet())
    torch.testing.assert_close(final(folder)["weight"], weight - gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_updates_in_half_precision(tmp_path: Path, precision: str) -> None:
    """Products of an update are rounded, those of a validation are not, and weights never are."""
    half = precision == "bfloat16"

    class Rounded(SlopeTask):
        def loss(self, model: nn.Module, step: int, carried: Carried) -> StepLoss:
            assert (torch.eye(2) @ torch.eye(2)).dtype == (
                torch.bfloat16 if half else torch.float32
            )
            return super().loss(model, step, carried)

        def validate(self, model: nn.Module) -> Measure:
            assert (torch.eye(2) @ torch.eye(2)).dtype == torch.float32
            return super().validate(model)

    folder, task = new_folder(tmp_path), Rounded()
    Run(task, TrainingOptions(steps=3, precision=precision), folder).train(Quiet())
    assert task.updates == 3
    assert {tensor.dtype for tensor in folder.best_weights().values()} == {torch.float32}


def test_the_best_is_the_lowest_validation_and_patience_ends_the_run(tmp_path: Path) -> None:
    task = SlopeTask()
    folder = new_folder(tmp_path)
    # So fast a rate overshoots: it gets better, then worse.
    options = TrainingOptions(
        steps=400, optimizer="sgd", lr=0.06, schedule="constant", validate_every=1, patience=5
    )
    progress = Run(task, options, folder).train(Quiet())
    assert progress.finished
    assert progress.step < 400
    assert progress.best is not None
    assert progress.best.loss == min(task.measured)
    assert progress.step == progress.best_step + 5
    weights = folder.best_weights()["weight"]
    assert float((weights - 2).abs().sum()) == pytest.approx(min(task.measured))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    options = TrainingOptions(steps=20, validate_every=3)
    with pytest.raises(TrainingError) as error:
        Run(SlopeTask(spoil=8), options, folder).train(Quiet())
    for words in ("step 8", "loss is inf", "norm of its gradient", "lower --lr", "--clip-norm"):
        assert words in str(error.value)
    last = folder.last()
    assert last is not None
    assert last.progress["step"] == 6
    assert all(bool(tensor.isfinite().all()) for tensor in last.model.values())


def test_a_gradient_that_is_not_finite_stops_too(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    with pytest.raises(TrainingError, match="norm of its gradient inf"):
        Run(SlopeTask(scale=1e37), TrainingOptions(steps=20), folder).train(Quiet())
    assert folder.last() is None


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    options = TrainingOptions(steps=1)
    Run(SlopeTask(), options, folder).train(Quiet())

    class Other(SlopeTask):
        def build(self) -> nn.Module:
            return nn.Linear(2, 2)

    with pytest.raises(CheckpointError, match="of another model"):
        Run(Other(), options, folder)


def test_a_checkpoint_is_due_after_some_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comporta.training.loop.SAVE_SECONDS", -1.0)
    folder = new_folder(tmp_path)
    with pytest.raises(TrainingError):
        Run(SlopeTask(spoil=8), TrainingOptions(steps=20, validate_every=20), folder).train(Quiet())
    last = folder.last()
    assert last is not None
    assert last.progress["step"] == 7


def test_minutes_fix_the_number_of_steps_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that ticks 0.1 s a step; validations take none of it."""
    now = [100.0]
    monkeypatch.setattr("comporta.training.budget.time.monotonic", lambda: now[0])

    class Ticking(SlopeTask):
        def loss(self, model: nn.Module, step: int, carried: Carried) -> StepLoss:
            now[0] += 0.1
            return super().loss(model, step, carried)

    folder = new_folder(tmp_path)
    options = TrainingOptions(minutes=0.5)
    progress = Run(Ticking(), options, folder).train(Quiet(stop_at=50))
    assert progress.total is not None
    assert abs(progress.total - 300) <= 2
    again = Run(Ticking(), options, folder)
    assert again.progress.total == progress.total
    assert again.train(Quiet()).step == progress.total


def test_the_time_of_validations_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("comporta.training.budget.time.monotonic", lambda: now[0])
    budget = Budget(TrainingOptions(minutes=10), Progress())
    step = 0
    while not budget.is_measured(step):
        step, now[0] = step + 1, now[0] + 1
    now[0] += 7  # the validation that is made once the steps are timed
    assert budget.plan(step, 7.0) == (600 - 7 - 10 * 7, 53)
    # Dear ones are few: a fifth of the time left holds two of them.
    assert budget.plan(step, 50.0)[1] == -(-budget.plan(step, 50.0)[0] // 2)


def test_progress_is_all_in_the_checkpoint(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    progress = Run(SlopeTask(), TrainingOptions(steps=3), folder).train(Quiet())
    last = folder.last()
    assert last is not None
    assert set(last.progress) == {field.name for field in fields(Progress)}
    assert Run(SlopeTask(), TrainingOptions(steps=3), folder).progress == progress
