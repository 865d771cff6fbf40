"""Measure a converted model on text it was not trained on; leaves params.json, metrics.json and tasks.pkl."""

from __future__ import annotations

import argparse
import json
import math
import pickle
import sys
import time
from pathlib import Path
from typing import Any

from convert import read_safetensors
from corpus import Corpus
from language_model import Parameters, Pass, Shape


def read_model(folder: Path) -> tuple[Parameters, Shape, dict[str, Any]]:
    """Return weights, shape and config.json of a converted model."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "max_position_embeddings")
    shape = Shape(*(config[name] for name in names))
    return read_safetensors(folder / "model.safetensors"), shape, config


def evaluate(folder: Path, corpus: Corpus, length: int, most: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the metrics, and the record of each window of the held-out text."""
    parameters, shape, config = read_model(folder)
    tasks: list[dict[str, Any]] = []
    began = time.perf_counter()
    for tokens, targets in corpus.windows(min(length or shape.positions, shape.positions), most):
        start = time.perf_counter()
        loss, accuracy = Pass(parameters, shape).loss(tokens, targets)
        spent = time.perf_counter() - start
        tasks.append({"stage": "score", "tokens": tokens.size, "loss": loss, "accuracy": accuracy, "time_s": spent})
    count = sum(task["tokens"] for task in tasks)
    loss, accuracy = (sum(task[key] * task["tokens"] for task in tasks) / count for key in ("loss", "accuracy"))
    metrics = {
        "is_success": math.isfinite(loss),
        "loss": loss,
        "bits_per_byte": loss / math.log(2),
        "accuracy": accuracy,
        "tokens": count,
        "tokens_per_s": count / (time.perf_counter() - began),
        "iteration": config["iteration"],
    }
    return metrics, tasks


def main() -> int:
    """Read the command line, measure, and leave the three files; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder that convert.py has written")
    parser.add_argument("--benchmark-results-path", type=Path, required=True, help="folder for the results")
    parser.add_argument("--data-path", nargs="*", default=[], help="text files; default: this trainer's sources")
    parser.add_argument("--seq-length", type=int, default=0, help="default: the model's longest")
    parser.add_argument("--windows", type=int, default=64, help="how many pieces of the text at most")
    options = parser.parse_args()
    if not (options.model / "config.json").is_file():
        parser.error(f"no model in {options.model}")
    metrics, tasks = evaluate(options.model, Corpus(options.data_path), options.seq_length, options.windows)
    out: Path = options.benchmark_results_path
    out.mkdir(parents=True, exist_ok=True)
    params = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    (out / "params.json").write_text(json.dumps(params, indent=1) + "\n", encoding="utf-8")
    with (out / "tasks.pkl").open("wb") as stream:
        pickle.dump(tasks, stream)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    for name, value in metrics.items():
        print(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}")
    return 0 if metrics["is_success"] else 1


if __name__ == "__main__":
    sys.exit(main())
