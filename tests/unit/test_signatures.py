"""The shipped registry of causes, against what the programs really write."""

from __future__ import annotations

import time

import pytest
import yaml

from oellm_bench.config.typing import parse
from oellm_bench.monitoring.settings import MonitoringConfig
from oellm_bench.monitoring.signatures import WINDOW_BYTES, Signatures, signature_problems
from tests.conftest import ROOT

SHIPPED = parse(
    MonitoringConfig, yaml.safe_load((ROOT / "config" / "monitoring" / "default.yaml").read_text()), "monitoring"
)
# Lines as PyTorch 2.x, NCCL 2.2x, the kernel, Python and argparse write them.
LINES = {
    "gpu_out_of_memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 ...",
    "host_out_of_memory": "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed.",
    "shared_memory": "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Bus error. It is ...",
    "gpu_xid": "NVRM: Xid (PCI:0000:c1:00): 79, pid='<unknown>', GPU has fallen off the bus.",
    "cuda_error": "RuntimeError: CUDA error: device-side assert triggered",
    "loss_is_nan": " iteration 120/ 1000 | lm loss: NaN | loss scale: 1.0 |",
    "disk_full": "OSError: [Errno 28] No space left on device: '/p/scratch/ckpt.pt'",
    "file_system": "OSError: [Errno 116] Stale file handle",
    "import_error": "ModuleNotFoundError: No module named 'transformer_engine'",
    "path_error": "FileNotFoundError: [Errno 2] No such file or directory: '/data/tokens.bin'",
    "argument_error": "pretrain_gpt.py: error: unrecognized arguments: --lr-warmup-fration 0.1",
    "ray_lost": "RuntimeError: Failed to connect to GCS. Please check `gcs_server.out` for more details.",
    "nccl_error": "torch.distributed.DistBackendError: NCCL error in: ..., ncclSystemError: System call failed",
    "nccl_timeout": "[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=42, OpType=ALLREDUCE, ...)",
    "peer_gone": "RuntimeError: [gloo/transport/tcp/pair.cc:525] Connection closed by peer [10.0.0.7]:2204",
}


@pytest.fixture(scope="module")
def shipped():
    return Signatures(SHIPPED.signatures)


@pytest.mark.parametrize("name", SHIPPED.signatures)
def test_each_cause_is_told_by_what_the_program_writes(shipped, name):
    cause = shipped.cause([f"starting\n{LINES[name]}\n"])
    assert (cause.name, cause.line) == (name, LINES[name].strip())


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", "gpu_xid"),
        ("RuntimeError: CUDA error: out of memory", "gpu_out_of_memory"),
        ("RuntimeError: NCCL error in: a.cpp:957, unhandled system error, NCCL version 2.7.8", "nccl_error"),
    ],
)
def test_of_two_causes_in_one_line_the_first_in_the_registry_counts(shipped, line, name):
    assert shipped.cause([line]).name == name


@pytest.mark.parametrize(
    "harmless",
    [
        "step 10 loss: 2.71 lr 1e-4",
        "ValueError: learning rate must be positive",
        "Downloading nanoGPT",
        "finding banana in the loss landscape",
        "loss information is written to /tmp/info",
        "0 errors, 0 warnings",
    ],
)
def test_ordinary_lines_are_no_cause(shipped, harmless):
    assert shipped.cause([harmless]) is None


def test_the_root_comes_before_what_it_brought_down(shipped):
    stderr = f"{LINES['nccl_timeout']}\n{LINES['peer_gone']}\n{LINES['gpu_out_of_memory']}\n{LINES['cuda_error']}\n"
    assert shipped.cause([stderr]).name == "gpu_out_of_memory"
    assert shipped.cause([LINES["peer_gone"], LINES["loss_is_nan"]]).name == "loss_is_nan"
    assert shipped.cause([f"{LINES['peer_gone']}\n{LINES['nccl_timeout']}"]).name == "peer_gone"


def test_the_registry_can_be_changed_by_name():
    own = {
        **yaml.safe_load((ROOT / "config" / "monitoring" / "default.yaml").read_text())["signatures"],
        "disk_full": {"pattern": ""},
        "license": {"pattern": "no licence left", "mode": "config_error"},
    }
    registry = Signatures(parse(MonitoringConfig, {"signatures": own}, "monitoring").signatures)
    assert registry.cause([LINES["disk_full"]]) is None
    assert registry.cause(["FATAL: no licence left"]).name == "license"


def test_a_registry_with_faults_is_refused_by_key():
    own = {"a": {"pattern": "("}, "b": {"pattern": "x", "mode": "naan"}}
    problems = list(signature_problems(parse(MonitoringConfig, {"signatures": own}, "monitoring").signatures))
    assert [(problem.where, problem.fix) for problem in problems] == [
        ("monitoring.signatures.a.pattern", ""),
        ("monitoring.signatures.b.mode", "did you mean 'nan'?"),
    ]


@pytest.mark.parametrize("text", ["NVLink ", "ibv_", "raylet "])
def test_a_line_without_end_is_searched_in_no_time(shipped, text):
    began = time.monotonic()
    assert shipped.cause([text * (WINDOW_BYTES // len(text))]) is None
    assert time.monotonic() - began < 5


def test_what_stands_beside_a_line_without_end_is_found(shipped):
    log = f"{'ibv_' * 50_000}\n{LINES['disk_full']}\r{'x' * 10_000}"
    assert shipped.cause([log]).name == "disk_full"
