"""Models: one file is one topology."""

from comporta.models.classifier import Classifier, ClassifierConfig
from comporta.models.decode import (
    Sampling,
    generate,
    log_probabilities,
    probabilities,
    randomness,
)
from comporta.models.generator import (
    Conditioned,
    Generator,
    GeneratorConfig,
    generate_keys,
    key_losses,
)
from comporta.models.inputs import SeriesInput, TokenInput
from comporta.models.language_model import LanguageModel, LanguageModelConfig, step_losses
from comporta.models.tagger import Tagger, TaggerConfig
from comporta.models.transcriber import Advisor, Transcriber, TranscriberConfig, alignment_loss
from comporta.models.translator import Translator, TranslatorConfig, TranslatorState
from comporta.models.video import FrameInput
from comporta.models.words import CharacterEncoder, WordInput, Words

__all__ = [
    "Advisor",
    "CharacterEncoder",
    "Classifier",
    "ClassifierConfig",
    "Conditioned",
    "FrameInput",
    "Generator",
    "GeneratorConfig",
    "LanguageModel",
    "LanguageModelConfig",
    "Sampling",
    "SeriesInput",
    "Tagger",
    "TaggerConfig",
    "TokenInput",
    "Transcriber",
    "TranscriberConfig",
    "Translator",
    "TranslatorConfig",
    "TranslatorState",
    "WordInput",
    "Words",
    "alignment_loss",
    "generate",
    "generate_keys",
    "key_losses",
    "log_probabilities",
    "probabilities",
    "randomness",
    "step_losses",
]
