"""Training: one loop for every task, its options, and checkpoints without code."""

from comporta.training.checkpoint import Checkpoint, RunFolder
from comporta.training.loop import Progress, Reporter, Run
from comporta.training.options import TrainingOptions
from comporta.training.recipe import Parts, Recipe
from comporta.training.task import Measure, StepLoss, Task

__all__ = [
    "Checkpoint",
    "Measure",
    "Parts",
    "Progress",
    "Recipe",
    "Reporter",
    "Run",
    "RunFolder",
    "StepLoss",
    "Task",
    "TrainingOptions",
]
