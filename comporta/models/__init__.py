"""Models: one file is one topology."""

from comporta.models.decode import (
    Sampling,
    generate,
    log_probabilities,
    probabilities,
)
from comporta.models.language_model import LanguageModel, LanguageModelConfig, step_losses
from comporta.models.translator import Translator, TranslatorConfig, TranslatorState

__all__ = [
    "LanguageModel",
    "LanguageModelConfig",
    "Sampling",
    "Translator",
    "TranslatorConfig",
    "TranslatorState",
    "generate",
    "log_probabilities",
    "probabilities",
    "step_losses",
]
