"""The packaged training on two nodes of a real SLURM cluster; trainer and torchrun are stand-ins, srun is not."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.experiments.trainer import LINE, TRAINER, losses

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

TORCHRUN = Path(__file__).parents[1] / "backends" / "stand_in_torchrun.py"


def test_a_training_on_two_nodes_crashes_and_goes_on_from_its_checkpoint(real, monkeypatch):
    shutil.copytree(TRAINER / "config", real.folder, dirs_exist_ok=True)
    text = real.folder / "text.txt"
    text.write_text((TRAINER / "training.py").read_text())
    for name, value in {"MEGATRON_PATH": TRAINER, "DATA_PATH": text, "SCRATCH": real.folder, "USER": "me"}.items():
        monkeypatch.setenv(name, str(value))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    torchrun = {
        "launch": "torchrun",
        "torchrun": [sys.executable, str(TORCHRUN)],
        "processes_per_node": 2,
        "port": port,
    }
    real.write(
        defaults=["experiments/juwels_training", {"override /slurm": "local"}, "_self_"],
        project={"timeout_s": 60},
        backend={
            "distributed": torchrun,
            "args": {"global_batch_size": 8, "train_tokens": 2560},
            "environment": {"TRAINER_FAULT": "crash", "TRAINER_FAULT_AT": 15},
        },
        # The virtual nodes are all this machine, and have no names of their own.
        slurm={"sbatch": {"mem": "400"}, "environment": {"MASTER_ADDR": "127.0.0.1"}},
    )
    done = real.run("run")
    assert done.returncode == 0, done.stderr
    assert real.ended_modes() == ["crash", "success"]
    attempts = real.session_dir / "entries" / "c" / "attempts"
    assert [sorted(losses((attempts / n / "stdout.log").read_text())) for n in "12"] == [
        list(range(1, 15)),
        list(range(11, 21)),
    ]
    assert len(LINE.findall((attempts / "2" / "stdout.log").read_text())) == 10  # one of the four ranks speaks
    result = json.loads((real.session_dir / "entries" / "c" / "results.json").read_text())
    assert result["resumed_from"].endswith("/checkpoints/iter_0000010")
