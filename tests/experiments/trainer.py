"""The trainer of `examples/trainer` as its users start it: another process, Megatron's flags."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TRAINER = Path(__file__).resolve().parents[2] / "examples" / "trainer"
LINE = re.compile(
    r"^ \[[\d: -]+\] iteration +(?P<iteration>\d+)/ +\d+ \| consumed samples: +(?P<samples>\d+) \| "
    r"elapsed time per iteration \(ms\): [\d.]+ \|(?: throughput per GPU \(TFLOP/s/GPU\): [\d.]+ \|)? "
    r"learning rate: (?P<lr>\S+) \| global batch size: +\d+ \|(?: lm loss: (?P<loss>\S+) \|)? loss scale: 1\.0 \| "
    r"grad norm: \S+ \| number of skipped iterations: +0 \| number of nan iterations: +(?P<nan>\d+) \|$",
    re.MULTILINE,
)
SMALL: dict[str, object] = {
    "num-layers": 1,
    "hidden-size": 16,
    "num-attention-heads": 2,
    "seq-length": 16,
    "max-position-embeddings": 16,
    "micro-batch-size": 2,
    "global-batch-size": 4,
    "train-iters": 30,
    "lr": 0.01,
    "log-interval": 1,
    "save-interval": 10,
}


def command(program: str, **flags: object) -> list[str]:
    """Return argv; `True` is a bare flag, None leaves a flag of SMALL out."""
    named = {name.replace("_", "-"): value for name, value in flags.items()}
    given = {**SMALL, **named} if program == "pretrain_gpt" else named
    argv = [sys.executable, str(TRAINER / f"{program}.py")]
    for name, value in given.items():
        if value is not None:
            argv += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return argv


def start(argv: list[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OELLM_BENCH_")}
    environment |= env or {}
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ran(program: str, env: Mapping[str, str] | None = None, **flags: object) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr."""
    with start(command(program, **flags), env) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def trained(env: Mapping[str, str] | None = None, **flags: object) -> str:
    """Return the log of a training that ends well."""
    code, out, err = ran("pretrain_gpt", env, **flags)
    assert code == 0, err
    return out


def losses(log: str) -> dict[int, str]:
    """Return the loss of each iteration in a log, as it is written there."""
    return {int(match["iteration"]): match["loss"] for match in LINE.finditer(log)}


def rates(log: str) -> dict[int, float]:
    return {int(match["iteration"]): float(match["lr"]) for match in LINE.finditer(log)}
