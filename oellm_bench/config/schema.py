"""The whole configuration as frozen dataclasses; Hydra merges, compoconf fills these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from oellm_bench.backends.base import Backend
from oellm_bench.core.capture import Capture
from oellm_bench.core.metric import MetricRule
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.core.requirement import Requirement
from oellm_bench.core.resources import RayHead
from oellm_bench.launchers.base import Launcher
from oellm_bench.monitoring.settings import MonitoringConfig
from oellm_bench.rendering import sbatch_values
from oellm_bench.restart.settings import RestartConfig
from oellm_bench.schedulers.base import Scheduler
from oellm_bench.simulation.settings import SimulationConfig
from oellm_bench.sinks.base import Sink

if TYPE_CHECKING:
    BackendChoice = PluginConfig
    LauncherChoice = PluginConfig
    SchedulerChoice = PluginConfig
    SinkChoice = PluginConfig
else:  # resolved by compoconf when a configuration is read: whatever is registered by then
    BackendChoice, LauncherChoice = Backend.cfgtype, Launcher.cfgtype
    SchedulerChoice, SinkChoice = Scheduler.cfgtype, Sink.cfgtype

SbatchValue = str | int | float | bool | None
SBATCH_OPTIONS = {name: (known.example, known.meaning) for name, known in sbatch_values.COMMON.items()}


@dataclass(frozen=True, kw_only=True)
class ProjectConfig:
    """What the campaign is called, where it writes, and what holds for each entry."""

    name: str = option("name of the campaign: letters, digits, . _ -")
    description: str = option("text for people", "")
    base_output_dir: str = option("folder that sessions are written to", "outputs")
    state_dir: str = option("folder of the monitor's state; empty: <base_output_dir>/.oellm-bench", "")
    timeout_s: float = option("how long the command of an entry may run", 7200.0, unit="s")
    delete_scratch: bool = option("delete scratch/ when an entry has ended", True)
    check_inputs: bool = option("submit asks that datasets, paths and images be there", True)
    expected_failure: str = option("why the entries are expected to fail; empty where they are not", "")
    run_reason: str = option("why this is run, for people: nightly, release 1.2, ...", "")
    viewer_url: str = option(
        "where people find a session's report; {results_path}, {session_name}, {session_path}, each with _url too", ""
    )
    merge_output: bool = option("stderr of the command goes to stdout.log too, as on a terminal", False)
    links: dict[str, str] = option(
        "further names in an entry's folder for what is in it; {attempt} is the number of the latest", factory=dict
    )
    flat: bool = option("each entry's folder also right in the session's, by its name", False)
    artifacts_dir: str = option("folder for scratch/ and Ray's logs of all sessions; empty: the session's own", "")
    report: Literal["auto", "always", "never"] = option(
        "write report.html when a session has ended; auto: where viewer_url is given", "auto"
    )
    confirm_gpu_hours: float = option("submit asks before it spends more than this", 100.0, unit="GPU-hours")


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """How jobs are submitted."""

    client: SchedulerChoice = option("the scheduler, by class_name")
    array: bool = option("one array script for all entries of the same resources", False)
    max_parallel: int | None = option("array tasks that run at once (sbatch --array=...%N)", None)
    max_submit: int | None = option("jobs and array tasks that may be unfinished at once; null: any number", None)
    sbatch: dict[str, SbatchValue] = option(
        "options of sbatch by long name; these and all others that sbatch(1) has", factory=dict, known=SBATCH_OPTIONS
    )
    hetjob: tuple[dict[str, SbatchValue], ...] = option(
        "options of each further component of a heterogeneous job; the script runs in the first", ()
    )
    after: str | list[str] = option(
        "entries of this campaign to wait for, by SLURM dependencies: a name or several; * and {placeholders}",
        factory=list,
    )
    after_type: Literal["afterok", "afterany"] = option("whether those have to succeed, or only to end", "afterok")
    monitor_job: dict[str, SbatchValue] = option(
        "options of sbatch for `monitor --as-job`, beside account, partition, qos and reservation of slurm.sbatch",
        factory=dict,
    )
    setup: tuple[str, ...] = option("lines of bash run before the entry, verbatim (module load ...)", ())
    environment: dict[str, str | int | float | bool] = option("environment of every entry", factory=dict)
    srun: dict[str, SbatchValue] = option(
        "options of srun by long name; any at all puts srun in front of every command", factory=dict
    )
    launcher_cmd: list[Any] | str = option("put in front of every command, e.g. [apptainer, exec, image.sif]", "")
    launcher_env_passthrough: bool = option(
        "hand slurm.environment on into the container that launcher_cmd names", False
    )
    python: str = option("interpreter with oellm-bench on the nodes; empty: the one planning", "")
    cleanup_s: float = option("added to timeout_s for start and clean-up: the walltime", 120.0, unit="s")


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How one project becomes many entries."""

    axes: dict[str, Any] | list[Any] = option(
        "mapping: product of the values of each key; list of mappings: alternatives", factory=dict
    )
    type: Literal["product", "list"] = option("how axes, params, configs and groups are combined", "product")
    params: dict[str, Any] = option("grid: every combination of the values of each key", factory=dict)
    configs: list[Any] = option("list of sets of values; a set may be a group", factory=list)
    groups: list[Any] = option(
        "sweeps within: mappings of type, params, configs, groups, defaults, filter", factory=list
    )
    defaults: dict[str, Any] = option("values that all points have unless they say otherwise", factory=dict)
    filter: str | bool = option("which points stay: lr * bs < 1 and stage != 'decay'; empty: all", "")
    list_composition: list[str] = option(
        "keys whose lists are put one behind the other where several parts set them", factory=list
    )
    siblings: Literal["afterok", "condition", "none"] = option(
        "how an entry waits for those that ${sibling:...} names: a SLURM dependency, a start condition, not at all",
        "afterok",
    )
    base_values: dict[str, Any] = option("values every point has unless its axes say otherwise", factory=dict)
    name_template: str = option("name of an entry, e.g. lr{lr}_bs{bs}; empty: from the axes", "")
    repeat: int = option("how often each point is run; {repetition} counts from 1", 1)


