"""The one training loop: truncated back-propagation through time on Accelerate.

The loop knows no task. A task gives a model, the loss of each update and a measure; the loop does
the updates, validates, keeps the best and the last checkpoint, and continues a stopped run bit
for bit: all that a step depends on is the step's number and what a checkpoint holds.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from comporta.errors import CheckpointError, ConfigurationError, TrainingError
from comporta.nn import detach
from comporta.training.budget import Budget
from comporta.training.carried import leaves, rebuild
from comporta.training.checkpoint import Checkpoint, RunFolder
from comporta.training.interrupt import Interrupt
from comporta.training.options import TrainingOptions
from comporta.training.task import Carried, Measure, Task

if TYPE_CHECKING:
    from accelerate import Accelerator

SAVE_SECONDS = 30.0
"""A run killed loses no more work than this."""

_OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


@dataclass(kw_only=True)
class Progress:
    """Where a run is.

    Args:
        step: updates made.
        total: updates to make; None while the time of one is being measured.
        validate_every: updates from one validation to the next; None as long as total is.
        best: the best validation so far.
        best_step: the step it was reached at.
        stale: validations since.
        seconds: training time so far.
        finished: the run has come to its end.
    """

    step: int = 0
    total: int | None = None
    validate_every: int | None = None
    best: Measure | None = None
    best_step: int = 0
    stale: int = 0
    seconds: float = 0.0
    finished: bool = False


class Reporter(Protocol):
    """Who is told how training goes."""

    def began(self, progress: Progress, task: Task) -> None:
        """Training begins, or goes on, at this step."""

    def stepped(self, progress: Progress, loss: float, count: int) -> None:
        """An update was made; the mean loss of its so many items."""

    def validated(self, progress: Progress, measure: Measure) -> None:
        """The model was measured."""


class Run:
    """One training run in its folder.

    Source: truncated back-propagation through time with the state carried on, Williams & Peng
    1990, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories".

    Args:
        task: the model and its data.
        options: how to train.
        folder: where checkpoints go; its last one, if there is one, is where the run goes on.

    Raises:
        ConfigurationError: started as one of several processes.
        CheckpointError: the folder's checkpoint is damaged or of another model.
    """

    def __init__(self, task: Task, options: TrainingOptions, folder: RunFolder) -> None:
        from accelerate import Accelerator

        self._task, self._options, self._folder = task, options, folder
        self._accelerator: Accelerator = Accelerator()
        if self._accelerator.num_processes > 1:
            raise ConfigurationError(
                f"started as {self._accelerator.num_processes} processes; training runs in one: "
                "start it without a launcher"
            )
        torch.manual_seed(options.seed)
        model = task.build()
        rate = {"lr": options.lr}
        if options.optimizer == "adamw":
            rate["weight_decay"] = options.weight_decay
        optimizer = _OPTIMIZERS[options.optimizer](model.parameters(), **rate)
        self._model, self._optimizer = self._accelerator.prepare(model, optimizer)
        self._is_rounded = options.precision == "bfloat16"
        self._carried: Carried = None
        self._norm = 0.0
        self._validation_seconds = 0.0
        total = options.total_steps(task.steps_per_epoch)
        every = None if total is None else options.validation_interval(total)
        self.progress = Progress(total=total, validate_every=every)
        checkpoint = folder.last()
        if checkpoint is not None:
            self._restore(checkpoint)

    def train(self, reporter: Reporter) -> Progress:
        """Train to the end, or to an interrupt.

        Args:
            reporter: told of every update and validation.

        Returns:
            Where the run is now; `finished` is false after an interrupt.

        Raises:
            TrainingError: the loss or its gradient is not finite, or nothing can be saved.
        """
        progress = self.progress
        reporter.began(progress, self._task)
        budget = Budget(self._options, progress)
        saved = time.monotonic()
        with Interrupt() as interrupt:
            while not progress.finished and not interrupt.happened:
                loss, count = self._update()
                progress.seconds = budget.seconds()
                reporter.stepped(progress, loss, count)
                better = None
                if progress.total is None and budget.is_measured(progress.step):
                    better = self._validate(reporter)
                    progress.total, progress.validate_every = budget.plan(
                        progress.step, self._validation_seconds
                    )
                elif self._is_validation_due():
                    better = self._validate(reporter)
                if progress.total is not None:
                    progress.finished = progress.step >= progress.total or self._is_stale()
                # Saved at once, for the number of steps that was measured must not be lost.
                if better is not None or time.monotonic() - saved > SAVE_SECONDS:
                    self._save(best=bool(better))
                    saved = time.monotonic()
            if interrupt.happened and not progress.finished:
                self._save(best=False)
        return progress

    def _update(self) -> tuple[float, int]:
        progress, accelerator = self.progress, self._accelerator
        if progress.step % self._task.steps_per_epoch == 0:
            self._carried = None
        for group in self._optimizer.param_groups:
            group["lr"] = self._options.learning_rate(progress.step, progress.total)
        self._model.train()
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=self._is_rounded):
            result = self._task.loss(self._model, progress.step, self._carried)
        accelerator.backward(result.mean)
        loss = float(result.mean.detach())
        self._clip(loss)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._carried = detach(result.carried)
        progress.step += 1
        return loss, result.count

    def _clip(self, loss: float) -> None:
        """Check the gradient, then limit its components, then its norm."""
        parameters = list(self._model.parameters())
        # With no limit the norm is only measured.
        limit = self._options.clip_norm or math.inf
        measured = math.inf if self._options.clip_value else limit
        norm = float(self._accelerator.clip_grad_norm_(parameters, measured))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"training diverged at step {self.progress.step + 1}: the loss is {loss:g}, the "
                f"norm of its gradient {norm:g} (the step before: {self._norm:g}). The last good "
                f"checkpoint is kept. Try a lower --lr (it is {self._options.lr:g}) or a lower "
                f"--clip-norm (it is {self._options.clip_norm or 'not set'}), and begin anew with "
                "--overwrite"
            )
        self._norm = norm
        if self._options.clip_value:
            self._accelerator.clip_grad_value_(parameters, self._options.clip_value)
            self._accelerator.clip_grad_norm_(parameters, limit)

    def _is_validation_due(self) -> bool:
        progress = self.progress
        if progress.total is None or progress.validate_every is None:
            return False
        return progress.step >= progress.total or progress.step % progress.validate_every == 0

    def _is_stale(self) -> bool:
        patience = self._options.patience
        return patience is not None and self.progress.stale >= patience

    def _validate(self, reporter: Reporter) -> bool:
        began = time.monotonic()
        self._model.eval()
        with torch.no_grad():
            measure = self._task.validate(self._model)
        self._validation_seconds = time.monotonic() - began
        progress = self.progress
        better = measure.better_than(progress.best)
        if better:
            progress.best, progress.best_step = measure, progress.step
        progress.stale = 0 if better else progress.stale + 1
        reporter.validated(progress, measure)
        return better

    def _save(self, *, best: bool) -> None:
        training = {f"generator.{name}": state for name, state in _generators().items()}
        for index, values in self._optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    training[f"optimizer.{index}.{name}"] = value
        if self._carried is not None:
            for index, leaf in enumerate(leaves(self._carried)):
                training[f"carried.{index:04d}"] = leaf
        model: nn.Module = self._accelerator.unwrap_model(self._model)
        moment = Checkpoint(
            progress=asdict(self.progress), model=model.state_dict(), training=training
        )
        self._folder.save(moment, best=best)

    def _restore(self, checkpoint: Checkpoint) -> None:
        blank = self._task.blank_state(self._model)
        try:
            self._accelerator.unwrap_model(self._model).load_state_dict(checkpoint.model)
            self.progress = Progress(**checkpoint.progress)  # type: ignore[arg-type]
            if isinstance(self.progress.best, dict):
                self.progress.best = Measure(**self.progress.best)
            self._restore_optimizer(checkpoint.training)
            carried = sorted(name for name in checkpoint.training if name.startswith("carried."))
            if carried:
                tensors = (checkpoint.training[name] for name in carried)
                self._carried = rebuild(blank, tensors)
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint in {self._folder.path} is of another model than its settings "
                f"say: {error}"
            ) from None
        # Last, because making a blank state may have drawn numbers.
        _set_generators(checkpoint.training)

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                state.setdefault(int(index), {})[key] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})


def _generators() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_generators(tensors: dict[str, Tensor]) -> None:
    torch.set_rng_state(tensors["generator.cpu"])
    if torch.cuda.is_available() and "generator.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["generator.cuda"])
