"""What a restart changes, when it comes, and when there is none: budgets, pauses, nodes, memory, the brake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from oellm_bench.book import Book
from oellm_bench.builtins import load_all
from oellm_bench.config.check import _restart_problems
from oellm_bench.config.typing import parse
from oellm_bench.core.events import Decided, Ended, GivenUp, Intended, Noticed, Observed, Selected
from oellm_bench.core.hostlist import node_names
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.result import ErrorMode
from oellm_bench.deciding import decisions
from oellm_bench.restart.nodes import BadNodes, NodeFailure, bad_nodes
from oellm_bench.restart.settings import RestartConfig
from oellm_bench.schedulers.base import Limits
from oellm_bench.state.fold import apply
from oellm_bench.state.model import SessionState
from oellm_bench.watch import watch_settings

load_all()
ALWAYS = {"class_name": "AlwaysRestartPolicy", "max_retries": 100}


class Campaign:
    """A session in memory: attempts end as told, and what follows is journalled like a monitor does."""

    def __init__(self, entries=1, *, policies=None, mode="crash", pinned=False, **restart):
        planned = [
            PlannedEntry(
                index=n,
                id=f"e{n}",
                name=f"e{n}",
                parameters={},
                argv=("true",),
                timeout_s=60,
                script="s",
                memory=restart.pop("memory", "") if n == 0 else "",
                exclude="bad[1-2]",
                pinned=pinned,
            )
            for n in range(entries)
        ]
        wanted = {"max_restarts": 100, **restart}
        policies = [{"mode": mode, "implementation": policies or ALWAYS}]
        document = {"monitoring": {}, "restart": {**wanted, "restart_policies": policies}}
        self.settings = [watch_settings(document, {})]
        self.plan = Plan(project="p", fingerprint="f", entries=tuple(planned), watch=(document,))
        self.book = Book(session8="00000000", plan=self.plan, layout=SessionLayout(Path("/s")))
        self.state = SessionState()
        self.do(Selected(at=0, entries=tuple(entry.id for entry in planned)))

    def do(self, *events):
        for event in events:
            apply(event, self.state)

    def submit(self, now):
        due = self.book.due(self.state, now, Limits())
        self.do(*due)
        return due

    def fail(self, now, *, entry="e0", mode="crash", nodes="n1", iteration=None):
        """End the entry's newest attempt and return what follows."""
        number = self.state.entries[entry].attempts[-1].number
        self.do(
            Observed(at=now, entry=entry, attempt=number, job_id="1", state="FAILED", nodes=nodes),
            Ended(at=now, entry=entry, attempt=number, mode=mode, reason="", iteration=iteration),
        )
        found = list(decisions(self.plan, self.state, self.settings, now))
        self.do(*found)
        return found

    def options(self, intended: Intended):
        return self.book.request(intended).options


def test_each_pause_is_longer_than_the_one_before_and_the_entrys_own():
    campaign, now, pauses = Campaign(backoff_s=30, backoff_factor=10, backoff_most_s=1000), 0.0, []
    for _ in range(4):
        campaign.submit(now)
        (decided,) = campaign.fail(now)
        pauses.append(decided.not_before - now)
        assert campaign.submit(decided.not_before - 0.1) == []
        now = decided.not_before
    expected = [30, 300, 1000, 1000]
    assert all(0.75 * wanted <= pause <= 1.25 * wanted for pause, wanted in zip(pauses, expected, strict=True))
    other = Campaign(2, backoff_s=30)
    other.submit(0)
    (first,) = other.fail(0, entry="e0")
    (second,) = other.fail(0, entry="e1")
    assert first.not_before != second.not_before


def test_a_pause_beyond_all_numbers_is_the_longest_one():
    campaign = Campaign(backoff_s=30, backoff_factor=1e300, backoff_most_s=100)
    for now in (1000, 2000, 3000):
        campaign.submit(now)
        decided = campaign.fail(now)[0]
        assert decided.restart
    assert decided.not_before - 3000 <= 125


@pytest.mark.parametrize("factor", [0, -1.5, 1])
def test_memory_that_would_not_grow_is_refused(factor):
    with pytest.raises(ValueError, match="factor"):
        Campaign(policies={"class_name": "GrowMemoryPolicy", "factor": factor}, mode="oom")


@pytest.mark.parametrize("wrong", [{"half_life_s": 0}, {"threshold": 0}, {"most": -1}])
def test_evidence_that_cannot_be_reckoned_with_is_refused(wrong):
    (field,) = wrong
    problems = _restart_problems(SimpleNamespace(restart=RestartConfig(bad_nodes=BadNodes(**wrong))))
    assert [problem.where for problem in problems] == [f"restart.bad_nodes.{field}"]


