"""Entries with a Ray head of their own inside a real Apptainer image, on the embedded scheduler and on SLURM."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.container.real_apptainer import ray_image

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("slurm")]
SCRIPT = Path(__file__).parents[1] / "container" / "ray_script.py"


@pytest.fixture(scope="session")
def image():
    return ray_image()


def write(campaign, image, *, sleep_s=0.0, sweep=None, container=None, **sections):
    campaign.write(
        container={"class_name": "ApptainerLauncher", "image": str(image), **(container or {})},
        backend={"class_name": "ScriptBackend", "script": str(SCRIPT), "args": {"sleep-s": sleep_s}},
        ray={"enabled": True, "object_store_bytes": 80_000_000, "num_cpus": 1},
        **({"sweep": sweep} if sweep else {}),
        **sections,
    )


def metrics(campaign, name="c"):
    path = campaign.session_dir / "entries" / name / "benchmark_results" / "metrics.json"
    return json.loads(path.read_text())


def processes_of(campaign):
    """Return what is alive of the campaign's containers: Apptainer's own processes, and those inside."""
    found = []
    for process in psutil.process_iter():
        try:
            line, folder = " ".join(process.cmdline()), process.environ().get("OELLM_BENCH_SESSION_DIR", "")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if folder.startswith(str(campaign.folder)) and process.pid != os.getpid():
            found.append(line)
    return found


@pytest.fixture
def temporary(monkeypatch):
    """A short folder for temporary files, of this test alone; seen inside, as all of /tmp is."""
    folder = Path(tempfile.mkdtemp(prefix="obt-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def is_runner_of(process, campaign):
    try:
        line = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # a zombie is one that is gone
        return False
    return "oellm_bench.run_entry" in line and any(str(campaign.folder) in word for word in line)


def test_the_image_is_described_beside_it(image):
    document = json.loads(Path(f"{image}.json").read_text())
    assert document["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert document["definition"] == "RayCpu.def" and document["requirements"][0].startswith("ray")


def test_head_and_script_run_in_the_image_and_results_come_out(campaign, image, monkeypatch, temporary):
    monkeypatch.setenv("HIDDEN", "of the host")
    monkeypatch.setenv("SHOWN", "a, b=c")
    write(campaign, image, container={"cleanenv": True, "environment_passthrough": ["SHOWN", "TMPDIR"]})
    done = campaign.run("run", timeout=300)
    assert done.returncode == 0, done.stderr
    found = metrics(campaign)
    assert found["ray"].startswith("/opt/venv/")
    assert (found["hidden"], found["shown"]) == ("", "a, b=c")
    assert any((campaign.session_dir / "entries" / "c" / "ray_cluster").iterdir())
    recorded_in_the_image(campaign.session_dir / "entries" / "c" / "artifacts", image)
    assert processes_of(campaign) == [] and list(temporary.iterdir()) == []


def recorded_in_the_image(artifacts, image):
    python = json.loads((artifacts / "python.json").read_text())["python"]
    assert (python["prefix"], python["executable"]) == ("/opt/venv", "/opt/venv/bin/python3")
    packages = (artifacts / "pip-freeze.txt").read_text()
    assert "\nray==" in packages and "pytest==" not in packages
    found = json.loads((artifacts / "sys-env.json").read_text())["container"]
    header = subprocess.run(["apptainer", "sif", "header", str(image)], capture_output=True, text=True, check=True)
    assert found["sif_id"] in header.stdout
    assert found["sha256"] == json.loads(Path(f"{image}.json").read_text())["sha256"]


def test_two_at_once_and_one_cancelled_in_the_middle(campaign, image, temporary):
    write(campaign, image, sweep={"axes": {"backend.args.sleep-s": [2, 600]}, "name_template": "s{sleep-s}"})
    campaign.run("submit")
    monitor = campaign.start("monitor")
    log = campaign.session_dir / "entries" / "s600" / "attempts" / "1" / "stdout.log"
    campaign.wait(lambda: log.exists() and "task done" in log.read_text(), deadline_s=180)
    assert campaign.run("cancel", campaign.session_dir.name, "s600").returncode == 0
    assert monitor.wait(timeout=180) == 1
    monitor.stdout.close()
    results = {row["name"]: row["error_mode"] for row in campaign.json("results")["entries"]}
    assert results == {"s2": "success", "s600": "cancelled"}
    campaign.wait(lambda: processes_of(campaign) == [])
    assert list(temporary.iterdir()) == []


def test_race_28_nothing_in_a_container_outlives_a_runner_that_is_killed(campaign, image):
    write(campaign, image, sleep_s=600)
    campaign.run("submit")
    log = campaign.session_dir / "entries" / "c" / "attempts" / "1" / "stdout.log"
    campaign.wait(lambda: log.exists() and "task done" in log.read_text(), deadline_s=180)
    runners = [process for process in psutil.process_iter() if is_runner_of(process, campaign)]
    assert runners
    for runner in runners:
        runner.send_signal(signal.SIGKILL)
    campaign.wait(lambda: processes_of(campaign) == [], deadline_s=60)
    campaign.run("monitor")
    assert campaign.json("results")["entries"][0]["error_mode"] == "crash"


@pytest.mark.slurm
def test_head_and_script_run_in_the_image_on_slurm(real, image):
    write(real, image, slurm={"sbatch": {"mem": "1500", "cpus-per-task": 2}})
    done = real.run("run", timeout=300)
    assert done.returncode == 0, done.stderr
    assert metrics(real)["ray"].startswith("/opt/venv/")
    real.wait(lambda: processes_of(real) == [])


@pytest.mark.slurm
def test_each_task_of_srun_finds_its_own_rank_in_the_image(real, image):
    names = ("SLURM_PROCID", "RANK", "SLURM_NTASKS", "WORLD_SIZE", "MASTER_ADDR", "SLURM_JOB_NODELIST")
    (real.folder / "rank.py").write_text(
        f"import os; os.write(1, (' '.join(map(os.getenv, {names})) + '\\n').encode())"
    )
    real.write(
        container={"class_name": "ApptainerLauncher", "image": str(image), "cleanenv": True},
        backend={"class_name": "TorchrunBackend", "script": "rank.py", "distributed": {"launch": "srun"}},
        slurm={"sbatch": {"ntasks-per-node": 2, "mem": "400"}, "srun": {"ntasks": 2}},
    )
    assert real.run("run", timeout=60).returncode == 0
    log = real.session_dir / "entries" / "c" / "attempts" / "1" / "stdout.log"
    ranks = sorted(line.split() for line in log.read_text().splitlines())
    assert [row[:4] for row in ranks] == [["0", "0", "2", "2"], ["1", "1", "2", "2"]]
    assert all(address == node for *_, address, node in ranks)


@pytest.mark.slurm
def test_workers_on_the_other_nodes_join_the_head_and_end_with_it(real, image):
    write(real, image, slurm={"sbatch": {"nodes": 3, "mem": "1200", "cpus-per-task": 1}})
    done = real.run("run", timeout=150)
    assert done.returncode == 0, done.stderr
    assert metrics(real)["nodes"] == 3
    folder = real.session_dir / "entries" / "c" / "attempts" / "1"
    assert "RAY_AUTH_TOKEN" not in (folder / "ray_spec.json").read_text()
    assert {path.name for path in (folder / "ray_workers").glob("*.joined")} == {"1.joined", "2.joined"}
    real.wait(lambda: processes_of(real) == [])


def run_inside(campaign, image, *arguments):
    script = Path(__file__).parents[2] / "scripts" / "run_megatron_container.py"
    argv = [sys.executable, str(script), "--image", str(image), "--config-ref", "c", "-C", str(campaign.folder)]
    return subprocess.run([*argv, *arguments], cwd=campaign.folder, capture_output=True, text=True, timeout=120)


def test_a_campaign_is_planned_and_run_from_within_the_image(campaign, image, tmp_path, monkeypatch):
    monkeypatch.setenv("APPTAINER_CONTAIN", "1")  # an empty /tmp: what is not bound is not seen
    command = ["python3", "-c", "import sys; print(sys.prefix, '{n}')"]
    campaign.write(backend={"class_name": "CommandBackend", "command": command}, sweep={"axes": {"n": [1, 2]}})
    planned = run_inside(campaign, image, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert f"python={sys.executable}\n" in (campaign.session_dir / "scripts" / "n1.sbatch").read_text()
    submitted = run_inside(campaign, image, "--fake-submit")
    assert submitted.returncode == 0, submitted.stderr
    assert planned.stdout.split("\n")[0].endswith(submitted.stdout.strip())
    assert {row["name"]: row["success"] for row in campaign.json("results")["entries"]} == {"n1": True, "n2": True}
    logs = sorted(campaign.session_dir.glob("entries/*/attempts/1/stdout.log"))
    assert [log.read_text() for log in logs] == ["/opt/venv 1\n", "/opt/venv 2\n"]
    assert processes_of(campaign) == []


def test_a_failure_inside_is_the_exit_code_outside(campaign, image):
    campaign.write(backend={"class_name": "CommandBackend", "command": ["false"]}, restart_policies=[])
    assert run_inside(campaign, image, "--fake-submit").returncode == 1
    refused = run_inside(campaign, image)
    assert refused.returncode == 4 and f"no sbatch in image '{image}'" in refused.stderr


@pytest.mark.slurm
def test_slurm_is_submitted_to_from_within_where_its_client_is_bound(real, image):
    commands = [shutil.which(name) for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo")]
    libraries = Path("/usr/lib/x86_64-linux-gnu")  # the image is of the same Debian
    bound = [*commands, libraries / "slurm-wlm", *libraries.glob("libmunge.so.2*")]
    real.write(backend={"class_name": "CommandBackend", "command": ["sh", "-c", "echo $SLURM_CLUSTER_NAME"]})
    done = run_inside(real, image, *(word for path in bound for word in ("--bind", str(path))))
    assert done.returncode == 0, done.stderr
    assert real.run("monitor").returncode == 0
    (row,) = real.json("results")["entries"]
    assert (row["error_mode"], row["attempts"]) == ("success", 1)


def test_an_image_that_is_missing_is_said_to_be_missing(campaign, image):
    write(campaign, "/nonexistent/image.sif")
    check = campaign.run("plan", "--fake", "--check")
    assert check.returncode == 2 and "image '/nonexistent/image.sif' is not there" in check.stderr
    refused = campaign.run("run")
    assert refused.returncode == 2 and "project.check_inputs=false" in refused.stderr
    assert campaign.run("run", "-o", "project.check_inputs=false").returncode == 1
    (row,) = campaign.json("results")["entries"]
    assert row["error_mode"] == "crash" and "/nonexistent/image.sif" in row["reason"]
