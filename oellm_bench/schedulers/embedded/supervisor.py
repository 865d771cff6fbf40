"""Run one job: start its script, keep its limit, and leave no process of it behind.

One small process for each run of a job, like slurmstepd. It adopts every orphan below it, so that not even
a daemon that forked twice leaves its sight, and it needs no controller: it goes on when that dies and
writes how the job ended when its last process is gone.

It knows no states of jobs; what to do comes as an order, what happened goes back as a record.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from oellm_bench.proctree import become_subreaper, descendants, reap, send
from oellm_bench.schedulers.embedded import batch_script
from oellm_bench.schedulers.embedded.identity import MARK, identity
from oellm_bench.schedulers.embedded.layout import StepLayout
from oellm_bench.schedulers.embedded.records import create_record, poke, read_record, write_record

_FIRST_SAMPLE_S, _LONGEST_SAMPLE_S = 0.2, 10.0
_KILL_PAUSE_S = 0.02
_UNKILLABLE_S = 60.0  # slurm.conf(5), UnkillableStepTimeout: then the job counts as ended all the same
_PAGE = resource.getpagesize()


def main(folder: str) -> int:
    """Run the step in `folder` unless another supervisor has claimed it."""
    files = StepLayout(Path(folder))
    wakeup = _wakeup_descriptor()
    try:
        become_subreaper()
        order = read_record(files.order)
        if order is None or not create_record(files.claim, identity(os.getpid())):
            return 0
    except FileNotFoundError:
        return 0  # the step ended meanwhile, and its folder is gone
    try:
        record = _Step(files, order, wakeup).run()
    except BaseException:
        _kill_all()
        raise
    with contextlib.suppress(FileNotFoundError):
        write_record(files.exit, record)
    poke(Path(order["wake"]))
    return 0


class _Step:
    """One run of one job, from its first process to its last."""

    def __init__(self, files: StepLayout, order: dict[str, Any], wakeup: int) -> None:
        self._files = files
        self._order = order
        self._wakeup = wakeup
        self._script = 0
        self._returncode: int | None = None
        self._killed = False
        self._stop: dict[str, Any] | None = None
        self._peak_rss_bytes = 0
        self._sample_s = _FIRST_SAMPLE_S
        self._deadlines: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        """Run to the end and return the record of it."""
        stop = read_record(self._files.stop)
        if stop is not None:  # ended before it began
            return self._record(stop=stop, returncode=0)
        try:
            mark = {MARK: self._order["mark"]}
            self._script = batch_script.start(self._order, {**os.environ, **mark})
        except batch_script.LaunchError as err:
            print(f"{self._files.folder.name}: {err}", file=sys.stderr)  # noqa: T201 - the controller's log
            return {**self._record(stop=None, returncode=0), "launch_error": str(err)}
        self._set_deadlines(time.monotonic())
        self._wait()
        while not self._is_over():  # looked at first: a script that has ended needs no stop any more
            self._act(time.monotonic())
            self._wait()
        _kill_all()
        return self._record(stop=self._stop, returncode=self._returncode or 0)

    def _set_deadlines(self, now: float) -> None:
        self._deadlines["sample"] = now + self._sample_s
        limit_s = self._order["time_limit_s"]
        if limit_s is not None:
            self._deadlines["limit"] = now + limit_s
            if self._order["limit_signal"]:
                self._deadlines["limit_signal"] = now + max(0, limit_s - self._order["limit_signal"]["seconds"])

    def _is_over(self) -> bool:
        """Tell whether the script has ended, or, when the job is being ended, everything has."""
        ended = reap()
        self._returncode = ended.get(self._script, self._returncode)
        if self._stop is None:
            return self._returncode is not None
        return self._killed or not _has_children()

    def _wait(self) -> None:
        """Sleep until a child ends, the controller calls, or a deadline passes."""
        pause_s = max(0.0, min(self._deadlines.values()) - time.monotonic())
        if select.select([self._wakeup], [], [], pause_s)[0]:
            os.read(self._wakeup, 4096)

    def _act(self, now: float) -> None:
        due = {name for name, at in self._deadlines.items() if at <= now}
        for name in due:
            del self._deadlines[name]
        if "sample" in due:
            self._sample(now)
        if "kill" in due:
            _kill_all()
            self._killed = True
        if self._stop is None:
            if "limit_signal" in due:
                self._send_limit_signal()
            stop = read_record(self._files.stop)
            if stop is None and "limit" in due:
                stop = self._order["at_limit"]
            if stop is not None:
                self._begin_stop(stop, now)

    def _begin_stop(self, stop: dict[str, Any], now: float) -> None:
        self._stop = stop
        self._write_line(stop["line"])
        if not stop["grace"]:
            _kill_all()
            return
        for pid in descendants(os.getpid()):
            send(pid, signal.SIGCONT)
            send(pid, signal.SIGTERM)
        self._deadlines["kill"] = now + self._order["kill_wait_s"]

    def _send_limit_signal(self) -> None:
        """Send the signal of --signal; without `B:` only to what the script started, as Slurm does."""
        wanted = self._order["limit_signal"]
        others = [pid for pid in descendants(os.getpid()) if pid != self._script]
        for pid in [self._script] if wanted["to_batch"] else others:
            send(pid, wanted["number"])

    def _sample(self, now: float) -> None:
        self._peak_rss_bytes = max(self._peak_rss_bytes, sum(map(_rss_bytes, descendants(os.getpid()))))
        self._sample_s = min(2 * self._sample_s, _LONGEST_SAMPLE_S)
        self._deadlines["sample"] = now + self._sample_s
        if self._stop is None and not self._files.folder.exists():
            self._begin_stop({"stop": "cancel", "grace": False, "line": ""}, now)  # someone deleted it all

    def _write_line(self, line: str) -> None:
        """Append slurmstepd's line to the job's error file."""
        if line:
            text = line.replace("@NOW@", time.strftime("%Y-%m-%dT%H:%M:%S")) + "\n"
            with contextlib.suppress(OSError):  # a full disk must not keep the job alive
                descriptor = batch_script.open_log(self._order["error"] or self._order["output"], append=True)
                os.write(descriptor, text.encode())
                os.close(descriptor)

    def _record(self, *, stop: dict[str, Any] | None, returncode: int) -> dict[str, Any]:
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        return {
            "stop": None if stop is None else stop["stop"],
            "returncode": returncode,
            "ended_at": time.time(),
            "max_rss_bytes": max(self._peak_rss_bytes, largest) or None,
            "launch_error": "",
        }


def _wakeup_descriptor() -> int:
    """Return a descriptor that becomes readable at SIGCHLD and SIGTERM (the controller's call)."""
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return readable


def _kill_all() -> None:
    """KILL everything below this process until nothing is left; a fork bomb is outrun, not waited for."""
    deadline = time.monotonic() + _UNKILLABLE_S
    while _has_children() and time.monotonic() < deadline:
        for pid in descendants(os.getpid()):
            send(pid, signal.SIGKILL)
        time.sleep(_KILL_PAUSE_S)
        reap()


def _has_children() -> bool:
    """Tell whether anything is left, the dead that nobody collected included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except OSError:
        return 0
