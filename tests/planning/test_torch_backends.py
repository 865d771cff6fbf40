"""What the torchrun and titan backends run, and which configurations they refuse."""

from __future__ import annotations

import json
import sys
import tomllib

import pytest

from oellm_bench.job.attempt import Attempt
from oellm_bench.observer.progress import Progress

TORCHRUN = {"class_name": "TorchrunBackend", "module": "trainer"}
TITAN = {"class_name": "TitanBackend", "sections": {"training": {"steps": 10}}}


def planned(campaign, backend, text="", sweep="", overrides=()):
    return campaign.root(f"backend: {json.dumps(backend)}\n{text}", sweep=sweep).entry(*overrides)


def test_a_script_is_found_from_wherever_the_job_starts(campaign):
    (campaign.folder / "train.py").write_text("")
    backend = {"class_name": "TorchrunBackend", "script": "train.py", "script_base_dir": str(campaign.folder)}
    entry = planned(campaign, {**backend, "args": {"lr": 1, "fast": True}})
    script = str(campaign.folder / "train.py")
    assert entry.argv == ("torchrun", "--standalone", "--nproc_per_node=1", script, "--lr", "1", "--fast")


@pytest.mark.parametrize(
    ("backend", "what"),
    [
        ({"script": "a", "module": "b"}, "backend.script: a script and a module are two commands"),
        ({"module": ""}, "backend.script: there is nothing to run; give backend.script or backend.module"),
        ({"module": "", "script": "/nowhere/train.py"}, "no such file '/nowhere/train.py'"),
        ({"args": {"a": {}}}, "backend.args: {} is not a single value"),
        ({"distributed": {"launch": "mpirun"}}, "backend.distributed.launch"),
        ({"distributed": {"launch": "srun"}}, "backend.distributed.launch: srun is to start 1 processes"),
        ({"distributed": {"nodes": 2}}, "unknown key 'nodes'"),
        ({"progress": "("}, "backend.progress"),
        ({"resume": {"checkpoints": "x", "complete": "../y"}}, "backend.resume.complete"),
    ],
)
def test_a_configuration_that_cannot_run_is_refused(campaign, backend, what):
    problem = campaign.root(f"backend: {json.dumps({**TORCHRUN, **backend})}").problem()
    assert what in problem and "my.yaml:" in problem


def test_srun_starts_the_processes_and_the_job_says_where_they_meet(campaign, monkeypatch):
    slurm = "slurm: {sbatch: {nodes: 2, gpus-per-node: 4}, srun: {ntasks-per-node: 4}}"
    entry = planned(campaign, {**TORCHRUN, "distributed": {"launch": "srun"}}, slurm)
    assert entry.launcher == ("srun", "--ntasks-per-node=4")
    assert entry.argv[:4] == ("env", "LOCAL_WORLD_SIZE=4", "bash", "-c")
    assert entry.argv[-3:] == (sys.executable, "-m", "trainer")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[3-4]")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    found = Attempt(entry=entry, number=1, session=campaign.out).additions()
    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("n3", "20012")


@pytest.mark.parametrize(
    ("slurm", "what"),
    [
        ("{sbatch: {nodes: 2-4}, srun: {ntasks-per-node: 1}}", "give slurm.sbatch.nodes one number"),
        ("{sbatch: {nodes: 2}, srun: {ntasks-per-node: 1}, hetjob: [{nodes: 1}]}", "take slurm.hetjob out"),
        ("{sbatch: {nodes: 2, ntasks-per-node: 4}, srun: {ntasks-per-node: 1}}", "{ntasks: 2, ntasks-per-node: 1}"),
        ("{sbatch: {nodes: 2, ntasks: 2}, srun: {label: true, ntasks: 4}}", "srun starts 2 tasks on a node"),
        ("{sbatch: {nodes: 2}}", "without srun it runs on the first one only"),
    ],
)
def test_a_job_that_does_not_fit_is_refused(campaign, slurm, what):
    problem = campaign.root(f"backend: {json.dumps(TORCHRUN)}\nslurm: {slurm}").problem()
    assert what in problem and "backend.distributed.launch" in problem


@pytest.mark.parametrize(
    "launcher", ["srun -n2 --cpu-bind=none", "env X=1 /usr/bin/srun", "[srun, apptainer, exec, i]"]
)
def test_an_srun_of_the_users_own_is_trusted(campaign, launcher):
    slurm = f"slurm: {{sbatch: {{nodes: 2}}, launcher_cmd: {launcher}}}"
    assert "--nnodes=2" in planned(campaign, TORCHRUN, slurm).argv


