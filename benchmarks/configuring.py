"""What does a point of a sweep cost, from its declaration to a typed configuration, and with Megatron's arguments?"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from omegaconf import OmegaConf

from benchmarks.harness import Measurement, measurement
from oellm_bench.builtins import load_all
from oellm_bench.config.compose import compose_variants
from oellm_bench.config.project import configured_points
from oellm_bench.config.schema import SlurmConfig
from oellm_bench.config.search_path import hydra_folders
from oellm_bench.config.typing import parse
from oellm_bench.planning import plan_points

_RUNS = 5
_ANEW = 20  # points that Hydra composes anew; more would only take longer
# A training as people sweep it: about thirty arguments.
_TRAINING = {
    "num_layers": 24,
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "group_query_attention": True,
    "num_query_groups": 8,
    "seq_length": 4096,
    "max_position_embeddings": 4096,
    "micro_batch_size": 4,
    "global_batch_size": 512,
    "train_tokens": "50B",
    "lr_decay_fraction": 0.2,
    "lr_warmup_fraction": 0.01,
    "lr_decay_style": "WSD",
    "lr_wsd_decay_style": "linear",
    "min_lr": 1e-6,
    "weight_decay": 0.05,
    "clip_grad": 1.0,
    "adam_beta2": 0.95,
    "init_method_std": 0.02,
    "bf16": True,
    "swiglu": True,
    "normalization": "RMSNorm",
    "position_embedding_type": "rope",
    "rotary_base": 100_000,
    "add_bias_linear": False,
    "untie_embeddings_and_output_weights": True,
    "tensor_model_parallel_size": 2,
    "sequence_parallel": True,
    "save_interval": 500,
    "eval_interval": 1000,
    "log_interval": 10,
    "tokenizer_type": "NullTokenizer",
    "vocab_size": 131072,
}


def measure() -> Iterator[Measurement]:
    """Yield CPU milliseconds per point and the memory of the whole process, by kind of sweep and number of points."""
    anew = [_figures("anew", _ANEW)["ms"] for _ in range(_RUNS)]
    yield measurement("Hydra composing each point anew", "CPU ms per point", anew)
    for kind, what, target in (
        ("grid", "typed configuration of a point", 0.5),
        ("stages", "the same, in two stages with references", 0.5),
        ("megatron", "the same, planned with Megatron's arguments", 1.5),
    ):
        for points in (1_000, 10_000):
            figures = [_figures(kind, points) for _ in range(_RUNS)]
            question = f"{what}, {points:,} points"
            yield measurement(question, "CPU ms per point", [figure["ms"] for figure in figures], target)
            yield measurement(f"{question}: peak memory", "MB", [figure["mb"] for figure in figures], 250)


def _figures(kind: str, points: int) -> dict[str, float]:
    """Measure in a process of its own, whose memory is nobody else's."""
    argv = [sys.executable, "-m", "benchmarks.configuring", kind, str(points)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _document(kind: str, points: int, folder: Path) -> dict[str, Any]:
    backend: Mapping[str, Any] = {
        "class_name": "CommandBackend",
        "command": ["python", "train.py"],
        "args": {"lr": 0, "tag": "lr-${backend.args.lr}"},
    }
    if kind == "megatron":
        (folder / "pretrain_gpt.py").touch()
        script = str(folder / "pretrain_gpt.py")
        backend = {"class_name": "AutoMegatronBackend", "script": script, "args": {**_TRAINING, "lr": 0}}
    stages: dict[str, Any] = {
        "configs": [
            {"stage": "stable", "backend.args.iters": 1000},
            {"stage": "decay", "backend.args.iters": "${sibling:stable.backend.args.iters}"},
        ]
    }
    if kind == "stages":
        points //= 2
        stages["configs"][1]["backend.args.load"] = "${sibling:stable.output_dir}/checkpoints"
    seeds = points // 50
    return {
        "defaults": ["bench", "_self_"],
        "project": {"name": "points", "base_output_dir": str(folder / "out")},
        "slurm": {"sbatch": {"nodes": 2, "gpus-per-node": 4}, "srun": {"ntasks-per-node": 1}},
        "backend": backend,
        "sweep": {
            "params": {
                "backend.args.lr": [(number + 1) / 1e5 for number in range(50)],
                "backend.args.seed": list(range(seeds)),
            },
            **(stages if kind == "stages" else {}),
        },
    }


def _main(kind: str, points: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "points.yaml").write_text(yaml.safe_dump(_document(kind, max(points, 50), folder)))
        load_all()  # what starting takes is another question
        begun = time.process_time()
        if kind == "anew":
            _composed_anew(folder, points)
        else:
            made = configured_points(compose_variants("points", folder, []))
            assert len(made) == points, len(made)
            if kind == "megatron":
                plan_points(made, "", folder / "session")
        taken_ms = (time.process_time() - begun) * 1e3 / points
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sys.stdout.write(json.dumps({"ms": taken_ms, "mb": peak_mb}))


def _composed_anew(folder: Path, points: int) -> None:
    """Do what the bare library takes: compose, resolve and type one point after the other."""
    with hydra_folders(folder):
        for number in range(points):
            config = compose("points", overrides=[f"backend.args.lr={number}"])
            plain: Any = OmegaConf.to_container(config, resolve=True)
            parse(SlurmConfig, plain["slurm"], "slurm")


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
