"""A cluster that forgets: what is left of a job says how it ended."""

from __future__ import annotations

import pytest


def forgotten(watched, cluster, *, wrote_at_s, gone_at_s):
    """Run a job that writes once, and that no source lists any more by then; its limit is 10 minutes."""
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look(1)
    watched.look(wrote_at_s - 3)
    watched.files().stdout.write_text("step 1\n")
    watched.look(1)
    cluster.queue()
    watched.look(gone_at_s - wrote_at_s)
    watched.look(700)
    return watched.modes()


@pytest.mark.parametrize(
    ("wrote_at_s", "gone_at_s", "mode"),
    [(500, 700, "timeout"), (500, 550, "lost"), (100, 100_000, "lost")],
)
def test_a_job_that_vanished_at_its_limit_was_out_of_time(watch, cluster, wrote_at_s, gone_at_s, mode):
    watched = watch(monitoring={"missing_grace_s": 600.0})
    assert forgotten(watched, cluster, wrote_at_s=wrote_at_s, gone_at_s=gone_at_s) == [mode]


def test_the_end_of_the_jobs_own_log_says_why(watch, cluster):
    watched = watch(monitoring={"missing_grace_s": 60.0})
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look(1)
    log = watched.files().slurm_log(watched.attempt().job_id)
    log.write_text("entry=x attempt=1 logs=y\nslurmstepd: error: *** JOB 101 ON n1 CANCELLED DUE TO NODE FAILURE ***\n")
    cluster.queue()
    watched.look(1)
    watched.look(100)
    assert watched.modes() == ["node_fail"]
