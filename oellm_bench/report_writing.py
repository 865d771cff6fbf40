"""The page of a session that is over, written by another process: nobody waits in line for it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time

from oellm_bench.session import Session

_log = logging.getLogger(__name__)
_LIMIT_S = 600.0  # for a page that takes seconds


class ReportWriter:
    """Has report.html written once: neither the libraries it takes nor its faults are the monitor's."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._said = tempfile.TemporaryFile()
        self._process: subprocess.Popen[bytes] | None = None
        self._end = 0.0
        self._done = False

    def is_done(self) -> bool:
        """Start it where it is not started yet, and tell whether it is over, well or not."""
        if self._done:
            return True
        try:
            code = self._look()
        except OSError as err:
            self._warn(str(err))
            return True
        if code is None:
            return False
        if code != 0:
            self._said.seek(0)
            self._warn(self._said.read().decode("utf-8", errors="replace").strip() or f"exit code {code}")
        self._done = True
        return True

    def close(self) -> None:
        """End it where it still runs."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._said.close()

    def _look(self) -> int | None:
        """Return its exit code, None while it runs. Raises OSError where it cannot be started."""
        if self._process is None:
            argv = [sys.executable, "-P", "-m", "oellm_bench", "report", self._session.session_dir]
            self._end = time.monotonic() + _LIMIT_S
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                start_new_session=True,
            )
        code = self._process.poll()
        if code is None and time.monotonic() > self._end:
            os.killpg(self._process.pid, signal.SIGKILL)
            code = self._process.wait()
        return code

    def _warn(self, why: str) -> None:
        self._done = True
        _log.warning("report.html is not written (%s); `oellm-bench report %s` writes it", why, self._session.id)
