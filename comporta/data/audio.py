"""Sound: recordings as samples, samples as log-mel frames, and transcripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from comporta.data.files import check_file, read_manifest
from comporta.data.lines import bad_line, read_lines
from comporta.errors import ConfigurationError, DataError, missing_extra

if TYPE_CHECKING:
    import soundfile

AUDIO_FILES = (".wav", ".flac", ".ogg")
WINDOW_SECONDS = 0.025
"""How long a frame of log-mel features listens; frames begin every 10 ms."""

LEAST_RATE = 1000
"""Below so many samples a second there is nothing that a mel scale could tell apart."""

_TRANSCRIPTS = ".trans.txt"
_FULL_SCALE = 32768.0  # Kaldi's features are made for samples of 16 bits.
_CUT_OFF = re.compile(r"^data : (\d+) \(should be \d+\)", re.M)
# Programs that write to a pipe leave a length at least this large, and then it says nothing.
_UNKNOWN_LENGTH = 0x7F000000


@dataclass(frozen=True)
class Audio:
    """One recording.

    Args:
        samples: (N,) float32, mono, in [-1, 1].
        rate: samples a second.
        original_rate: samples a second in the file; another one than `rate` was resampled.
        seconds: how long it lasts.
    """

    samples: np.ndarray
    rate: int
    original_rate: int
    seconds: float


@dataclass(frozen=True)
class Utterance:
    """One recording and what is said in it.

    Args:
        audio: the file.
        text: the transcript.
        where: the place of the transcript, for messages.
    """

    audio: Path
    text: str
    where: str


def read_audio(path: str | Path, rate: int) -> Audio:
    """Read a WAV, FLAC or OGG file as mono samples of one rate.

    Channels are averaged. Another rate is resampled by the library soxr, in high quality. An OGG
    file does not say how long it is: one that was cut off may be read as a shorter one.

    Args:
        path: the file.
        rate: samples a second that are wanted.

    Returns:
        The recording.

    Raises:
        DataError: there is no such file, it is broken, cut off or empty, or holds samples that are
            not finite.
        ConfigurationError: the rate is below 1, or a library is missing.

    >>> import tempfile, soundfile
    >>> file = Path(tempfile.mkdtemp()) / "a.wav"
    >>> soundfile.write(file, np.zeros((800, 2)), 8000)
    >>> audio = read_audio(file, 16000)
    >>> audio.samples.shape, audio.original_rate, audio.seconds
    ((1600,), 8000, 0.1)
    """
    if rate < 1:
        raise ConfigurationError(f"a rate of {rate} samples a second; it must be at least 1")
    path = check_file(path)
    with _opened(path) as file:
        channels = file.read(dtype="float32", always_2d=True)
        original, note = int(file.samplerate), str(file.extra_info)
    cut = _CUT_OFF.search(note)
    if cut and int(cut[1]) < _UNKNOWN_LENGTH:
        raise DataError(f"{path} is cut off: its header promises more samples than it holds")
    if len(channels) == 0:
        raise DataError(f"{path} is empty: it holds no samples")
    samples = channels.mean(axis=1)
    if not np.isfinite(samples).all():
        raise DataError(f"{path} holds samples that are not finite; write the file again")
    seconds = len(samples) / original
    if original != rate:
        try:
            import soxr
        except ImportError:
            raise missing_extra("soxr", "audio") from None
        samples = soxr.resample(samples, original, rate)
        if len(samples) == 0:
            raise DataError(f"{path} is too short: nothing is left at {rate} samples a second")
    return Audio(samples, rate, original, seconds)


def audio_seconds(path: str | Path) -> float:
    """How long a recording lasts, from its header alone.

    Raises:
        DataError: there is no such file, or it is broken.

    >>> import tempfile, soundfile
    >>> file = Path(tempfile.mkdtemp()) / "a.flac"
    >>> soundfile.write(file, np.zeros(4000), 16000)
    >>> audio_seconds(file)
    0.25
    """
    with _opened(check_file(path)) as file:
        return float(file.frames / file.samplerate)


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    try:
        import soundfile
    except ImportError:
        raise missing_extra("soundfile", "audio") from None
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"{path} cannot be read as sound: {error.error_string} It must be a whole WAV, FLAC "
            "or OGG file"
        ) from None


class MelStream:
    """Log-mel features of a signal that arrives in pieces.

    Frames of 25 ms every 10 ms, each as soon as its last sample is there:

        m = log(M |FFT(w * p(x - mean(x)))|^2)

    with p the pre-emphasis x_t - 0.97 x_{t-1}, w Povey's window, and M triangular filters on the
    mel scale from 20 Hz to half the rate; below float32's epsilon the logarithm is cut off. These
    are Kaldi's filter banks as the library kaldi-native-fbank computes them, on samples scaled to
    16 bits, without dither and without frames that reach over an edge, so that the frames do not
    depend on how the signal is cut into pieces.

    Source: Povey et al. 2011, "The Kaldi speech recognition toolkit".

    Args:
        rate: samples a second.
        bins: how many filters.

    Raises:
        ConfigurationError: fewer filters than 1, a rate too low for a mel scale, or the library is
            missing.

    >>> stream = MelStream(16000, bins=40)
    >>> [stream.feed(np.zeros(n, np.float32)).shape for n in (399, 1, 160)]
    [(0, 40), (1, 40), (1, 40)]
    >>> stream.finish().shape
    (0, 40)
    """

    def __init__(self, rate: int, *, bins: int = 40) -> None:
        for name, value, least in (("bins", bins, 1), ("rate", rate, LEAST_RATE)):
            if value < least:
                raise ConfigurationError(f"{name} is {value}; it must be at least {least}")
        try:
            import kaldi_native_fbank
        except ImportError:
            raise missing_extra("kaldi_native_fbank", "audio") from None
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.samp_freq = rate
        options.frame_opts.frame_length_ms = 1000 * WINDOW_SECONDS
        options.frame_opts.dither = 0
        options.frame_opts.snip_edges = True
        options.mel_opts.num_bins = bins
        self.rate = rate
        self.bins = bins
        self._bank = kaldi_native_fbank.OnlineFbank(options)
        self._given = 0

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples, (n,) in [-1, 1]; give the frames that are whole, (t, bins)."""
        self._bank.accept_waveform(self.rate, np.float32(_FULL_SCALE) * samples)
        return self._ready()

    def finish(self) -> np.ndarray:
        """Take the end of the signal; give the frames that are left, (t, bins)."""
        self._bank.input_finished()
        return self._ready()

    def _ready(self) -> np.ndarray:
        ready = range(self._given, self._bank.num_frames_ready)
        frames = [np.array(self._bank.get_frame(index)) for index in ready]
        self._bank.pop(len(frames))
        self._given += len(frames)
        return np.array(frames, np.float32).reshape(-1, self.bins)


