"""How a model is trained: the options of the one loop, and the learning rate they give."""

from __future__ import annotations

import math
from dataclasses import dataclass

from comporta.errors import ConfigurationError, nearest

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "constant")
PRECISIONS = ("float32", "bfloat16")
VALIDATIONS = 10


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options of a training run. Exactly one of minutes, epochs and steps is given.

    Args:
        minutes: how long to train. The first steps are timed, and the number of steps follows
            from them; from then on the run depends on nothing but the step.
        epochs: how many times to go over the text.
        steps: how many updates to make.
        optimizer: adamw (Loshchilov & Hutter 2019, arXiv:1711.05101), adam or sgd.
        lr: the highest learning rate.
        weight_decay: of adamw.
        schedule: cosine (Loshchilov & Hutter 2017, arXiv:1608.03983) or constant.
        warmup: steps over which the learning rate rises from 0; never more than a tenth of all.
        clip_norm: scale the gradient down to this norm (Pascanu et al. 2013, arXiv:1211.5063);
            0 to leave it.
        clip_value: limit every component of the gradient to this size, before the norm; 0 to
            leave it.
        validate_every: steps between validations; None for a tenth of the run.
        patience: stop after so many validations without a better one; None to go on.
        precision: float32, or bfloat16: products of numbers rounded to it, as torch's autocast has
            them; weights and states stay float32 (Micikevicius et al. 2018, arXiv:1710.03740).
            Faster where the processor multiplies such numbers.
        seed: of the initial weights and of dropout.

    Raises:
        ConfigurationError: a value out of its range, or not exactly one length.

    >>> TrainingOptions(minutes=2, steps=100)
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: minutes and steps contradict each other; give one of them
    """

    minutes: float | None = None
    epochs: int | None = None
    steps: int | None = None
    optimizer: str = "adamw"
    lr: float = 3e-3
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: int = 100
    clip_norm: float = 1.0
    clip_value: float = 0.0
    validate_every: int | None = None
    patience: int | None = None
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        lengths = [n for n in ("minutes", "epochs", "steps") if getattr(self, n) is not None]
        if not lengths:
            raise ConfigurationError("no length of training; give minutes, epochs or steps")
        if len(lengths) > 1:
            raise ConfigurationError(
                f"{' and '.join(lengths)} contradict each other; give one of them"
            )
        for name in ("minutes", "lr"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigurationError(f"{name} is {value}; it must be a number above 0")
        for name in ("epochs", "steps", "validate_every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} is {value}; it must be at least 1")
        for name in ("warmup", "weight_decay", "clip_norm", "clip_value", "seed"):
            if not 0 <= getattr(self, name) < 2**63:
                raise ConfigurationError(
                    f"{name} is {getattr(self, name)}; it must be 0 or more, and below 2**63"
                )
        for name, known in (
            ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS),
        ):  # fmt: skip
            value = getattr(self, name)
            if value not in known:
                raise ConfigurationError(f"unknown {name} {value!r}{nearest(value, known)}")

    def total_steps(self, steps_per_epoch: int) -> int | None:
        """The number of steps, or None where it has yet to be measured.

        >>> TrainingOptions(epochs=3).total_steps(7)
        21
        """
        if self.epochs is not None:
            return self.epochs * steps_per_epoch
        return self.steps

    def validation_interval(self, total: int) -> int:
        """Steps between validations in a run of so many steps.

        >>> TrainingOptions(steps=95).validation_interval(95)
        10
        """
        return self.validate_every or -(-total // VALIDATIONS)

    def learning_rate(self, step: int, total: int | None) -> float:
        """The learning rate of a step: a linear rise, then half a cosine down to 0.

        Args:
            step: the step, from 0.
            total: steps of the run; None while it is being measured.

        Returns:
            The learning rate.

        >>> options = TrainingOptions(steps=1000, lr=0.1, warmup=100)
        >>> [round(options.learning_rate(step, 1000), 3) for step in (0, 49, 99, 550, 999)]
        [0.001, 0.05, 0.1, 0.05, 0.0]
        """
        rise = self.warmup if total is None else min(self.warmup, total // 10)
        if step < rise:
            return self.lr * (step + 1) / rise
        if self.schedule == "constant" or total is None:
            return self.lr
        progress = (step - rise) / max(1, total - rise)
        return self.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
