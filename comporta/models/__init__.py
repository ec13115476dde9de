"""Models: one file is one topology."""

from comporta.models.classifier import Classifier, ClassifierConfig
from comporta.models.decode import (
    Sampling,
    generate,
    log_probabilities,
    probabilities,
)
from comporta.models.inputs import SeriesInput, TokenInput
from comporta.models.language_model import LanguageModel, LanguageModelConfig, step_losses
from comporta.models.translator import Translator, TranslatorConfig, TranslatorState

__all__ = [
    "Classifier",
    "ClassifierConfig",
    "LanguageModel",
    "LanguageModelConfig",
    "Sampling",
    "SeriesInput",
    "TokenInput",
    "Translator",
    "TranslatorConfig",
    "TranslatorState",
    "generate",
    "log_probabilities",
    "probabilities",
    "step_losses",
]
