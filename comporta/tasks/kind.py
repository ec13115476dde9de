"""What a task has to offer, and starting, resuming and loading a run of any task."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from comporta.errors import CheckpointError, ConfigurationError, DataError
from comporta.training.checkpoint import RunFolder
from comporta.training.loop import Progress, Reporter, Run
from comporta.training.recipe import D, M, Parts, Recipe, Settings, check_same
from comporta.training.task import Task

_BYTES_A_PARAMETER = 8
"""Itself and its gradient, in float32; Adam keeps two numbers more."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a run takes from its data before training: vocabularies, classes, means.

    Args:
        facts: JSON data, kept in config.json.
        texts: vocabularies, kept each in a file of its own whose name ends in tokenizer.json.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


class Prepared(Task, Protocol):
    """A task whose data has been read."""

    @property
    def learned(self) -> Learned:
        """What was learned from the data."""

    @property
    def digest(self) -> str:
        """SHA-256 of the data, by which it is known again."""

    @property
    def report(self) -> Mapping[str, object]:
        """What is worth knowing of the data before training, by name."""


class Trained(Protocol):
    """A trained model with all that it takes to use it."""

    @property
    def model(self) -> nn.Module:
        """The module."""

    def evaluate_files(self, paths: list[Path]) -> Mapping[str, float | str]:
        """Figures of the model on files it has not seen, by name, and how they are counted."""


T = TypeVar("T", bound=Trained)


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[D, M, T]):
    """A task: its settings, its data as training sees it, and its model as people use it.

    Args:
        name: as in `comporta train NAME`.
        help: the help of that command, Markdown.
        parts: its settings.
        prepare: makes it from a recipe, and from what was learned before where it is resumed.
        trained: makes what is used after training; the weights are loaded into its model.
    """

    name: str
    help: str
    parts: Parts[D, M]
    prepare: Callable[[Recipe[D, M], Learned | None], Prepared]
    trained: Callable[[Recipe[D, M], Learned], T]

    def start(
        self, settings: Settings, folder: RunFolder, reporter: Reporter, *, overwrite: bool = False
    ) -> Progress:
        """Train from the beginning.

        Everything that can be wrong with the settings and the data is found before the folder is
        touched.

        Args:
            settings: those not left at their defaults.
            folder: where the model goes.
            reporter: told how training goes.
            overwrite: replace the model that is there.

        Returns:
            Where the run ended.

        Raises:
            ConfigurationError: wrong settings, or a folder that holds a model or other files.
            DataError: data that cannot be used.
            TrainingError: training diverged, or nothing can be saved.
        """
        if overwrite:
            folder.check_ours()
        else:
            folder.check_free()
        recipe = self.parts.recipe(settings)
        task = self.prepare(recipe, None)
        check_memory(task)
        learned = task.learned
        config = {
            "task": self.name,
            "settings": recipe.to_json(),
            "learned": learned.facts,
            "data_sha256": task.digest,
        }
        folder.begin(config, texts=learned.texts)
        return Run(task, recipe.options, folder).train(reporter)

    def resume(self, given: Settings, folder: RunFolder, reporter: Reporter) -> Progress:
        """Go on with a run that was stopped, bit for bit as if it had not been.

        Args:
            given: settings given again; each must be what it was.
            folder: of the run.
            reporter: told how training goes.

        Returns:
            Where the run ended.

        Raises:
            CheckpointError: no run, or a damaged one.
            ConfigurationError: a setting that differs.
            DataError: the data is no longer there, or has changed.
        """
        config = folder.config()
        recipe, learned = self._recorded(folder, config)
        check_same(given, recipe.to_json())
        task = self.prepare(recipe, learned)
        if task.digest != config.get("data_sha256"):
            names = getattr(recipe.data, "files", ())
            shown = ", ".join(Path(name).name for name in names) or "the embedded corpus"
            raise DataError(
                f"the data has changed since the run began ({shown}), so it cannot go on as it "
                "would have; restore the data, or begin anew with --overwrite"
            )
        return Run(task, recipe.options, folder).train(reporter)

    def load(self, folder: RunFolder) -> T:
        """The best model of a run.

        Raises:
            CheckpointError: no model there, or a damaged one.
        """
        recipe, learned = self._recorded(folder, folder.config())
        # Building draws initial weights that are replaced at once: the caller's generator stays.
        with torch.random.fork_rng():
            trained = self.trained(recipe, learned)
        try:
            trained.model.load_state_dict(folder.best_weights())
        except RuntimeError as error:
            raise CheckpointError(
                f"the weights in {folder.path} are of another model than its settings say: {error}"
            ) from None
        trained.model.eval()
        return trained

    def _recorded(
        self, folder: RunFolder, config: Mapping[str, object]
    ) -> tuple[Recipe[D, M], Learned]:
        settings, facts = config.get("settings"), config.get("learned")
        if config.get("task") != self.name:
            raise CheckpointError(
                f"{folder.path} holds no {self.name} (its task is {config.get('task')!r}); use it "
                "as what it is"
            )
        if not isinstance(settings, dict) or not isinstance(facts, dict):
            raise CheckpointError(f"{folder.path} does not say what its model is; train again")
        return self.parts.from_json(settings), Learned(facts=facts, texts=folder.texts())


def check_memory(task: Task) -> None:
    """Refuse a model that the machine cannot hold, before anything is made or replaced.

    Raises:
        ConfigurationError: it needs more memory than there is.
    """
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        # A system that does not say how much it has.
        return
    # On this device tensors have a size and no memory.
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in task.build().parameters())
    needed = _BYTES_A_PARAMETER * parameters
    if needed > memory:
        raise ConfigurationError(
            f"a model of {parameters:,} parameters needs at least {needed / 1e9:,.0f} GB, "
            f"and this machine has {memory / 1e9:,.0f}; lower --hidden or other sizes of the model"
        )
