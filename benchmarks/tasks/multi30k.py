"""Multi30k, German to English, with attention and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.tasks.result import Commands, Result, parameters_of, train_and_evaluate

RECIPE = (
    "--level bpe --vocab-size 4000 --target-vocab-size 3000 --embedding 256 --hidden 256 --tied "
    "--dropout 0.4 --label-smoothing 0.1 --batch-size 54 --lr 2e-3 --warmup 300 --epochs 12"
)
ATTENTION, PLAIN = (f"--attention {kind} {RECIPE}" for kind in ("general", "none"))


def run(data: Path) -> Iterator[Result]:
    """Train both on the 29,000 training pairs, measure on the 1,000 of test 2016."""
    source = "README of bentrevett/pytorch-seq2seq"
    yield _result(data, "multi30k", ATTENTION, bar=33.0, published=f"28.1 (attention, {source})")
    yield _result(data, "multi30k-plain", PLAIN, bar=None, published=f"20.6 (GRU, {source})")


def _result(data: Path, name: str, recipe: str, *, bar: float | None, published: str) -> Result:
    train, validation, test = (
        [data / "multi30k" / f"{part}.{language}.gz" for language in ("de", "en")]
        for part in ("train", "val", "test_2016_flickr")
    )
    held_out = [option for path in validation for option in ("--validation", path)]
    commands = Commands()
    figures = train_and_evaluate(
        commands, name, ["translator", *train, *held_out, *recipe.split()], test
    )
    return Result(
        task=name,
        data="29,000 training pairs de-en, 1,014 to validate, test 2016 (1,000)",
        metric="BLEU",
        ours=figures["bleu"],
        bar="" if bar is None else f"at least {bar:.0f}",
        reached=None if bar is None else figures["bleu"] >= bar,
        published=published,
        parameters=parameters_of(name),
        seconds=commands.seconds,
        commands=commands.run,
        figures=figures,
    )