def log_mel(samples: np.ndarray, rate: int, *, bins: int = 40) -> np.ndarray:
    """Log-mel features of a whole signal: what `MelStream` gives, all at once.

    Args:
        samples: (N,), in [-1, 1].
        rate: samples a second.
        bins: how many filters.

    Returns:
        (T, bins) float32, with T = 1 + floor((N - window) / hop).

    Raises:
        DataError: the signal is shorter than one window of 25 ms.
        ConfigurationError: as `MelStream`.

    >>> log_mel(np.zeros(16000, np.float32), 16000, bins=23).shape
    (98, 23)
    """
    stream = MelStream(rate, bins=bins)
    frames = np.concatenate([stream.feed(samples), stream.finish()])
    if len(frames) == 0:
        raise DataError(
            f"{len(samples)} samples at {rate} a second are shorter than one window of "
            f"{1000 * WINDOW_SECONDS:.0f} ms; leave such recordings out"
        )
    return frames


def read_transcripts(path: str | Path) -> Iterator[Utterance]:
    """Read which recordings there are and what is said in them.

    Args:
        path: a manifest of the columns `audio` and `text` (TSV, CSV or JSON Lines, paths relative
            to it), or a folder as LibriSpeech has it: files `*.trans.txt` with `ID TEXT` on each
            line, and the recordings `ID.flac` (or .wav, .ogg) beside them.

    Yields:
        The utterances, one at a time.

    Raises:
        DataError: there is nothing at the path, a line cannot be read, or a recording is not there.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "7-1.wav").touch()
    >>> _ = (folder / "7.trans.txt").write_text("7-1 AS IT WAS\\n")
    >>> next(read_transcripts(folder)).text
    'AS IT WAS'
    """
    path = Path(path)
    if not path.is_dir():
        for audio, text, where in read_manifest(check_file(path), ("audio", "text")):
            yield Utterance(audio, text, where)
        return
    manifests = sorted(path.rglob(f"*{_TRANSCRIPTS}"))
    if not manifests:
        raise DataError(f"{path} holds no *{_TRANSCRIPTS} file; give a folder that does")
    for manifest in manifests:
        for number, line in read_lines(manifest):
            if not line.strip():
                continue
            name, _, text = line.strip().partition(" ")
            if not text:
                raise bad_line(manifest, number, f"expected ID TEXT, found {line[:40]!r}")
            candidates = [manifest.parent / f"{name}{suffix}" for suffix in AUDIO_FILES]
            found = [file for file in candidates if file.is_file()]
            if not found:
                raise bad_line(
                    manifest, number, f"no recording {name}{' or '.join(AUDIO_FILES)} beside it"
                )
            yield Utterance(found[0], text.strip(), f"{manifest}, line {number}")
