"""The task of a transcriber: the text that is spoken in a recording, aligned by the model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from comporta.data import Utterance, audio_seconds
from comporta.data.ragged import Ragged
from comporta.errors import ConfigurationError, DataError
from comporta.models import Transcriber, TranscriberConfig, alignment_loss
from comporta.models.checks import check_rates, check_sizes
from comporta.models.ctc import greedy, needed_steps
from comporta.tasks.examples import Division, ExampleTask, device_of
from comporta.tasks.inputs import TextInputs
from comporta.tasks.kind import Kind, Learned
from comporta.tasks.signals import AudioInputs
from comporta.tasks.trained_transcriber import (
    TrainedTranscriber,
    read_utterances,
    transcription_figures,
)
from comporta.training import files
from comporta.training.recipe import Parts, Recipe
from comporta.training.task import Measure


@dataclass(frozen=True, kw_only=True)
class TranscriberData:
    """Recordings with what is said in them, and how they are read and used.

    Args:
        files: manifests of recordings and texts (TSV, CSV or JSON Lines, paths relative to them),
            or folders as LibriSpeech has them; recordings are WAV, FLAC or OGG.
        validation: a manifest or folder to validate on; without it a part is held out.
        hold_out: the part held out, where there is none.
        level: char, word or bpe.
        vocab_size: most tokens; by default 5000 characters, 10000 words or 2000 byte pairs.
        stack: so many frames of 10 ms are one step of the model.
        batch_size: recordings in a batch.
        beam: width of the beam that transcribes after training; 1 is greedy.

    Raises:
        ConfigurationError: a value out of its range.

    >>> TranscriberData(files=("train.tsv",), stack=0)
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: stack is 0; it must be at least 1
    """

    files: tuple[str, ...] = ()
    validation: str | None = None
    hold_out: float = 0.1
    level: str = "char"
    vocab_size: int | None = None
    stack: int = 3
    batch_size: int = 32
    beam: int = 8

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigurationError(
                "no files to train on; give manifests of recordings and texts, or folders"
            )
        check_sizes(self, batch_size=1, stack=1, beam=1)
        check_rates(self, "hold_out")


TranscriberRecipe = Recipe[TranscriberData, TranscriberConfig]


class TranscriberTask(ExampleTask):
    """Recordings and their transcripts as training data for a transcriber.

    Args:
        recipe: what to train on and what model.
        learned: the vocabulary, the rate and the scale of the features; learned from the training
            part when not given.

    Raises:
        DataError: a file that cannot be read, too few recordings, or one that is too short for its
            transcript.
    """

    unit = "tokens"

    def __init__(self, recipe: TranscriberRecipe, learned: Learned | None = None) -> None:
        data = recipe.data
        self.recipe = recipe
        given = read_utterances(data.files)
        extra = [] if data.validation is None else read_utterances([data.validation])
        self.division = Division.of(
            len(given), extra=len(extra), share=data.hold_out, seed=recipe.options.seed
        )
        self.utterances = given + extra
        paths = [utterance.audio for utterance in self.utterances]
        texts = [utterance.text for utterance in self.utterances]
        training = self.division.training
        if learned is None:
            spoken = (texts[i] for i in training)
            self.targets = TextInputs.learn(spoken, level=data.level, size=data.vocab_size)
            self.inputs = AudioInputs.of(paths[0], stack=data.stack)
        else:
            self.targets = TextInputs.from_learned(learned, level=data.level)
            self.inputs = AudioInputs.from_learned(learned, stack=data.stack)
        self._tokens = self.targets.store(texts)
        self._sounds = self.inputs.store(paths)
        check_alignable(self.utterances, self._sounds, self._tokens)
        if learned is None:
            self.inputs = self.inputs.fitted(self._sounds, training)
        self.digest = files.digest("\n".join([files.digest_files(paths), *texts]).encode())
        super().__init__(
            self._sounds.lengths,
            self.division,
            batch_size=data.batch_size,
            seed=recipe.options.seed,
        )

    @property
    def learned(self) -> Learned:
        """The vocabulary, and the rate and the scale of the features."""
        return Learned(facts=self.inputs.learned().facts, texts=self.targets.learned().texts)

    @property
    def report(self) -> Mapping[str, object]:
        """Recordings, how long they are, tokens, unknown ones, and what an empty text gives."""
        validation = self.division.validation
        seconds = sum(audio_seconds(utterance.audio) for utterance in self.utterances)
        return {
            "training recordings": len(self.division.training),
            "validation recordings": len(validation),
            "sound in all": f"{seconds / 3600:.1f} h" if seconds > 3600 else f"{seconds:.0f} s",
            **self.inputs.report(self._sounds, validation),
            **self.targets.report(self._tokens, validation),
            "always nothing": "wer 1.000, cer 1.000",
        }

    def build(self) -> Transcriber:
        """A new model."""
        return new_model(self.recipe, self.inputs, self.targets)

    def batch_loss(self, model: nn.Module, examples: Sequence[int]) -> tuple[Tensor, int]:
        """Minus the log-probabilities of the transcripts, summed."""
        return self._loss(model, examples)[0], int(self._tokens.lengths[list(examples)].sum())

    def validate(self, model: nn.Module) -> Measure:
        """Word and character errors of greedy decoding; the best has the fewest characters wrong.

        They tell more steps of progress apart than words do.
        """
        total, found, expected = 0.0, list[str](), list[str]()
        for examples in self.validation_batches():
            loss, log_probabilities = self._loss(model, examples)
            total += float(loss)
            for example, row in zip(examples, log_probabilities, strict=True):
                frames = row[: int(self._sounds.lengths[example])]
                best = greedy(frames, cast(Transcriber, model).blank)
                found.append(self.targets.vocabulary.decode(best))
                expected.append(self.utterances[example].text)
        figures = transcription_figures(found, expected)
        tokens = int(self._tokens.lengths[self.division.validation].sum())
        return Measure(
            loss=total / tokens,
            figures=figures,
            summary=f"wer {figures['wer']:.4f}, cer {figures['cer']:.4f}",
            rank=figures["cer"],
        )

    def _loss(self, model: nn.Module, examples: Sequence[int]) -> tuple[Tensor, Tensor]:
        device = device_of(model)
        batch, lengths = self._sounds.batch(examples, device)
        log_probabilities = model(batch, lengths)
        targets = [torch.from_numpy(self._tokens[i].astype("int64")).to(device) for i in examples]
        blank = cast(Transcriber, model).blank
        return alignment_loss(log_probabilities, lengths, targets, blank=blank), log_probabilities


def check_alignable(utterances: Sequence[Utterance], sounds: Ragged, tokens: Ragged) -> None:
    """Refuse a recording with fewer steps than an alignment with its transcript needs.

    Args:
        utterances: the recordings.
        sounds: their frames.
        tokens: of their transcripts.

    Raises:
        DataError: there is one; where its transcript stands.

    >>> from pathlib import Path
    >>> twice = [Utterance(Path("a.wav"), "no no", "all.tsv, line 7")]
    >>> check_alignable(twice, Ragged([[0.0] * 3], dtype=float), Ragged([[4, 4]], dtype=int))
    >>> check_alignable(twice, Ragged([[0.0] * 2], dtype=float), Ragged([[4, 4]], dtype=int))
    ... # doctest: +ELLIPSIS
    Traceback (most recent call last):
    comporta.errors.DataError: all.tsv, line 7: the transcript is longer than CTC can align ...
    """
    for example, utterance in enumerate(utterances):
        spoken = tokens[example].tolist()
        needed, steps = needed_steps(spoken), int(sounds.lengths[example])
        if needed > steps:
            repeats = sum(a == b for a, b in itertools.pairwise(spoken))
            raise DataError(
                f"{utterance.where}: the transcript is longer than CTC can align with "
                f"{utterance.audio.name}: {len(spoken)} tokens, {repeats} of them like the one "
                f"before, need {needed} steps, and the recording has {steps}; correct or drop the "
                "line, or give a lower --stack or --level word"
            )


def new_model(recipe: TranscriberRecipe, inputs: AudioInputs, targets: TextInputs) -> Transcriber:
    """A model of a recipe."""
    return Transcriber(
        recipe.model, inputs=inputs.module(recipe.model), vocabulary=len(targets.vocabulary)
    )


def _trained(recipe: TranscriberRecipe, learned: Learned) -> TrainedTranscriber:
    inputs = AudioInputs.from_learned(learned, stack=recipe.data.stack)
    targets = TextInputs.from_learned(learned, level=recipe.data.level)
    model = new_model(recipe, inputs, targets)
    return TrainedTranscriber(model, inputs, targets, beam=recipe.data.beam)


KIND = Kind(
    name="transcriber",
    help="""Train a transcriber on recordings and their transcripts: speech to text.

A part of the recordings, or a validation file, is held out; the model with the fewest wrong
characters on it is kept.

`comporta train transcriber train.tsv --out runs/speech --epochs 20`""",
    parts=Parts(TranscriberData, TranscriberConfig),
    prepare=TranscriberTask,
    trained=_trained,
)
