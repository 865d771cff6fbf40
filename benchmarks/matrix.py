"""What does an entry cost in `matrix run`, against a shell loop, and with Ray against a head by hand?"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ray_head
from benchmarks.harness import Measurement, bench_argv, in_turn, measurement

REPEATS, LIMIT_S = 3, 600.0
FEW, MANY = 2, 12  # what a session costs once is in both, and cancels out
FEW_WITH_RAY, MANY_WITH_RAY = 1, 3
ABOVE_LOOP_CPU_S, ENTRY_WALL_S, OWN_HEAD_RATIO = 0.25, 0.3, 1.15
SCRIPT = """import os, pathlib
folder = pathlib.Path(os.environ["OELLM_BENCH_RESULTS_PATH"])
(folder / "params.json").write_text("{}")
(folder / "metrics.json").write_text('{"is_success": true}')
(folder / "tasks.pkl").write_bytes(b"\\x80\\x04]\\x94.")
"""
LOOP = """
for number in $(seq "$3"); do
  mkdir -p "$4/$number"
  OELLM_BENCH_RESULTS_PATH="$4/$number" "$1" "$2" >"$4/$number/log" 2>&1
done
"""
MATRIX = """
results_dir: {folder}/results
ray: {{enabled: {ray}, num_cpus: 1, reuse: {reuse}}}
object_store_size: {store}
entries: [{{name: e, script: {script}, repeat: {repeat}}}]
"""
# Everything that a run has started ends below this process, daemons too, and what it used is told.
COUNTED = """
import os, resource, subprocess, sys, time
from oellm_bench.proctree import become_subreaper
become_subreaper()
began = time.monotonic()
code = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=2).returncode
wall_s = time.monotonic() - began
try:
    while True:
        os.waitpid(-1, 0)
except ChildProcessError:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, wall_s)
sys.exit(code)
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """CPU seconds of all processes, and seconds that have passed."""

    cpu_s: float
    wall_s: float


def measure() -> Iterator[Measurement]:
    """Yield the cost of an entry without Ray, then with a head of its own, and with one for all."""
    yield from _without_ray()
    yield from _with_ray()


def _without_ray() -> Iterator[Measurement]:
    loops, entries = zip(*(_round() for _ in range(REPEATS + 1)), strict=True)
    loops, entries = loops[1:], entries[1:]  # what is read for the first time is in the first
    yield measurement("an entry in a shell loop", "CPU s", [loop.cpu_s for loop in loops])
    above = [entry.cpu_s - loop.cpu_s for loop, entry in zip(loops, entries, strict=True)]
    yield measurement("an entry in `matrix run`, above that", "CPU s", above, ABOVE_LOOP_CPU_S)
    yield measurement("an entry in `matrix run`", "wall s", [entry.wall_s for entry in entries], ENTRY_WALL_S)


def _round() -> tuple[Cost, Cost]:
    return _one_more(_loop, FEW, MANY), _one_more(_matrix, FEW, MANY)


def _with_ray() -> Iterator[Measurement]:
    bare, name = (ray_head.by_hand, "ray start --block, script, TERM")
    if ray_head.can_stop_all():
        bare, name = (ray_head.literally, "ray start && script && ray stop")
    rounds = in_turn(bare, lambda: _ray_wall_s(reuse=False), lambda: _ray_wall_s(reuse=True), times=REPEATS)
    yield measurement(f"a bare Ray head: {name}", "wall s", [head for head, _, _ in rounds])
    ratios = [own / head for head, own, _ in rounds]
    yield measurement("an entry in `matrix run` with a head of its own / bare", "ratio", ratios, OWN_HEAD_RATIO)
    ratios = [shared / head for head, _, shared in rounds]
    yield measurement("the same with one head for all (ray.reuse) / bare", "ratio", ratios)


def _one_more(run: Callable[[int], Cost], few: int, many: int) -> Cost:
    """Return what one more entry costs."""
    less, more = run(few), run(many)
    return Cost(
        cpu_s=(more.cpu_s - less.cpu_s) / (many - few),
        wall_s=(more.wall_s - less.wall_s) / (many - few),
    )


def _ray_wall_s(*, reuse: bool) -> float:
    def run(entries: int) -> Cost:
        with tempfile.TemporaryDirectory() as name:
            argv = _matrix_argv(Path(name), ray_head.ATTACHED + SCRIPT, entries, ray=True, reuse=reuse)
            return _cost(argv, Path(name))

    return _one_more(run, FEW_WITH_RAY, MANY_WITH_RAY).wall_s


def _loop(entries: int) -> Cost:
    with tempfile.TemporaryDirectory() as name:
        script = Path(name) / "script.py"
        script.write_text(SCRIPT)
        return _cost(["sh", "-c", LOOP, "sh", sys.executable, str(script), str(entries), name], Path(name))


def _matrix(entries: int) -> Cost:
    with tempfile.TemporaryDirectory() as name:
        return _cost(_matrix_argv(Path(name), SCRIPT, entries, ray=False, reuse=False), Path(name))


def _matrix_argv(folder: Path, text: str, entries: int, *, ray: bool, reuse: bool) -> list[str]:
    script, matrix = folder / "script.py", folder / "matrix.yaml"
    script.write_text(text)
    settings = {"ray": str(ray).lower(), "reuse": str(reuse).lower(), "store": ray_head.STORE_BYTES}
    matrix.write_text(MATRIX.format(folder=folder, script=script, repeat=entries, **settings))
    return bench_argv("matrix", "run", "--config", str(matrix))


def _cost(argv: list[str], folder: Path) -> Cost:
    """Run a command and return what it cost, with all that it has started. Raises RuntimeError where it fails."""
    environment = {**ray_head.COMPILED, "XDG_STATE_HOME": str(folder / "state")}
    counted = [sys.executable, "-c", COUNTED, *argv]
    done = subprocess.run(counted, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode != 0:
        raise RuntimeError(f"{argv} exited with {done.returncode}: {done.stderr[-2000:]}")
    cpu_s, wall_s = map(float, done.stdout.split())
    return Cost(cpu_s=cpu_s, wall_s=wall_s)
