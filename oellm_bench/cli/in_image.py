"""Run the command line inside an image, which may lack what it needs: one message then, and no traceback.

`python3 -m oellm_bench.cli.in_image [--on-slurm] VERB ...`. Whatever else this package imports needs a newer Python
than the one that may read this file.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Sequence

ON_SLURM = "--on-slurm"
OLDEST_PYTHON = (3, 11)
# Distribution and module of what pyproject.toml depends on.
PACKAGES = {
    "hydra-core": "hydra",
    "omegaconf": "omegaconf",
    "compoconf": "compoconf",
    "pyyaml": "yaml",
    "rich": "rich",
    "psutil": "psutil",
}
_EXIT_USAGE, _EXIT_UNREACHABLE = 2, 4  # as in errors.py
_REBUILD = "build one with container/build_container.sh: its megatron and ray-cpu definitions install what is needed"


def main(arguments: Sequence[str]) -> int:
    """Run the command line, if it can be run here, and return its exit code."""
    on_slurm = arguments[:1] == [ON_SLURM]
    image = os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER") or ""
    if lacking():
        return _refused(f"image '{image}' lacks {', '.join(lacking())}; {_REBUILD}", _EXIT_USAGE)
    if on_slurm and shutil.which("sbatch") is None:
        return _refused(
            f"there is no sbatch in image '{image}' to submit with; submit from outside (`oellm-bench submit`, with "
            "-o container=apptainer where entries run in the image), or --bind the site's SLURM client, or say "
            "--dry-run or --fake-submit",
            _EXIT_UNREACHABLE,
        )
    return int(importlib.import_module("oellm_bench.cli.main").main(arguments[1:] if on_slurm else arguments))


def lacking() -> list[str]:
    """Return what this Python lacks for the command line: a newer version, or packages."""
    if sys.version_info[:2] < tuple(OLDEST_PYTHON):
        return [f"Python {'.'.join(map(str, OLDEST_PYTHON))} (python3 is {platform.python_version()})"]
    return [package for package, module in PACKAGES.items() if importlib.util.find_spec(module) is None]


def _refused(message: str, code: int) -> int:
    sys.stderr.write(f"oellm-bench: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
