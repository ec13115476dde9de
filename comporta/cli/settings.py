"""Settings from a TOML file and from the options of a command, checked by name and kind."""

from __future__ import annotations

import inspect
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from types import NoneType

from comporta.cli.cells import find_cell
from comporta.errors import ConfigurationError, DataError, nearest

_LENGTHS = ("minutes", "epochs", "steps")
_PATHS = ("files", "validation", "vectors")


def described(part: type) -> dict[str, str]:
    """What a class says of its arguments in its docstring, by their names.

    >>> class Circle:
    ...     \"\"\"A circle.
    ...
    ...     Args:
    ...         radius: half its width,
    ...             in metres.
    ...     \"\"\"
    >>> described(Circle)
    {'radius': 'half its width, in metres.'}
    """
    _, _, rest = inspect.getdoc(part).partition("Args:\n")  # type: ignore[union-attr]
    block = rest.split("\n\n")[0]
    entries = re.split(r"^    (?=\w+: )", block, flags=re.MULTILINE)[1:]
    named = (entry.split(": ", 1) for entry in entries)
    return {name: " ".join(text.split()) for name, text in named}


def read_toml(path: Path, kinds: Mapping[str, object]) -> dict[str, object]:
    """Read settings from a TOML file: the names of the options, with - or _.

    Args:
        path: the file.
        kinds: the type of each setting, by name.

    Returns:
        The settings by name.

    Raises:
        DataError: the file cannot be read.
        ConfigurationError: it is not TOML, or a key is unknown, or a value is of another kind.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read the settings in {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"the settings in {path} are not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None
    settings = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in kinds:
            known = [each.replace("_", "-") for each in kinds]
            raise ConfigurationError(
                f"unknown key {key!r} in {path}{nearest(name.replace('_', '-'), known)}"
            )
        settings[name] = _checked(value, kinds[name], f"{key} in {path}")
    return settings


def _checked(value: object, kind: object, where: str) -> object:
    """The value, if it is of the kind of a setting; a list for a tuple, an int for a float."""
    wanted = [part for part in typing.get_args(kind) or (kind,) if part is not NoneType]
    if typing.get_origin(kind) is tuple:
        inner, wanted = typing.get_args(kind)[0], [list]
        if isinstance(value, list):
            return tuple(_checked(item, inner, where) for item in value)
    # In Python true is an int; as a size it is a mistake.
    if isinstance(value, bool) and bool in wanted:
        return value
    if not isinstance(value, bool):
        if float in wanted and isinstance(value, int | float):
            return float(value)
        if any(isinstance(part, type) and isinstance(value, part) for part in wanted):
            return value
    names = " or ".join(getattr(part, "__name__", str(part)) for part in wanted)
    raise ConfigurationError(f"{where} is {value!r}, a {type(value).__name__}; expected {names}")


def gather(
    config: Path | None, options: Mapping[str, object], kinds: Mapping[str, object]
) -> dict[str, object]:
    """Settings of a TOML file, and over them those given as options.

    Args:
        config: the TOML file, or None.
        options: the options of the command; None or an empty list stands for one not given.
        kinds: the type of each setting, by name; a cell is given by name or file.

    Returns:
        The settings that were given, files as absolute paths, the cell as a cell.

    Raises:
        DataError: a file that cannot be read.
        ConfigurationError: an unknown key, a value of another kind, an unknown cell.
    """
    named = {name: str if name == "cell" else kind for name, kind in kinds.items()}
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in options.items()
        # A list that is empty was not given either: the command line has no other way to say so.
        if value not in (None, [], ()) and name in kinds
    }
    settings = {} if config is None else read_toml(config, named)
    if any(name in given for name in _LENGTHS):
        # An option takes the place of any length the file gives, in whatever unit.
        settings = {name: value for name, value in settings.items() if name not in _LENGTHS}
    settings |= given
    if "cell" in settings:
        settings["cell"] = find_cell(str(settings["cell"]))
    # A run goes on from any folder, so paths are kept whole.
    for name in _PATHS:
        value = settings.get(name)
        if isinstance(value, tuple):
            settings[name] = tuple(os.path.abspath(path) for path in value)
        elif isinstance(value, str):
            settings[name] = os.path.abspath(value)
    return settings
