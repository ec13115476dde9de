"""What a classifier makes of one input, for people and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Prediction(Protocol):
    """What a classifier makes of one input."""

    def to_json(self) -> dict[str, object]:
        """The prediction as JSON data."""


@dataclass(frozen=True)
class LabelPrediction:
    """The class of an input.

    Args:
        label: the most probable class.
        probabilities: of every class.
    """

    label: str
    probabilities: dict[str, float]

    def to_json(self) -> dict[str, object]:
        """The prediction as JSON data."""
        return {"label": self.label, "probabilities": self.probabilities}

    def __str__(self) -> str:
        return f"{self.label} ({self.probabilities[self.label]:.3f})"


@dataclass(frozen=True)
class LabelsPrediction:
    """The labels of an input.

    Args:
        labels: those more probable than not.
        probabilities: of every label.
    """

    labels: tuple[str, ...]
    probabilities: dict[str, float]

    def to_json(self) -> dict[str, object]:
        """The prediction as JSON data."""
        return {"labels": list(self.labels), "probabilities": self.probabilities}

    def __str__(self) -> str:
        return ", ".join(f"{label} ({self.probabilities[label]:.3f})" for label in self.labels)


@dataclass(frozen=True)
class ScorePrediction:
    """The score of an input.

    Args:
        score: in the units of the labels.
    """

    score: float

    def to_json(self) -> dict[str, object]:
        """The prediction as JSON data."""
        return {"score": self.score}

    def __str__(self) -> str:
        return f"{self.score:.3f}"
