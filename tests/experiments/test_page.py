"""What docs/experiments.md says: its commands as they are printed, its file, its tables."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.experiments.conftest import PACKAGED, ROOT
from tests.experiments.trainer import losses

PAGE = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(site):
    """A folder like the top of a checkout, with nothing in its environment but what the page says."""
    for name in ("examples", "config", "README.md"):
        (site.folder / name).symlink_to(ROOT / name)
    for name in ("MEGATRON_PATH", "DATA_PATH", "TOKENIZER_MODEL"):
        del site.environment[name]
    return site


def test_its_commands_run_as_they_are_printed(checkout):
    text = "".join(block for language, block in BLOCK.findall(PAGE) if language == "bash")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=checkout.folder,
        env={**os.environ, **checkout.environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sweep, stages = (checkout.session(name) for name in ("array_sweep", "two_stage"))

    assert [path.name for path in (sweep.folder / "scripts").iterdir()] == ["array_000.sbatch"]
    assert {row["success"] for row in sweep.results.values()} == {True} and len(sweep.results) == 5
    last = {name: list(losses(sweep.log(name)).values())[-1] for name in sweep.results}
    assert len(set(last.values())) == 5
    assert {name: sweep.iterations(name)[-1] for name in last if "lr0.0003" in name} == {
        "lr0.0003_bs128": 8,  # 16,384 tokens, 128 samples with 16 tokens each at a time
        "lr0.0003_bs256": 4,
    }

    stable, decays = "stable_lr0.0003_20", ("decay_lr0.0003_21", "decay_lr0.0003_24")
    modes = {name: found for name, found in stages.modes().items() if found}  # what --subset has left
    assert modes.pop(stable) == ["crash", "success"]
    assert modes == {name: ["dependency_failed", "success"] for name in decays}
    assert stages.iterations(stable, 1) == list(range(1, 20))
    assert stages.iterations(stable, 2) == list(range(11, 21))
    before, after = losses(stages.log(stable, 1)), losses(stages.log(stable, 2))
    assert {n: after[n] for n in range(11, 20)} == {n: before[n] for n in range(11, 20)}
    assert [stages.iterations(name, 2) for name in decays] == [[21], [21, 22, 23, 24]]


def test_its_file_builds_on_an_experiment(checkout):
    (text,) = (block for language, block in BLOCK.findall(PAGE) if language == "yaml")
    (checkout.folder / "long.yaml").write_text(text)
    checkout.environment |= {"MEGATRON_PATH": "examples/trainer", "DATA_PATH": "README.md", "TOKENIZER_MODEL": "x"}
    own = ("-C", str(checkout.folder), "-o", "backend.distributed.launch=none")
    plan = checkout.call("plan", "long", *own)
    assert "stable_lr0.0003_20000" in plan.stdout and "/long_" in plan.stdout


def test_every_experiment_and_every_variable_is_on_it(site):
    named = {f"experiments/{path.stem}" for path in PACKAGED.glob("*.yaml")}
    texts = "".join(path.read_text() for path in (*PACKAGED.glob("*.yaml"), ROOT / "config/backend/megatron_1b.yaml"))
    variables = set(re.findall(r"oc\.env:([A-Z_]+)", texts))
    assert variables >= {"MEGATRON_PATH", "CONVERT_SCRIPT"}
    assert [name for name in sorted(named | variables) if f"`{name}`" not in PAGE] == []
