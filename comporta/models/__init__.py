"""Models: one file is one topology."""

from comporta.models.decode import (
    Sampling,
    generate,
    log_probabilities,
    probabilities,
)
from comporta.models.language_model import LanguageModel, LanguageModelConfig, step_losses

__all__ = [
    "LanguageModel",
    "LanguageModelConfig",
    "Sampling",
    "generate",
    "log_probabilities",
    "probabilities",
    "step_losses",
]
