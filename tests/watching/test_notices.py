"""What people have to know reaches them once: through status, the monitor's log and every sink."""

from __future__ import annotations

import json

import pytest


def waiting(watched, cluster, reason, state="PENDING"):
    watched.submit()
    cluster.queue(watched.queue_row(state, reason=reason))
    watched.look(1)
    return watched


@pytest.mark.parametrize("reason", ["PartitionTimeLimit", "BadConstraints", "AccountNotAllowed", "InvalidQOS"])
def test_a_job_that_waits_for_ever_is_told_of_once_and_not_touched(watch, cluster, reason):
    watched = waiting(watch(), cluster, reason)
    watched.look(60)
    watched.another_monitor().step()
    (notice,) = watched.events("Noticed")
    assert reason in notice.message and "waits in vain" in notice.message
    assert cluster.calls("scancel") == []


def test_it_is_cancelled_where_that_is_wanted(watch, cluster):
    watched = waiting(watch(monitoring={"cancel_hopeless": True}), cluster, "PartitionTimeLimit")
    assert len(cluster.calls("scancel")) == 1
    cluster.queue(watched.queue_row("CANCELLED", reason="PartitionTimeLimit"))
    watched.look(1)
    assert watched.modes() == ["cancelled"]
    assert "ask for less time" in watched.entry().decision
    assert watched.entry().over


@pytest.mark.parametrize("reason", ["Resources", "Priority", "None", "Dependency", "BeginTime"])
def test_who_only_waits_is_left_in_peace(watch, cluster, reason):
    assert waiting(watch(monitoring={"cancel_hopeless": True}), cluster, reason).events("Noticed") == []


def test_another_reason_is_another_notice(watch, cluster):
    watched = waiting(watch(), cluster, "InvalidQOS")
    cluster.queue(watched.queue_row("PENDING", reason="JobHeldAdmin"))
    watched.look(1)
    assert ["InvalidQOS" in event.message for event in watched.events("Noticed")] == [True, False]


def test_notices_are_in_status_and_in_a_file_of_the_session(campaign):
    campaign.write(
        backend={"class_name": "CommandBackend", "command": "echo 'accuracy 0.99'"},
        monitoring={
            "log_signals": [{"name": "accurate", "pattern": "accuracy (?P<value>.*)", "action": "tell"}],
            "actions": {"tell": {"class_name": "NotifyAction", "message": "{entry_name} has {value}"}},
        },
    )
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    (row,) = campaign.json("status")["entries"]
    expected = f"{row['name']} has 0.99"
    assert [notice["message"] for notice in campaign.json("status")["notices"]] == [expected]
    assert expected in campaign.run("status").stdout
    assert expected in done.stderr
    (line,) = (campaign.session_dir / "notices.jsonl").read_text().splitlines()
    assert (json.loads(line)["message"], json.loads(line)["entry"]) == (expected, row["name"])
