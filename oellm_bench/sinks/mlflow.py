"""MLflow: a run per entry below the session's own, each found again by a key, so that no call makes a second one."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compoconf import register

from oellm_bench.core.expectation import is_as_expected
from oellm_bench.core.option import option
from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import ConfigError, Problem, StateError
from oellm_bench.fileio import log_end, read_json
from oellm_bench.sinks.base import Notice, Sink, SinkConfig
from oellm_bench.sinks.mlflow_runs import Runs, in_words, opened
from oellm_bench.sinks.needs import not_installed, unset
from oellm_bench.sinks.tracking import flat, flat_texts, run_key

_LONGEST_TAG = 4000
_MODE, _EXPECTED = "oellm_bench.error_mode", "oellm_bench.expected_failure"
_STATUS = {True: "FINISHED", False: "FAILED"}


@dataclass(frozen=True, kw_only=True)
class MlflowSinkConfig(SinkConfig):
    """Where runs go, and how much of an entry."""

    tracking_uri: str = option(
        "of a server or a store, without user and password; empty: mlflow.db beside the session's folder", ""
    )
    tracking_uri_env: str = option("environment variable that holds the URI instead; it may hold a password", "")
    experiment: str = option("name of the experiment; empty: the project's", "")
    artifacts: bool = option("keep results, params, metrics and the ends of the logs beside each run", True)
    artifact_limit_bytes: int = option("larger files are left out, logs are cut to this", 1 << 20, unit="bytes")


@register
class MlflowSink(Sink):
    """Params, metrics, tags and artifacts of each entry; restarts and failures as tags of its run."""

    config: MlflowSinkConfig

    def __init__(self, config: MlflowSinkConfig) -> None:
        self.config = config
        self._session: Mapping[str, Any] = {}
        self._runs: Runs | None = None
        self._parent: Any = None
        self._service = "MLflow"
        if "@" in urllib.parse.urlsplit(config.tracking_uri).netloc:
            fix = "put the whole URI into an environment variable, and its name into tracking_uri_env"
            raise ConfigError(Problem(what="it holds a user or password", where="tracking_uri", fix=fix))
        if config.tracking_uri and config.tracking_uri_env:
            raise ConfigError(Problem(what="it stands beside tracking_uri", where="tracking_uri_env", fix="keep one"))

    def problems(self) -> Sequence[Problem]:
        """Say which variable is not set, and that MLflow is not installed."""
        return [*unset(self.config.tracking_uri_env, "tracking_uri_env"), *not_installed("mlflow", "mlflow")]

    def initialize(self, session_name: str, env_data: Mapping[str, Any]) -> None:
        """Find or make the session's run."""
        # Read by MLflow when it is imported and when it calls: what is tried again, and when, is the monitor's affair.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        # A run whose making is repeated before its key is looked for is there twice.
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(max(1, int(self.config.timeout_s // 3))))
        self._session = env_data
        given = _without_credentials(os.environ.get(self.config.tracking_uri_env, "") or self.config.tracking_uri)
        local = None if given else Path(env_data["session_dir"]).parent / "mlflow.db"
        self._service = f"MLflow at {local or urllib.parse.urlsplit(given).netloc.rpartition('@')[2] or given}"
        key, created_ms = run_key(env_data["session8"], session_name), _ms(env_data["created_at"])
        with in_words(self._service):
            self._runs = opened(given or f"sqlite:///{local}", self.config.experiment or env_data["project"], local)
            self._parent = self._runs.found_or_made(key, session_name, created_ms, self._labels())

    def process_result(self, result: Mapping[str, Any]) -> None:
        """Write the entry's run, and end it."""
        with in_words(self._service):
            self._write(result)

    def notify(self, notice: Notice) -> None:
        """Note it on the entry's run, or on the session's."""
        name = f"oellm_bench.{notice.kind}.{run_key(notice.key)[:8]}"
        with in_words(self._service):
            run = self._run(notice.entry, None) if notice.entry else self._parent
            self._opened().log(run, figures={}, params={}, tags={name: notice.message[:_LONGEST_TAG]}, at_ms=0)

    def finalize(self) -> None:
        """Write on the session's run how its entries ended, and end it."""
        with in_words(self._service):
            runs = self._opened()
            ended = [run for run in runs.below(self._parent) if _MODE in run.data.tags]
            at_ms = max((run.info.end_time or 0 for run in ended), default=_ms(self._session["created_at"]))
            runs.log(self._parent, figures=_counts([run.data.tags for run in ended]), params={}, tags={}, at_ms=at_ms)
            runs.end(self._parent, "FINISHED")

    def _write(self, result: Mapping[str, Any]) -> None:
        runs = self._opened()
        run = self._run(result["name"], result.get("started_at"))
        found = flat(result)
        ended_ms = _ms(result.get("ended_at") or self._session["created_at"])
        runs.log(
            run,
            figures={**found.figures, "attempts": len(result.get("attempts", ()))},
            params={**flat_texts(result.get("parameters", {})), **flat_texts(result.get("params", {}), "script.")},
            tags={**_tags(result), **{f"metric.{name}": text for name, text in found.texts.items()}},
            at_ms=ended_ms,  # and no other time: logged again, it is the same point
        )
        if self.config.artifacts:
            self._keep(run, result)
        runs.end(run, "KILLED" if result["error_mode"] == "cancelled" else _STATUS[result["success"]], ended_ms)

    def _opened(self) -> Runs:
        assert self._runs is not None
        return self._runs

    def _run(self, entry: str, started_at: float | None) -> Any:
        key = run_key(self._session["session8"], self._session["id"], entry)
        labels = {**self._labels(), "mlflow.parentRunId": self._parent.info.run_id, "oellm_bench.entry": entry}
        return self._opened().found_or_made(key, entry, _ms(started_at or self._session["created_at"]), labels)

    def _labels(self) -> dict[str, str]:
        """Return the tags that the session's run and those of its entries have in common."""
        session = self._session
        return {
            "mlflow.source.type": "JOB",
            "mlflow.source.name": "oellm-bench",
            "mlflow.user": session.get("environment", {}).get("user", ""),
            "oellm_bench.session": session["id"],
            "oellm_bench.project": session["project"],
            "oellm_bench.run_reason": session.get("run_reason", ""),
            "oellm_bench.viewer_url": session.get("viewer_url", ""),
            "oellm_bench.host": session.get("environment", {}).get("host", ""),
            **{f"git.{name}": str(value) for name, value in session.get("git", {}).items()},
            **{f"version.{name}": str(value) for name, value in session.get("versions", {}).items()},
        }

    def _keep(self, run: Any, result: Mapping[str, Any]) -> None:
        runs, limit, folder = self._opened(), self.config.artifact_limit_bytes, Path(result["entry_dir"])
        written = folder / "benchmark_results"
        recorded = folder / "artifacts" / "sys-env.json"
        for path in (folder / "results.json", written / "params.json", written / "metrics.json", recorded):
            runs.log_file(run, path, limit)
        logs = Path(result["stdouterr_file"]).parent if result["stdouterr_file"] else folder
        for name in ("stdout.log", "stderr.log"):
            if text := log_end(logs / name, size=limit):
                runs.log_text(run, text, name)


def _tags(result: Mapping[str, Any]) -> dict[str, str]:
    """Return how an entry ended, and where it ran."""
    attempts: Sequence[Mapping[str, Any]] = result.get("attempts", ())
    last = attempts[-1] if attempts else {}
    tags = {
        "oellm_bench.entry_id": result["id"],
        "oellm_bench.group": result.get("group", ""),
        "oellm_bench.attempt": str(result["attempt"]),
        _MODE: result["error_mode"],
        "oellm_bench.reason": result["reason"],
        "oellm_bench.requirements_not_met": "; ".join(result["requirements_not_met"]),
        _EXPECTED: result.get("expected_failure", ""),
        "oellm_bench.as_expected": str(
            is_as_expected(result.get("expected_failure", ""), result["error_mode"])
        ).lower(),
        "oellm_bench.resumed_from": result.get("resumed_from", ""),
        "oellm_bench.nodes": last.get("nodes", ""),
        "oellm_bench.job_id": last.get("job_id", ""),
        **_where(Path(result["entry_dir"])),
        **{f"oellm_bench.attempt.{each['number']}": _told(each) for each in attempts},
    }
    return {name: value[:_LONGEST_TAG] for name, value in tags.items() if value}


def _counts(ended: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Return how many entries passed, failed, and did what was expected of them, by the tags of their runs."""
    passed = sum(tags[_MODE] == ErrorMode.SUCCESS.value for tags in ended)
    as_expected = sum(is_as_expected(tags.get(_EXPECTED, ""), tags[_MODE]) for tags in ended)
    return {"passed": passed, "failed": len(ended) - passed, "as_expected": as_expected}


def _without_credentials(uri: str) -> str:
    """Return a server's address without user and password, which go where MLflow tells nobody of them."""
    parts = urllib.parse.urlsplit(uri)
    credentials, _, host = parts.netloc.rpartition("@")
    if not credentials or parts.scheme not in ("http", "https"):
        return uri
    user, _, password = credentials.partition(":")
    os.environ["MLFLOW_TRACKING_USERNAME"] = urllib.parse.unquote(user)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = urllib.parse.unquote(password)
    return parts._replace(netloc=host).geturl()


def _where(folder: Path) -> dict[str, str]:
    """Return cluster and partition as the job's own record has them, nothing where there is none."""
    try:
        slurm = read_json(folder / "artifacts" / "sys-env.json")["slurm"]
        names = {"cluster": "SLURM_CLUSTER_NAME", "partition": "SLURM_JOB_PARTITION"}
        return {f"oellm_bench.{name}": str(slurm.get(variable, "")) for name, variable in names.items()}
    except (StateError, KeyError, TypeError, AttributeError):
        return {}


def _told(attempt: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, (attempt["error_mode"], attempt["reason"])))


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
