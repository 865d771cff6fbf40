"""The one module that makes text for a shell, and the one way to run a program to its end."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Whole words or endings: HF_TOKEN, OPENAI_APIKEY, SLACK_WEBHOOK_URL; not TOKENIZERS_PARALLELISM, not MAX_TOKENS.
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|SECRETS?|KEY|PASS|PASSWORD|WEBHOOK|CREDENTIALS?)(?:_|$)|(?:TOKEN|SECRET|KEY|PASSWD|PASSWORD|PASSPHRASE)$",
    re.IGNORECASE,
)


# What variables begin with that are for sinks alone: no job gets them.
OF_SINKS = "OELLM_BENCH_SINK_"

# Shorter values are no secrets worth the name, and would be found by chance in any text. Characters.
SHORTEST_SECRET = 8

# How long a program's output may stay silent until somebody looks whether it has ended.
_LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Completed:
    """How a program ended: `returncode` is negative for a signal, None when the time was up.

    `flooded`: it was stopped because it wrote too much.
    """

    argv: tuple[str, ...]
    returncode: int | None
    stdout: str
    stderr: str
    flooded: bool = False

    @property
    def timed_out(self) -> bool:
        """Whether it was stopped because its time was up."""
        return self.returncode is None


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str = "",
) -> Completed:
    """Run a program to its end in its own process group; at `timeout_s` the whole group is killed.

    `environment` None inherits this process's. Raises OSError when the program cannot be started.
    Output that is not UTF-8 is kept with replacement characters.
    """
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=None if environment is None else dict(environment),
        cwd=cwd,
        start_new_session=True,
        text=True,
        errors="replace",
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout_s)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        code = None
    return Completed(argv=tuple(argv), returncode=code, stdout=stdout, stderr=stderr)


def run_distrusted(
    argv: Sequence[str],
    *,
    timeout_s: float,
    most_bytes: int,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Completed:
    """Run a program as `run` does, without input; killed, too, as soon as it has written more than `most_bytes`.

    What it leaves running with its output still open is killed when it has ended. Raises OSError when it cannot be
    started.
    """
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=None if environment is None else dict(environment),
        cwd=cwd,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stderr is not None
    written = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    code, is_closed = None, False
    with process.stdout, process.stderr:
        try:
            end = time.monotonic() + timeout_s
            is_closed = _drain(process, written, end, most_bytes)
            flooded = sum(map(len, written.values())) > most_bytes
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = None if flooded else process.wait(timeout=max(end - time.monotonic(), 0.01))
        finally:
            if code is None or not is_closed:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    out, err = (data.decode("utf-8", errors="replace") for data in written.values())
    return Completed(argv=tuple(argv), returncode=code, stdout=out, stderr=err, flooded=flooded)


def _drain(process: subprocess.Popen[bytes], written: Mapping[int, bytearray], end: float, most_bytes: int) -> bool:
    """Read pipes; return whether they were closed before `end`, `most_bytes` or the end of the process."""
    with selectors.DefaultSelector() as selector:
        for descriptor in written:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map() and sum(map(len, written.values())) <= most_bytes:
            left = end - time.monotonic()
            ready = selector.select(max(min(left, _LOOK_S), 0))
            if left <= 0 or not (ready or process.poll() is None):
                return False
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                written[key.fd].extend(data)
                if not data:
                    selector.unregister(key.fd)
        return not selector.get_map()


def ending(returncode: int) -> str:
    """Return how a program ended, for people: `ended with exit code 3`, `was ended by SIGKILL`."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    names = {known.value: known.name for known in signal.Signals}  # those between the real-time ones have none
    return f"was ended by {names.get(-returncode, f'signal {-returncode}')}"


def quote(argument: str) -> str:
    """Return `argument` as one shell word, whatever is in it."""
    return shlex.quote(argument)


def command_line(argv: Sequence[str]) -> str:
    """Return `argv` as a line that a shell splits back into exactly these arguments."""
    return shlex.join(argv)


def exporting(marks: Iterable[str], start: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return a prefix that gives a command each variable of its own environment under further names too.

    Handed on are those whose name begins with `start`, and those in `names`, each behind every one of `marks`.
    """
    export = "; ".join(f'export "{mark}$name=${{!name}}"' for mark in marks)
    loop = (
        f'for name in ${{!{start}@}} {" ".join(map(quote, names))}; do [ -z "${{!name+x}}" ] || {{ {export}; }}; done'
    )
    return ("bash", "-c", f'{loop}; exec "$@"', "export")


def is_secret_name(name: str) -> bool:
    """Tell whether an environment variable of this name may hold a secret."""
    return _SECRET_NAME.search(name) is not None
