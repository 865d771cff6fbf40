"""`how: requeue`: the same job goes back into the queue, and a new one follows where that cannot be."""

from __future__ import annotations

import pytest

ONCE = '[ -n "$SLURM_RESTART_COUNT" ] || (echo "CHECKPOINT one"; exit 3) && echo "CHECKPOINT two"'
POLICY = {
    "mode": "crash",
    "how": "requeue",
    "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 2},
}


def write(campaign, command=ONCE, **slurm):
    campaign.write(
        backend={"class_name": "CommandBackend", "command": command},
        restart_policies=[POLICY],
        slurm={"sbatch": {"requeue": True}, **slurm},
        sweep={"axes": {"n": [1, 2]}},
        monitoring={
            "class_name": "SlurmLogMonitor",
            "log_signals": [{"name": "checkpoint", "pattern": "CHECKPOINT (?P<which>.*)", "action": "note"}],
            "actions": {
                "note": ["sh", "-c", 'echo "$1" >>"$2"', "sh", "{entry_name} {which}", str(campaign.folder / "noted")]
            },
        },
    )


@pytest.mark.parametrize("array", [False, True])
def test_the_same_job_runs_again_and_its_log_is_read_on(campaign, array):
    write(campaign, array=array)
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    rows = campaign.json("status")["entries"]
    assert {(row["state"], row["attempt"], row["restarts"]) for row in rows} == {("PASSED", 1, 1)}
    assert set(campaign.jobs_by_token().values()) == {1}
    assert sorted((campaign.folder / "noted").read_text().splitlines()) == sorted(
        f"{row['name']} {which}" for row in rows for which in ("one", "two")
    )


def test_logs_prints_what_both_runs_wrote_once_and_what_was_decided_between(campaign):
    write(campaign)
    campaign.run("run")
    printed = campaign.run("logs", str(campaign.session_dir), "0")
    assert printed.stdout.splitlines() == ["CHECKPOINT one", "CHECKPOINT two"]
    assert printed.stderr.count("--- attempt 1, job 1") == 2
    assert "crash: exit code 3; then: restart 1 of 2" in printed.stderr
    followed = campaign.run("logs", str(campaign.session_dir), "0", "-f")
    assert followed.stdout == printed.stdout


def test_the_budget_counts_requeues(campaign):
    write(campaign, command="exit 3")
    assert campaign.run("run").returncode == 1
    rows = campaign.json("status")["entries"]
    assert {(row["state"], row["attempt"], row["restarts"]) for row in rows} == {("FAILED", 1, 2)}


def test_a_new_job_follows_where_the_cluster_does_not_take_it_back(campaign):
    """It has forgotten the job by then."""
    write(
        campaign,
        command='[ "$OELLM_BENCH_ATTEMPT" -ge 2 ] || exit 3',
        client={"class_name": "FakeSlurmClient", "min_job_age_s": 0.0},
    )
    campaign.fake = False
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    rows = campaign.json("status")["entries"]
    assert {(row["state"], row["attempt"]) for row in rows} == {("PASSED", 2)}
    assert "is not requeued" in done.stderr


def test_jobs_that_are_not_to_be_requeued_are_told_before_anything_is_sent(campaign):
    write(campaign, sbatch={})
    done = campaign.run("submit")
    assert done.returncode == 2
    assert "slurm.sbatch.requeue: true" in done.stderr


@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_a_real_cluster_takes_its_job_back(real):
    write(real, sbatch={"requeue": True})
    done = real.run("run")
    assert done.returncode == 0, done.stderr
    rows = real.json("status")["entries"]
    assert {(row["state"], row["attempt"], row["restarts"]) for row in rows} == {("PASSED", 1, 1)}
    assert len({row["job_id"] for row in rows}) == 2
