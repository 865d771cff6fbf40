"""The ledger of SLURM calls: a budget and a circuit breaker that processes share; the environment of the commands."""

from __future__ import annotations

import json
import os
import stat
import time

import pytest

from oellm_bench.errors import SchedulerUnavailable
from oellm_bench.schedulers.slurm_calls import Ledger, SlurmCalls
from oellm_bench.schedulers.slurm_environment import query_environment, submission_environment


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "calls.json", per_s=0.001, burst=5)


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A command on PATH that fails while `broken` is there, and counts its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "squeue"
    program.write_text(
        f"#!/bin/sh\necho x >>'{tmp_path}/calls'\n[ ! -e '{tmp_path}/broken' ] || {{ echo 'no answer' >&2; exit 1; }}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    (tmp_path / "broken").touch()
    return tmp_path


def calls_made(folder):
    return len((folder / "calls").read_text().split())


def query(ledger):
    return SlurmCalls(ledger, timeout_s=30).query(("squeue",), os.environ, insist=False)


def test_calls_of_all_processes_come_out_of_one_budget(ledger, tmp_path):
    ledger.take()
    Ledger(tmp_path / "calls.json", per_s=0.001, burst=5).take()
    assert (ledger.budget().left, ledger.budget().made) == (3, 2)


def test_a_command_that_fails_is_left_alone_by_everyone(ledger, squeue):
    assert query(ledger) is None
    assert query(Ledger(squeue / "calls.json", per_s=1, burst=5)) is None
    assert calls_made(squeue) == 1
    (pause,) = ledger.budget().pauses
    assert (pause.command, pause.failures) == ("squeue", 1) and 0 < pause.left_s <= 10
    assert "no answer" in pause.message


def after_the_pause(folder):
    """Let the time pass that a command is left alone for."""
    path = folder / "calls.json"
    document = json.loads(path.read_text())
    for pause in document["pauses"].values():
        pause["until"] = 0
    path.write_text(json.dumps(document))


def test_one_call_tries_after_the_pause_and_the_next_pause_is_longer(ledger, squeue):
    query(ledger)
    after_the_pause(squeue)
    query(ledger)
    assert calls_made(squeue) == 2
    assert 10 < ledger.budget().pauses[0].left_s <= 20


def test_an_answer_ends_the_pauses(ledger, squeue):
    query(ledger)
    (squeue / "broken").unlink()
    after_the_pause(squeue)
    assert query(ledger) is not None
    assert ledger.budget().pauses == ()


def test_a_clock_that_was_set_back_makes_no_pause_longer(ledger, squeue):
    query(ledger)
    path = squeue / "calls.json"
    document = json.loads(path.read_text())
    document["pauses"]["squeue"]["until"] += 1e9
    path.write_text(json.dumps(document))
    assert ledger.budget().pauses[0].left_s <= 10


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"tokens": 1}', '{"tokens": 1, "at": 0, "made": 0, "pauses": {"x": 1}}']
)
def test_a_ledger_that_cannot_be_read_stops_no_call(ledger, tmp_path, text):
    (tmp_path / "calls.json").write_text(text)
    ledger.take()
    assert ledger.budget().left == 4


@pytest.mark.parametrize(("tokens", "left"), [("NaN", 4), ("Infinity", 4), ("1e9", 4), ("-1e9", 0)])
def test_a_number_of_tokens_that_cannot_be_is_none(tmp_path, tokens, left):
    (tmp_path / "calls.json").write_text(f'{{"tokens": {tokens}, "at": {time.time()}, "made": 0, "pauses": {{}}}}')
    ledger = Ledger(tmp_path / "calls.json", per_s=1000, burst=5)
    ledger.take()
    assert ledger.budget().left >= left and ledger.budget().left <= 5


def test_only_one_caller_tries_after_a_pause(ledger, squeue):
    query(ledger)
    after_the_pause(squeue)
    assert [ledger.may_try("squeue"), ledger.may_try("squeue")] == [True, False]


def test_a_call_that_the_budget_has_no_place_for_in_time_is_not_made(tmp_path):
    calls = SlurmCalls(Ledger(tmp_path / "calls.json", per_s=10, burst=1), timeout_s=5)
    calls.call(("true",), os.environ)
    with pytest.raises(SchedulerUnavailable, match="no place for it in time"):
        calls.call(("true",), os.environ, not_after=time.time())


@pytest.mark.parametrize("field", ["calls_per_s", "call_burst", "timeout_s", "lookup_grace_s"])
def test_a_client_with_numbers_that_cannot_work_is_refused(campaign, field):
    client = f"slurm: {{client: {{class_name: SlurmClient, {field}: -1}}}}"
    problem = campaign.root(client).problem()
    assert f"slurm.client.{field}: this number cannot work" in problem and "my.yaml:" in problem


def test_a_command_that_is_not_installed_is_said_to_be_missing(ledger):
    with pytest.raises(SchedulerUnavailable, match="no-such-command is not installed here"):
        SlurmCalls(ledger, timeout_s=5).call(("no-such-command",), {})


def test_what_filters_queries_is_taken_out():
    found = query_environment({"SQUEUE_PARTITION": "gpu", "SACCT_LOCAL": "1", "SCANCEL_INTERACTIVE": "1", "HOME": "/h"})
    assert found == {"HOME": "/h", "SLURM_TIME_FORMAT": "standard", "TZ": "UTC"}


SCRIPT = "#!/bin/bash\n#SBATCH --partition=gpu\n#SBATCH --time=01:00:00\n#SBATCH --mem=4G\n#SBATCH --no-requeue\ntrue\n"


def test_a_variable_of_sbatch_does_not_outdo_the_plan():
    inherited = {
        "SBATCH_PARTITION": "debug",
        "SBATCH_TIMELIMIT": "1",
        "SBATCH_MEM_PER_NODE": "1",
        "SBATCH_REQUEUE": "1",
        "SBATCH_JOB_NAME": "x",
        "SBATCH_CLUSTERS": "another",
        "SBATCH_ACCOUNT": "mine",
        "OELLM_BENCH_SINK_SLACK_WEBHOOK_URL": "no job's affair",
    }
    assert submission_environment(inherited, SCRIPT) == {"SBATCH_ACCOUNT": "mine"}


def test_inside_of_a_job_nothing_of_that_job_goes_along():
    inherited = {
        "SLURM_JOB_ID": "7",
        "SLURM_RESTART_COUNT": "2",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURMD_NODENAME": "n1",
        "SLURM_CONF": "/etc/slurm.conf",
        "PATH": "/bin",
    }
    assert submission_environment(inherited, SCRIPT) == {"SLURM_CONF": "/etc/slurm.conf", "PATH": "/bin"}
    assert submission_environment({"SLURM_BASE": "x"}, SCRIPT) == {"SLURM_BASE": "x"}
