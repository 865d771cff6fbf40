"""A stand-in for a Megatron-LM checkout: a real git repository with a real argparse parser of a dozen arguments."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ARGUMENTS = """\
import argparse
import enum
import os

print("WARNING: what libraries print while they are imported")
with open(os.environ["STAND_IN_ASKED"], "a") as stream:
    stream.write("asked\\n")


class Backend(enum.Enum):
    flash = 1
    auto = 2


def freq_type(text):
    return int(text)


def add_megatron_arguments(parser):
    group = parser.add_argument_group("network")
    group.add_argument("--num-layers", type=int)
    group.add_argument("--lr", type=float, default=float("inf"))
    group.add_argument("--data-path", nargs="*")
    group.add_argument("--rampup-batch-size", nargs=3, type=int)
    group.add_argument("--normalization", default="LayerNorm", choices=["LayerNorm", "RMSNorm"])
    group.add_argument("--disable-bias-linear", action="store_false", dest="add_bias_linear")
    group.add_argument("--bf16", action="store_true")
    group.add_argument("--skip", action=argparse.BooleanOptionalAction, default=False)
    group.add_argument("--fp8", action="store_const", const="hybrid")
    group.add_argument("--zero", action="store_const", const=0, default=7)
    group.add_argument("--spec", action="append")
    group.add_argument("--moe-layer-freq", type=freq_type, default=1)
    group.add_argument("--backend", type=lambda text: Backend[text], choices=list(Backend), default=Backend.auto)
    return parser


def parse_args(extra_args_provider=None, ignore_unknown_args=False):
    parser = add_megatron_arguments(argparse.ArgumentParser(allow_abbrev=False))
    if extra_args_provider is not None:
        parser = extra_args_provider(parser)
    return parser.parse_known_args()[0] if ignore_unknown_args else parser.parse_args()
"""

PACKAGE = "from .initialize import initialize_megatron\nfrom .training import pretrain\n"

INITIALIZE = """\
from megatron.training.arguments import parse_args


def initialize_megatron(extra_args_provider=None, ignore_unknown_args=False):
    return parse_args(extra_args_provider, ignore_unknown_args)
"""

TRAINING = """\
from megatron.training.initialize import initialize_megatron


def pretrain(data, model, extra_args_provider=None):
    initialize_megatron(extra_args_provider, ignore_unknown_args=True)
    raise SystemExit("a table was asked for, and a training has begun")
"""

SCRIPT = """\
from megatron.training import pretrain
from megatron.training.arguments import parse_args


def own(parser):
    parser.add_argument("--export-dir", type=str)
    return parser


if __name__ == "__main__":
    assert parse_args(ignore_unknown_args=True).num_layers is None
    pretrain(None, None, extra_args_provider=own)
"""


@dataclass(frozen=True)
class Checkout:
    """The folder, and the file to which each asking adds a line."""

    folder: Path
    asked: Path

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "a commit")

    def git(self, *arguments: str) -> str:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        argv = ("git", "-C", str(self.folder), *arguments)
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60, env=environment).stdout

    @property
    def times_asked(self) -> int:
        return len(self.asked.read_text().splitlines()) if self.asked.exists() else 0


def make_checkout(folder: Path, asked: Path, *, is_git: bool = True) -> Checkout:
    """Make the files, and a commit of them."""
    made = Checkout(folder, asked)
    made.write("megatron/training/arguments.py", ARGUMENTS)
    made.write("megatron/training/__init__.py", PACKAGE)
    made.write("megatron/training/initialize.py", INITIALIZE)
    made.write("megatron/training/training.py", TRAINING)
    made.write("pretrain_gpt.py", SCRIPT)
    made.write("README.md", "A stand-in.\n")
    if is_git:
        made.git("init", "-q")
        made.commit()
    return made