@dataclass(frozen=True, kw_only=True)
class Project:
    """The root of the configuration."""

    project: ProjectConfig = option("the campaign")
    slurm: SlurmConfig = option("submission")
    backend: BackendChoice = option("what an entry runs, by class_name")
    container: LauncherChoice = option("how it gets onto the node, by class_name")
    monitoring: MonitoringConfig = option("watching")
    restart: RestartConfig = option("what follows a failure")
    ray: RayHead = option("an own Ray head for each entry")
    capture: Capture = option("what is recorded of an entry while it runs", factory=Capture)
    sinks: dict[str, SinkChoice] = option("where results go, by any name", factory=dict)
    datasets: dict[str, dict[str, str]] = option("path by name and format: {dataset:name,format}", factory=dict)
    paths: dict[str, str] = option("any other path by name: {path:name}", factory=dict)
    requirements: tuple[Requirement, ...] = option("bounds on metrics", ())
    sink_data: dict[str, dict[str, Any]] = option("what single sinks are told of the entry, by sink", factory=dict)
    metrics: dict[str, MetricRule] = option("what is good for metrics, by pattern, for `compare`", factory=dict)
    sweep: SweepConfig = option("the sweep")
    simulation: SimulationConfig = option("what `simulate` assumes", factory=SimulationConfig)

    def named_paths(self) -> dict[str, str]:
        """Return the paths that have a name, datasets among them, by the key that says so."""
        datasets = {
            f"datasets.{name}.{kind}": path for name, formats in self.datasets.items() for kind, path in formats.items()
        }
        return {**datasets, **{f"paths.{name}": path for name, path in self.paths.items()}}
