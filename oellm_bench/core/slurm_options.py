"""The long options of sbatch, by how they take a value, and those of srun.

Source: sbatch(1) and srun(1), Slurm 22.05 to 25.05.
"""

from __future__ import annotations

FLAGS = frozenset(
    "contiguous disable-stdout-job-summary help hold ignore-pbs no-requeue oom-kill-step overcommit "
    "parsable quiet reboot requeue spread-job stepmgr test-only usage use-min-nodes verbose version wait".split()
)
OPTIONAL_VALUE = frozenset("exclusive get-user-env nice no-kill oversubscribe propagate resv-ports".split())
TAKES_VALUE = frozenset(
    "account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment constraint "
    "container container-id core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline "
    "delay-boot dependency distribution error exclude export export-file extra extra-node-info gid "
    "gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint input "
    "job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu "
    "mem-per-gpu mincpus network nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu "
    "ntasks-per-node ntasks-per-socket open-mode output partition power prefer priority profile qos "
    "reservation segment signal sockets-per-node switches thread-spec threads-per-core time time-min "
    "tmp tres-bind tres-per-task uid wait-all-nodes wckey wrap".split()
)
ALL = FLAGS | OPTIONAL_VALUE | TAKES_VALUE

_SRUN_ONLY = frozenset(
    "accel-bind bcast bcast-exclude compress cpu-bind epilog exact external-launcher het-group interactive jobid "
    "kill-on-bad-exit label mpi msg-timeout multi-prog no-allocate overlap preserve-env prolog pty quit-on-interrupt "
    "relative send-libs slurmd-debug task-epilog task-prolog threads treewidth unbuffered whole x11".split()
)
_SBATCH_ONLY = frozenset("array export-file no-requeue parsable requeue test-only wrap".split())
SRUN = (ALL - _SBATCH_ONLY) | _SRUN_ONLY

# Variables of sbatch's environment that outdo the script's own lines, where the name is not simply that of the
# option. Source: INPUT ENVIRONMENT VARIABLES in sbatch(1).
_VARIABLES = {
    "array": "SBATCH_ARRAY_INX",
    "mem": "SBATCH_MEM_PER_NODE",
    "switches": "SBATCH_REQ_SWITCH",
    "time": "SBATCH_TIMELIMIT",
}


def input_variable(option: str) -> str:
    """Return the variable that sets this option for sbatch, and that wins over a line of the script."""
    return _VARIABLES.get(option, f"SBATCH_{option.upper().replace('-', '_')}")
