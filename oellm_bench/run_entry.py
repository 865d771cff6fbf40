"""Run one entry of a plan inside its job: `python -m oellm_bench.run_entry --sweep FILE --index N`.

Exit code: the command's; 128+n where signal n ended it or us; 124 at the time limit; 127 where it cannot be
started; 90 where its Ray head did not come up; 65 where it broke the file contract; 1 where it exited 0 but
reports is_success: false; 0 where only requirements are not met; 2 for a wrong call; 74 where the session's
folder cannot be written. The standard library only: it has to start on a bare compute node in no time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from oellm_bench import shell
from oellm_bench.core.plan import read_entry
from oellm_bench.core.result import EntryResult, ErrorMode, ExitRecord
from oellm_bench.errors import EXIT_USAGE, StateError
from oellm_bench.fileio import atomic_write_json, is_there, read_json
from oellm_bench.job import folders, ray_state
from oellm_bench.job.aggregating import aggregated_tasks
from oellm_bench.job.attempt import Attempt, next_number
from oellm_bench.job.call import call_parser
from oellm_bench.job.observation import Observation
from oellm_bench.job.resuming import newest_checkpoint
from oellm_bench.job.supervise import TIME_UP, Ended, Launch, hold_signals, supervise
from oellm_bench.results.collect import collect
from oellm_bench.results.settled import settle

EXIT_UNSUCCESSFUL = 1
EXIT_CONTRACT = 65
EXIT_STORAGE = 74
EXIT_RAY_START_FAILED = 90
EXIT_TIMEOUT = 124
EXIT_NOT_STARTED = 127


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the entry that the command line names and return the exit code."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names need not be text
    options = call_parser().parse_args(arguments)
    try:
        attempt = _attempt(options)
        if options.dry_run:
            _say(_description(attempt))
            return 0
    except (StateError, OSError) as err:
        return _fail(str(err), EXIT_USAGE)
    hold_signals()
    try:
        return _run(attempt, options.token)
    except OSError as err:
        message = f"{err.filename or attempt.files.root}: {err.strerror}"
        _note_failed_start(attempt, options.token, message)
        return _fail(f"entry={attempt.entry.name} attempt={attempt.number} {message}", EXIT_STORAGE)


def _run(attempt: Attempt, token: str) -> int:
    """Run the attempt and leave results.json and exit.json. Raises OSError where nothing could be run."""
    name = f"entry={attempt.entry.name} attempt={attempt.number}"
    folders.prepare(attempt)
    _say(f"{name} logs={shell.quote(str(attempt.files.root))} command={_one_line(attempt)}")
    if attempt.checkpoint:
        _say(f"{name} resumes from {shell.quote(attempt.checkpoint)}")
    observation = Observation(attempt)
    ended = supervise(replace(_launch(attempt), at_end=lambda number: _take_leave(attempt, observation, number)))
    folders.reopen(attempt)
    resources = observation.used()
    if attempt.entry.ray.enabled:
        ended = ray_state.command_ended(ended, attempt.ray_state, attempt.files.stderr)
    if ended.failure is ErrorMode.CANCELLED:
        ended = _as_ordered(attempt, ended)
    if ended.leftovers:
        _say(f"{name} ended {ended.leftovers} processes that the command had left running")
    record = _record(attempt, token, ended)
    settle(record, attempt.layout)
    note = aggregated_tasks(attempt.layout.benchmark_results)
    full = folders.make_room_for_records(attempt)
    if full and not record.message:
        record = replace(record, message=full)
    result = collect(attempt.entry, record, attempt.layout, note, resources)
    result = replace(result, resumed_from=attempt.checkpoint)
    record = _agreeing(record, result)
    code = _exit_code(record, ended.signal)
    trouble = _write_results(attempt, result)
    if trouble:
        record = replace(record, failure=record.failure or ErrorMode.CRASH.value, message=trouble)
        code = EXIT_STORAGE
    _say(f"{name} error_mode={result.error_mode} exit_code={code} {trouble or result.reason}".rstrip())
    atomic_write_json(attempt.files.exit, record.to_document())
    return code


def _as_ordered(attempt: Attempt, ended: Ended) -> Ended:
    """Return how an attempt ended that was told why it is cancelled: a stall is no cancel."""
    try:
        order = read_json(attempt.files.stop_order)
        reason = str(order["reason"])
    except (StateError, TypeError, KeyError):
        return ended
    return replace(ended, failure=ErrorMode.STALL, message=f"{reason}; {ended.message}")


def _take_leave(attempt: Attempt, observation: Observation, number: int | None) -> None:
    """End the observation; where the command is stuck, while it still can be seen where."""
    is_stuck = number == TIME_UP or (number is not None and is_there(attempt.files.stop_order))
    observation.end(stopped=number is not None, stuck=is_stuck and attempt.entry.capture.stacks)


def _launch(attempt: Attempt) -> Launch:
    launch = Launch(
        argv=attempt.argv,
        environment={**os.environ, **attempt.additions()},
        cwd=attempt.cwd,
        stdout=attempt.files.stdout,
        stderr=attempt.files.stdout if attempt.entry.merge_output else attempt.files.stderr,
        timeout_s=attempt.entry.timeout_s,
    )
    if not attempt.entry.ray.enabled:
        return launch
    return replace(
        launch,
        started_at=lambda: ray_state.command_started_at(attempt.ray_state),
        has_ended=lambda: ray_state.has_ended(attempt.ray_state),
        start_limit_s=attempt.entry.ray.start_limit_s(attempt.ray_nodes),
        stop_limit_s=ray_state.stop_limit_s(),
    )


def _record(attempt: Attempt, token: str, ended: Ended) -> ExitRecord:
    return ExitRecord(
        token=token,
        attempt=attempt.number,
        returncode=ended.returncode,
        failure=ended.failure.value if ended.failure else "",
        message=ended.message,
        restarts=_restarts(),
        job_id=_job_id(),
        host=os.uname().nodename,
        started_at=ended.started_at,
        ended_at=ended.ended_at,
    )


def _restarts() -> int:
    """Return how often SLURM has requeued this job."""
    text = os.environ.get("SLURM_RESTART_COUNT", "")
    return int(text) if text.isdecimal() else 0


def _job_id() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID", ""), os.environ.get("SLURM_ARRAY_TASK_ID", "")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")


def _agreeing(record: ExitRecord, result: EntryResult) -> ExitRecord:
    """Return the record with what only the results could tell: exit code 0 was no success."""
    told = (ErrorMode.SUCCESS.value, ErrorMode.REQUIREMENTS_NOT_MET.value)
    if record.failure or record.returncode != 0 or result.error_mode in told:
        return record
    return replace(record, failure=result.error_mode, message=result.reason)


def _exit_code(record: ExitRecord, number: int) -> int:
    fixed = {
        "": None,
        ErrorMode.TIMEOUT.value: EXIT_TIMEOUT,
        ErrorMode.CANCELLED.value: 128 + (number or signal.SIGTERM),
        ErrorMode.STALL.value: 128 + (number or signal.SIGTERM),
        ErrorMode.RAY_START_FAILED.value: EXIT_RAY_START_FAILED,
        ErrorMode.CONTRACT_ERROR.value: EXIT_CONTRACT,
    }.get(record.failure)
    if fixed is not None:
        return fixed
    if record.returncode is None:
        return EXIT_NOT_STARTED
    if record.returncode < 0:
        return 128 - record.returncode
    return record.returncode or (EXIT_UNSUCCESSFUL if record.failure else 0)


def _write_results(attempt: Attempt, result: EntryResult) -> str:
    """Write results.json and delete the scratch folder; returns what went wrong with the former."""
    trouble = ""
    for _ in range(2):  # a full disk may have room once the scratch folder is gone
        try:
            atomic_write_json(attempt.files.results, result.to_document())
            atomic_write_json(attempt.layout.results, result.to_document())
            trouble = ""
        except OSError as err:
            trouble = f"{err.filename} cannot be written: {err.strerror}"
        if attempt.entry.delete_scratch:
            try:
                folders.remove_scratch(attempt)
            except OSError as err:
                _say(f"entry={attempt.entry.name} scratch is not deleted: {err.filename}: {err.strerror}")
        if not trouble:
            break
    return trouble


def _note_failed_start(attempt: Attempt, token: str, message: str) -> None:
    """Leave exit.json for an attempt that could not be run, where even that can be written."""
    now = time.time()
    ended = Ended(returncode=None, failure=ErrorMode.CRASH, message=message, started_at=now, ended_at=now)
    with contextlib.suppress(OSError):
        atomic_write_json(attempt.files.exit, _record(attempt, token, ended).to_document())


def _attempt(options: argparse.Namespace) -> Attempt:
    sweep = _followed(Path(options.sweep).absolute())
    entry = read_entry(sweep, index=options.index, entry_id=options.entry)
    if options.timeout_s is not None:
        entry = replace(entry, timeout_s=options.timeout_s)
    first = Attempt(entry=entry, number=1, session=sweep.parent)
    attempt = replace(first, number=options.attempt or next_number(first.layout))
    if entry.resume is None or (attempt.number == 1 and not _restarts()):
        return attempt
    return replace(attempt, checkpoint=newest_checkpoint(entry.resume))


def _followed(sweep: Path) -> Path:
    """Return the plan that a link beside the sessions leads to: its folder is the session's."""
    return sweep.parent / sweep.readlink() if sweep.is_symlink() else sweep


def _description(attempt: Attempt) -> str:
    additions = "\n".join(
        f"  {name}={'(hidden)' if shell.is_secret_name(name) else shell.quote(value)}"
        for name, value in attempt.additions().items()
    )
    files = "".join(f"file: {attempt.layout.root / name}\n" for name in attempt.entry.files)
    return (
        f"command: {shell.command_line(attempt.argv)}\nin: {attempt.cwd}\nenvironment:\n{additions}\n{files}"
        f"attempt: {attempt.files.root}\ntime limit: {attempt.entry.timeout_s:g} s"
    )


def _one_line(attempt: Attempt) -> str:
    return shell.command_line(attempt.argv).replace("\n", "\\n")


def _say(text: str) -> None:
    """Write a line to the job's log; a log that cannot take it must not end the job."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> int:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"run_entry: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
