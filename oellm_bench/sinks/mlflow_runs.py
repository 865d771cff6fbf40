"""Runs in an MLflow store: opened with care, found by a key before one is made, written so that twice is once."""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from oellm_bench.fileio import file_lock
from oellm_bench.sinks.base import SinkError

KEY_TAG = "oellm_bench.key"
_MOST_METRICS, _MOST_OTHERS = 1000, 100  # of one request; Source: MLflow's REST API, runs/log-batch
_MOST_RUNS = 1000
_LONGEST_NAME = 250
_OTHER = re.compile(r"[^\w\-. :/]", re.ASCII)


def service_name(name: str) -> str:
    """Return a name that MLflow takes for a metric, a param or a tag; what had to change has a hash behind it."""
    clean = _OTHER.sub("_", name)
    if posixpath.normpath(clean) != clean or clean.startswith((".", "/")):
        clean = clean.replace("/", "_").lstrip(".") or "_"
    if clean == name and len(clean) <= _LONGEST_NAME:
        return clean
    return f"{clean[: _LONGEST_NAME - 9]}_{hashlib.sha256(name.encode(errors='backslashreplace')).hexdigest()[:8]}"


@contextlib.contextmanager
def in_words(service: str) -> Iterator[None]:
    """Say in one line what MLflow says in four hundred characters. Raises SinkError."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as err:
        first = _first_cause(err)
        if first is err:  # an answer, not the lack of one
            raise
        raise SinkError(f"{service}: {type(first).__name__}: {' '.join(str(first).split())}") from None


class Runs:
    """The runs of one experiment."""

    def __init__(self, client: Any, experiment_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id

    def found_or_made(self, key: str, name: str, start_ms: int, tags: Mapping[str, str]) -> Any:
        """Return the run with that key, made where there is none."""
        found = self._client.search_runs(
            [self._experiment_id],
            filter_string=f"tags.`{KEY_TAG}` = '{key}'",
            max_results=1,
            order_by=["attributes.start_time ASC"],
        )
        if found:
            return found[0]
        return self._client.create_run(
            self._experiment_id, start_time=start_ms, tags={**tags, KEY_TAG: key}, run_name=name
        )

    def below(self, parent: Any) -> Iterator[Any]:
        """Yield the runs below another one."""
        token = None
        while True:
            found = self._client.search_runs(
                [self._experiment_id],
                filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
                max_results=_MOST_RUNS,
                page_token=token,
            )
            yield from found
            if not (token := found.token):
                return

    def log(
        self, run: Any, *, figures: Mapping[str, float], params: Mapping[str, str], tags: Mapping[str, str], at_ms: int
    ) -> None:
        """Log to a run; what it has already stays. A param that has changed becomes a tag: params cannot change."""
        from mlflow.entities import Metric, Param, RunTag

        known, new, changed = run.data.params, {}, {}
        for name, value in params.items():
            clean = service_name(name)
            if clean not in known:
                new[clean] = value
            elif known[clean] != value:
                changed[f"param.{clean}"[:_LONGEST_NAME]] = value
        metrics = [Metric(service_name(name), value, at_ms, 0) for name, value in figures.items()]
        for part in _parts(metrics, _MOST_METRICS):
            self._client.log_batch(run.info.run_id, metrics=part)
        for part in _parts([Param(name, value) for name, value in new.items()], _MOST_OTHERS):
            self._client.log_batch(run.info.run_id, params=part)
        labels = {service_name(name): value for name, value in {**tags, **changed}.items()}
        for part in _parts([RunTag(name, value) for name, value in labels.items()], _MOST_OTHERS):
            self._client.log_batch(run.info.run_id, tags=part)

    def log_file(self, run: Any, path: Path, limit: int) -> None:
        """Keep a file of at most `limit` bytes beside a run; one that is not there or larger is left out."""
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_size <= limit:
                self._client.log_artifact(run.info.run_id, str(path))

    def log_text(self, run: Any, text: str, name: str) -> None:
        """Keep a text beside a run."""
        self._client.log_text(run.info.run_id, text, name)

    def end(self, run: Any, status: str, end_ms: int | None = None) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        self._client.set_terminated(run.info.run_id, status=status, end_time=end_ms)


def opened(tracking_uri: str, experiment: str, local: Path | None) -> Runs:
    """Return the runs of an experiment, made where it is not there.

    `local`: the SQLite file of a store, whose schema only one process at a time may make.
    """
    from mlflow.tracking import MlflowClient

    with file_lock(local.with_name(".mlflow.lock")) if local else contextlib.nullcontext():
        if local and not local.exists():
            _make_store(local)
        client = MlflowClient(tracking_uri=tracking_uri)
        found = client.get_experiment_by_name(experiment)
    if found is not None:
        return Runs(client, found.experiment_id)
    return Runs(client, _made(client, experiment, local))


def _make_store(path: Path) -> None:
    """Make a store beside its place and move it there: killed halfway, MLflow leaves one that it never opens again."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    part = path.with_name(f".{path.name}.part")
    for left in path.parent.glob(f"{part.name}*"):  # by one that was killed; journals too
        left.unlink()
    store = SqlAlchemyStore(f"sqlite:///{part}", _artifacts(path))  # type: ignore[no-untyped-call]
    store.engine.dispose()
    part.replace(path)


def _made(client: Any, experiment: str, local: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(experiment, artifact_location=_artifacts(local) if local else None))
    except MlflowException as err:
        if err.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return str(client.get_experiment_by_name(experiment).experiment_id)  # another session was first


def _artifacts(store: Path) -> str:
    return store.with_name("mlflow-artifacts").as_uri()


def _first_cause(err: BaseException) -> BaseException:
    while (before := err.__cause__ or err.__context__) is not None:
        err = before
    return err


def _parts(items: Sequence[Any], size: int) -> list[list[Any]]:
    rest = iter(items)
    return list(iter(lambda: list(islice(rest, size)), []))
