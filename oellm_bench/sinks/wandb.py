"""Weights & Biases: a run per entry in the session's group, under an id that the entry always has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from compoconf import register

from oellm_bench.core.expectation import is_as_expected
from oellm_bench.core.option import option
from oellm_bench.errors import Problem
from oellm_bench.sinks.base import Sink, SinkConfig
from oellm_bench.sinks.needs import not_installed, unset
from oellm_bench.sinks.tracking import flat, run_key


@dataclass(frozen=True, kw_only=True)
class WandbSinkConfig(SinkConfig):
    """Where runs go."""

    entity: str = option("user or team; empty: the one of the key", "")
    project: str = option("name of the project; empty: the campaign's", "")
    mode: Literal["online", "offline"] = option(
        "offline: into wandb/ of the session's folder, for `wandb sync` later", "online"
    )
    api_key_env: str = option("environment variable that holds the API key", "WANDB_API_KEY")
    artifacts: bool = option("keep results, params and metrics beside each run", False)


@register
class WandbSink(Sink):
    """Parameters as config, metrics as history and summary of each entry's run."""

    config: WandbSinkConfig

    def __init__(self, config: WandbSinkConfig) -> None:
        self.config = config
        self._session: Mapping[str, Any] = {}

    def problems(self) -> Sequence[Problem]:
        """Say that the key is not set where it is needed, and that wandb is not installed."""
        key = self.config.api_key_env if self.config.mode == "online" else ""
        return [*unset(key, "api_key_env"), *not_installed("wandb", "wandb")]

    def initialize(self, session_name: str, env_data: Mapping[str, Any]) -> None:
        """Take note of the session; runs are begun and ended entry by entry."""
        self._session = env_data
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        if key := os.environ.get(self.config.api_key_env):
            os.environ["WANDB_API_KEY"] = key

    def process_result(self, result: Mapping[str, Any]) -> None:
        """Write the entry's run, from its beginning to its end."""
        key = run_key(self._session["session8"], self._session["id"], result["name"])
        folder = Path(self._session["session_dir"])
        if self.config.mode == "offline":
            _forget(folder / "wandb", key)
        run = self._begun(key, folder, result)
        found = flat(result)
        run.log(dict(found.figures), step=0)
        run.summary.update({**{f"metric.{name}": text for name, text in found.texts.items()}, **_outcome(result)})
        if self.config.artifacts:
            self._keep(run, result)
        run.finish(exit_code=0 if result["success"] else 1)

    def finalize(self) -> None:
        """Leave the runs as they are."""

    def _begun(self, key: str, folder: Path, result: Mapping[str, Any]) -> Any:
        import wandb

        quiet = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            init_timeout=max(1.0, self.config.timeout_s / 2),
        )
        return wandb.init(
            entity=self.config.entity or None,
            project=self.config.project or self._session["project"],
            dir=folder,
            id=key,
            name=result["name"],
            group=self._session["id"],
            job_type=result.get("group") or result["name"],
            config={"parameters": dict(result["parameters"]), "params": dict(result["params"]), **self._labels()},
            mode=self.config.mode,
            resume="allow" if self.config.mode == "online" else None,
            reinit="finish_previous",
            settings=quiet,
        )

    def _labels(self) -> dict[str, Any]:
        session = self._session
        return {
            "session": session["id"],
            "run_reason": session.get("run_reason", ""),
            "git": dict(session.get("git", {})),
            "versions": dict(session.get("versions", {})),
        }

    def _keep(self, run: Any, result: Mapping[str, Any]) -> None:
        import wandb

        folder = Path(result["entry_dir"])
        files = [folder / "results.json", *(folder / "benchmark_results").glob("*.json")]
        artifact = wandb.Artifact(f"results-{run.id}", type="results")
        for path in filter(Path.is_file, files):
            artifact.add_file(str(path))
        run.log_artifact(artifact)


def _outcome(result: Mapping[str, Any]) -> dict[str, Any]:
    attempts, expected = result.get("attempts", ()), result.get("expected_failure", "")
    return {
        "success": result["success"],
        "error_mode": result["error_mode"],
        "reason": result["reason"],
        "expected_failure": expected,
        "as_expected": is_as_expected(expected, result["error_mode"]),
        "attempts": len(attempts),
        "nodes": attempts[-1]["nodes"] if attempts else "",
        "requirements_not_met": list(result["requirements_not_met"]),
    }


def _forget(folder: Path, key: str) -> None:
    """Remove what an earlier try of the same run has left: without a server, nobody else would see that it is one."""
    for earlier in folder.glob(f"offline-run-*-{key}"):
        shutil.rmtree(earlier, ignore_errors=True)
