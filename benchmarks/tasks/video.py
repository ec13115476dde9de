"""Video clips: shapes that move in eight directions, rendered to MP4 files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tasks.result import RUNS, Commands, Result, parameters_of
from comporta.data import write_video

RECIPE = "--epochs 8 --hidden 64 --embedding 64 --dropout 0.1 --lr 0.002"
DIRECTIONS = ("E", "SE", "S", "SW", "W", "NW", "N", "NE")
CLIPS = {"train": 1600, "test": 400}
PIXELS, FRAMES, RATE = 40, 16, 10


def run(data: Path) -> list[Result]:
    """Render the clips, train on some, measure on others."""
    folder = RUNS / "video-clips"
    for seed, (part, count) in enumerate(CLIPS.items()):
        render(folder / part, count, np.random.default_rng(seed))
    out = RUNS / "video"
    commands = Commands()
    trained = commands(
        "train", "classifier", folder / "train", *RECIPE.split(), "--out", out, "--overwrite"
    )
    figures = commands("evaluate", out, folder / "test")
    return [
        Result(
            task="video",
            data=f"{CLIPS['train']:,} training and {CLIPS['test']} test clips of {FRAMES} frames, "
            "shapes moving in 8 directions, rendered to MP4",
            metric="accuracy",
            ours=figures["accuracy"],
            bar="at least 0.98",
            reached=figures["accuracy"] >= 0.98,
            floor="0.125 (chance)",
            parameters=parameters_of("video"),
            seconds=trained["seconds"],
            commands=commands.run,
            figures=figures,
        )
    ]


def render(folder: Path, count: int, random: np.random.Generator) -> None:
    """Write clips, as many of each direction, a subfolder a direction.

    Args:
        folder: where to.
        count: of clips.
        random: everything about a clip but its direction.
    """
    for number in range(count):
        direction = number % len(DIRECTIONS)
        path = folder / DIRECTIONS[direction] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, clip(direction * math.pi / 4, random), rate=RATE)


def clip(angle: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """A disc, square or ring of some colour on another, moving at some speed, with noise.

    Args:
        angle: of its way, from east over south.
        random: everything else.

    Returns:
        (T, H, W, 3).
    """
    radius, speed = random.uniform(3, 6), random.uniform(0.6, 1.6)
    way = np.array([math.sin(angle), math.cos(angle)])
    # Half way through the clip the shape is near the middle.
    middle = PIXELS / 2 + random.uniform(-6, 6, 2)
    colour, ground = random.uniform(0, 255, (2, 3))
    while abs(colour - ground).sum() < 200:
        colour, ground = random.uniform(0, 255, (2, 3))
    shape = random.integers(3)
    grid = np.stack(np.mgrid[:PIXELS, :PIXELS], axis=-1)
    frames = np.empty((FRAMES, PIXELS, PIXELS, 3))
    for t in range(FRAMES):
        offset = grid - (middle + (t - FRAMES / 2) * speed * way)
        distance = np.hypot(*np.moveaxis(offset, -1, 0))
        inside = (distance < radius) & ((shape != 1) | (distance > radius / 2))
        if shape == 2:
            inside = abs(offset).max(-1) < radius
        frames[t] = np.where(inside[..., None], colour, ground)
    noisy = frames + random.normal(0, random.uniform(5, 30), frames.shape)
    return noisy.clip(0, 255).astype(np.uint8)
