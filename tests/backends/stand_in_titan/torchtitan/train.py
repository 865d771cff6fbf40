"""Stands in for TorchTitan's trainer: reads its TOML and arguments, logs its line, keeps and finds its checkpoints.

CRASH_AT: the step at which the first process of a run that begins anew dies.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

KNOWN = {"job", "model", "optimizer", "training", "checkpoint", "metrics"}


def configuration(arguments: list[str]) -> dict[str, dict]:
    """Read the file, and `--section.key value` over it."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    path = given.pop("--job.config_file")
    sections = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    for name, value in given.items():
        section, key = name.removeprefix("--").split(".")
        kind = type(sections[section][key])
        sections[section][key] = kind(value)
    assert set(sections) <= KNOWN, sections
    return sections


def main() -> None:
    sections = configuration(sys.argv[1:])
    steps, rate = sections["training"]["steps"], sections["optimizer"]["lr"]
    folder = Path(sections["job"]["dump_folder"]) / sections["checkpoint"]["folder"]
    done = max((int(path.parent.name.removeprefix("step-")) for path in folder.glob("step-*/.metadata")), default=0)
    red, green = ("", "") if sections["metrics"].get("disable_color_printing") else ("\033[31m", "\033[38;5;2m")
    for step in range(done + 1, steps + 1):
        if os.environ["RANK"] != "0":
            continue
        if not done and step == int(os.environ.get("CRASH_AT", "0")):
            raise SystemExit(9)
        loss = 8.0 - rate * step
        print(
            f"[titan] 2026-01-01 00:00:00,000 - root - INFO - {red}step: {step:2}  {green}loss: {loss:7.4f}  "
            f"grad_norm:  0.5000  memory:  1.00GiB(1.00%)  tps: 6,123  tflops: 40.12  mfu: 12.86%",
            flush=True,
        )
        if not sections["checkpoint"].get("enable") or step % sections["checkpoint"]["interval"]:
            continue
        (folder / f"step-{step}").mkdir(parents=True, exist_ok=True)
        (folder / f"step-{step}" / "__0_0.distcp").write_bytes(b"weights")
        (folder / f"step-{step}" / ".metadata").write_bytes(b"whole")


if __name__ == "__main__":
    main()
