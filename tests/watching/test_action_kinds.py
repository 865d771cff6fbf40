"""What a signal can ask for beside a command: the end of an attempt, of its entry, or another campaign."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from oellm_bench.actions.base import Action, Occasion
from oellm_bench.builtins import load_all
from oellm_bench.config.compose import compose_variants
from oellm_bench.config.project import configured_points
from oellm_bench.config.typing import parse
from oellm_bench.monitoring.settings import MonitoringConfig

FATAL = {"name": "diverged", "pattern": "loss (?P<loss>nan)", "action": "react"}
FOREVER = "echo loss nan; sleep 1000"


def write(campaign, action, command=FOREVER, **sections):
    campaign.write(
        backend={"class_name": "CommandBackend", "command": command},
        monitoring={"log_signals": [FATAL], "actions": {"react": action}},
        **sections,
    )


def row_of(campaign):
    (row,) = campaign.json("status")["entries"]
    return row


def test_cancel_ends_the_entry_for_good(campaign):
    write(campaign, {"class_name": "CancelAction", "reason": "it diverged"})
    assert campaign.run("run").returncode == 1
    row = row_of(campaign)
    assert (row["state"], row["error_mode"], row["restarts"]) == ("CANCELLED", "cancelled", 0)
    assert "it diverged (signal diverged, action react)" in row["reason"]


def test_finish_ends_the_entry_as_a_success(campaign):
    write(campaign, {"class_name": "FinishAction", "reason": "enough"})
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    (result,) = campaign.json("results")["entries"]
    assert (result["success"], result["error_mode"]) == (True, "success")
    assert row_of(campaign)["state"] == "PASSED"


def test_restart_ends_the_attempt_and_makes_another_whatever_the_policy(campaign):
    command = '[ "$OELLM_BENCH_ATTEMPT" -ge 2 ] || (echo loss nan; sleep 1000)'
    write(campaign, {"class_name": "RestartAction"}, command, restart_policies=[])
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    row = row_of(campaign)
    assert (row["state"], row["attempt"]) == ("PASSED", 2)
    assert next(event["policy"] for event in campaign.journal() if event["event"] == "Decided") == "RestartAction"


def test_restarts_that_an_action_asks_for_are_within_the_entrys_budget(campaign):
    write(campaign, {"class_name": "RestartAction"}, restart={"max_restarts": 1})
    assert campaign.run("run").returncode == 1
    row = row_of(campaign)
    assert (row["state"], row["error_mode"], row["attempt"]) == ("FAILED", "crash", 2)
    assert "all 1 restarts" in row["reason"]


def test_restart_with_a_mode_is_left_to_that_modes_policy(campaign):
    stop = {"class_name": "NoRestartPolicy", "message": "look at the data"}
    write(
        campaign,
        {"class_name": "RestartAction", "mode": "nan"},
        restart_policies=[{"mode": "nan", "implementation": stop}],
    )
    assert campaign.run("run").returncode == 1
    row = row_of(campaign)
    assert (row["error_mode"], row["attempt"]) == ("nan", 1)
    assert "look at the data" in row["reason"]


def test_what_had_ended_well_before_its_end_was_asked_for_has_succeeded(campaign):
    write(campaign, {"class_name": "CancelAction"}, "echo loss nan")
    campaign.run("submit")
    campaign.wait(lambda: list(campaign.out.glob("*/entries/*/attempts/1/exit.json")))
    assert campaign.run("monitor").returncode == 0


def test_submit_starts_another_campaign_once(campaign):
    """Twice at once, too: the action is tried again after a crash, under the same id."""
    other = {
        "defaults": ["bench", "_self_"],
        "project": {"name": "evaluate", "base_output_dir": str(campaign.folder / "evaluations")},
        "backend": {"class_name": "CommandBackend", "command": ["echo", "{what}"]},
        "sweep": {"base_values": {"what": "nothing"}},
    }
    (campaign.folder / "evaluate.yaml").write_text(yaml.safe_dump(other))
    action = {
        "class_name": "SubmitAction",
        "config": "evaluate",
        "config_dir": str(campaign.folder),
        "overrides": ["sweep.base_values.what='{loss} of {entry_name}'"],
        "watch": True,
    }
    write(campaign, action, "echo loss nan", sweep={"name_template": "only"})
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    (folder,) = (path.parent for path in (campaign.folder / "evaluations").glob("*/session.json"))
    (result,) = (json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines())
    assert (result["success"], result["parameters"]["what"]) == (True, "nan of only")
    (queued,) = (event for event in campaign.journal() if event["event"] == "ActionQueued")
    again = subprocess.run(queued["argv"], capture_output=True, text=True, cwd=campaign.folder, timeout=60)
    assert again.returncode == 0, again.stderr
    assert len(list((campaign.folder / "evaluations").glob("*/session.json"))) == 1


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("{class_name: RestartAction, mode: success}", "is no error mode that a restart can follow"),
        ("{class_name: RestartAction, mode: nann}", "did you mean"),
        ("{class_name: CancelActoin}", "unknown class_name 'CancelActoin'"),
        ("{class_name: SubmitAction}", "'config' is missing"),
        ("'echo \"unclosed'", "close every quote"),
        ("''", "there is no command"),
        ("[]", "there is no command"),
        ("{command: x}", "class_name is missing"),
    ],
)
def test_an_action_that_cannot_work_is_refused(campaign, action, said):
    campaign.write(backend={"class_name": "CommandBackend", "command": "true"})
    text = (campaign.folder / "c.yaml").read_text()
    (campaign.folder / "c.yaml").write_text(
        f"{text}\nmonitoring: {{actions: {{react: {action}}}}}\n".replace("monitoring:\n  interval_s: 0.1\n", "")
    )
    done = campaign.run("plan")
    assert done.returncode == 2
    assert said in done.stderr


def test_a_rehearsal_says_what_each_would_do(campaign, tmp_path):
    write(campaign, {"class_name": "CancelAction", "reason": "it diverged"})
    log = tmp_path / "train.log"
    log.write_text("loss nan\n")
    done = campaign.run("monitor", "--log", f"train={log}", "--dry-run", "--json-output")
    (row,) = json.loads(done.stdout)["actions"]
    assert row["does"] == "cancel, as cancelled: it diverged (signal diverged, action react)"
    assert row["argv"] == []


def test_an_entry_starts_once_another_has_given_a_signal(campaign):
    """Train, then convert the first checkpoint while the training goes on."""
    seen = campaign.folder / "converted"
    line = {
        "train": f"echo 'checkpoint saved'; until [ -e {seen.name} ]; do sleep 0.05; done",
        "convert": f"touch {seen.name}",
    }
    after_the_first = {"class_name": "SignalSeenCondition", "entry": "train", "signal": "saved"}
    campaign.write(
        backend={"class_name": "CommandBackend", "command": ["sh", "-c", "{line}"]},
        sweep={
            "axes": [
                {"who": "train", "line": line["train"], "monitoring.start_conditions": [[]]},
                {
                    "who": "convert",
                    "line": line["convert"],
                    "monitoring.start_conditions": [[after_the_first]],
                },
            ],
            "name_template": "{who}",
        },
        monitoring={"log_signals": [{"name": "saved", "pattern": "checkpoint saved"}]},
    )
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    assert seen.exists()


HOSTILE = [
    "plain",
    "a,b",
    "[1, 2]",
    "${oc.env:HOME}",
    "\\${oc.env:HOME}",
    "\\\\${project.name}",
    "it's",
    '"quoted"',
    "'; project.name='x",
    "x\\",
    "{a: 1}",
    "null",
    "choice(1,2)",
    "/a b/iter_0000100.pt",
    "ünï",
]


@pytest.mark.parametrize("said", HOSTILE)
@pytest.mark.parametrize("template", ["paths.model={text}", "paths.model='{text}'"])
def test_what_a_log_says_is_one_text_in_another_campaigns_configuration(tmp_path, said, template):
    load_all()
    settings = parse(
        MonitoringConfig,
        {"actions": {"go": {"class_name": "SubmitAction", "config": "bench", "overrides": [template]}}},
    )
    occasion = Occasion(id="i", at=0.0, entry="e", attempt=1, name="go", signal="s", values={"text": said}, metadata={})
    (queued,) = settings.actions["go"].instantiate(Action).events(occasion)
    override = queued.argv[queued.argv.index("-o") + 1]
    (point,) = configured_points(compose_variants("bench", None, [override, "project.name=p"]))
    assert point.project.paths == {"model": said}


def test_an_override_whose_key_comes_from_a_log_is_refused(campaign):
    write(campaign, {"class_name": "SubmitAction", "config": "bench", "overrides": ["{loss}=1"]})
    done = campaign.run("plan")
    assert done.returncode == 2
    assert "has a placeholder in its key" in done.stderr


def test_a_notice_moves_no_cursor(campaign):
    command = ["printf", r"loss nan \033[2J[red]\007"]
    write(campaign, {"class_name": "NotifyAction", "message": "{line}"}, command)
    text = (campaign.folder / "c.yaml").read_text().replace("loss (?P<loss>nan)", "(?P<line>loss.*)")
    (campaign.folder / "c.yaml").write_text(text)
    done = campaign.run("run")
    shown = campaign.run("status")
    for output in (done.stderr, shown.stdout):
        assert "\\x1b[2J[red]\\x07" in output
        assert "\x1b" not in output
