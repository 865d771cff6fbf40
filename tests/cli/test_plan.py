"""`plan`, `options` and `--help` from the outside."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import typing

import compoconf
import pytest

from oellm_bench.backends.base import Backend
from oellm_bench.cli.main import main
from oellm_bench.cli.selection import selected
from oellm_bench.config.options import list_options
from oellm_bench.config.schema import Project
from oellm_bench.errors import UsageError
from oellm_bench.launchers.base import Launcher
from oellm_bench.restart.base import RestartPolicy
from oellm_bench.schedulers.base import Scheduler
from oellm_bench.sinks.base import Sink

# The campaign at the end of the command line's contract, with a Python that is sure to be there.
CAMPAIGN = """\
defaults: [bench, _self_]     # the packaged root, then what follows
project: {name: my, base_output_dir: "${oc.env:OUT}"}
backend:
  class_name: CommandBackend
  command: [python3, -c, "print('lr', '{lr}', 'bs', '{bs}')"]
sweep:
  axes: {lr: [1.0e-4, 5.0e-4], bs: [64, 128, 256]}
  name_template: "lr{lr}_bs{bs}"
"""
NAMES = [f"lr{lr}_bs{bs}" for lr in ("0.0001", "0.0005") for bs in (64, 128, 256)]


def files_below(folder):
    """Return every path below a folder, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def folder(cli, campaign, monkeypatch):
    monkeypatch.setenv("OUT", str(campaign.out))
    folder = cli.cwd / "campaign"
    folder.mkdir()
    (folder / "my.yaml").write_text(CAMPAIGN)
    return folder


@pytest.fixture
def plan(folder, cli, campaign, capsys, monkeypatch):
    """Return a way to plan in this process, which is the same and quicker."""
    monkeypatch.chdir(cli.cwd)

    def run(*arguments):
        assert main(["plan", "my", "-C", "campaign", *map(str, arguments)]) == 0
        return capsys.readouterr().out

    return run


def test_the_campaign_of_the_contract_plans_to_six_entries(folder, cli, campaign):
    ran = cli("plan", "my", "-C", "campaign", "--json")
    assert (ran.rc, ran.stderr) == (0, "")
    document = ran.json
    assert document["schema_version"] == 1
    assert os.path.dirname(document["output_dir"]) == str(campaign.out)  # noqa: PTH120
    assert [entry["name"] for entry in document["entries"]] == NAMES
    assert [entry["index"] for entry in document["entries"]] == [0, 1, 2, 3, 4, 5]
    entry = document["entries"][4]
    assert entry["parameters"] == {"lr": 0.0005, "bs": 128}
    assert entry["argv"] == ["python3", "-c", "print('lr', '0.0005', 'bs', '128')"]
    assert entry["environment"] == {}
    assert entry["timeout_s"] == 7200
    assert len({entry["id"] for entry in document["entries"]}) == 6
    assert document["scripts"] == [entry["script"] for entry in document["entries"]]
    assert all(os.path.isfile(script) for script in document["scripts"])  # noqa: PTH113
    assert document["totals"]["entries"] == 6
    assert document["totals"]["node_hours"] == pytest.approx(6 * 7320 / 3600)
    assert document["totals"]["gpu_hours"] == 0


