"""The environment that SLURM's commands run in: what would change their meaning is taken out. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from oellm_bench.core.slurm_options import input_variable
from oellm_bench.rendering.directives import OURS, directives_in
from oellm_bench.shell import OF_SINKS

# They filter, sort and format what the queries print, or make scancel ask back.
_OF_QUERIES = ("SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_")
# Of what this tool sets itself, sbatch's variables would make another job.
_OVERRIDING = {input_variable(name) for name in OURS}
# Of the variables that SLURM sets inside a job these configure its commands; the others speak of that job.
_OF_COMMANDS = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_TIME_FORMAT")
_OF_A_JOB = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")


def query_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for squeue, sacct, scancel and scontrol; times are printed in UTC."""
    kept = {name: value for name, value in inherited.items() if not name.startswith(_OF_QUERIES)}
    return {**kept, "SLURM_TIME_FORMAT": "standard", "TZ": "UTC"}


def submission_environment(inherited: Mapping[str, str], script: str) -> dict[str, str]:
    """Return the environment for sbatch, which the job inherits.

    A variable of sbatch's (SBATCH_PARTITION) wins over the script: where the script has that option, the plan
    counts. Where it is silent, the user's variable does. Inside of a job the variables that speak of that job are
    taken out: a job of its own would take another's restart count, or array index, for its own. So is what is for
    sinks alone.
    """
    planned = {input_variable(name) for component in directives_in(script) for name, _ in component}
    if "SBATCH_NO_REQUEUE" in planned:
        planned.add("SBATCH_REQUEUE")
    dropped = {*_OVERRIDING, *planned}
    kept = {name: value for name, value in inherited.items() if name not in dropped and not name.startswith(OF_SINKS)}
    if "SLURM_JOB_ID" not in kept:
        return kept
    return {name: value for name, value in kept.items() if not name.startswith(_OF_A_JOB) or name in _OF_COMMANDS}
