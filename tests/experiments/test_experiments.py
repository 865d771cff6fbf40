"""The packaged experiments run: what waits for what, what each stage gets from another, what is done about failures."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.experiments.conftest import PACKAGED
from tests.experiments.trainer import TRAINER, rates

NAMES = {
    "juwels_training": ["juwels_training"],
    "array_sweep": ["lr0.0001_bs128", "lr0.0001_bs256", "lr0.0003_bs128", "lr0.0003_bs256", "lr0.001_bs256"],
    "two_stage": [
        f"{name}"
        for lr in ("0.0003", "0.001")
        for name in (f"stable_lr{lr}_20000", f"decay_lr{lr}_21000", f"decay_lr{lr}_24000")
    ],
    "chain": [f"{stage}_lr{lr}" for lr in ("0.0003", "0.001") for stage in ("train", "convert", "evaluate")],
}
TORCHRUN = Path(__file__).resolve().parents[1] / "backends" / "stand_in_torchrun.py"
WORLD = {"juwels_training": 8}


def test_every_experiment_is_known_here():
    assert {path.stem for path in PACKAGED.glob("*.yaml")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_planned_as_it_stands_and_megatron_takes_its_arguments(site, monkeypatch, name):
    monkeypatch.syspath_prepend(str(TRAINER))
    import flags

    plan = site.call("plan", f"experiments/{name}", "--json", "-o", f"project.base_output_dir={site.folder}/out")
    found = json.loads(plan.stdout)
    assert [entry["name"] for entry in found["entries"]] == NAMES[name]
    trainings = [argv for entry in found["entries"] if str(TRAINER / "pretrain_gpt.py") in (argv := entry["argv"])]
    assert trainings
    monkeypatch.setenv("WORLD_SIZE", str(WORLD.get(name, 1)))
    for argv in trainings:
        options = flags.read(argv[argv.index(str(TRAINER / "pretrain_gpt.py")) + 1 :])
        assert options.num_layers == 22 and options.save.startswith(found["output_dir"])


@pytest.mark.parametrize(
    ("name", "variable", "file"),
    [
        ("juwels_training", "MEGATRON_PATH", "config/backend/megatron_1b.yaml:"),
        ("chain", "CONVERT_SCRIPT", "config/experiments/chain.yaml:"),
    ],
)
def test_what_the_environment_does_not_say_is_named_with_file_and_line(site, name, variable, file):
    del site.environment[variable]
    done = site.call("plan", f"experiments/{name}", code=2)
    assert file in done.stderr and f"environment variable {variable} is not set" in done.stderr


def test_decays_go_on_from_the_end_of_their_own_stable_run(site):
    site.shortened("two_stage")
    session = site.run("two_stage")
    assert {name: row["success"] for name, row in session.results.items()} == {
        f"{stage}_lr{lr}_{last}": True
        for lr in ("0.0003", "0.001")
        for stage, last in (("stable", 20), ("decay", 21), ("decay", 24))
    }
    for lr in ("0.0003", "0.001"):
        stable = session.checkpoints(f"stable_lr{lr}_20")
        for last in (21, 24):
            name = f"decay_lr{lr}_{last}"
            assert f"successfully loaded checkpoint from {stable} [ t 1/1, p 1/1 ] at iteration 20" in session.log(name)
            assert session.iterations(name) == list(range(21, last + 1))
            assert rates(session.log(name))[last] == 0
            assert (session.checkpoints(name) / "latest_checkpointed_iteration.txt").read_text() == str(last)


def faults(kind, at, attempts=1):
    variables = {"TRAINER_FAULT": kind, "TRAINER_FAULT_AT": at, "TRAINER_FAULT_ATTEMPTS": attempts}
    return [f"backend.environment.{name}={value}" for name, value in variables.items()]


def only_one(site):
    """Leave the first learning rate and the longer decay of the two stages."""
    path = site.folder / "experiments" / "two_stage.yaml"
    text = path.read_text().replace("[3.0e-4, 1.0e-3]", "[3.0e-4]")
    path.write_text("".join(line for line in text.splitlines(keepends=True) if "train_iters: 21," not in line))


@pytest.mark.parametrize("at", [20, 24], ids=["stable", "decay"])
def test_a_checkpoint_that_was_being_written_is_not_gone_on_from(site, at):
    """A stable run goes on from its checkpoint before; a decay without one of its own begins again at the other's."""
    site.shortened("two_stage")
    only_one(site)
    session = site.run("two_stage", *faults("kill-while-saving", at))
    stable, decay = "stable_lr0.0003_20", "decay_lr0.0003_24"
    again = stable if at == 20 else decay
    assert session.modes()[again] == ["crash", "success"]
    assert session.iterations(again, 2) == ([*range(11, 21)] if at == 20 else [21, 22, 23, 24])
    loaded = f"loaded checkpoint from {session.checkpoints(stable)} [ t 1/1, p 1/1 ] at iteration"
    assert f"{loaded} {10 if at == 20 else 20}" in session.log(again, 2)
    assert session.iterations(decay, 2) == [21, 22, 23, 24]


