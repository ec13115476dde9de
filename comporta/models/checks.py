"""Checks that the settings of every model share."""

from __future__ import annotations

from comporta.errors import ConfigurationError, nearest

_MOST_LAYERS = 1000
"""More would take minutes to be listed, even before memory is asked for."""


def check_sizes(settings: object, **least: int) -> None:
    """Refuse sizes below their least value, and more layers than anyone can mean.

    Args:
        settings: an object with the sizes as attributes.
        least: name of a size -> its least value.

    Raises:
        ConfigurationError: a size is too small, or layers are too many.
    """
    for name, value in least.items():
        if getattr(settings, name) < value:
            raise ConfigurationError(
                f"{name} is {getattr(settings, name)}; it must be at least {value}"
            )
    layers = getattr(settings, "layers", 0)
    if layers > _MOST_LAYERS:
        raise ConfigurationError(f"layers is {layers}; it must be at most {_MOST_LAYERS}")


def check_rates(settings: object, *names: str) -> None:
    """Refuse probabilities that are not at least 0 and less than 1.

    Raises:
        ConfigurationError: one is not.
    """
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value < 1:
            raise ConfigurationError(f"{name} is {value}; it must be at least 0 and less than 1")


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is not one of those known.

    Raises:
        ConfigurationError: it is not; the message names the nearest.

    >>> check_choice("pooling", "men", ("mean", "max"))
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: unknown pooling 'men'; did you mean mean?
    """
    if value not in known:
        raise ConfigurationError(f"unknown {name} {value!r}{nearest(value, known)}")
