"""The task of a language model: predict each token of a text from those before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from comporta.data import Corpus, Streams, Vocabulary, encode_pieces
from comporta.errors import ConfigurationError, DataError
from comporta.models import GeneratorConfig, LanguageModel, LanguageModelConfig, step_losses
from comporta.models.checks import check_sizes
from comporta.tasks import generator
from comporta.tasks.generator import GeneratorTask
from comporta.tasks.generator_data import GeneratorData, holds_music, split_part
from comporta.tasks.kind import Kind, Learned, Prepared
from comporta.tasks.trained_generator import GeneratorRecipe, TrainedGenerator
from comporta.tasks.trained_language_model import TrainedLanguageModel, text_figures
from comporta.training.recipe import Parts, Recipe
from comporta.training.task import Carried, Measure, StepLoss, perplexity

_BITS = 1 / math.log(2)
_LEARNED_CHARACTERS = 50_000_000
"""A vocabulary is learned from no more than this many."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelData:
    """Text to learn from, and how it is read.

    Args:
        files: text files, UTF-8, in order; without any the source of the Python standard library.
            Or music, its frames being what is predicted: MIDI, .mat, .npz; FILE.json#train.
        level: char, word or bpe.
        vocab_size: most tokens; by default 5000 characters, 10000 words or 2000 byte pairs.
        batch_size: parallel streams of text; fewer where it is short.
        window: steps that back-propagation goes back.

    Raises:
        ConfigurationError: a value out of its range.

    >>> LanguageModelData(window=0)
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: window is 0; it must be at least 1
    """

    files: tuple[str, ...] = ()
    level: str = "char"
    vocab_size: int | None = None
    batch_size: int = 32
    window: int = 100

    def __post_init__(self) -> None:
        check_sizes(self, batch_size=1, window=1)


LanguageModelRecipe = Recipe[LanguageModelData, LanguageModelConfig]


