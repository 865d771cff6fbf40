"""What one attempt of an entry runs, where, and with which environment."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from oellm_bench.core.hostlist import node_names
from oellm_bench.core.layout import AttemptLayout, EntryLayout, SessionLayout
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.core.resources import RayHead
from oellm_bench.job.scripts import script_checksums
from oellm_bench.launchers.prefix import on_every_node, once_inside, with_environment
from oellm_bench.observer.task import Task

# Run as a file by interpreters that need not have this package.
_PACKAGES = Path(__file__).resolve().parent.parent / "payload" / "packages.py"
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
# What SLURM tells a job of its place and its GPUs.
_OF_THE_JOB = ("SLURM_", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
_FIRST_PORT, _PORTS = 20_000, 12_000


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt of one entry, ready to run; making it changes nothing on disk.

    `checkpoint`: the path of the one it goes on from, empty where it begins anew.
    """

    entry: PlannedEntry
    number: int
    session: Path
    checkpoint: str = ""

    @property
    def layout(self) -> EntryLayout:
        """The entry's folder."""
        return SessionLayout(self.session).entry(self.entry.name)

    @property
    def files(self) -> AttemptLayout:
        """The attempt's own folder."""
        return self.layout.attempt(self.number)

    @property
    def ray_spec(self) -> Path:
        """What the payload is told."""
        return self.files.root / "ray_spec.json"

    @property
    def ray_state(self) -> Path:
        """What the payload tells."""
        return self.files.root / "ray_state.json"

    @property
    def ray_workers(self) -> Path:
        """Where the workers of several nodes tell of themselves."""
        return self.files.root / "ray_workers"

    @property
    def cwd(self) -> Path:
        """The folder the command runs in."""
        return Path(self.entry.cwd or Path.cwd())

    @property
    def payload(self) -> Path:
        """The program that runs beside the command: a copy, in a folder that is seen in a container too."""
        return self.files.root / "payload.pyz"

    @property
    def argv(self) -> tuple[str, ...]:
        """The exact command line: launcher, payload where Ray is wanted, command."""
        command = self.entry.argv
        if self.entry.resume is not None and self.checkpoint:
            command = self.entry.resume.resumed(command, self.checkpoint)
        if not self.entry.ray.enabled:
            return self.launcher + command
        return (*self.launcher, self._python, str(self.payload), "ray", str(self.ray_spec), "--", *command)

    @property
    def needs_payload(self) -> bool:
        """Whether the copy of the program is of use."""
        capture = self.entry.capture
        return self.entry.ray.enabled or (capture.enabled and capture.packages and not self.is_bare)

    @property
    def is_bare(self) -> bool:
        """Whether nothing stands between this node and the command: no container, no srun, no other environment."""
        return not self.entry.launcher and not self.entry.isolated

    @property
    def _listed_python(self) -> str:
        """The Python that is asked what is installed: the command's, or of a command that is none the one it would
        find; ours has what this program needs.
        """
        command = self.entry.argv[0]
        return command if Path(command).name.startswith("python") else "python3"

    @property
    def _python(self) -> str:
        """The interpreter for the payload: behind a launcher whatever Python there is, it needs nothing of ours."""
        return "python3" if self.entry.launcher else sys.executable

    @property
    def launcher(self) -> tuple[str, ...]:
        """The launcher with what hands variables on."""
        return self._handing_on[0]

    @property
    def ray_nodes(self) -> int:
        """How many nodes Ray spans: those the job was given, which may be fewer than it asked for at most."""
        nodes = os.environ.get("SLURM_JOB_NUM_NODES", "") if self.entry.ray.enabled else ""
        return int(nodes) if nodes.isdecimal() else 1

    @property
    def _has_many_processes(self) -> bool:
        """Whether there may be several to find each other: on several nodes, or started by srun."""
        return self.entry.resources.nodes > 1 or any(Path(word).name == "srun" for word in self.entry.launcher)

    @functools.cached_property
    def _ray_token(self) -> str:
        """What the heads and workers of several nodes know each other by; handed on by the environment alone."""
        return os.urandom(32).hex()  # what `secrets` does, which brings OpenSSL into memory

    def additions(self) -> dict[str, str]:
        """Return what the environment has beyond this process's own: the command's, and the launcher's for it."""
        return {**self.own_variables(), **self._handing_on[1]}

    def observer_task(self, root: int) -> Task:
        """Return what the observer is told."""
        argv: tuple[str, ...] = ()
        environment = self.own_variables()
        if self.entry.capture.packages and self.is_bare:
            argv = (self._listed_python, str(_PACKAGES))
        elif self.entry.capture.packages:
            launcher = once_inside(self.entry.launcher)
            launcher, more = self._with_environment(launcher)
            environment.update(more)
            argv = (*launcher, self._listed_python, str(self.payload), "packages")
        return Task(
            scripts=script_checksums(self.entry.argv, self.cwd, self.layout.root),
            root=root,
            entry_dir=str(self.layout.root),
            attempt=self.number,
            artifacts=str(self.layout.artifacts),
            heartbeat=str(self.files.heartbeat),
            stacks=str(self.files.stacks),
            stop_order=str(self.files.stop_order) if self.entry.capture.stacks else "",
            logs=[str(self.files.stdout), str(self.files.stderr)],
            interval_s=self.entry.capture.interval_s,
            progress=self.entry.progress,
            packages_argv=list(argv),
            packages_environment=environment,
            packages_kept=str(SessionLayout(self.session).installed) if self.is_bare else "",
            cwd=str(self.cwd),
            image=self.entry.image,
            session_file=str(SessionLayout(self.session).session),
        )

    @property
    def _handing_on(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """The launcher, and the variables it has to be given beside the command's own."""
        launcher = on_every_node(self.entry.launcher, self.ray_nodes) if self.ray_nodes > 1 else self.entry.launcher
        return self._with_environment(launcher)

    def _with_environment(self, launcher: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str]]:
        if not self.entry.isolated:
            return launcher, {}
        named = {name: value for name, value in os.environ.items() if name in self.entry.passthrough}
        of_the_job = {name: value for name, value in os.environ.items() if name.startswith(_OF_THE_JOB)}
        return with_environment(launcher, {**named, **self.own_variables()}, of_the_job)

    def own_variables(self) -> dict[str, str]:
        """Return what the command's environment has beyond the job's."""
        # Since 22.05 srun no longer takes the CPUs per task from the job (RELEASE_NOTES of Slurm 22.05).
        cpus = os.environ.get("SLURM_CPUS_PER_TASK")
        return {
            **({"SRUN_CPUS_PER_TASK": cpus} if cpus and "SRUN_CPUS_PER_TASK" not in os.environ else {}),
            **(meeting_point(os.environ) if self._has_many_processes else {}),
            **self.entry.environment,
            **({"RAY_AUTH_TOKEN": self._ray_token} if self.ray_nodes > 1 else {}),
            "OELLM_BENCH_SESSION_DIR": str(self.session),
            "OELLM_BENCH_ENTRY_DIR": str(self.layout.root),
            "OELLM_BENCH_ENTRY": self.entry.name,
            "OELLM_BENCH_ENTRY_ID": self.entry.id,
            "OELLM_BENCH_ATTEMPT": str(self.number),
            "OELLM_BENCH_RESULTS_PATH": str(self.layout.benchmark_results),
            "OELLM_BENCH_SCRATCH": str(self.layout.scratch),
            **({"OELLM_BENCH_CHECKPOINT": self.checkpoint} if self.checkpoint else {}),
        }

    def ray_spec_text(self, environment: Mapping[str, str]) -> str:
        """Return the payload's SPEC.json; CPUs and memory are settled here, where SLURM's variables are."""
        is_shared = self.entry.ray.reuse and self.ray_nodes == 1
        document = {
            "ray": ray_settings(self.entry.ray, environment, here=not self.entry.launcher),
            "shared_socket": str(SessionLayout(self.session).ray_socket) if is_shared else "",
            "nodes": self.ray_nodes,
            "startup_log": str(self.files.ray_startup),
            "workers_path": str(self.ray_workers),
            "logs_path": str(self.layout.ray_cluster),
            "state_path": str(self.ray_state),
        }
        return json.dumps(document, indent=1) + "\n"


