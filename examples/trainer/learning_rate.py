"""The learning rate over the samples of a training: Megatron's warm-up and decays."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Schedule:
    """Warm-up, then a decay from `lr` to `min_lr`; lengths are in samples.

    As in OptimizerParamScheduler, megatron/core/optimizer_param_scheduler.py.
    """

    lr: float
    min_lr: float
    init_lr: float
    style: str
    warmup_steps: int
    decay_steps: int
    wsd_style: str
    wsd_decay_steps: int

    def at(self, samples: int) -> float:
        """Return the rate after so many samples."""
        if 0 < self.warmup_steps >= samples:
            return self.init_lr + (self.lr - self.init_lr) * samples / self.warmup_steps
        if self.style == "constant":
            return self.lr
        if samples > self.decay_steps:
            return self.min_lr
        if self.style == "inverse-square-root":
            return max(self.min_lr, self.lr * math.sqrt(max(self.warmup_steps, 1) / max(samples, 1)))
        return self.min_lr + self._share(samples) * (self.lr - self.min_lr)

    def _share(self, samples: int) -> float:
        """Return how much is left of what decays, from 1 to 0."""
        if self.style == "WSD":
            done = samples - (self.decay_steps - self.wsd_decay_steps)
            return 1.0 if done <= 0 else _left(self.wsd_style, done / self.wsd_decay_steps)
        return _left(self.style, (samples - self.warmup_steps) / (self.decay_steps - self.warmup_steps))

    def values(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""
        return asdict(self)


def _left(style: str, done: float) -> float:
    if style == "linear":
        return 1.0 - done
    if style == "cosine":
        return 0.5 * (math.cos(math.pi * done) + 1.0)
    if style == "minus_sqrt":
        return 1.0 - math.sqrt(done)
    return 2.0 * math.pow(0.5, done) - 1.0  # exponential


def schedule_of(options: argparse.Namespace) -> Schedule:
    """Return the schedule that the flags ask for."""
    return Schedule(
        lr=options.lr,
        min_lr=options.min_lr,
        init_lr=options.lr_warmup_init,
        style=options.lr_decay_style,
        warmup_steps=options.warmup_steps,
        decay_steps=options.decay_steps,
        wsd_style=options.lr_wsd_decay_style,
        wsd_decay_steps=options.wsd_decay_steps,
    )


def agreed(schedule: Schedule, saved: dict[str, Any], options: argparse.Namespace) -> Schedule:
    """Return the schedule to go on with after a checkpoint.

    Raises ValueError where the two differ and no flag says which one counts: Megatron refuses that, too.
    """
    if options.override_opt_param_scheduler:
        return schedule
    if options.use_checkpoint_opt_param_scheduler:
        return Schedule(**saved)
    for name, value in schedule.values().items():
        if value != saved[name]:
            raise ValueError(
                f"OptimizerParamScheduler: class input value {value} and checkpoint value {saved[name]} "
                f"for {name} do not match"
            )
    return schedule
