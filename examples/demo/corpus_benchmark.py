"""Benchmark a text pipeline on Ray: parse, count, hash and find near-duplicates among real source files.

The corpus is what every machine with Python has: the standard library's own files. The script follows the
file contract: params.json, metrics.json and tasks.pkl in --benchmark-results-path. It needs the Ray head that
RAY_ADDRESS names and starts none itself.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import heapq
import json
import logging
import os
import pickle
import re
import sys
import sysconfig
import time
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import ray

SKETCH_SIZE = 64  # smallest shingle hashes kept of a file; the error of the estimate is about 1/sqrt(64)
NEAR_DUPLICATE = 0.8  # Jaccard similarity of two sketches from which on a pair counts
LARGEST_GROUP = 30  # a shingle in more files than that is boilerplate and proposes no pairs
FEWEST_SHARED = 0.4  # share of a sketch that proposes a pair, well below NEAR_DUPLICATE
WORD = re.compile(rb"\w+|[^\w\s]")


def parse(path: str, _: int) -> int:
    """Return the number of top-level statements, -1 where it is not this Python's syntax (test data)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in old test data
            return len(ast.parse(Path(path).read_bytes()).body)
    except (SyntaxError, ValueError, RecursionError):
        return -1


def count(path: str, _: int) -> tuple[int, int]:
    """Return lines and tokens of a file."""
    text = Path(path).read_bytes()
    return text.count(b"\n"), len(WORD.findall(text))


def digest(path: str, _: int) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def sketch(path: str, shingle: int) -> tuple[int, ...]:
    """Return the smallest hashes of the runs of `shingle` tokens of a file, a bottom-k MinHash sketch."""
    words = WORD.findall(Path(path).read_bytes())
    runs = {b" ".join(words[i : i + shingle]) for i in range(max(1, len(words) - shingle + 1))}
    return tuple(heapq.nsmallest(SKETCH_SIZE, map(zlib.crc32, runs)))


STAGES: dict[str, Callable[[str, int], Any]] = {
    "parse": parse,
    "count": count,
    "hash": digest,
    "minhash": sketch,
}


def run_batch(stage: str, batch: int, paths: list[str], shingle: int) -> tuple[list[Any], dict[str, Any]]:
    """Run a stage on a batch of files; returns a value for each file and the record of its performance."""
    began, cpu = time.perf_counter(), time.process_time()
    values = [STAGES[stage](path, shingle) for path in paths]
    record = {
        "stage": stage,
        "batch": batch,
        "files": len(paths),
        "bytes": sum(Path(path).stat().st_size for path in paths),
        "time_s": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
        "worker": os.getpid(),
    }
    return values, record


def run_stage(
    stage: str, batches: list[list[str]], options: argparse.Namespace
) -> tuple[list[Any], list[dict[str, Any]]]:
    """Run a stage over all batches, `num_tasks` at a time; values come back in the order of the files."""
    remote = ray.remote(num_cpus=1)(run_batch)
    finished: dict[int, tuple[list[Any], dict[str, Any]]] = {}
    waiting: dict[Any, int] = {}
    files = 0
    for number, batch in enumerate([*batches, None]):
        while waiting and (batch is None or len(waiting) >= options.num_tasks):
            for reference in ray.wait(list(waiting))[0]:
                index = waiting.pop(reference)
                finished[index] = ray.get(reference)
                files += finished[index][1]["files"]
                print(f"stage={stage} batch={index + 1}/{len(batches)} files={files}", flush=True)
        if batch is not None:
            waiting[remote.remote(stage, number, batch, options.shingle)] = number
    values = [value for number in sorted(finished) for value in finished[number][0]]
    return values, [finished[number][1] for number in sorted(finished)]


def near_duplicates(sketches: list[tuple[int, ...]]) -> int:
    """Count the pairs of files whose sketches agree; only files that share a hash are compared."""
    holders = defaultdict(list)
    for number, hashes in enumerate(sketches):
        for value in hashes:
            holders[value].append(number)
    shared: Counter[tuple[int, int]] = Counter()
    for numbers in holders.values():
        if len(numbers) <= LARGEST_GROUP:
            shared.update(combinations(numbers, 2))
    return sum(
        _similarity(sketches[a], sketches[b]) >= NEAR_DUPLICATE
        for (a, b), hashes in shared.items()
        if hashes >= FEWEST_SHARED * max(len(sketches[a]), len(sketches[b]))
    )