def test_one_process_alone_is_told_nothing_of_a_meeting(campaign, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n3")
    found = Attempt(entry=planned(campaign, TORCHRUN), number=1, session=campaign.out).additions()
    assert "MASTER_ADDR" not in found


def test_the_meeting_point_reaches_a_container_with_the_ranks(campaign, monkeypatch):
    text = """\
container: {class_name: ApptainerLauncher, image: image.sif}
slurm: {sbatch: {nodes: 2}, srun: {ntasks-per-node: 1}}
"""
    entry = planned(campaign, {**TORCHRUN, "distributed": {"launch": "srun"}}, text)
    assert entry.argv[-3:] == ("python3", "-m", "trainer")
    monkeypatch.setenv("SLURM_PROCID", "0")
    attempt = Attempt(entry=entry, number=1, session=campaign.out)
    assert {"APPTAINERENV_MASTER_ADDR", "APPTAINERENV_MASTER_PORT"} <= set(attempt.additions())
    assert "SLURM_" in " ".join(attempt.launcher)


def test_a_script_may_be_in_the_image_alone(campaign):
    container = "container: {class_name: ApptainerLauncher, image: image.sif}"
    backend = {"class_name": "TorchrunBackend", "script": "/opt/nowhere/train.py"}
    assert "/opt/nowhere/train.py" in planned(campaign, backend, container).argv
    backend["script"] = str(campaign.folder / "train.py")  # a folder that is here, without that file
    assert "no such file" in campaign.root(f"backend: {json.dumps(backend)}\n{container}").problem()


def test_titan_is_told_its_sections_by_a_file_and_the_plan_writes_none(campaign):
    sections = {"training": {"steps": 10, "note": 'a "b" {lr}'}, "job": {"dump_folder": "{session_entry_dir}"}}
    sweep = "axes: {lr: ['x\"y'], backend.sections.training.steps: [20]}\nname_template: e"
    entry = planned(campaign, {**TITAN, "sections": sections, "args": {"training.seq_len": 8}}, sweep=sweep)
    folder = campaign.out / "entries" / "e"
    flags = ("--job.config_file", f"{folder}/titan.toml", "--training.seq_len", "8")
    assert entry.argv == ("torchrun", "--standalone", "--nproc_per_node=1", "-m", "torchtitan.train", *flags)
    assert tomllib.loads(entry.files["titan.toml"]) == {
        "training": {"steps": 20, "note": 'a "b" x"y'},
        "job": {"dump_folder": str(folder)},
    }
    assert not campaign.out.exists()


def test_titan_without_sections_is_told_all_by_arguments(campaign):
    entry = planned(campaign, {**TITAN, "sections": {}, "args": {"module": "llama3", "config": "llama3_8b"}})
    assert entry.argv[4:] == ("torchtitan.train", "--module", "llama3", "--config", "llama3_8b")
    assert entry.files == {}


@pytest.mark.parametrize(
    ("backend", "what"),
    [
        ({"sections": {}}, "backend.sections: nothing says what to train"),
        ({"sections": {"training": 3}}, "backend.sections.training: 3 is no section; give a mapping"),
        ({"sections": {"training": {"note": "{nothing}"}}}, "{nothing} has no value"),
        ({"args": {"a": {}}}, "backend.args: {} is not a single value"),
    ],
)
def test_titan_that_cannot_be_told_is_refused(campaign, backend, what):
    problem = campaign.root(f"backend: {json.dumps({**TITAN, **backend})}").problem()
    assert what in problem and "my.yaml:" in problem


PLAIN = "step: {0:2}  loss:  8.1234  grad_norm:  1.5  memory:  1.0GiB(2%)  tps: 6,123  tflops: 1,040.12  mfu: 12.86%\n"
COLOURED = (
    "\033[31mstep: {0:2}  \033[32mloss: 8.1234  \033[34mtps: 6,123  \033[36mtflops: 1,040.12  \033[35mmfu: 12.86%\n"
)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (PLAIN, {"loss": 8.1234, "tps": 6123, "tflops": 1040.12, "mfu": 12.86}),
        (COLOURED, {"loss": 8.1234, "tps": 6123, "tflops": 1040.12, "mfu": 12.86}),
        ("\033[38;5;208mstep: {0}  \033[38;5;2mloss:     nan\n", {"loss": "nan"}),
    ],
)
def test_titans_line_is_read_and_that_of_a_validation_is_not(campaign, tmp_path, line, told):
    entry = planned(campaign, TITAN)
    log = tmp_path / "log"
    log.write_text(f"[titan] root - INFO - {line.format(7)}validate step: 10  loss:  9.0000  memory: 1\n")
    progress = Progress(entry.progress, [str(log)])
    progress.look(1.0)
    assert {name: value for name, value in progress.last.items() if name != "at"} == {"iteration": 7, **told}
