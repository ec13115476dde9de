"""A trained transcriber: it writes down recordings, whole or as they come, and is measured."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comporta.data import (
    AUDIO_FILES,
    MelStream,
    Utterance,
    Vocabulary,
    read_transcripts,
    unknown_note,
)
from comporta.data.batches import Batches
from comporta.errors import ConfigurationError
from comporta.models import Advisor, Transcriber
from comporta.models.ctc import GreedyStream, greedy, prefix_beam
from comporta.nn import State
from comporta.tasks.examples import device_of
from comporta.tasks.inputs import TextInputs
from comporta.tasks.signals import AudioInputs, stacked
from comporta.tasks.trained_language_model import TrainedLanguageModel

_log = logging.getLogger(__name__)

_HALF = "\ufffd"
"""What stands for a character of which byte pairs have given some bytes, and not yet all."""
_BATCH = 32


@dataclass(frozen=True)
class Transcript:
    """What is said in a recording.

    Args:
        text: what is said.
        file: the recording.
    """

    text: str
    file: str

    def to_json(self) -> dict[str, object]:
        """The transcript as JSON data."""
        return {"text": self.text, "file": self.file}

    def __str__(self) -> str:
        return self.text


class TrainedTranscriber:
    """A transcriber with all that it takes to use it.

    Args:
        model: the model.
        inputs: what it hears.
        targets: what it writes.
        beam: width of its beam unless another is asked for; 1 is greedy.
    """

    def __init__(
        self, model: Transcriber, inputs: AudioInputs, targets: TextInputs, *, beam: int
    ) -> None:
        self.model, self.inputs, self.targets, self.beam = model.eval(), inputs, targets, beam

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens that it writes."""
        return self.targets.vocabulary

    @torch.no_grad()
    def predict(
        self,
        paths: Sequence[str | Path],
        *,
        beam: int | None = None,
        language_model: TrainedLanguageModel | None = None,
        weight: float = 0.5,
        bonus: float = 0.0,
    ) -> list[Transcript]:
        """Write down recordings.

        Args:
            paths: WAV, FLAC or OGG files.
            beam: width of the beam; that of training unless given, and 1 is greedy.
            language_model: a language model over tokens of the same level, heard in the beam.
            weight: how much it counts.
            bonus: what each token adds to the score, to make up for what it takes.

        Returns:
            A transcript for each, in order.

        Raises:
            DataError: a recording that cannot be read.
            ConfigurationError: a beam below 1, or a language model that cannot be heard.
        """
        width = self.beam if beam is None else beam
        advisor = None if language_model is None else self._advisor(language_model)
        store = self.inputs.store(map(Path, paths))
        found: dict[int, list[int]] = {}
        for examples in Batches(store.lengths, range(len(paths)), size=_BATCH, seed=0).in_order():
            batch, lengths = store.batch(examples, device_of(self.model))
            rows = self.model(batch, lengths)
            for example, row, length in zip(examples, rows, lengths.tolist(), strict=True):
                found[example] = self._search(row[:length].cpu(), width, advisor, weight, bonus)
        return [
            Transcript(self.vocabulary.decode(found[example]), str(path))
            for example, path in enumerate(paths)
        ]

    def stream(self) -> TranscriptStream:
        """Write down a recording while it is made.

        Raises:
            ConfigurationError: the model is bidirectional.
        """
        return TranscriptStream(self.model, self.inputs, self.vocabulary)

    def read_inputs(self, path: Path) -> list[str]:
        """The recordings of a manifest, or all in a folder, which need no transcripts there."""
        if path.is_dir():
            return [str(p) for p in sorted(path.rglob("*")) if p.suffix.lower() in AUDIO_FILES]
        return [str(utterance.audio) for utterance in read_transcripts(path)]

    def evaluate_files(
        self,
        paths: list[Path],
        *,
        beam: int | None = None,
        language_model: TrainedLanguageModel | None = None,
        weight: float = 0.5,
        bonus: float = 0.0,
    ) -> dict[str, float]:
        """Word and character errors on recordings with transcripts; what is unknown is logged.

        Args:
            paths: as in training.
            beam: this and the others as `predict` takes them.
            language_model: see there.
            weight: see there.
            bonus: see there.

        Raises:
            DataError: a file that cannot be read.
            ConfigurationError: as `predict`.
        """
        utterances = read_utterances(paths)
        texts = [utterance.text for utterance in utterances]
        unknown: Counter[str] = Counter()
        for text in texts:
            unknown.update(self.vocabulary.encode(text).unknown)
        if unknown:
            _log.warning(unknown_note(unknown, "the transcripts"))
        found = self.predict(
            [utterance.audio for utterance in utterances],
            beam=beam,
            language_model=language_model,
            weight=weight,
            bonus=bonus,
        )
        return transcription_figures([transcript.text for transcript in found], texts)

    def _search(
        self, frames: Tensor, width: int, advisor: Advisor | None, weight: float, bonus: float
    ) -> list[int]:
        blank = self.model.blank
        if width == 1 and advisor is None:
            return greedy(frames, blank)
        found = prefix_beam(
            frames, width=width, blank=blank, scorer=advisor, weight=weight, bonus=bonus
        )
        return found[0].tokens

    def _advisor(self, language_model: TrainedLanguageModel) -> Advisor:
        """The language model's token for each of ours, by its text; its `<unk>` where it has none.

        Byte pairs are other pieces of text in each vocabulary, so they have no common tokens.
        """
        known, level = language_model.vocabulary, self.vocabulary.level
        if known.level != level or known.unk is None:
            raise ConfigurationError(
                f"a transcriber of level {level} cannot hear a language model of level "
                f"{known.level}; both must be char, or both word"
            )
        places = {known.token(index): index for index in range(len(known))}
        names = [self.vocabulary.token(index) for index in range(len(self.vocabulary))]
        # The blank, which comes last, is never asked for.
        tokens = [*(places.get(name, known.unk) for name in names), known.unk]
        return Advisor(language_model.model, torch.tensor(tokens))