def _similarity(first: tuple[int, ...], second: tuple[int, ...]) -> float:
    """Estimate the Jaccard similarity of two files from the smallest hashes of their union."""
    union = heapq.nsmallest(SKETCH_SIZE, set(first) | set(second))
    return len(set(union) & set(first) & set(second)) / len(union)


def corpus(root: Path, limit: int) -> list[str]:
    """Return the Python files below a folder in a fixed order, installed packages left out."""
    packages = {"site-packages", "dist-packages"}
    found = sorted(str(path) for path in root.rglob("*.py") if not packages & set(path.parts) and path.is_file())
    return found[:limit] if limit else found


def benchmark(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run all stages; returns the metrics and the performance record of each task."""
    paths = corpus(options.root, options.limit)
    if not paths:
        raise SystemExit(f"no Python files below {options.root}; give another --root")
    batches = [paths[i : i + options.batch_size] for i in range(0, len(paths), options.batch_size)]
    values: dict[str, list[Any]] = {}
    tasks: list[dict[str, Any]] = []
    stage_times = {}
    began = time.perf_counter()
    for stage in STAGES:
        stage_began = time.perf_counter()
        values[stage], records = run_stage(stage, batches, options)
        stage_times[f"{stage}_s"] = time.perf_counter() - stage_began
        tasks.extend(records)
        if options.fail_first_attempt and os.environ.get("OELLM_BENCH_ATTEMPT", "1") == "1":
            raise RuntimeError("deliberate failure of attempt 1, asked for by --fail-first-attempt")
    pairs = near_duplicates(values["minhash"])
    elapsed_s = time.perf_counter() - began
    size = sum(task["bytes"] for task in tasks if task["stage"] == "hash")
    metrics = {
        "is_success": all(len(found) == len(paths) for found in values.values()),
        "files": len(paths),
        "files_per_s": len(paths) / elapsed_s,
        "megabytes_per_s": size / 1e6 / elapsed_s,
        "elapsed_s": elapsed_s,
        **stage_times,
        "near_duplicate_pairs": pairs,
        "identical_files": len(paths) - len(set(values["hash"])),
        "unparsable_files": values["parse"].count(-1),
        "lines": sum(lines for lines, _ in values["count"]),
        "tokens": sum(tokens for _, tokens in values["count"]),
    }
    return metrics, tasks


def main() -> int:
    """Run the benchmark and leave its three files."""
    options = _options()
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        print("RAY_ADDRESS is empty: run this through oellm-bench with ray.enabled=true", file=sys.stderr)
        return 2
    out: Path = options.benchmark_results_path
    out.mkdir(parents=True, exist_ok=True)
    params = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    (out / "params.json").write_text(json.dumps(params, indent=1) + "\n", encoding="utf-8")
    ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    print(f"connected to Ray at {address}", flush=True)
    metrics, tasks = benchmark(options)
    ray.shutdown()
    with (out / "tasks.pkl").open("wb") as stream:
        pickle.dump(tasks, stream)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    _report(metrics.items())
    return 0 if metrics["is_success"] else 1


def _report(metrics: Iterable[tuple[str, Any]]) -> None:
    for name, value in metrics:
        print(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--benchmark-results-path", type=Path, required=True, help="folder for the results")
    parser.add_argument("--root", type=Path, default=Path(sysconfig.get_path("stdlib")), help="the corpus")
    parser.add_argument("--limit", type=int, default=1500, help="use only that many files; 0: all")
    parser.add_argument("--batch-size", type=int, default=50, help="files of one task")
    parser.add_argument("--num-tasks", "--workers", type=int, default=4, help="tasks in flight at once")
    parser.add_argument("--shingle", type=int, default=5, help="tokens of one shingle")
    parser.add_argument("--fail-first-attempt", action="store_true", help="crash in attempt 1, on purpose")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
