"""Wrong input: exit code 2, one clear message without a traceback, and nothing left half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oellm_bench.cli.main import main

GOOD = """\
defaults: [bench, _self_]
project: {name: my, base_output_dir: "%(out)s"}
backend: {class_name: CommandBackend, command: [echo, "{lr}"]}
sweep: {axes: {lr: [1, 2]}}
"""


def files_below(folder):
    """Return every path below a folder, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def folder(campaign, tmp_path, monkeypatch):
    """Return the folder of a campaign that plans; the tests spoil it."""
    campaign.folder.joinpath("my.yaml").write_text(GOOD % {"out": campaign.out})
    work = tmp_path / 'it\'s a "work" folder'
    work.mkdir(exist_ok=True)
    monkeypatch.chdir(work)
    return campaign.folder


def spoil(folder, old, new):
    path = folder / "my.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def run_in_process(capsys, *arguments):
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as end:  # argparse
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def assert_refused(code, out, err, expected):
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert [text for text in expected if text not in err] == []


WRONG_FILES = {
    "unknown key": ("name: my,", "name: my, timeout: 3,", ["my.yaml:2: project.timeout", "did you mean 'timeout_s'?"]),
    "unknown section": ("sweep: ", "swep: ", ["my.yaml:4: swep: unknown key 'swep'", "did you mean 'sweep'?"]),
    "wrong type": ("name: my,", "name: [my],", ["my.yaml:2: project.name", "is not text"]),
    "name with a space": ("name: my,", "name: my own,", ["my.yaml:2: project.name", "'my own' cannot be a name"]),
    "name with quotes": ("name: my,", 'name: "it\'s",', ["my.yaml:2: project.name", "cannot be a name"]),
    "name with a semicolon": ("name: my,", "name: 'a;b',", ["my.yaml:2: project.name", "'a;b' cannot be a name"]),
    "empty axis": ("[1, 2]", "[]", ["my.yaml:4", "axis 'lr' has no values"]),
    "empty list of axes": ("{lr: [1, 2]}", "[]", ["my.yaml:4: sweep.axes", "no sweep"]),
    "repeated value": ("[1, 2]", "[1, 1]", ["my.yaml:4", "more than once"]),
    "unknown placeholder": ("{lr}", "{lrr}", ["my.yaml:3: backend", "did you mean 'lr'?"]),
    "unknown plug-in": ("CommandBackend", "Command", ["my.yaml:3: backend.class_name", "'CommandBackend'"]),
    "missing variable": ("name: my,", "description: '${oc.env:NO_SUCH_X}', name: my,", ["NO_SUCH_X is not set"]),
    "duplicate key": ("sweep:", "project: {}\nsweep:", ["my.yaml:4", "duplicate key"]),
    "unknown fault": (
        "sweep:",
        "slurm: {client: {class_name: FakeSlurmClient, faults: [{kind: nonsense}]}}\nsweep:",
        ["my.yaml:4: slurm.client.faults.0", "unknown fault 'nonsense'"],
    ),
    "NUL": ('"{lr}"', '"{lr}\\0"', ["my.yaml:3: backend.command.1", "NUL"]),
    "null section": ("sweep:", "restart: null\nsweep:", ["my.yaml:4: restart", "take the line out"]),
    "recursive anchor": ("sweep: {", "sweep: &s {base_values: *s, ", ["my.yaml:4: an anchor holds itself"]),
    "no YAML": ("sweep: {", "sweep: {{", ["my.yaml"]),
    "tab": ("sweep: ", "\tsweep: ", ["my.yaml:4"]),
}