class TranscriptStream:
    """Greedy transcription of a recording that arrives in pieces.

    The pieces put together are the text that greedy decoding gives for the whole, however it is
    cut.

    Args:
        model: the model, reading in one direction.
        inputs: what it hears; samples are taken at its rate.
        vocabulary: what it writes.

    Raises:
        ConfigurationError: the model is bidirectional.
    """

    def __init__(self, model: Transcriber, inputs: AudioInputs, vocabulary: Vocabulary) -> None:
        model.check_streams()
        self._model, self._stack, self._vocabulary = model, inputs.stack, vocabulary
        self._mels = MelStream(inputs.rate, bins=inputs.bins)
        self._waiting = np.zeros((0, inputs.bins), np.float32)
        self._state: tuple[State, ...] | None = None
        self._greedy = GreedyStream(model.blank)
        self._tokens: list[int] = []
        self._written = 0

    def feed(self, samples: NDArray[np.float32]) -> str:
        """Take the next samples (n,), in [-1, 1]; give the text that they add."""
        frames = np.concatenate([self._waiting, self._mels.feed(samples)])
        whole = len(frames) - len(frames) % self._stack
        self._waiting = frames[whole:]
        self._listen(frames[:whole])
        return self._news(self._text().rstrip(_HALF))

    def finish(self) -> str:
        """Take the end of the recording; give the text that is left."""
        self._listen(np.concatenate([self._waiting, self._mels.finish()]))
        return self._news(self._text())

    @torch.no_grad()
    def _listen(self, frames: NDArray[np.float32]) -> None:
        if len(frames):
            steps = torch.from_numpy(stacked(frames, self._stack)).to(device_of(self._model))
            rows, self._state = self._model.advance(steps.unsqueeze(0), self._state)
            self._tokens += self._greedy.feed(rows[0])

    def _text(self) -> str:
        return self._vocabulary.decode(self._tokens)

    def _news(self, text: str) -> str:
        """What of the text has not been given yet."""
        news = text[self._written :]
        self._written += len(news)
        return news


def read_utterances(paths: Iterable[str | Path]) -> list[Utterance]:
    """The utterances of manifests and folders, any white space in a transcript as one space.

    Args:
        paths: as `comporta.data.read_transcripts` takes them.

    Raises:
        DataError: one cannot be read.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "a.wav").touch()
    >>> _ = (folder / "all.tsv").write_text("a.wav\\tone  two\\n")
    >>> [utterance.text for utterance in read_utterances([folder / "all.tsv"])]
    ['one two']
    """
    return [
        Utterance(found.audio, " ".join(found.text.split()), found.where)
        for path in paths
        for found in read_transcripts(path)
    ]


def transcription_figures(found: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    """Word and character error rates, by jiwer: edits over the length of what was expected.

    Args:
        found: the transcripts made.
        expected: what they should be, none empty.

    Returns:
        `wer`, `cer`, and how many transcripts there are.

    >>> transcription_figures(["one too", "six"], ["one two", "six"])["cer"]
    0.1
    """
    import jiwer

    spoken = [" ".join(text.split()) for text in found]
    return {
        "wer": float(jiwer.wer(list(expected), spoken)),
        "cer": float(jiwer.cer(list(expected), spoken)),
        "recordings": len(spoken),
    }
