"""Piano rolls: exact through MIDI and back, notes on the grid by brute force, gaps refused."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import io

from comporta.data import read_midi, read_rolls, write_midi
from comporta.errors import ConfigurationError, DataError, ShapeError

rolls = st.builds(
    lambda seed, steps, share: np.random.default_rng(seed).random((steps, 88)) < share,
    st.integers(0, 2**32),
    st.integers(1, 30),
    st.sampled_from([0.003, 0.05, 0.9]),
).filter(np.any)


@given(rolls, st.integers(1, 12), st.sampled_from([30.0, 120.0, 240.0]))
def test_a_roll_survives_midi(frames: np.ndarray, steps: int, tempo: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mid"
        write_midi(path, frames, steps_per_beat=steps, tempo=tempo)
        back = read_midi(path, steps_per_beat=steps)
        seconds = mido.MidiFile(path).length
    np.testing.assert_array_equal(back, frames)
    assert seconds == pytest.approx(len(frames) / steps * 60 / tempo)


def test_what_sounds_on_is_one_held_note(tmp_path: Path) -> None:
    frames = np.zeros((5, 88), dtype=bool)
    frames[1:4, 39] = True
    write_midi(tmp_path / "a.mid", frames, steps_per_beat=4)
    (track,) = mido.MidiFile(tmp_path / "a.mid").tracks
    notes = [(m.type, m.note, m.time) for m in track if not m.is_meta]
    assert notes == [("note_on", 60, 120), ("note_off", 60, 360)]


Note = tuple[int, int, int, int]
notes_of_a_piece = st.lists(
    st.tuples(st.integers(0, 5), st.integers(21, 108), st.integers(0, 900), st.integers(0, 400)),
    min_size=1,
    max_size=12,
    unique_by=lambda note: note[:2],
)


def midi(path: Path, notes: list[Note], *, kind: int = 1, ticks: int = 96) -> None:
    """Notes (channel, note, begin, length); a track a channel; every second ends by velocity 0."""
    file = mido.MidiFile(type=kind, ticks_per_beat=ticks)
    for channel in sorted({note[0] for note in notes}):
        events = []
        for index, (_, note, begin, length) in enumerate(n for n in notes if n[0] == channel):
            end = ("note_on", 0) if index % 2 else ("note_off", 64)
            events += [(begin, 0, "note_on", note, 64), (begin + length, 1, end[0], note, end[1])]
        track, now = file.add_track(), 0
        for tick, _, name, note, velocity in sorted(events):
            message = mido.Message(name, channel=channel, note=note, velocity=velocity)
            track.append(message.copy(time=tick - now))
            now = tick
    file.save(path)


def nearest_line(tick: int, steps: int) -> int:
    return math.floor(Fraction(tick * steps, 96) + Fraction(1, 2))


@settings(max_examples=60)
@given(notes_of_a_piece, st.integers(1, 6))
def test_a_note_sounds_in_the_frames_it_covers(notes: list[Note], steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        midi(Path(folder) / "a.mid", notes)
        roll = read_midi(Path(folder) / "a.mid", steps_per_beat=steps)
    expected = np.zeros_like(roll)
    for _, note, begin, length in notes:
        first, end = nearest_line(begin, steps), nearest_line(begin + length, steps)
        for frame in {first, *range(first, end)}:
            expected[frame, note - 21] = True
    np.testing.assert_array_equal(roll, expected)
    assert len(roll) >= max(nearest_line(n[2] + n[3], steps) for n in notes)


def test_drums_are_left_out_and_a_note_without_end_sounds_on(tmp_path: Path) -> None:
    midi(tmp_path / "a.mid", [(9, 40, 0, 96), (0, 60, 0, 24)])
    assert read_midi(tmp_path / "a.mid").nonzero() == (np.array([0]), np.array([39]))
    file = mido.MidiFile()
    file.add_track().extend([mido.Message("note_on", note=21), mido.MetaMessage("text", time=960)])
    file.save(tmp_path / "b.mid")
    assert read_midi(tmp_path / "b.mid")[:, 0].tolist() == [True] * 8


def test_midi_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mid"
    for notes, options, words in [
        ([(0, 109, 96, 9)], {}, "note 109 at beat 1 is not on a piano; .* 21 to 108"),
        ([(0, 20, 0, 9)], {}, "note 20 at beat 0"),
        ([(9, 40, 0, 9)], {}, "has no notes"),
        ([(0, 60, 0, 9), (1, 60, 0, 9)], {"kind": 2}, "several pieces"),
        ([(0, 60, 0, 9)], {"ticks": -0x18D8}, "without beats"),
        ([(0, 60, 0, 2**27)], {"ticks": 1}, "lasts 536,870,912 frames"),
    ]:
        midi(path, notes, **options)
        with pytest.raises(DataError, match=rf"a\.mid.*{words}"):
            read_midi(path)
    midi(path, [(0, 60, 0, 9), (0, 62, 3, 9)])
    whole = path.read_bytes()
    for data in (b"", b"no music at all", whole[:10], whole[:-6]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.mid is not a whole MIDI file: \S"):
            read_midi(path)
    with pytest.raises(ConfigurationError, match="between 1 and 273"):
        read_midi(path, steps_per_beat=0)
    monkeypatch.setitem(sys.modules, "mido", None)
    for act in (lambda: read_midi(path), lambda: write_midi(path, np.zeros((1, 88)))):
        with pytest.raises(ConfigurationError, match=r"comporta\[music\]"):
            act()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"expected \(T, 88\)"):
        write_midi(tmp_path / "a.mid", np.zeros(88))
    with pytest.raises(ConfigurationError, match="tempo is 0"):
        write_midi(tmp_path / "a.mid", np.zeros((1, 88)), tempo=0)


def test_a_folder_of_midi_files_by_genre(tmp_path: Path) -> None:
    for index, name in enumerate(["rock/1.mid", "jazz/2.MIDI", "jazz/3.mid", "4.mid"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_midi(tmp_path / name, np.eye(1, 88, index, dtype=bool), steps_per_beat=2)
    found = list(read_rolls(tmp_path, steps_per_beat=2))
    keys = [(roll.label, int(roll.frames.argmax())) for roll in found]
    assert keys == [(None, 3), ("jazz", 1), ("jazz", 2), ("rock", 0)]
    (single,) = read_rolls(tmp_path / "rock/1.mid", steps_per_beat=2)
    assert (single.label, single.frames.shape) == (None, (1, 88))


@settings(max_examples=20)
@given(st.lists(rolls, min_size=2, max_size=3))
def test_files_of_rolls_come_back(pieces: list[np.ndarray]) -> None:
    cell = np.empty((1, len(pieces)), dtype=object)
    cell[0, :] = [*pieces[:-1], pieces[-1].astype(float)]
    notes = [[[*(np.flatnonzero(f) + 21).tolist(), -1] for f in piece] for piece in pieces]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        io.savemat(folder / "a.mat", {"traindata": cell, "testdata": cell[:, :1]})
        np.savez(folder / "a.npz", *pieces)
        (folder / "a.json").write_text(json.dumps({"train": notes, "valid": []}))
        (folder / "b.json").write_text(json.dumps(notes))
        sources = [("a.mat", "train"), ("a.npz", None), ("a.json", "train"), ("b.json", None)]
        found = [[r.frames for r in read_rolls(folder / n, part)] for n, part in sources]
        short = [roll.frames for roll in read_rolls(folder / "a.mat", "test")]
    for back in [*found, [*short, *pieces[1:]]]:
        assert len(back) == len(pieces)
        for frames, piece in zip(back, pieces, strict=True):
            assert frames.dtype == bool
            np.testing.assert_array_equal(frames, piece)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"train": [[[60], [109]]]}', "train 1, frame 2: 109 is no note"),
        ('{"train": [[[60]], [[60, 60.5]]]}', "train 2, frame 1: 60.5 is no note"),
        ('{"train": [[["C4"]]]}', "train 1, frame 1: 'C4' is no note"),
        ('{"train": [[60]]}', "train 1, frame 1: expected a list of notes"),
        ('{"train": [[]]}', "train 1: expected a list of at least one frame"),
        ('{"train": 3}', "expected a list of pieces"),
        ('{"train": []}', "holds no music"),
        ('{"train": ', "is not JSON: .* line 1"),
    ],
)
def test_wrong_lists_of_notes_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=rf"a\.json.*{words}"):
        list(read_rolls(tmp_path / "a.json", "train"))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 87)), r"shape \(3, 87\); expected \(T, 88\)"),
        (np.zeros((0, 88)), r"shape \(0, 88\)"),
        (np.full((2, 88), 2), "values other than 0 and 1"),
        (np.full((2, 88), np.nan), "values other than 0 and 1"),
        (np.full((2, 88), "1"), "values other than 0 and 1"),
        (np.full((2, 88), None), "Python objects"),
    ],
)
def test_wrong_matrices_are_refused(tmp_path: Path, array: np.ndarray, words: str) -> None:
    np.savez(tmp_path / "a.npz", np.zeros((1, 88)), piece=array)
    with pytest.raises(DataError, match=rf"a\.npz.*{words}"):
        list(read_rolls(tmp_path / "a.npz"))


def test_other_sources_that_are_refused(tmp_path: Path) -> None:
    io.savemat(tmp_path / "a.mat", {"traindata": np.zeros((3, 88)), "testdata": np.zeros(1)})
    (tmp_path / "b.mat").write_bytes((tmp_path / "a.mat").read_bytes()[:150])
    (tmp_path / "a.json").write_text("[]")
    (tmp_path / "a.txt").touch()
    for name, part, words in [
        ("a.mat", "train", "expected a cell of matrices"),
        ("b.mat", "train", r"b\.mat"),
        ("a.txt", None, "no known format"),
        ("absent.mid", None, "no such file"),
    ]:
        with pytest.raises(DataError, match=words):
            list(read_rolls(tmp_path / name, part))
    for name, part, words in [
        ("a.mat", None, "has the parts test, train; choose one"),
        ("a.mat", "valid", "no part 'valid'; known: test, train"),
        ("a.mat", "dev", "train or valid or test"),
        ("a.json", "train", "has no parts"),
        ("a.npz", "train", "has no parts"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            list(read_rolls(tmp_path / name, part))


def test_chorales(data_folder: Path, tmp_path: Path) -> None:
    path = data_folder / "jsb" / "JSB_Chorales.mat"
    parts = {part: list(read_rolls(path, part)) for part in ("train", "valid", "test")}
    assert {part: len(found) for part, found in parts.items()} == {
        "train": 229,
        "valid": 76,
        "test": 77,
    }
    frames = np.concatenate([roll.frames for roll in parts["train"]])
    keys = np.flatnonzero(frames.any(axis=0)) + 21
    assert (keys.min(), keys.max()) == (43, 96)
    assert frames.sum(axis=1).max() == 4
    for index, roll in enumerate(parts["test"]):
        write_midi(tmp_path / f"{index:02}.mid", roll.frames, steps_per_beat=2, tempo=80)
    for roll, back in zip(parts["test"], read_rolls(tmp_path, steps_per_beat=2), strict=True):
        np.testing.assert_array_equal(back.frames, roll.frames)
