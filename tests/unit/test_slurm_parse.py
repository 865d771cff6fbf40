"""What squeue and sacct print, as it was seen on Slurm 22.05, and what is read out of it."""

from __future__ import annotations

import pytest

from oellm_bench.core.job import JobId, JobState
from oellm_bench.schedulers.slurm_parse import merge, parse_sacct, parse_squeue

S = "\x1f"


def queue_row(job, state, *, name="ob-1-a1", node="node1", code=0, reason="None", restarts=0):
    values = (name, job, state, node, "2026-01-01T00:00:00", "2026-01-01T00:00:01", "2026-01-01T00:01:00", "10:00")
    return S.join(f"{value!s:20}" for value in (*values, restarts, code, reason)) + S


def account_row(job, state, *, name="ob-1-a1", node="node1", code="0:0", rss=""):
    times = ("2026-01-01T00:00:00", "2026-01-01T00:00:01", "2026-01-01T00:01:00")
    return S.join((job, state, code, node, *times, "10", rss, "billing=1,cpu=1", name))


def accounted(*rows):
    return {str(job): row.status for job, row in parse_sacct("\n".join(rows), "ob-").items()}


def test_tasks_of_a_range_row_that_has_ended_are_known_one_by_one():
    rows = accounted(account_row("47_[0,2-4,8-12:2%2]", "CANCELLED by 0", node="None assigned"))
    assert sorted(rows) == ["47_0", "47_10", "47_12", "47_2", "47_3", "47_4", "47_8"]
    assert {row.state for row in rows.values()} == {JobState.CANCELLED}


def test_a_row_of_its_own_beats_a_range_row_wherever_it_stands():
    own, listed = account_row("47_3", "COMPLETED"), account_row("47_[2-4]", "CANCELLED by 0", node="None assigned")
    for order in ((own, listed), (listed, own)):
        assert accounted(*order)["47_3"].state is JobState.COMPLETED


@pytest.mark.parametrize("job", ["47_[0,2,...]", "47_[0-1,...%2]", "47_[]", "47_[x]"])
def test_a_list_that_is_cut_short_says_nothing(job):
    assert accounted(account_row(job, "CANCELLED by 0")) == {}


def test_a_range_row_that_waits_says_nothing_of_tasks_the_queue_does_not_list():
    assert accounted(account_row("47_[0-3]", "PENDING", node="None assigned")) == {}


def test_the_components_of_a_heterogeneous_job_are_one_job():
    rows = parse_squeue(
        "\n".join([queue_row("71+0", "RUNNING"), queue_row("71+1", "RUNNING", node="node[2-3]")]), "ob-"
    )
    (row,) = rows
    assert (row.job_id, row.nodes, row.state) == (JobId(71), "node1,node[2-3]", JobState.RUNNING)


def test_what_ended_one_component_ended_the_job():
    failed = account_row("71+1", "NODE_FAIL", node="node2")
    rows = accounted(account_row("71+0", "CANCELLED", node="node1"), account_row("71+0.batch", "CANCELLED"), failed)
    assert rows["71"].state is JobState.NODE_FAIL


def test_the_peak_memory_of_the_steps_belongs_to_the_job():
    rows = accounted(
        account_row("9", "COMPLETED"),
        account_row("9.batch", "COMPLETED", name="batch", rss="1024K"),
        account_row("9.0", "COMPLETED", name="python", rss="3M"),
    )
    assert rows["9"].max_rss_bytes == 3 * 1024**2


def test_a_name_with_the_separator_in_it_shifts_nothing():
    assert accounted(account_row("9", "FAILED", name=f"ob-1{S}x", code="3:0"))["9"].exit_code == 3


def test_a_young_job_without_its_name_is_known_by_the_queue():
    young = parse_sacct(account_row("9", "COMPLETED", name="allocation"), "ob-")
    assert merge([], young) == []
    (row,) = merge(parse_squeue(queue_row("9", "COMPLETED"), "ob-"), young)
    assert (row.name, row.state) == ("ob-1-a1", JobState.COMPLETED)


def test_the_controllers_exit_code_is_the_true_one():
    (row,) = merge(
        parse_squeue(queue_row("9", "FAILED", code=137 << 8), "ob-"),
        parse_sacct(account_row("9", "FAILED", code="9:0"), "ob-"),
    )
    assert row.exit_code == 137


@pytest.mark.parametrize("text", ["", "slurm_load_jobs error: Unable to contact slurm controller", S * 30, "9|RUNNING"])
def test_lines_that_are_no_rows_are_left_out(text):
    assert parse_squeue(text, "") == [] and parse_sacct(text, "") == {}
