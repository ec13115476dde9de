"""Training a language model on text: from settings to a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import get_type_hints

from torch import Tensor, nn

from comporta.cells import Cell, get
from comporta.data import Streams, Vocabulary, embedded_corpus, read_texts, split
from comporta.errors import CheckpointError, ConfigurationError, DataError, nearest
from comporta.models import LanguageModel, LanguageModelConfig, step_losses
from comporta.training import files
from comporta.training.checkpoint import RunFolder
from comporta.training.loop import Progress, Reporter, Run
from comporta.training.options import TrainingOptions
from comporta.training.task import Carried, Measure, StepLoss

TASK = "language-model"
_BYTES_A_PARAMETER = 8
"""Itself and its gradient, in float32; Adam keeps two numbers more."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelRecipe:
    """All that makes a language model besides how it is trained.

    Args:
        files: text files, in order; none for the embedded corpus.
        level: char, word or bpe.
        vocab_size: most tokens; None for the default of the level.
        batch_size: most streams read in parallel; fewer where the text is short.
        window: steps of a window of truncated back-propagation.
        cell: the recurrent cell.
        embedding: size of the input vectors; 0 for one-hot vectors.
        hidden: size of each recurrent layer.
        layers: recurrent layers.
        feed_forward: sizes of the layers between the recurrent part and the output.
        dropout: probability of dropping a value.
        tied: use the embedding as output weights, too.

    Raises:
        ConfigurationError: a value out of its range.

    >>> LanguageModelRecipe(window=0)
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: window is 0; it must be at least 1
    """

    files: tuple[str, ...] = ()
    level: str = "char"
    vocab_size: int | None = None
    batch_size: int = 32
    window: int = 100
    cell: Cell = field(default_factory=lambda: get("gru"))
    embedding: int = 64
    hidden: int = 256
    layers: int = 1
    feed_forward: tuple[int, ...] = ()
    dropout: float = 0.0
    tied: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "window"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be at least 1")
        # The model checks its own sizes; here with any vocabulary, before a text is read.
        self.model_config(vocabulary=1, start=None)

    def model_config(self, *, vocabulary: int, start: int | None) -> LanguageModelConfig:
        """The model, once its vocabulary is known."""
        return LanguageModelConfig(
            vocabulary=vocabulary,
            cell=self.cell,
            embedding=self.embedding,
            hidden=self.hidden,
            layers=self.layers,
            dropout=self.dropout,
            feed_forward=self.feed_forward,
            tied=self.tied,
            start=start,
        )


Settings = Mapping[str, object]
"""The fields of a recipe and of its training options, by name, in one flat mapping."""


def from_settings(settings: Settings) -> tuple[LanguageModelRecipe, TrainingOptions]:
    """A recipe and training options from settings by name.

    Args:
        settings: the fields that are not left at their defaults.

    Returns:
        The recipe and the options.

    Raises:
        ConfigurationError: an unknown name, or a value out of its range.

    >>> recipe, options = from_settings({"hidden": 8, "steps": 5})
    >>> recipe.hidden, options.steps
    (8, 5)
    """
    for name in settings:
        if name not in setting_kinds():
            raise ConfigurationError(f"unknown setting {name!r}{nearest(name, setting_kinds())}")
    recipe_names = {f.name for f in fields(LanguageModelRecipe)}
    recipe = {name: value for name, value in settings.items() if name in recipe_names}
    options = {name: value for name, value in settings.items() if name not in recipe_names}
    return (
        LanguageModelRecipe(**recipe),  # type: ignore[arg-type]
        TrainingOptions(**options),  # type: ignore[arg-type]
    )


def setting_kinds() -> dict[str, object]:
    """The type of every setting, by name.

    >>> setting_kinds()["hidden"]
    <class 'int'>
    """
    return get_type_hints(LanguageModelRecipe) | get_type_hints(TrainingOptions)


def to_json(recipe: LanguageModelRecipe, options: TrainingOptions) -> dict[str, object]:
    """All settings as plain JSON data.

    >>> to_json(*from_settings({"steps": 5}))["hidden"]
    256
    """
    data = {f.name: getattr(part, f.name) for part in (recipe, options) for f in fields(part)}
    return {name: plain(value) for name, value in data.items()}


def plain(value: object) -> object:
    """One setting as JSON data.

    >>> plain((1, 2))
    [1, 2]
    """
    if isinstance(value, Cell):
        return value.to_json()
    return list(value) if isinstance(value, tuple) else value


def _from_json(data: Mapping[str, object]) -> Settings:
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    cell = settings.get("cell")
    if not isinstance(cell, dict):
        raise CheckpointError("the settings of the run have no cell; train again")
    return settings | {"cell": Cell.from_json(cell)}


