"""What does a Ray head of its own cost an entry, from start to stop, against starting one by hand?"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.harness import Measurement, in_turn, measurement, run_entry_argv
from oellm_bench.core.resources import RayHead

REPEATS, STORE_BYTES, LIMIT_S = 5, 90_000_000, 120.0
TARGET = 1.1
SCRIPT = """
import os, ray
{init}
one = ray.remote(lambda: 1)
assert ray.get(one.remote()) == 1
"""
ATTACHED = SCRIPT.format(init='ray.init(address=os.environ["RAY_ADDRESS"])')
ALONE = SCRIPT.format(
    init=f"ray.init(address='local', include_dashboard=False, log_to_driver=False, num_cpus=1, "
    f"object_store_memory={STORE_BYTES}, _temp_dir=os.environ['BENCH_TEMP'])"
)
RAY = str(Path(sys.executable).with_name("ray"))
HEAD = (
    *(RAY, "start", "--head", "--port=0", "--include-dashboard=false", "--disable-usage-stats", "--num-cpus=1"),
    *("--num-gpus=0", f"--object-store-memory={STORE_BYTES}", "--dashboard-agent-listen-port=0"),
)
COMPILED = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # as what is installed is
# `ray stop` ends every Ray of the user that it sees: it may see none but its own.
OWN_PIDS = ("unshare", "--fork", "--pid", "--mount-proc", "--kill-child")


def measure() -> Iterator[Measurement]:
    """Yield wall time, and its ratios to the same script with a head that is started in other ways."""
    others: dict[str, Callable[[], float]] = {"ray start --block, script, TERM": by_hand, "ray.init('local')": _local}
    if can_stop_all():
        others["ray start && script && ray stop"] = literally
    rounds = in_turn(_entry, *others.values(), times=REPEATS)
    yield measurement("entry with a Ray head and one task", "wall s", [ours for ours, *_ in rounds])
    for place, name in enumerate(others, start=1):
        ratios = [times[0] / times[place] for times in rounds]
        yield measurement(f"the same / {name}", "ratio", ratios, TARGET)


def can_stop_all() -> bool:
    """Tell whether `ray stop` can be kept from every other Ray of this machine."""
    return subprocess.run([*OWN_PIDS, "true"], capture_output=True).returncode == 0


def _entry() -> float:
    with tempfile.TemporaryDirectory() as name:
        argv = run_entry_argv(
            Path(name),
            (sys.executable, "-c", ATTACHED),
            RayHead(enabled=True, num_cpus=1, object_store_bytes=STORE_BYTES),
        )
        return _wall_s(argv, COMPILED)


def by_hand() -> float:
    """Stand for `ray start ... && python script && ray stop`, in the fastest way there is to a head beside a script.

    No autoscaler, no monitor of logs (so no prints of workers), and TERM to this head alone: `ray stop` would end
    every Ray of this user on the machine.
    """
    with _temporary() as (folder, environment), (folder / "log").open("wb") as log:
        began = time.monotonic()
        flags = ("--block", f"--temp-dir={folder}", "--no-monitor", "--include-log-monitor=false")
        head = subprocess.Popen([*HEAD, *flags], stdout=log, stderr=log, env=environment)
        try:
            address = _address(folder, head)
            _wall_s([sys.executable, "-c", ATTACHED], {**environment, "RAY_ADDRESS": address})
        finally:
            head.terminate()
            head.wait(LIMIT_S)
        return time.monotonic() - began


def literally() -> float:
    """The line anyone would type."""
    script = (
        f'{" ".join(HEAD)} --temp-dir="$1" && RAY_ADDRESS=$(cat "$1/ray_current_cluster") "$2" -c "$3" && {RAY} stop'
    )
    with _temporary() as (folder, environment):
        return _wall_s([*OWN_PIDS, "sh", "-c", script, "sh", str(folder), sys.executable, ATTACHED], environment)


def _local() -> float:
    """No head apart from the script: nothing stops it when the script is killed, and nobody else can join it."""
    with _temporary() as (folder, environment):
        return _wall_s([sys.executable, "-c", ALONE], {**environment, "BENCH_TEMP": str(folder)})


@contextlib.contextmanager
def _temporary() -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a folder for Ray, short enough for its sockets, and an environment that meets no other Ray."""
    inherited = {name: value for name, value in COMPILED.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="obb-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name), {**inherited, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _address(folder: Path, head: subprocess.Popen[bytes]) -> str:
    told = folder / "ray_current_cluster"
    deadline = time.monotonic() + LIMIT_S
    while not (b"Ray runtime started" in (folder / "log").read_bytes() and told.exists() and told.stat().st_size):
        if head.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"no Ray head: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.02)
    return told.read_text().strip()


def _wall_s(argv: list[str], environment: dict[str, str]) -> float:
    began = time.monotonic()
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode != 0:
        raise RuntimeError(f"{argv} exited with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return time.monotonic() - began