def test_without_a_pause_a_restart_is_due_at_once():
    campaign = Campaign()
    campaign.submit(0)
    campaign.fail(5)
    assert [intended.attempt for intended in campaign.submit(5)] == [2]


@pytest.mark.parametrize(
    ("memory", "sizes"),
    [("mem=64", ["96M", "144M"]), ("mem=4G", ["6144M", "9216M"]), ("mem-per-gpu=1g", ["1536M", "2304M"])],
)
def test_memory_grows_from_attempt_to_attempt(memory, sizes):
    campaign = Campaign(policies={"class_name": "GrowMemoryPolicy", "factor": 1.5}, mode="oom", memory=memory)
    campaign.submit(0)
    seen = []
    for now in (1, 2):
        campaign.fail(now, mode="oom")
        seen.append(campaign.options(campaign.submit(now)[0])[memory.partition("=")[0]])
    assert seen == sizes
    (decided,) = campaign.fail(3, mode="oom")
    assert not decided.restart and "2 of 2" in decided.reason


def test_memory_that_nobody_asked_for_does_not_grow():
    campaign = Campaign(policies={"class_name": "GrowMemoryPolicy"}, mode="oom")
    campaign.submit(0)
    (decided,) = campaign.fail(1, mode="oom")
    assert not decided.restart and "slurm.sbatch.mem" in decided.reason


def test_a_restart_avoids_the_nodes_that_failed_beside_the_users_own():
    campaign = Campaign(policies={"class_name": "ExcludeNodesPolicy"}, mode="node_fail")
    campaign.submit(0)
    (decided,) = campaign.fail(1, mode="node_fail", nodes="n7")
    assert "without n7" in decided.reason
    assert campaign.options(campaign.submit(1)[0])["exclude"] == "bad[1-2],n7"
    campaign.fail(2, mode="node_fail", nodes="n9")
    assert campaign.options(campaign.submit(2)[0])["exclude"] == "bad[1-2],n7,n9"


FAILED = ErrorMode.NODE_FAIL


@pytest.mark.parametrize(
    ("failures", "now", "avoided"),
    [
        ([(FAILED, "n1", 0)], 0, ("n1",)),
        ([(FAILED, "n1", 0)], 100, ("n1",)),
        ([(FAILED, "n1", 0)], 101, ()),  # half of it is left after the half life
        ([(ErrorMode.NCCL, "n1", 0)], 0, ()),
        ([(ErrorMode.NCCL, "n1", 0), (ErrorMode.STALL, "n1", 1)], 1, ("n1",)),
        ([(FAILED, "n[1-4]", 0)], 0, ()),  # one of four, and nobody knows which
        ([(FAILED, "n[1-2]", 0), (FAILED, "n[2-3]", 0)], 0, ("n2",)),
        ([(ErrorMode.CRASH, "n1", 0)] * 9, 0, ()),
        ([(FAILED, f"n{k}", k) for k in range(5)], 5, ("n2", "n3", "n4")),
        ([(FAILED, "", 0), (FAILED, "None assigned", 0)], 0, ()),
    ],
)
def test_evidence_against_nodes_adds_up_is_shared_and_fades(failures, now, avoided):
    found = (NodeFailure(mode=mode, nodes=nodes, at=at) for mode, nodes, at in failures)
    assert bad_nodes(found, BadNodes(half_life_s=100, most=3), now) == avoided