class LanguageModelTask:
    """A text as training data for a language model; it may be larger than memory.

    Args:
        recipe: what to train on and what model.
        learned: the vocabulary; learned from the training part of the text when not given.

    Raises:
        DataError: a file that cannot be read, or a text shorter than a window.
    """

    unit = "tokens"

    def __init__(self, recipe: LanguageModelRecipe, learned: Learned | None = None) -> None:
        data = recipe.data
        corpus = Corpus(data.files, level=data.level)
        cut = corpus.validation_start
        self.digest = corpus.digest
        self.vocabulary = (
            Vocabulary.learn(
                corpus.pieces(0, min(cut, _LEARNED_CHARACTERS)),
                level=data.level,
                size=data.vocab_size,
            )
            if learned is None
            else vocabulary_of(recipe, learned)
        )
        self.recipe = recipe
        self._train, _ = self._streams(corpus.pieces(0, cut), "training")
        self._validation, self._unknown = self._streams(corpus.pieces(cut), "validation")
        self._characters_per_token = cut / len(self._train.tokens)
        self._validation_characters = corpus.characters - cut

    def _streams(self, pieces: Iterator[str], part: str) -> tuple[Streams, int]:
        """A part of the text, and how many of its tokens are unknown."""
        tokens, unknown = encode_pieces(self.vocabulary, pieces)
        window = self.recipe.data.window
        if (part == "training" and len(tokens) < window) or not len(tokens):
            raise DataError(
                f"the text is too short: its {part} part has {len(tokens)} tokens, and a window "
                f"of training is {window}; give a longer text or a smaller --window"
            )
        batch = max(1, min(self.recipe.data.batch_size, len(tokens) // window))
        streams = Streams.over(tokens, batch=batch, start=self.vocabulary.start)
        return streams, sum(unknown.values())

    @property
    def learned(self) -> Learned:
        """The vocabulary."""
        return Learned(texts={"tokenizer.json": self.vocabulary.to_json()})

    @property
    def report(self) -> Mapping[str, object]:
        """Tokens, the vocabulary and the unknown rate."""
        held_out = len(self._validation.tokens)
        return {
            "training tokens": len(self._train.tokens),
            "validation tokens": held_out,
            "vocabulary": len(self.vocabulary),
            "unknown in validation": f"{self._unknown / held_out:.2%}",
        }

    @property
    def steps_per_epoch(self) -> int:
        """Windows in one pass over the training part."""
        return self._train.windows(self.recipe.data.window)

    def build(self) -> LanguageModel:
        """A new model."""
        return new_model(self.recipe, self.vocabulary)

    def loss(self, model: nn.Module, step: int, carried: Carried) -> StepLoss:
        """The mean loss of one window."""
        index = step % self.steps_per_epoch
        total, tokens, carried = self._window(model, self._train, index, carried)
        return StepLoss(mean=total / tokens, count=tokens, carried=carried)

    def blank_state(self, model: nn.Module) -> Carried:
        """The state after one step."""
        inputs = self._train.window(0, 1)[0].to(next(model.parameters()).device)
        state: Carried = model(inputs)[1]
        return state

    def validate(self, model: nn.Module) -> Measure:
        """The loss of the whole validation part."""
        nats, tokens = 0.0, 0
        carried: Carried = None
        for index in range(self._validation.windows(self.recipe.data.window)):
            total, count, carried = self._window(model, self._validation, index, carried)
            nats += float(total)
            tokens += count
        loss = nats / tokens
        figures = text_figures(nats=nats, tokens=tokens, characters=self._validation_characters)
        summary = (
            f"perplexity {perplexity(loss):.2f}, {figures['bits_per_character']:.4f} bits/char"
        )
        return Measure(loss=loss, figures=figures, summary=summary)

    def describe(self, loss: float) -> Mapping[str, str]:
        """Bits a character, which compare across vocabularies, and perplexity."""
        bits = loss * _BITS / self._characters_per_token
        return {
            "bits": f"{bits:.3f} bits/char",
            "perplexity": f"perplexity {perplexity(loss):.2f}",
        }

    def _window(
        self, model: nn.Module, streams: Streams, index: int, carried: Carried
    ) -> tuple[Tensor, int, Carried]:
        inputs, targets = streams.window(index, self.recipe.data.window)
        device = next(model.parameters()).device
        logits, carried = model(inputs.to(device), carried)
        losses = step_losses(logits, targets.to(device))
        return losses.sum(), int((targets >= 0).sum()), carried


def vocabulary_of(recipe: LanguageModelRecipe, learned: Learned) -> Vocabulary:
    """The vocabulary that a run was begun with."""
    return Vocabulary.from_json(learned.texts.get("tokenizer.json", ""), level=recipe.data.level)


def new_model(recipe: LanguageModelRecipe, vocabulary: Vocabulary) -> LanguageModel:
    """A model of a recipe for a vocabulary."""
    return LanguageModel(recipe.model, vocabulary=len(vocabulary), start=vocabulary.start)


def is_music(names: Sequence[str]) -> bool:
    """Whether files hold music; JSON is a text like others, unless a part of it is named.

    >>> is_music(["chorales.mat"]), is_music(["chorales.json#train"]), is_music(["notes.json"])
    (True, True, False)
    """
    if not names or not holds_music(names[0]):
        return False
    path, part = split_part(names[0])
    return path.suffix.lower() != ".json" or part is not None


def as_generator(recipe: LanguageModelRecipe) -> GeneratorRecipe:
    """A language model of music: a generator of keys that nothing is given.

    Raises:
        ConfigurationError: a setting that is for texts alone.
    """
    data, model = recipe.data, recipe.model
    if model.tied or model.feed_forward:
        raise ConfigurationError(
            "music is predicted without tied weights and feed-forward layers; leave them out"
        )
    sizes = {name: getattr(model, name) for name in ("cell", "embedding", "hidden", "layers")}
    return Recipe(
        GeneratorData(
            files=data.files, output="keys", condition="nothing", batch_size=data.batch_size
        ),
        GeneratorConfig(**sizes, dropout=model.dropout),
        recipe.options,
    )


def _prepare(recipe: LanguageModelRecipe, learned: Learned | None) -> Prepared:
    if is_music(recipe.data.files):
        return GeneratorTask(as_generator(recipe), learned)
    return LanguageModelTask(recipe, learned)


def _trained(
    recipe: LanguageModelRecipe, learned: Learned
) -> TrainedLanguageModel | TrainedGenerator:
    # What was learned says it, for the files may be gone by now.
    if "form" in learned.facts:
        return generator.KIND.trained(as_generator(recipe), learned)
    vocabulary = vocabulary_of(recipe, learned)
    return TrainedLanguageModel(new_model(recipe, vocabulary), vocabulary)


KIND = Kind(
    name="language-model",
    help="""Train a language model on text files; the last tenth of the text is held out.

The best model on the held-out part is kept. Ctrl-C stops between two steps; a run stopped in any
way, even killed, goes on with `--resume`. Of music, a tenth of the pieces is held out, and whole
pieces are predicted frame by frame.

`comporta train language-model novel.txt --out runs/novel --minutes 10`""",
    parts=Parts(LanguageModelData, LanguageModelConfig),
    prepare=_prepare,
    trained=_trained,
)
