"""Sound: samples as they were written, features against their formula, streaming to the bit."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from comporta.data import (
    MelStream,
    audio_seconds,
    log_mel,
    read_audio,
    read_transcripts,
)
from comporta.errors import ConfigurationError, DataError


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, count).astype(np.float32)


def tone(rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_samples_come_back(tmp_path: Path, suffix: str) -> None:
    samples = noise(1234)
    soundfile.write(tmp_path / f"a.{suffix}", samples, 8000)
    audio = read_audio(tmp_path / f"a.{suffix}", 8000)
    assert (audio.rate, audio.original_rate, audio.seconds) == (8000, 8000, 1234 / 8000)
    assert audio.samples.dtype == np.float32
    np.testing.assert_allclose(audio.samples, samples, rtol=0, atol=1 / 32768)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = noise(500, 1), noise(500, 2)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 8000, subtype="FLOAT")
    audio = read_audio(tmp_path / "a.wav", 8000)
    np.testing.assert_allclose(audio.samples, (left + right) / 2, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("original", "rate"), [(8000, 16000), (44100, 16000), (16000, 8000)])
def test_another_rate_is_resampled(tmp_path: Path, original: int, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(original), original, subtype="FLOAT")
    audio = read_audio(tmp_path / "a.wav", rate)
    assert (audio.rate, audio.original_rate, audio.seconds) == (rate, original, 0.5)
    middle = slice(rate // 10, -rate // 10)
    np.testing.assert_allclose(audio.samples[middle], tone(rate)[middle], rtol=0, atol=1e-4)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(8000), 8000)
    whole = path.read_bytes()
    assert audio_seconds(path) == 1
    for size in (len(whole) // 2, 60, 20, 0):
        path.write_bytes(whole[:size])
        with pytest.raises(
            DataError, match=f"a.{suffix} (cannot be read as sound|is cut off|is empty)"
        ):
            read_audio(path, 8000)


def test_a_length_that_a_pipe_left_open_is_no_damage(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(100), 8000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[40:44] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "a.wav", 8000).samples) == 100


def test_other_recordings_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    soundfile.write(tmp_path / "nan.wav", np.array([0, np.nan]), 8000, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("one two three")
    for path, words in [
        ("empty.wav", "is empty"),
        ("nan.wav", "not finite"),
        ("text.wav", "cannot be read as sound"),
        ("absent.wav", "no such file"),
        ("", "is a folder"),
    ]:
        with pytest.raises(DataError, match=words):
            read_audio(tmp_path / path, 8000)
    with pytest.raises(ConfigurationError, match="rate of 0"):
        read_audio(tmp_path / "nan.wav", 0)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ConfigurationError, match=r"soundfile.*comporta\[audio\]"):
        read_audio(tmp_path / "nan.wav", 8000)


def mel(frequency: np.ndarray | float) -> np.ndarray:
    return 1127 * np.log(1 + np.asarray(frequency) / 700)


def log_mel_by_formula(samples: np.ndarray, rate: int, bins: int) -> np.ndarray:
    """Kaldi's filter banks, written down in float64."""
    window, hop = int(rate * 0.025), int(rate * 0.01)
    size = 1 << (window - 1).bit_length()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / (window - 1))
    edges = np.linspace(mel(20), mel(rate / 2), bins + 2)
    at = mel(np.arange(size // 2) * rate / size)
    up = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.clip(np.minimum(up, down), 0, None)
    frames = []
    for start in range(0, len(samples) - window + 1, hop):
        x = samples[start : start + window].astype(np.float64) * 32768
        x = x - x.mean()
        x = x - 0.97 * np.concatenate([x[:1], x[:-1]])
        power = np.abs(np.fft.rfft(x * hann**0.85, size))[: size // 2] ** 2
        frames.append(np.log(np.maximum(triangles @ power, np.finfo(np.float32).eps)))
    return np.array(frames)


@pytest.mark.parametrize(("rate", "bins"), [(8000, 40), (16000, 80), (16000, 23)])
def test_features_follow_their_formula(rate: int, bins: int) -> None:
    samples = noise(rate // 2) + tone(rate).astype(np.float32)
    found = log_mel(samples, rate, bins=bins)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, log_mel_by_formula(samples, rate, bins), rtol=0, atol=2e-3)


@given(st.lists(st.integers(0, 900), max_size=12), st.integers(200, 4000))
def test_streaming_gives_the_same_bits(cuts: list[int], count: int) -> None:
    samples = noise(count)
    stream = MelStream(8000, bins=20)
    pieces = np.split(samples, np.minimum(np.cumsum(cuts), count))
    found, heard = [], 0
    for piece in pieces:
        found.append(stream.feed(piece))
        heard += len(piece)
        # A frame is given as soon as its last sample is there.
        assert sum(map(len, found)) == max(0, 1 + (heard - 200) // 80)
    found.append(stream.finish())
    assert np.concatenate(found).tobytes() == log_mel(samples, 8000, bins=20).tobytes()


def test_features_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="199 samples at 8000 a second are shorter than one window"):
        log_mel(noise(199), 8000)
    for options, words in [({"bins": 0}, "bins is 0"), ({"rate": 100}, "rate is 100")]:
        with pytest.raises(ConfigurationError, match=words):
            MelStream(**{"rate": 8000, **options})
    monkeypatch.setitem(sys.modules, "kaldi_native_fbank", None)
    with pytest.raises(ConfigurationError, match=r"comporta\[audio\]"):
        MelStream(8000)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("all.tsv", "a/1.wav\tone two\na/2.wav\tthree, four\n"),
        ("all.csv", 'audio,text\na/1.wav,one two\na/2.wav,"three, four"\n'),
        (
            "all.jsonl",
            '{"audio": "a/1.wav", "text": "one two"}\n'
            '{"audio": "a/2.wav", "text": "three, four", "speaker": 7}\n',
        ),
    ],
)
def test_transcripts_in_a_manifest(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "a").mkdir()
    for index in (1, 2):
        (tmp_path / "a" / f"{index}.wav").touch()
    (tmp_path / name).write_text(text)
    found = list(read_transcripts(tmp_path / name))
    assert [(u.audio.name, u.text) for u in found] == [
        ("1.wav", "one two"),
        ("2.wav", "three, four"),
    ]
    (tmp_path / "a" / "2.wav").unlink()
    with pytest.raises(DataError, match=rf"{name}, line [23]: no such file: .*2\.wav"):
        list(read_transcripts(tmp_path / name))


def test_transcripts_in_folders(tmp_path: Path) -> None:
    for name in ("7/1/7-1-0.flac", "7/1/7-1-1.wav", "8/8-0.ogg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "7/1/7-1.trans.txt").write_text("7-1-0 AS IT\n7-1-1 WAS\n")
    (tmp_path / "8/8.trans.txt").write_text("8-0 SO\n\n")
    found = list(read_transcripts(tmp_path))
    assert [(u.audio.name, u.text) for u in found] == [
        ("7-1-0.flac", "AS IT"),
        ("7-1-1.wav", "WAS"),
        ("8-0.ogg", "SO"),
    ]
    assert found[1].where == f"{tmp_path / '7/1/7-1.trans.txt'}, line 2"


def test_transcripts_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \*\.trans\.txt"):
        list(read_transcripts(tmp_path))
    for text, words in [
        ("1 YES\n", r"a\.trans\.txt, line 1: no recording 1\.wav or"),
        ("1\n", "line 1: expected ID TEXT, found '1'"),
    ]:
        (tmp_path / "a.trans.txt").write_text(text)
        with pytest.raises(DataError, match=words):
            list(read_transcripts(tmp_path))
    with pytest.raises(DataError, match="no such file"):
        list(read_transcripts(tmp_path / "absent.tsv"))


def test_spoken_digits(data_folder: Path) -> None:
    paths = sorted((data_folder / "fsdd").glob("*.wav"))
    assert len(paths) == 1500
    for path in paths[::50]:
        audio = read_audio(path, 8000)
        assert audio.original_rate == 8000
        assert audio.seconds == audio_seconds(path) == len(audio.samples) / 8000
        frames = log_mel(audio.samples, 8000)
        assert frames.shape == (1 + (len(audio.samples) - 200) // 80, 40)
        assert np.isfinite(frames).all()
