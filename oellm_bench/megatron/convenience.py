"""Arguments that Megatron-LM has not, made into those it has: tokens and fractions of the training, exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

from oellm_bench.errors import Problem
from oellm_bench.megatron.rendering import Setting, setting_of
from oellm_bench.megatron.table import Table, normalised
from oellm_bench.megatron.values import exact

CountedIn = Literal["auto", "iterations", "samples"]

# What each becomes: counted in iterations, and in samples where there is such an argument.
_TOKENS = {
    "train_tokens": ("train_iters", "train_samples"),
    "lr_warmup_tokens": ("lr_warmup_iters", "lr_warmup_samples"),
    "save_interval_tokens": ("save_interval", ""),
    "eval_interval_tokens": ("eval_interval", ""),
}
_FRACTIONS = {
    "lr_decay_fraction": ("lr_decay_iters", "lr_decay_samples"),
    "lr_wsd_decay_fraction": ("lr_wsd_decay_iters", "lr_wsd_decay_samples"),
}
_TOKENS_FIX = "give a whole number above 0, such as 1e9 or 300B (K, M, B, T: thousands to 10^12)"
_FRACTION_FIX = "give a number above 0, up to 1"
CONVENIENCES = (*_TOKENS, *_FRACTIONS)
# Where one of these is given, or the batch grows, the training is counted in samples.
_ITERATIONS = ("train_iters", "lr_decay_iters", "lr_warmup_iters", "lr_wsd_decay_iters")
_SAMPLES = ("train_samples", "lr_decay_samples", "lr_warmup_samples", "lr_wsd_decay_samples")
_GROWING_BATCH = ("rampup_batch_size", "step_batch_size_schedule")


def parted(table: Table, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[Problem]]:
    """Return the conveniences by name, all other arguments as they are, and conveniences that stand there twice.

    What the table has itself is no convenience: a Megatron-LM with a --train-tokens of its own is told that.
    """
    wanted: dict[str, Any] = {}
    others: dict[str, Any] = {}
    problems = []
    for key, value in arguments.items():
        name = normalised(key)
        if name not in CONVENIENCES or table.find(key) is not None:
            others[key] = value
        elif name in wanted:
            problems.append(Problem(what=f"'{name}' says the same", where=key, fix="take one of them out"))
        elif value is not None:
            wanted[name] = value
    return wanted, others, problems


def derived(
    table: Table, wanted: Mapping[str, Any], settings: Mapping[str, Setting], counted_in: CountedIn = "auto"
) -> tuple[dict[str, Setting], list[Problem]]:
    """Return what follows from the conveniences and from `settings`, by dest, and why some cannot be.

    `where` of a problem is the convenience's name.
    """
    expansion = _Expansion(table, settings, counted_in)
    for name in CONVENIENCES:
        # A fraction of what cannot be told itself is no second problem.
        if name in wanted and not (name in _FRACTIONS and "train_tokens" in (p.where for p in expansion.problems)):
            try:
                expansion.add(name, wanted[name])
            except ValueError as err:
                what, _, fix = str(err).partition("; ")
                expansion.problems.append(Problem(what=what, where=name, fix=fix))
    expansion.follow()
    return expansion.made, expansion.problems


class _Expansion:
    """Adds one argument after the other to what is given; those that come later see those before."""

    def __init__(self, table: Table, settings: Mapping[str, Setting], counted_in: CountedIn) -> None:
        self.made: dict[str, Setting] = {}
        self.problems: list[Problem] = []
        self._table = table
        self._given = settings
        self._counted_in = counted_in

    def add(self, name: str, value: Any) -> None:
        """Add what a convenience comes to. Raises ValueError where it cannot be told: what; what to do."""
        pair = _TOKENS.get(name) or _FRACTIONS[name]
        for dest in filter(None, pair):
            if dest in self._given:
                raise ValueError(f"'{self._given[dest].key}' says it as well; take one of them out")
        try:
            number = exact(value)
        except ValueError as err:
            raise ValueError(f"{err}; {_TOKENS_FIX if name in _TOKENS else _FRACTION_FIX}") from None
        count = self._of_tokens(pair, number) if name in _TOKENS else self._of_fraction(pair, number)
        dest = pair[self._in_samples(pair)]
        if count < 1:
            raise ValueError(f"'{value}' comes to {count} for {dest}; give more, or {dest} itself")
        self._set(dest, count, name)

    def follow(self) -> None:
        """Let the end of a warm-up-stable-decay schedule follow the decay where nothing else is said of it."""
        for kind in ("iters", "samples"):
            decay, wsd = f"lr_decay_{kind}", f"lr_wsd_decay_{kind}"
            setting = self.made.get(decay) or self._given.get(decay)
            told = any(f"lr_wsd_decay_{k}" in known for k in ("iters", "samples") for known in (self.made, self._given))
            if setting is not None and not told and not setting.open and wsd in self._table.by_dest:
                self._set(wsd, setting.value, setting.key)

    def _set(self, dest: str, count: int, name: str) -> None:
        setting = setting_of(self._table, dest, count)
        if isinstance(setting, Problem):
            raise ValueError(f"this Megatron-LM has no {dest} ({self._table.source}); say it in its own arguments")
        self.made[dest] = Setting(key=name, dest=dest, value=setting.value, argv=setting.argv)

    def _of_tokens(self, pair: tuple[str, str], tokens: Fraction) -> int:
        if tokens.denominator != 1 or tokens < 1:
            raise ValueError(f"{tokens} is no number of tokens; {_TOKENS_FIX}")
        length = self._number("seq_length")
        if self._in_samples(pair):
            return math.ceil(tokens / length)
        if growing := [dest for dest in _GROWING_BATCH if dest in self._given]:
            raise ValueError(f"'{growing[0]}' lets the batch grow, so that no number of iterations is that many tokens")
        return math.ceil(tokens / (length * self._number("global_batch_size")))

    def _of_fraction(self, pair: tuple[str, str], fraction: Fraction) -> int:
        if not 0 < fraction <= 1:
            raise ValueError(f"{float(fraction):g} is no fraction of the training; {_FRACTION_FIX}")
        dest = ("train_iters", "train_samples")[self._in_samples(pair)]
        return math.floor(self._number(dest, "train_tokens or train_iters") * fraction)

    def _in_samples(self, pair: tuple[str, str]) -> bool:
        """Tell how something is counted: as the training is, where that is known already."""
        if not pair[1]:
            return False
        known = {**self._given, **self.made}
        if "train_samples" in known or "train_iters" in known:
            return "train_samples" in known
        if self._counted_in != "auto":
            return self._counted_in == "samples"
        return any(dest in known for dest in (*_SAMPLES, *_GROWING_BATCH))

    def _number(self, dest: str, instead: str = "") -> int:
        """Return a number that something follows from. Raises ValueError where it is not known."""
        setting = self.made.get(dest) or self._given.get(dest)
        if setting is None:
            arguments = self._table.by_dest.get(dest, ())
            if not arguments or arguments[0].default is None:
                raise ValueError(f"{dest} is missing, which it follows from; give {instead or dest}")
            value: Any = arguments[0].default
        elif setting.open:
            fix = f"write {dest} as a number, or sweep backend.args.{dest}"
            raise ValueError(f"{dest} is '{setting.value}', which is not known yet; {fix}")
        else:
            value = setting.value
        if value < 1:
            raise ValueError(f"{dest} is {value}, which it follows from; give a number above 0")
        return int(value)


def mixed_units(settings: Mapping[str, Setting]) -> list[Problem]:
    """Return where one training is counted in iterations and in samples, which validate_args refuses."""
    problems = []
    pairs = (("train_iters", (*_SAMPLES, "rampup_batch_size")), ("train_samples", _ITERATIONS))
    for train, others in pairs:
        if train not in settings:
            continue
        for dest in others:
            if dest in settings and settings[dest].value not in (0, None):
                unit = "iterations" if train == "train_iters" else "samples"
                what = f"the training is counted in {unit} ({settings[train].key}), this is not"
                fix = f"count all in {unit}, or give the other one of train_iters and train_samples"
                problems.append(Problem(what=what, where=settings[dest].key, fix=fix))
    return problems