class LanguageModelTask:
    """A text as training data for a language model.

    Args:
        recipe: what to train on and what model.
        vocabulary: the tokens; learned from the training part of the text when not given.

    Raises:
        DataError: a file that cannot be read, or a text shorter than a window.
        ConfigurationError: a model larger than the memory.
    """

    def __init__(self, recipe: LanguageModelRecipe, vocabulary: Vocabulary | None = None) -> None:
        text = read_texts(recipe.files) if recipe.files else embedded_corpus()
        self.text_sha256 = files.digest(text.encode())
        train, validation = split(text)
        self.vocabulary = vocabulary or Vocabulary.learn(
            train, level=recipe.level, size=recipe.vocab_size
        )
        self.recipe = recipe
        self.config = recipe.model_config(
            vocabulary=len(self.vocabulary), start=self.vocabulary.start
        )
        _check_memory(self.config)
        self._train = self._streams(train, "training")
        self._characters_per_token = len(train) / int((self._train.targets >= 0).sum())
        self._validation = self._streams(validation, "validation")
        self._validation_characters = len(validation)

    def _streams(self, text: str, part: str) -> Streams:
        tokens = self.vocabulary.encode(text).ids
        window = self.recipe.window
        if (part == "training" and len(tokens) < window) or not len(tokens):
            raise DataError(
                f"the text is too short: its {part} part has {len(tokens)} tokens, and a window "
                f"of training is {window}; give a longer text or a smaller --window"
            )
        batch = max(1, min(self.recipe.batch_size, len(tokens) // window))
        return Streams.over(tokens, batch=batch, start=self.vocabulary.start)

    @property
    def steps_per_epoch(self) -> int:
        """Windows in one pass over the training part."""
        return self._train.windows(self.recipe.window)

    def build(self) -> LanguageModel:
        """A new model."""
        return LanguageModel(self.config)

    def loss(self, model: nn.Module, index: int, carried: Carried) -> StepLoss:
        """The mean loss of one window."""
        total, tokens, carried = self._window(model, self._train, index, carried)
        return StepLoss(
            mean=total / tokens,
            tokens=tokens,
            characters=round(tokens * self._characters_per_token),
            carried=carried,
        )

    def blank_state(self, model: nn.Module) -> Carried:
        """The state after one step."""
        inputs = self._train.window(0, 1)[0].to(next(model.parameters()).device)
        state: Carried = model(inputs)[1]
        return state

    def validate(self, model: nn.Module) -> Measure:
        """The loss of the whole validation part."""
        nats, tokens = 0.0, 0
        carried: Carried = None
        for index in range(self._validation.windows(self.recipe.window)):
            total, count, carried = self._window(model, self._validation, index, carried)
            nats += float(total)
            tokens += count
        return Measure(nats=nats, tokens=tokens, characters=self._validation_characters)

    def _window(
        self, model: nn.Module, streams: Streams, index: int, carried: Carried
    ) -> tuple[Tensor, int, Carried]:
        inputs, targets = streams.window(index, self.recipe.window)
        device = next(model.parameters()).device
        logits, carried = model(inputs.to(device), carried)
        losses = step_losses(logits, targets.to(device))
        return losses.sum(), int((targets >= 0).sum()), carried


def _check_memory(config: LanguageModelConfig) -> None:
    """Refuse a model that the machine cannot hold, before anything is made or replaced."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        # A system that does not say how much it has.
        return
    needed = _BYTES_A_PARAMETER * config.parameters
    if needed > memory:
        raise ConfigurationError(
            f"a model of {config.parameters:,} parameters needs at least {needed / 1e9:,.0f} GB, "
            f"and this machine has {memory / 1e9:,.0f}; lower --hidden, --embedding, --layers or "
            "--feed-forward"
        )


def start(
    settings: Settings, folder: RunFolder, reporter: Reporter, *, overwrite: bool = False
) -> Progress:
    """Train a language model from the beginning.

    Everything that can be wrong with the settings and the text is found before the folder is
    touched.

    Args:
        settings: fields of the recipe and of the training options.
        folder: where the model goes.
        reporter: told how training goes.
        overwrite: replace the model that is there.

    Returns:
        Where the run ended.

    Raises:
        ConfigurationError: wrong settings, or a folder that already holds a model or other files.
        DataError: a text that cannot be used.
        TrainingError: training diverged, or nothing can be saved.
    """
    if overwrite:
        folder.check_ours()
    else:
        folder.check_free()
    recipe, options = from_settings(settings)
    task = LanguageModelTask(recipe)
    config = {
        "task": TASK,
        "settings": to_json(recipe, options),
        "model": task.config.to_json(),
        "text_sha256": task.text_sha256,
    }
    folder.begin(config, tokenizer=task.vocabulary.to_json())
    return Run(task, options, folder).train(reporter)


def resume(given: Settings, folder: RunFolder, reporter: Reporter) -> Progress:
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
        DataError: the text is no longer there, or has changed.
    """
    config = folder.config()
    recorded = config.get("settings")
    if config.get("task") != TASK or not isinstance(recorded, dict):
        raise CheckpointError(f"{folder.path} holds no language model; resume it as what it is")
    _check_same(given, recorded)
    recipe, options = from_settings(_from_json(recorded))
    vocabulary = Vocabulary.from_json(folder.tokenizer(), level=recipe.level)
    task = LanguageModelTask(recipe, vocabulary)
    if task.text_sha256 != config.get("text_sha256"):
        names = ", ".join(Path(name).name for name in recipe.files) or "the embedded corpus"
        raise DataError(
            f"the text has changed since the run began ({names}), so it cannot go on as it "
            "would have; restore the text, or begin anew with --overwrite"
        )
    return Run(task, options, folder).train(reporter)


def _check_same(given: Settings, recorded: Mapping[str, object]) -> None:
    for name, value in given.items():
        if name not in recorded:
            raise ConfigurationError(f"unknown setting {name!r}{nearest(name, recorded)}")
        if plain(value) != recorded[name]:
            was, now = (
                v.get("name") if isinstance(v, dict) else v for v in (recorded[name], plain(value))
            )
            raise ConfigurationError(
                f"--resume goes on as the run began: {name} is {was} there, and {now} was given; "
                "leave it out, or begin anew with --overwrite"
            )
