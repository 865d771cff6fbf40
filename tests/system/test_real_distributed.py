"""One command as many processes on two nodes of a real SLURM cluster; torchrun is a stand-in, srun is not."""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

TORCHRUN = Path(__file__).parents[1] / "backends" / "stand_in_torchrun.py"
SAYING = """\
import os
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURMD_NODENAME")
os.write(1, (" ".join(os.environ[name] for name in names) + os.linesep).encode())  # one line, one write
"""


IN_TASKS = {"slurm.sbatch.ntasks-per-node": 2}
WAYS = {
    "torchrun": {"backend.distributed.launch": "torchrun", "slurm.srun.ntasks-per-node": 1},
    "in_tasks": {
        "backend.distributed.launch": "torchrun",
        **IN_TASKS,
        "slurm.srun": {"ntasks": 2, "ntasks-per-node": 1},
    },
    "srun": {"backend.distributed.launch": "srun", **IN_TASKS, "slurm.srun.ntasks-per-node": 2},
}


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def test_every_process_on_both_nodes_knows_its_rank(real):
    (real.folder / "train.py").write_text(SAYING)
    ports = free_ports(len(WAYS))
    real.write(
        project={"timeout_s": 60},
        backend={
            "class_name": "TorchrunBackend",
            "script": str(real.folder / "train.py"),
            "python": sys.executable,
            "distributed": {"processes_per_node": 2, "torchrun": [sys.executable, str(TORCHRUN)]},
        },
        # The virtual nodes are all this machine, and have no names of their own.
        slurm={"sbatch": {"nodes": 2}, "environment": {"MASTER_ADDR": "127.0.0.1"}},
        sweep={
            "axes": [
                {"way": way, "backend.distributed.port": port, **options}
                for (way, options), port in zip(WAYS.items(), ports, strict=True)
            ],
            "name_template": "{way}",
        },
    )
    done = real.run("run")
    assert done.returncode == 0, done.stderr
    for way in WAYS:
        log = real.session_dir / "entries" / way / "attempts" / "1" / "stdout.log"
        rows = sorted(line.split() for line in log.read_text().splitlines())
        assert [row[:4] for row in rows] == [[str(rank), str(rank % 2), "4", "2"] for rank in range(4)]
        assert rows[0][4] == rows[1][4] != rows[2][4] == rows[3][4]
