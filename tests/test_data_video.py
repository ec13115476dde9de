"""Video: what is rendered comes back within what compression loses; what is no video is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from comporta.data import read_frames, write_video
from comporta.errors import ConfigurationError, DataError, ShapeError


def moving_square(frames: int = 12, size: int = 64) -> np.ndarray:
    """A red square that moves to the right over a green ground, 4 pixels a frame."""
    clip = np.zeros((frames, size, size, 3), np.uint8)
    clip[..., 1] = 100
    for index in range(frames):
        clip[index, 24:40, 4 * index : 4 * index + 16] = (220, 30, 60)
    return clip


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_frames_come_back(tmp_path: Path, suffix: str) -> None:
    clip = moving_square()
    write_video(tmp_path / f"a.{suffix}", clip, rate=12)
    found = read_frames(tmp_path / f"a.{suffix}", size=64)
    assert found.dtype == np.uint8
    assert found.shape == clip.shape
    error = np.abs(found.astype(float) - clip)
    assert error.mean() < 6
    # Colors are kept at half the size, so that edges are wrong by more.
    assert np.median(error) <= 3
    red = (found[..., 0] > 120).any(axis=1)
    np.testing.assert_allclose(red.argmax(axis=1), 4 * np.arange(len(clip)), atol=1)


def test_frames_are_scaled_to_a_square(tmp_path: Path) -> None:
    wide = np.repeat(moving_square(3), 2, axis=2)
    write_video(tmp_path / "a.mp4", wide, rate=10)
    found = read_frames(tmp_path / "a.mp4", size=16).astype(float)
    blocks = wide.reshape(3, 16, 4, 16, 8, 3).mean(axis=(2, 4))
    assert found.shape == blocks.shape
    assert np.abs(found - blocks).mean() < 10
    assert np.abs(found - blocks[:, ::-1, ::-1]).mean() > 10


def test_frames_are_chosen(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving_square(), rate=10)
    whole = read_frames(tmp_path / "a.mp4")
    np.testing.assert_array_equal(read_frames(tmp_path / "a.mp4", every=5), whole[::5])
    np.testing.assert_array_equal(read_frames(tmp_path / "a.mp4", every=2, most=3), whole[:6:2])
    np.testing.assert_array_equal(read_frames(tmp_path / "a.mp4", most=99), whole)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving_square(), rate=10)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:500])
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "empty.mp4").touch()
    soundfile.write(tmp_path / "sound.wav", np.zeros(800), 8000)
    write_video(tmp_path / "none.avi", moving_square(0), rate=10)
    for name, words in [
        ("cut.mp4", r"cut\.mp4 cannot be read as a video"),
        ("text.mp4", r"text\.mp4 cannot be read as a video"),
        ("empty.mp4", r"empty\.mp4 cannot be read as a video"),
        ("sound.wav", r"sound\.wav holds no video"),
        ("none.avi", r"none\.avi"),
        ("absent.mp4", "no such file"),
        ("", "is a folder"),
    ]:
        with pytest.raises(DataError, match=words):
            read_frames(tmp_path / name)


def test_options_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, moving_square(), rate=10)
    for options in ({"size": 0}, {"every": 0}, {"most": 0}):
        with pytest.raises(ConfigurationError, match="is 0; it must be at least 1"):
            read_frames(path, **options)
    for frames in (moving_square()[0], moving_square() / 2, moving_square()[:, :63]):
        with pytest.raises(ShapeError, match=r"expected \(T, H, W, 3\)"):
            write_video(path, frames, rate=10)
    monkeypatch.setitem(sys.modules, "av", None)
    for act in (lambda: read_frames(path), lambda: write_video(path, moving_square(), rate=10)):
        with pytest.raises(ConfigurationError, match=r"comporta\[video\]"):
            act()