@pytest.mark.parametrize(("old", "new", "expected"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
@pytest.mark.parametrize("verb", ["plan", "submit"])
def test_a_wrong_file_is_refused(folder, campaign, capsys, verb, old, new, expected):
    spoil(folder, old, new)
    fake = ["--fake"] if verb == "submit" else []
    assert_refused(*run_in_process(capsys, verb, "my", "-C", folder, *fake), expected)
    assert not campaign.out.exists()
    assert files_below(Path.cwd()) == []


WRONG_COMMAND_LINES = {
    "no such root file": (["plan", "mine"], ["no file 'mine.yaml'"]),
    "no such folder": (["plan", "my", "-C", "nowhere"], ["no folder 'nowhere'"]),
    "folder that is a file": (["plan", "my", "-C", "{folder}/my.yaml"], ["my.yaml", "-C"]),
    "malformed override": (["plan", "my", "-C", "{folder}", "-o", "nonsense"], ["-o nonsense", "KEY=VALUE"]),
    "misspelt group": (["plan", "my", "-C", "{folder}", "-o", "slurm=lokal"], ["did you mean 'local'?"]),
    "misspelt option": (["plan", "my", "-C", "{folder}", "-o", "slurm.aray=true"], ["did you mean 'array'?"]),
    "bad count": (["plan", "my", "-C", "{folder}", "--limit", "0"], ["--limit", "'0'"]),
    "bad subset": (["submit", "my", "-C", "{folder}", "--fake", "--subset", "3-"], ["--subset", "'3-'"]),
    "index out of range": (["submit", "my", "-C", "{folder}", "--fake", "--subset", "7"], ["--subset", "7", "0 to 1"]),
    "bad interval": (["run", "my", "-C", "{folder}", "--interval", "soon"], ["--interval", "'soon'"]),
    "nothing to monitor": (["monitor", "my", "-C", "{folder}"], ["no submitted session of 'my'"]),
    "no session at all": (["status"], ["no session is known yet"]),
    "no such session": (["status", "nowhere"], ["no session 'nowhere'"]),
    "folder that is no session": (["results", "{folder}"], ["is not a session"]),
    "no such section": (["options", "slrum"], ["'slrum'", "did you mean 'slurm'?"]),
    "no such verb": (["plann"], ["plann"]),
    "no verb": ([], ["VERB"]),
    "log that is not there": (["monitor", "--log", "a=/no/log", "--dry-run"], ["no file '/no/log'"]),
    "malformed log": (["monitor", "--log", "a", "--dry-run"], ["--log", "'a' is not NAME=VALUE"]),
}


@pytest.mark.parametrize(("arguments", "expected"), WRONG_COMMAND_LINES.values(), ids=WRONG_COMMAND_LINES.keys())
def test_a_wrong_command_line_is_refused(folder, campaign, capsys, arguments, expected):
    filled = [argument.replace("{folder}", str(folder)) for argument in arguments]
    assert_refused(*run_in_process(capsys, *filled), expected)
    assert not campaign.out.exists()
    assert files_below(Path.cwd()) == []


@pytest.fixture
def blocked(tmp_path):
    """Return a path that nobody can write below, root included: it leads through a regular file."""
    path = tmp_path / "a file"
    path.write_text("in the way")
    return path


@pytest.mark.parametrize("below", ["", "out", "deep/out"])
def test_an_output_folder_that_cannot_be_written_is_refused(folder, blocked, capsys, below):
    code, out, err = run_in_process(capsys, "plan", "my", "-C", folder, "--output", blocked / below)
    assert_refused(code, out, err, [str(blocked)])
    assert blocked.read_text() == "in the way"


@pytest.mark.parametrize("verb", ["plan", "submit", "run"])
def test_a_base_folder_that_cannot_be_written_is_refused(folder, blocked, capsys, verb):
    fake = ["--fake"] if verb != "plan" else []
    override = f"project.base_output_dir='{blocked}/out'"
    code, out, err = run_in_process(capsys, verb, "my", "-C", folder, "-o", override, *fake)
    assert_refused(code, out, err, [str(blocked), "base_output_dir"])


@pytest.mark.parametrize(("path", "shown"), [("/proc/no/such", "/proc/no"), ("/dev/null/x", "/dev/null")])
def test_a_file_system_that_takes_no_files_is_refused(folder, capsys, path, shown):
    assert_refused(*run_in_process(capsys, "plan", "my", "-C", folder, "--output", path), [shown])


def test_a_failed_plan_leaves_the_plan_before_it_as_it_was(folder, campaign, capsys):
    assert run_in_process(capsys, "plan", "my", "-C", folder, "--output", campaign.out)[0] == 0
    before = {name: (campaign.out / name).read_bytes() for name in ("sweep.json", "session.json", "config.yaml")}
    listed = files_below(campaign.out)
    spoil(folder, "{lr}", "{lrr}")
    assert run_in_process(capsys, "plan", "my", "-C", folder, "--output", campaign.out)[0] == 2
    assert {name: (campaign.out / name).read_bytes() for name in before} == before
    assert files_below(campaign.out) == listed


def test_every_problem_is_shown_up_to_twenty(folder, capsys):
    keys = "".join(f"nonsense{number}: 1, " for number in range(30))
    spoil(folder, "name: my,", f"name: my, {keys}")
    _, _, err = run_in_process(capsys, "plan", "my", "-C", folder)
    assert err.startswith("oellm-bench: 30 problems:\n")
    assert len(err.splitlines()) == 1 + 20 + 1
    assert "and 10 more" in err


def test_a_user_sees_just_that_from_the_outside(folder, cli, campaign):
    spoil(folder, "name: my,", "name: my, timeout: 3,")
    ran = cli("plan", "my", "-C", folder)
    assert (ran.rc, ran.stdout) == (2, "")
    file = folder / "my.yaml"
    expected = f"{file}:2: project.timeout: unknown key 'timeout' (value 3); did you mean 'timeout_s'?"
    assert ran.stderr == f"oellm-bench: {expected}\n"
    assert not campaign.out.exists()


def test_json_is_not_printed_for_a_wrong_configuration(folder, capsys):
    spoil(folder, "[1, 2]", "[]")
    code, out, _ = run_in_process(capsys, "plan", "my", "-C", folder, "--json")
    assert (code, out) == (2, "")


def test_a_session_file_of_another_version_is_refused(folder, campaign, capsys):
    run_in_process(capsys, "plan", "my", "-C", folder, "--output", campaign.out)
    path = campaign.out / "session.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    code, _, err = run_in_process(capsys, "status", campaign.out)
    assert code == 2
    assert "schema_version 99" in err
    assert str(path) in err


BROKEN = ["", "{", "[]", "{}", '{"schema_version": 1}', "\udcff"]


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name in ("session.json", "sweep.json") for content in BROKEN],
)
def test_a_broken_file_of_ours_is_named_and_left_as_it_is(folder, campaign, capsys, name, content):
    run_in_process(capsys, "plan", "my", "-C", folder, "--output", campaign.out)
    path = campaign.out / name
    raw = content.encode(errors="surrogateescape")
    path.write_bytes(raw)
    code, _, err = run_in_process(capsys, "status", campaign.out)
    assert code == 2
    assert str(path) in err
    assert path.read_bytes() == raw