def test_an_array_task_run_by_bash_runs_exactly_its_entry(folder, cli, campaign):
    ran = cli("plan", "my", "-C", "campaign", "-o", "slurm.array=true", "--json")
    (script,) = ran.json["scripts"]
    done = subprocess.run(
        ["bash", script],
        env={**os.environ, "SLURM_ARRAY_TASK_ID": "4"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    entries = campaign.out / ran.json["session"] / "entries"
    assert [path.name for path in entries.iterdir()] == ["lr0.0005_bs128"]
    assert (entries / "lr0.0005_bs128/attempts/1/stdout.log").read_text() == "lr 0.0005 bs 128\n"


def test_the_folder_holds_the_plan_the_scripts_and_the_configuration(plan, campaign):
    plan("--output", campaign.out)
    assert [name for name in files_below(campaign.out) if "." in name] == [
        "config.yaml",
        *sorted(f"scripts/{name}.sbatch" for name in NAMES),
        "session.json",
        "sweep.json",
    ]
    assert os.access(campaign.out / "scripts" / f"{NAMES[0]}.sbatch", os.X_OK)


def test_the_folder_comes_first_and_the_table_shows_every_entry(plan, campaign):
    first, header, *rows, summary = plan("--output", campaign.out).splitlines()
    assert first == str(campaign.out)
    assert header.split() == ["index", "name", "script", "task", "timeout"]
    assert [row.split()[1] for row in rows] == NAMES
    assert summary.startswith("6 entries, 6 jobs, at most 12.2 node-hours")


def test_stages_and_what_they_wait_for_are_drawn(plan, folder):
    axes = "[{stage: train, lr: [1, 2], bs: 8}, {stage: eval, lr: [1, 2], bs: 8, slurm.after: 'train_{lr}'}]"
    text = CAMPAIGN.replace("{lr: [1.0e-4, 5.0e-4], bs: [64, 128, 256]}", axes)
    (folder / "my.yaml").write_text(text.replace("lr{lr}_bs{bs}", "{stage}_{lr}"))
    assert plan().splitlines()[-4:-1] == [
        "stages, each below what it waits for:",
        "└── train: 2 entries, 4.067 node-hours",
        "    └── eval: 2 entries, 4.067 node-hours",
    ]
    stages = json.loads(plan("--json", "--limit", "1"))["stages"]
    assert [(stage["stage"], stage["entries"], stage["after"]) for stage in stages] == [
        ("train", 2, {}),
        ("eval", 2, {"train": 2}),
    ]


def test_a_limit_shows_only_the_first_entries(plan):
    out = plan("--limit", "2")
    assert NAMES[1] in out
    assert NAMES[2] not in out
    assert "4 more" in out
    assert "6 entries" in out


def test_a_limit_holds_for_json_and_the_totals_count_all(plan):
    document = json.loads(plan("--limit", "2", "--json"))
    assert len(document["entries"]) == 2
    assert document["totals"]["entries"] == 6


def test_planning_again_takes_the_place_of_a_plan_that_was_not_submitted(plan, campaign):
    first = json.loads(plan("--json"))
    second = json.loads(plan("--json"))
    assert second == first
    assert len(list(campaign.out.glob("my_*"))) == 1


def test_planning_a_longer_sweep_into_the_same_folder_keeps_indices_and_adds_scripts(plan, folder, campaign):
    before = json.loads(plan("--output", campaign.out, "--json"))["entries"]
    (folder / "my.yaml").write_text(CAMPAIGN.replace("[64, ", "[32, 64, "))
    after = json.loads(plan("--output", campaign.out, "--json"))["entries"]
    assert [(entry["index"], entry["id"], entry["name"]) for entry in after[:6]] == [
        (entry["index"], entry["id"], entry["name"]) for entry in before
    ]
    assert [entry["name"] for entry in after[6:]] == ["lr0.0001_bs32", "lr0.0005_bs32"]
    assert len(list((campaign.out / "scripts").iterdir())) == 8


def test_planning_a_shorter_sweep_into_the_same_folder_removes_the_scripts_that_are_gone(plan, folder, campaign):
    plan("--output", campaign.out)
    (folder / "my.yaml").write_text(CAMPAIGN.replace("[64, 128, 256]", "[64]"))
    plan("--output", campaign.out)
    assert sorted(path.stem for path in (campaign.out / "scripts").iterdir()) == ["lr0.0001_bs64", "lr0.0005_bs64"]


def test_other_files_in_the_folder_are_left_alone(plan, campaign):
    campaign.out.mkdir()
    (campaign.out / "notes.txt").write_text("mine")
    plan("--output", campaign.out)
    assert (campaign.out / "notes.txt").read_text() == "mine"
    assert (campaign.out / "sweep.json").is_file()


def test_what_a_killed_plan_left_in_the_folder_is_in_nobodys_way(plan, campaign):
    plan("--output", campaign.out)
    before = files_below(campaign.out)
    for left in (".planned", ".planned.x1y2z3"):
        (campaign.out / left / "scripts").mkdir(parents=True)
        (campaign.out / left / "session.json").write_text("{}")
    plan("--output", campaign.out)
    assert files_below(campaign.out) == before


def test_a_folder_whose_plan_is_half_moved_in_is_no_session_until_it_is_planned_again(plan, folder, campaign, capsys):
    plan("--output", campaign.out)
    # A folder in the way stops the move in the middle, as a kill would.
    (campaign.out / "config.yaml").unlink()
    (campaign.out / "config.yaml").mkdir()
    (campaign.out / "config.yaml" / "kept").write_text("mine")
    arguments = ["plan", "my", "-C", "campaign", "--output", str(campaign.out)]
    assert main(arguments) == 2
    assert "config.yaml" in capsys.readouterr().err
    assert main(["status", str(campaign.out)]) == 2
    assert "is not a session" in capsys.readouterr().err
    (campaign.out / "config.yaml" / "kept").unlink()
    (campaign.out / "config.yaml").rmdir()
    assert main(arguments) == 0
    assert main(["status", str(campaign.out)]) == 0


def test_secrets_stay_out_of_the_written_configuration(plan, folder, campaign, monkeypatch):
    monkeypatch.setenv("MY_API_TOKEN", "s3cr3t-value")
    text = CAMPAIGN.replace("name: my,", 'name: my, state_dir: "${oc.env:MY_STATE,x}",')
    (folder / "my.yaml").write_text(text)
    plan("--output", campaign.out)
    assert "${oc.env:OUT}" in (campaign.out / "config.yaml").read_text()
    assert not any(b"s3cr3t-value" in path.read_bytes() for path in campaign.out.rglob("*") if path.is_file())


VERBS = ["plan", "submit", "monitor", "run", "status", "sessions", "logs", "cancel", "results", "options"]
HEAVY = ("hydra", "omegaconf", "compoconf", "rich", "ray", "psutil", "yaml")
COUNT_MODULES = """
import sys
from oellm_bench.cli.main import main
for arguments in {calls!r}:
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0, arguments
print("modules", sorted({{name.split(".")[0] for name in sys.modules}} & set({heavy!r})))
"""


def test_help_of_no_verb_imports_anything_heavy(cli):
    calls = [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)]
    ran = cli.python("-c", COUNT_MODULES.format(calls=calls, heavy=HEAVY))
    assert ran.rc == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "modules []"


def test_help_shows_every_verb(cli):
    out = cli("--help").stdout
    assert [verb for verb in VERBS if f"\n    {verb}" not in out] == []


PLUGIN_KINDS = {
    "backend": Backend,
    "container": Launcher,
    "slurm.client": Scheduler,
    "sinks": Sink,
    "restart.restart_policies[].implementation": RestartPolicy,
}


@pytest.fixture(scope="module")
def rows():
    return list_options()


def fields_of(schema, prefix=""):
    """Yield the key of every field a user may set, walking the dataclasses as a reader would."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        key = f"{prefix}{field.name}"
        if not field.init or key in PLUGIN_KINDS:
            continue
        hint = hints[field.name]
        inner = next((arg for arg in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(arg)), None)
        if inner is None:
            yield key
        else:
            yield from fields_of(inner, f"{key}." if inner is hint else f"{key}[].")


def test_every_field_of_every_section_is_an_option(rows):
    assert sorted(set(fields_of(Project)) - {row["key"] for row in rows}) == []


@pytest.mark.parametrize(("key", "kind"), PLUGIN_KINDS.items(), ids=PLUGIN_KINDS.keys())
def test_every_field_of_every_plugin_is_an_option(rows, key, kind):
    keys = {row["key"] for row in rows}
    # A part of its own is listed by its fields: backend[CommandBackend].resume.checkpoints.
    listed = keys | {key.rpartition(".")[0] for key in keys}
    for name in compoconf.registered(kind):
        config = typing.get_type_hints(compoconf.Registry.get_class(kind, name))["config"]
        assert {f"{key}[{name}].{field.name}" for field in dataclasses.fields(config) if field.init} <= listed


def test_every_option_has_a_type_a_default_and_a_meaning(rows):
    assert [row["key"] for row in rows if not (row["type"] and row["default"] and row["meaning"])] == []


@pytest.mark.parametrize("suffix", ["_s", "_bytes", "minutes", "_hours"])
def test_every_quantity_has_a_unit(rows, suffix):
    assert [row["key"] for row in rows if row["key"].endswith(suffix) and not row["unit"]] == []


@pytest.mark.parametrize("group", ["slurm", "ray", "ScriptBackend", "AlwaysRestartPolicy"])
def test_options_can_be_asked_for_by_section_and_by_class(capsys, group):
    assert main(["options", group, "--json"]) == 0
    keys = [row["key"] for row in json.loads(capsys.readouterr().out)["options"]]
    assert keys
    assert all(key.startswith(f"{group}.") or f"[{group}]" in key for key in keys)


@pytest.mark.parametrize(
    "reading",
    ["backend.cwd: '${sibling:a.output_dir}'", "backend.resume.checkpoints: '${sibling:a.output_dir}/iter_*'"],
)
def test_a_subset_is_refused_where_the_folder_or_the_checkpoints_are_anothers(campaign, reading):
    plan = campaign.root(sweep=f"configs:\n  - {{stage: a}}\n  - {{stage: b, {reading}}}\n").plan().plan
    with pytest.raises(UsageError, match="reads what a makes"):
        selected(plan, {1}, before=[])
