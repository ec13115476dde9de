"""The settings of a run: three dataclasses, filled from one flat mapping, kept as JSON.

Each setting is written once, as a field of one of them: the name of the option, its type, its
default, and (in the docstring) what it means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Generic, TypeVar, get_type_hints

from comporta.cells import Cell
from comporta.errors import CheckpointError, ConfigurationError, nearest
from comporta.training.options import TrainingOptions

D = TypeVar("D")
M = TypeVar("M")

Settings = Mapping[str, object]
"""Settings by name, those left at their defaults not among them."""


@dataclass(frozen=True)
class Recipe(Generic[D, M]):
    """All that a run is made from.

    Args:
        data: which data, and how it is read.
        model: what the model is made of.
        options: how it is trained.
    """

    data: D
    model: M
    options: TrainingOptions

    @property
    def parts(self) -> tuple[D, M, TrainingOptions]:
        """The three dataclasses."""
        return self.data, self.model, self.options

    def to_json(self) -> dict[str, object]:
        """All settings as plain JSON data."""
        data: dict[str, object] = {}
        for part in self.parts:
            data |= {f.name: plain(getattr(part, f.name)) for f in fields(part)}  # type: ignore[arg-type]
        return data


@dataclass(frozen=True)
class Parts(Generic[D, M]):
    """The kinds of data and model settings that a task has.

    Args:
        data: dataclass of the settings of the data.
        model: dataclass of the settings of the model.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Data:
    ...     window: int = 100
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Model:
    ...     hidden: int = 256
    >>> parts = Parts(Data, Model)
    >>> parts.recipe({"hidden": 8, "steps": 5}).model.hidden
    8
    >>> parts.kinds["window"]
    <class 'int'>
    """

    data: type[D]
    model: type[M]

    @property
    def all(self) -> tuple[type[D], type[M], type[TrainingOptions]]:
        """The two, and how every model is trained."""
        return self.data, self.model, TrainingOptions

    @property
    def kinds(self) -> dict[str, object]:
        """The type of every setting, by name."""
        return {name: kind for part in self.all for name, kind in get_type_hints(part).items()}

    @property
    def defaults(self) -> dict[str, object]:
        """The default of every setting, by name."""
        found: dict[str, object] = {}
        for part in self.all:
            for field in fields(part):  # type: ignore[arg-type]
                if field.default_factory is not MISSING:
                    found[field.name] = field.default_factory()
                else:
                    found[field.name] = field.default
        return found

    def recipe(self, settings: Settings) -> Recipe[D, M]:
        """The recipe of some settings.

        Raises:
            ConfigurationError: an unknown name, or a value out of its range.
        """
        for name in settings:
            if name not in self.kinds:
                raise ConfigurationError(f"unknown setting {name!r}{nearest(name, self.kinds)}")
        return Recipe(
            _fill(self.data, settings),
            _fill(self.model, settings),
            _fill(TrainingOptions, settings),
        )

    def from_json(self, data: Settings) -> Recipe[D, M]:
        """The recipe that gave this JSON data.

        Raises:
            CheckpointError: it is not the data of such a recipe.
        """
        settings = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
        cell = settings.get("cell")
        if not isinstance(cell, dict):
            raise CheckpointError("the settings of the run have no cell; train again")
        try:
            return self.recipe(settings | {"cell": Cell.from_json(cell)})
        except (TypeError, ConfigurationError) as error:
            raise CheckpointError(
                f"the settings of the run are not those of this Comporta: {error}; train again"
            ) from None


P = TypeVar("P")


def _fill(part: type[P], settings: Mapping[str, Any]) -> P:
    names = {field.name for field in fields(part)}  # type: ignore[arg-type]
    return part(**{name: value for name, value in settings.items() if name in names})


def plain(value: object) -> object:
    """One setting as JSON data.

    >>> plain((1, 2))
    [1, 2]
    """
    if isinstance(value, Cell):
        return value.to_json()
    return list(value) if isinstance(value, tuple) else value


def check_same(given: Settings, recorded: Settings) -> None:
    """Refuse to go on with a run under other settings than it began with.

    Raises:
        ConfigurationError: a setting that differs, or that there is not.
    """
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
