"""What a matrix may say, in the newer format; the older one is turned into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oellm_bench.config.schema import SbatchValue
from oellm_bench.core.option import option
from oellm_bench.core.requirement import Requirement

_SCRATCH = "delete an entry's scratch/ when it has ended"


@dataclass(frozen=True, kw_only=True)
class MatrixRay:
    """The Ray head of an entry."""

    enabled: bool = option("start a Ray head for the entry", True)
    num_cpus: int | None = option("CPUs Ray may schedule; 0 and null: all there are", None)
    num_gpus: int | None = option("GPUs Ray may schedule", None)
    enable_object_spilling: bool | None = option("write objects to disk when the object store is full", None)
    reuse: bool = option("one head for all entries of the session, instead of one for each; here only", False)


@dataclass(frozen=True, kw_only=True)
class MatrixPath:
    """A path with a name: `{name}` in arguments."""

    name: str = option("its name")
    host_path: str = option("where it is on the node")
    container_path: str = option("where it is inside of a container; empty: at the same place", "")
    enabled: bool = option("false: as if it were not there", True)


@dataclass(frozen=True, kw_only=True)
class MatrixFormat:
    """One form of a dataset."""

    type: str = option("the format: jsonl, parquet, ...")
    path: str = option("where it is")
    enabled: bool = option("false: as if it were not there", True)


@dataclass(frozen=True, kw_only=True)
class MatrixDataset:
    """A dataset: `{dataset:name,format}` in arguments."""

    name: str = option("its name")
    formats: tuple[MatrixFormat, ...] = option("its formats", ())
    enabled: bool = option("false: as if it were not there", True)


@dataclass(frozen=True, kw_only=True)
class GpuStatsRecorder:
    """How GPUs are sampled while an entry runs."""

    interval_s: float = option("time between two samples; 0: that of capture.interval_s", 0.0, unit="s")


@dataclass(frozen=True, kw_only=True)
class MatrixEntry:
    """One benchmark."""

    name: str = option("its name, and that of its folder")
    script: str = option("the script, absolute or below the folder of scripts")
    script_base_dir: str = option("folder of the script; empty: scripts/ beside the first file, or that folder", "")
    script_base_path: str = option("another name of script_base_dir", "")
    args: str | list[Any] | dict[str, Any] = option("arguments: a line, a list, a mapping {n: 1}", "")
    timeout_s: float | None = option("how long it may run; null: default_timeout_s", None, unit="s")
    delete_scratch: bool | None = option(f"{_SCRATCH}; null: as for all", None)
    ray: MatrixRay = option("what differs from the ray of all entries", factory=MatrixRay)
    object_store_size: float | str | None = option("as for all entries, where it is not given", None)
    requirements: tuple[Requirement, ...] = option("bounds on its metrics", ())
    expected_failure: str = option("why it is expected to fail; empty where it is not", "")
    sink_data: tuple[dict[str, Any], ...] = option("what a sink, by its name, is told about it", ())
    repeat: int = option("how often it is run", 1)
    environment: dict[str, str | int | float | bool] = option("its environment", factory=dict)
    cwd: str = option("folder it runs in; empty: the current one", "")
    sbatch: dict[str, SbatchValue] = option("options of sbatch for it alone", factory=dict)
    enabled: bool = option("false: as if it were not there", True)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A whole matrix."""

    results_dir: str = option("folder that sessions are written to; or the path named results_path", "")
    artifacts_dir: str = option("folder for scratch/ and Ray's logs; empty: the session's own", "")
    default_timeout_s: float = option("how long an entry may run that does not say", 7200.0, unit="s")
    max_timeout_s: float | None = option("the most that an entry may ask for; null: any time", None, unit="s")
    min_timeout_s: float | None = option("for schedulers of other tools; not used", None, unit="s")
    cleanup_timeout_s: float | None = option("added to an entry's time for start and clean-up", None, unit="s")
    delete_scratch: bool = option(_SCRATCH, True)
    object_store_size: float | str | None = option(
        "Ray's object store: a whole number of bytes, or a share of memory below 1; null or default: as Ray chooses",
        None,
    )
    ray: MatrixRay = option("the Ray head of every entry", factory=MatrixRay)
    gpu_stats_recorder: GpuStatsRecorder = option("how GPUs are sampled", factory=GpuStatsRecorder)
    script_base_dir: str = option("folder of scripts of entries that do not say", "")
    run_reason: str = option("why this is run, for people", "")
    viewer_url: str = option("where people find the report", "")
    viewer_url_template: str = option(
        "the same with {results_path}, {session_name} and {session_path}, each with _url at its end too", ""
    )
    paths: tuple[MatrixPath, ...] = option("paths by name", ())
    datasets: tuple[MatrixDataset, ...] = option("datasets by name and format", ())
    sinks: tuple[dict[str, Any], ...] = option("where results go, each with its name", ())
    entries: tuple[MatrixEntry, ...] = option("the benchmarks")
