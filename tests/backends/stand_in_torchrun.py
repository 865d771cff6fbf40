"""Stands in for torchrun at the process boundary: its options, its meeting point, the variables of its processes.

PyTorch itself is too large to be installed for a test. Unknown options are refused, as torchrun does; processes of
several nodes meet at the c10d endpoint, which the node that is told so holds open.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time

LIMIT_S = 60


def main() -> int:
    options = parse()
    nodes, count = int(options.nnodes), int(options.nproc_per_node)
    node = 0 if options.standalone or nodes == 1 else meet(options, nodes)
    python = [] if options.no_python else [sys.executable, *(["-m"] if options.module else [])]
    workers = [
        subprocess.Popen(
            [*python, options.training_script, *options.training_script_args],
            env={
                **os.environ,
                "RANK": str(node * count + local),
                "LOCAL_RANK": str(local),
                "GROUP_RANK": str(node),
                "WORLD_SIZE": str(nodes * count),
                "LOCAL_WORLD_SIZE": str(count),
                "TORCHELASTIC_RUN_ID": options.rdzv_id,
            },
        )
        for local in range(count)
    ]
    for _ in workers:
        _, status = os.wait()
        if status:
            for worker in workers:
                worker.kill()
            return 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name, default in (
        ("nnodes", "1"),
        ("nproc-per-node", "1"),
        ("rdzv-backend", "static"),
        ("rdzv-endpoint", ""),
        ("rdzv-id", "none"),
        ("rdzv-conf", ""),
        ("max-restarts", "0"),
        ("tee", "0"),
    ):
        other = name.replace("-", "_")
        parser.add_argument(f"--{name}", f"--{other}", default=os.environ.get(f"PET_{other.upper()}", default))
    parser.add_argument("--standalone", action="store_true")
    parser.add_argument("-m", "--module", action="store_true")
    parser.add_argument("--no-python", "--no_python", action="store_true")
    parser.add_argument("training_script")
    parser.add_argument("training_script_args", nargs=argparse.REMAINDER)
    return parser.parse_args()


def meet(options: argparse.Namespace, nodes: int) -> int:
    """Return this node's rank: the host is 0, the others as they come."""
    assert options.rdzv_backend == "c10d", options.rdzv_backend
    host, _, port = options.rdzv_endpoint.rpartition(":")
    if options.rdzv_conf == "is_host=1":
        with socket.create_server((host, int(port)), reuse_port=False) as server:
            server.settimeout(LIMIT_S)
            for rank in range(1, nodes):
                guest, _ = server.accept()
                with guest:
                    assert guest.recv(100).decode() == options.rdzv_id
                    guest.sendall(str(rank).encode())
        return 0
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=LIMIT_S) as guest:
                guest.sendall(options.rdzv_id.encode())
                return int(guest.recv(100))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