@pytest.mark.parametrize(("nodes", "avoided"), [(None, 4), (5, 1), (29, 2), (1000, 4)])
def test_no_more_than_a_share_of_the_cluster_is_avoided(nodes, avoided):
    found = [NodeFailure(mode=FAILED, nodes=f"n{k}", at=0) for k in range(9)]
    assert len(bad_nodes(found, BadNodes(), 0, nodes)) == avoided


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", ["a"]),
        ("a1,b2", ["a1", "b2"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("n[1,3-4]x,m2", ["n1x", "n3x", "n4x", "m2"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("(null)", []),
        ("n[x-3]", []),
    ],
)
def test_node_lists_are_read_as_slurm_writes_them(text, names):
    assert list(node_names(text)) == names


def test_a_node_list_without_end_is_read_to_an_end():
    assert sum(1 for _ in node_names("a[0-999999999]")) == 100_000


def test_too_many_restarts_in_a_window_end_the_entry():
    campaign = Campaign(window_restarts=2, window_s=100)
    for now, restarted in ((0, True), (10, True), (200, True), (210, True), (220, False)):
        campaign.submit(now)
        *notices, decided = campaign.fail(now)
        assert decided.restart is restarted, now
    assert "2 restarts within 100 s" in decided.reason
    assert ["2 restarts within 100 s" in notice.message for notice in notices] == [True]


def test_attempts_that_get_no_further_end_the_entry_and_those_that_do_go_on():
    campaign = Campaign(stop_without_progress=2)
    iterations = [10, 10, 20, None, 20, 15]
    restarted = []
    for now, iteration in enumerate(iterations):
        campaign.submit(now)
        *_, decided = campaign.fail(now, iteration=iteration)
        restarted.append(decided.restart)
    assert restarted == [True, True, True, True, True, False]
    assert "2 attempts in a row got no further" in decided.reason


def test_the_brake_stops_what_has_not_started_and_nothing_that_runs():
    campaign = Campaign(8, policies={"class_name": "NoRestartPolicy"}, max_failed_share=0.5, brake_after=4)
    first = campaign.submit(0)
    for intended in first[5:]:  # these three have not been submitted
        campaign.state.entries[intended.entries[0]].attempts.clear()
    for number in range(3):
        assert all(isinstance(event, Decided) for event in campaign.fail(1, entry=f"e{number}"))
    found = campaign.fail(2, entry="e3")
    campaign.do(*(later := list(decisions(campaign.plan, campaign.state, campaign.settings, 3))))
    assert [event.entry for event in [*found, *later] if isinstance(event, GivenUp)] == ["e5", "e6", "e7"]
    assert [event.key for event in [*found, *later] if isinstance(event, Noticed)] == ["brake/0"]
    assert "failed" in campaign.state.notices["brake/0"].message
    assert not campaign.state.entries["e4"].over


def test_a_campaign_that_fails_within_its_share_goes_on():
    campaign = Campaign(4, policies={"class_name": "NoRestartPolicy"}, max_failed_share=0.5, brake_after=2)
    campaign.submit(0)
    campaign.state.entries["e3"].attempts.clear()
    campaign.do(Ended(at=1, entry="e0", attempt=1, mode="success", reason=""))
    list(map(campaign.do, decisions(campaign.plan, campaign.state, campaign.settings, 1)))
    campaign.fail(2, entry="e1")
    assert not any(
        isinstance(event, GivenUp) for event in decisions(campaign.plan, campaign.state, campaign.settings, 3)
    )


def test_the_packaged_settings_brake_and_pause_nothing():
    config = parse(RestartConfig, {}, "restart")
    assert (config.backoff_s, config.max_failed_share, config.window_restarts) == (0, 1, 0)


def test_a_change_that_the_cluster_refuses_is_taken_back():
    campaign = Campaign(policies={"class_name": "ExcludeNodesPolicy"}, mode="node_fail")
    campaign.submit(0)
    campaign.fail(1, mode="node_fail", nodes="n7")
    campaign.submit(1)
    (decided,) = campaign.fail(2, mode="submit_rejected")
    assert decided.restart and "sent again as planned" in decided.reason
    (third,) = campaign.submit(2)
    assert third.attempt == 3 and "exclude" not in campaign.options(third)
    (decided,) = campaign.fail(3, mode="submit_rejected")
    assert not decided.restart  # what is refused as it was planned is the user's to mend


def test_where_the_user_names_the_nodes_none_is_excluded():
    campaign = Campaign(policies={"class_name": "ExcludeNodesPolicy"}, mode="node_fail", pinned=True)
    campaign.submit(0)
    campaign.fail(1, mode="node_fail", nodes="n7")
    assert "exclude" not in campaign.options(campaign.submit(1)[0])


def test_what_was_given_up_for_another_entry_does_not_brake():
    campaign = Campaign(4, policies={"class_name": "NoRestartPolicy"}, max_failed_share=0.5, brake_after=2)
    campaign.submit(0)
    campaign.state.entries["e3"].attempts.clear()
    campaign.do(*(GivenUp(at=1, entry=f"e{n}", mode="dependency_failed", reason="") for n in range(3)))
    assert list(decisions(campaign.plan, campaign.state, campaign.settings, 3)) == []


def test_what_is_expected_to_fail_does_not_brake():
    campaign = Campaign(4, policies={"class_name": "NoRestartPolicy"}, max_failed_share=0.5, brake_after=2)
    expected = [replace(entry, expected_failure="issue 7") for entry in campaign.plan.entries[:3]]
    campaign.plan = replace(campaign.plan, entries=(*expected, campaign.plan.entries[3]))
    campaign.submit(0)
    campaign.state.entries["e3"].attempts.clear()
    found = [event for number in range(3) for event in campaign.fail(1, entry=f"e{number}")]
    assert not any(isinstance(event, GivenUp | Noticed) for event in found)
