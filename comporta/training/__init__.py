"""Training: one loop, checkpoints without code, and models loaded from them."""

from comporta.training.checkpoint import Checkpoint, RunFolder
from comporta.training.language_model import (
    LanguageModelRecipe,
    LanguageModelTask,
    from_settings,
    resume,
    start,
)
from comporta.training.loop import Progress, Reporter, Run
from comporta.training.options import TrainingOptions
from comporta.training.task import Measure, StepLoss, Task
from comporta.training.trained import Score, TrainedLanguageModel, load

__all__ = [
    "Checkpoint",
    "LanguageModelRecipe",
    "LanguageModelTask",
    "Measure",
    "Progress",
    "Reporter",
    "Run",
    "RunFolder",
    "Score",
    "StepLoss",
    "Task",
    "TrainedLanguageModel",
    "TrainingOptions",
    "from_settings",
    "load",
    "resume",
    "start",
]
