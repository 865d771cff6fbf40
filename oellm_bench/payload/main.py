"""The program in the archive: `payload.pyz ray SPEC.json -- COMMAND...`, `payload.pyz packages`, and on the host
`python -m oellm_bench.payload keep SPEC.json`.

SPEC.json: `{"ray": {executable, num_cpus, num_gpus, object_store_bytes, object_spilling, spill_dir,
startup_timeout_s, start_attempts}, "nodes": N, "startup_log": PATH, "logs_path": FOLDER, "state_path": PATH,
"workers_path": FOLDER, "shared_socket": PATH}`. With several nodes one of these programs runs on each; SLURM_NODEID
tells them apart.

The command finds the head in RAY_ADDRESS. Its exit code is ours (128+n for signal n, 127 where it cannot be
started); 90: the head did not come up. `state_path` tells the same and more in JSON (`State`). TERM and INT
are passed on as TERM, then KILL after a grace time; USR1 and USR2 reach whoever handles them.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Do what the first argument says; return the exit code."""
    # Each imported where it is wanted: either takes longer to start and more memory than the other needs.
    if arguments == ["packages"]:
        from . import packages

        return packages.main()
    if len(arguments) == 2 and arguments[0] == "keep":
        from . import keeper

        return keeper.main(arguments[1])
    if len(arguments) < 4 or arguments[0] != "ray" or arguments[2] != "--":
        sys.stderr.write("payload: usage: payload.pyz ray SPEC.json -- COMMAND... | payload.pyz packages\n")
        return 2
    from . import with_ray

    return with_ray.main(arguments[1], arguments[3:])
