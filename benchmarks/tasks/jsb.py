"""JSB chorales: four voices as piano rolls, 88 sigmoids a frame."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.result import Commands, Result, parameters_of, train_and_evaluate

RECIPE = (
    "--hidden 128 --embedding 64 --dropout 0.3 --batch-size 8 --lr 0.01 --epochs 250 "
    "--validate-every 145"
)
BAR = 8.43


def run(data: Path) -> list[Result]:
    """Train on the training chorales, choose by the validation ones, measure on the test ones."""
    file = data / "jsb" / "JSB_Chorales.mat"
    train, valid, test = (Path(f"{file}#{part}") for part in ("train", "valid", "test"))
    commands = Commands()
    training = ["generator", train, "--validation", valid, *RECIPE.split()]
    figures = train_and_evaluate(commands, "jsb", training, [test])
    return [
        Result(
            task="jsb",
            data="229 training, 76 validation, 77 test chorales; all 4,725 test frames count, the "
            "first of each piece included",
            metric="nats a frame",
            ours=figures["nats_per_frame"],
            bar=f"at most {BAR}, at most 100k parameters",
            reached=figures["nats_per_frame"] <= BAR and parameters_of("jsb") <= 100_000,
            floor="10.95 (each key by its frequency)",
            published="GRU 8.54 with 20k parameters (arXiv:1412.3555), GRU 8.43 and TCN 8.10 with "
            "300k (arXiv:1803.01271)",
            parameters=parameters_of("jsb"),
            seconds=commands.seconds,
            commands=commands.run,
            figures=figures,
        )
    ]