def ray_settings(ray: RayHead, environment: Mapping[str, str], *, here: bool) -> dict[str, Any]:
    """Return what the payload is told of a head; `here`: it runs beside our own Python."""
    settings = asdict(ray)
    settings["num_cpus"] = ray.num_cpus or allotted_cpus(environment)
    if ray.object_store_share:
        settings["object_store_bytes"] = int(ray.object_store_share * allotted_bytes(environment))
    if here:
        settings["executable"] = ray.executable or _ray_beside_python()
    return settings


def meeting_point(environment: Mapping[str, str]) -> dict[str, str]:
    """Return where the processes of a job find each other, as torch.distributed is told: a host and a port.

    The host is the job's first node. The port follows from the job's id, so that jobs on one node differ; it is below
    those that Linux gives out by itself (ip_local_port_range, from 32768). What the environment says is kept.
    """
    hosts = node_names(environment.get("SLURM_JOB_NODELIST", ""))
    job = environment.get("SLURM_JOB_ID", "")
    port = _FIRST_PORT + int(job) % _PORTS if job.isdecimal() else _FIRST_PORT
    return {
        "MASTER_ADDR": environment.get("MASTER_ADDR") or next(hosts, "localhost"),
        "MASTER_PORT": environment.get("MASTER_PORT") or str(port),
    }


def allotted_cpus(environment: Mapping[str, str]) -> int:
    """Return the CPUs of this allocation: per task, else on this node, else those this process may use."""
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        text = environment.get(name, "")
        if text.isdecimal() and int(text) > 0:
            return int(text)
    return len(os.sched_getaffinity(0))


def allotted_bytes(environment: Mapping[str, str]) -> int:
    """Return the memory of this allocation on this node: SLURM's figure, the cgroup's, or all that is there."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    megabytes = environment.get("SLURM_MEM_PER_NODE", "")
    if megabytes.isdecimal() and int(megabytes) > 0:
        found.append(int(megabytes) << 20)
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        found.append(int(_CGROUP_LIMIT.read_text(encoding="ascii")))
    return min(found)


def next_number(layout: EntryLayout) -> int:
    """Return one more than the highest attempt that has a folder."""
    return max(_numbers(layout), default=0) + 1


def last_started(layout: EntryLayout, number: int) -> int:
    """Return the latest attempt up to `number` that ran its command, `number` where none did."""
    started = (k for k in _numbers(layout) if k <= number and layout.attempt(k).stdout.exists())
    return max(started, default=number)


def _numbers(layout: EntryLayout) -> list[int]:
    folder = layout.attempt(1).root.parent
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [int(name) for name in names if name.isdecimal()]


def _ray_beside_python() -> str:
    beside = Path(sys.executable).with_name("ray")
    return str(beside) if beside.exists() else ""
