"""Recipes 5 and 6: what follows each kind of failure, and commands that log signals ask for."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import yaml

RECORDER = """
import json, os, sys
line = json.dumps([sys.argv[1:], os.environ.get("OELLM_BENCH_ACTION_ID", "")])
with open("converted.jsonl", "a") as stream:
    stream.write(f"{line}\\n")
"""
HOSTILE = [
    "/ck/$(touch owned).pt",
    "/ck/`touch owned`.pt",
    "/ck/x; touch owned; y.pt",
    "/ck/a b'c\"d.pt",
    "--output=owned.pt",
    "/ck/{checkpoint_path}/*.pt",
    "/ck/$HOME/~/\\n.pt",
]


def test_recipe_5_each_kind_of_failure_gets_its_own_policy(checkout):
    """The limits of the recipe, each made short by itself: on a busy machine one must not come before the other."""
    checkout.files(5)
    (command,) = checkout.commands(5)
    silence = "-o monitoring.inactivity_s=3 -o monitoring.startup_s=60 -o capture.interval_s=0.2"
    checkout.run(f"{command} --subset 0,1,3 {silence}", code=1)
    session = checkout.session()
    results = checkout.results(session)
    assert {name: (row["error_mode"], row["attempts"]) for name, row in results.items()} == {
        "faultnone": ("success", 1),
        "faultstall": ("stall", 3),  # max_retries: 2 means two restarts
        "faultcrash": ("crash", 1),
    }
    modes = Counter(event["mode"] for event in checkout.events(session, "Ended"))
    assert modes == {"success": 1, "stall": 3, "crash": 1}
    assert "manual intervention required" in next(
        row["reason"]
        for row in checkout.json(f"oellm-bench status {session.name} --json")["entries"]
        if row["name"] == "faultcrash"
    )
    checkout.run(f"{command} --subset 2 -o project.timeout_s=3")
    later = checkout.sessions()[1]
    assert [event["mode"] for event in checkout.events(later, "Ended")] == ["timeout", "success"]
    (timeout,) = [event for event in checkout.events(later, "Decided") if event["restart"]]
    assert timeout["policy"] == "AdjustTimeLimitPolicy" and "30 more minutes" in timeout["reason"]
    assert timeout["extra_time_s"] == 1800


def converted(checkout):
    """Return arguments and action id of each call of the recorder."""
    return [json.loads(line) for line in (checkout.folder / "converted.jsonl").read_text().splitlines()]


@pytest.fixture
def signals(checkout):
    """A checkout with recipe 6 in it, and a converter that notes what it was given."""
    checkout.files(6)
    (checkout.folder / "tools" / "convert.py").write_text(RECORDER)
    return checkout


def test_recipe_6_a_log_that_is_there_is_looked_through(checkout):
    checkout.files(6)
    make_folder, train, watch, *_ = checkout.commands(6)
    checkout.run(f"{make_folder}; {train}; {watch}")
    saved = sorted(path.name for path in (checkout.folder / "outputs" / "checkpoints").iterdir())
    assert saved == [f"iter_{n}.{kind}" for n in (1, 2, 3) for kind in ("converted", "pt")]


def test_recipe_6_hostile_names_in_a_log_stay_one_argument(signals):
    make_folder, _, watch, *_ = signals.commands(6)
    signals.run(make_folder)
    lines = [f"Checkpoint saved: {name}\n" for name in HOSTILE]
    (signals.folder / "outputs" / "logs" / "train.out").write_text("".join(lines))
    signals.run(watch)
    assert [arguments for arguments, _ in converted(signals)] == [[name] for name in HOSTILE]
    assert not list(signals.folder.rglob("owned*"))


def test_recipe_6_a_campaign_converts_each_checkpoint_once(signals):
    *_, submit, watch = signals.commands(6)
    signals.run(submit)
    signals.run(watch)
    session = signals.session()
    checkpoints = [str(path) for path in session.glob("entries/*/checkpoints/iter_*.pt")]
    assert len(checkpoints) == 6
    calls = converted(signals)
    assert sorted(arguments[0] for arguments, _ in calls) == sorted(checkpoints)
    assert len({action for _, action in calls}) == 6
    signals.run(watch)  # the campaign is over: nothing is done again
    assert len(converted(signals)) == 6


def test_recipe_6_a_restarted_entry_converts_what_each_attempt_saved(signals):
    campaign = {
        "defaults": ["autoexp", "_self_"],
        "project": {"name": "again"},
        "backend": {"args": {"iterations": 2, "fault": "crash"}},
        "restart_policies": [
            {"mode": "crash", "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 1}}
        ],
    }
    (signals.folder / "config" / "again.yaml").write_text(yaml.safe_dump(campaign))
    *_, submit, watch = signals.commands(6)
    signals.run(submit.replace("autoexp", "again"))
    signals.run(watch.replace("autoexp", "again"), code=1)
    calls = converted(signals)
    assert len(calls) == len({action for _, action in calls}) == 8
    assert Counter(Counter(arguments[0] for arguments, _ in calls).values()) == {2: 4}


def test_recipe_6_hostile_names_in_a_campaign_stay_one_argument(signals):
    command = ["printf", "Checkpoint saved: %s\\n", *(name.replace("{", "{{").replace("}", "}}") for name in HOSTILE)]
    campaign = {
        "defaults": ["autoexp", "_self_"],
        "project": {"name": "hostile"},
        "backend": {"command": command},
        "sweep": {"axes": {"backend.args.lr": [1]}},
    }
    (signals.folder / "config" / "hostile.yaml").write_text(yaml.safe_dump(campaign))
    *_, submit, watch = signals.commands(6)
    signals.run(submit.replace("autoexp", "hostile"))
    signals.run(watch.replace("autoexp", "hostile"))
    assert sorted(arguments for arguments, _ in converted(signals)) == sorted([name] for name in HOSTILE)
    assert not list(signals.folder.rglob("owned*"))


def test_recipe_6_a_backslash_in_double_quotes_is_explained(checkout):
    """Older files have patterns that YAML does not take: the answer says how to write them."""
    checkout.files(6)
    path = checkout.folder / "config" / "autoexp.yaml"
    path.write_text(path.read_text().replace("'", '"'))
    done = checkout.run(checkout.commands(6)[-1], code=2)
    line = path.read_text().splitlines().index('      pattern: "Checkpoint saved: (?P<path>.+\\.pt)"') + 1
    assert f"config/autoexp.yaml:{line}: " in done.stderr
    assert "single quotes" in done.stderr