def test_each_rank_of_a_training_is_told_which_it_is(site):
    site.shortened("juwels_training")
    launcher = f"[{sys.executable},{TORCHRUN}]"
    session = site.run(
        "juwels_training",
        *("backend.distributed.launch=torchrun", "backend.args.micro_batch_size=1", "project.confirm_gpu_hours=1000"),
        *(f"backend.distributed.torchrun={launcher}", "backend.distributed.processes_per_node=2"),
    )
    log = session.log("juwels_training")
    assert (
        log.count(" iteration       20/      20 |")
        == log.count("successfully saved checkpoint from iteration      20")
        == 1
    )
    assert session.results["juwels_training"]["success"]


def test_a_chain_trains_converts_and_evaluates(site):
    site.shortened("chain")
    session = site.run("chain")
    assert {row["success"] for row in session.results.values()} == {True} and len(session.results) == 6
    metrics = [session.results[f"evaluate_lr{lr}"]["metrics"] for lr in ("0.0003", "0.001")]
    assert {found["iteration"] for found in metrics} == {20}
    assert metrics[0]["loss"] != metrics[1]["loss"]
    model = session.folder / "entries" / "convert_lr0.001" / "model"
    assert {path.name for path in model.iterdir()} == {"config.json", "model.safetensors"}
    assert str(model) in shlex.join(next(e for e in session.plan["entries"] if e["name"] == "evaluate_lr0.001")["argv"])


def test_what_comes_after_a_stage_that_fails_for_good_does_not_run(site):
    site.shortened("chain")
    session = site.run("chain", "sweep.params.lr=[1.0e-3]", *faults("crash", 5, attempts=9), code=1)
    assert not (session.folder / "entries" / "convert_lr0.001" / "model").exists()
    modes = session.modes()
    assert modes.pop("train_lr0.001") == ["crash"] * 3
    assert {name: {*found} for name, found in modes.items()} == {
        name: {"dependency_failed"} for name in ("convert_lr0.001", "evaluate_lr0.001")
    }


def test_each_failure_of_a_training_gets_what_is_good_for_it(site):
    site.shortened("juwels_training")
    session = site.run(
        "juwels_training",
        *("slurm=here", "slurm.sbatch.exclusive=false", "slurm.max_submit=3", "slurm.sbatch.nodes=1"),
        "backend.environment.TRAINER_FAULT=crash,hang,oom,gpu-oom,'nan',kill-while-saving",
        *("backend.environment.TRAINER_FAULT_AT=15", "monitoring.inactivity_s=4", "monitoring.startup_s=60"),
        code=1,
    )
    modes = {name.removeprefix("TRAINER_FAULT"): found for name, found in session.modes().items()}
    assert modes == {
        "crash": ["crash", "success"],
        "hang": ["stall", "success"],
        "oom": ["oom"],
        "gpu-oom": ["gpu_oom"],
        "nan": ["nan"],
        "kill-while-saving": ["crash", "success"],
    }
    for kind in ("crash", "hang", "kill-while-saving"):
        assert session.iterations(f"TRAINER_FAULT{kind}", 2)[0] == 11
