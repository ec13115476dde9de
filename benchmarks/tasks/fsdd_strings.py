"""Strings of three to seven spoken digits, joined from single recordings, written down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.tasks.result import RUNS, Commands, Result, parameters_of, train_and_evaluate

RECIPE = "--level word --hidden 128 --layers 2 --dropout 0.1 --batch-size 8 --lr 2e-3 --epochs 16"
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SPEAKERS = ("george", "jackson", "nicolas")
RATE = 8000
PARTS = {
    "train": (3000, range(5, 45)),
    "validation": (300, range(45, 50)),
    "test": (500, range(5)),
}
"""How many strings, and the numbers of the recordings that they are made of."""
LONGEST_PAUSE = 0.3


def run(data: Path) -> list[Result]:
    """Make the strings; train in one direction and in both; measure on the test strings."""
    train, validation, test = (
        write_strings(
            data / "fsdd",
            RUNS / "fsdd_strings_data" / f"{part}.tsv",
            count=count,
            numbers=numbers,
            seed=seed,
        )
        for seed, (part, (count, numbers)) in enumerate(PARTS.items())
    )
    results = []
    for name, option in (
        ("fsdd_strings", "--no-bidirectional"),
        ("fsdd_strings_bidirectional", "--bidirectional"),
    ):
        commands = Commands()
        training = ["transcriber", train, "--validation", validation, *RECIPE.split(), option]
        figures = train_and_evaluate(commands, name, training, [test])
        results.append(
            Result(
                task=name,
                data="3,000 strings of 3-7 digits from recordings 5-44 of each digit and speaker, "
                "300 from 45-49 to validate on, 500 from 0-4 (the official test recordings)",
                metric="word error rate",
                ours=figures["wer"],
                bar="at most 0.03",
                reached=figures["wer"] <= 0.03,
                floor="1.000 (always nothing)",
                published="none on strings of these recordings",
                parameters=parameters_of(name),
                seconds=commands.seconds,
                commands=commands.run,
                figures=figures,
            )
        )
    return results


def write_strings(
    recordings: Path, manifest: Path, *, count: int, numbers: Sequence[int], seed: int
) -> Path:
    """Write strings of digits as WAV files, always the same ones.

    Each is of one speaker, with up to 0.3 s of silence before, between and after the digits.

    Args:
        recordings: the folder of single digits.
        manifest: where it goes; the strings go beside it, into a folder of its name.
        count: how many strings.
        numbers: those of the recordings that they are made of.
        seed: of all choices.

    Returns:
        The manifest.
    """
    import soundfile

    random = np.random.default_rng(seed)
    folder = manifest.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for string in range(count):
        speaker = random.choice(SPEAKERS)
        digits = random.integers(10, size=random.integers(3, 8))
        pieces = [silence(random)]
        for digit in digits:
            number = random.choice(numbers)
            samples, rate = soundfile.read(recordings / f"{digit}_{speaker}_{number}.wav")
            assert rate == RATE, "the recordings have one rate"
            pieces += [samples, silence(random)]
        wav = folder / f"{string:04d}.wav"
        soundfile.write(wav, np.concatenate(pieces), RATE)
        words = " ".join(DIGITS[digit] for digit in digits)
        lines.append(f"{folder.name}/{wav.name}\t{words}\n")
    manifest.write_text("".join(lines), encoding="utf-8")
    return manifest


def silence(random: np.random.Generator) -> np.ndarray:
    """Up to 0.3 s of nothing."""
    return np.zeros(int(random.uniform(0, LONGEST_PAUSE) * RATE))
