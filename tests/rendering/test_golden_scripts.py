"""The scripts that sbatch gets: their text, their quoting, and what bash does with them.

`UPDATE_GOLDEN=1 pytest tests/rendering` writes the golden files anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oellm_bench.rendering.directives import components, directives, lines
from oellm_bench.rendering.sbatch import EntryReference, ScriptContext, render_array, render_entry
from oellm_bench.schedulers.embedded.options import script_options

GOLDEN = Path(__file__).parent / "golden"
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
CONTEXT = ScriptContext(
    session_dir=Path('/data/it\'s a "session"/my_20260101'),
    project="my",
    version="1.2.3",
    python="/opt/py thon/bin/python",
)
ENTRY = EntryReference("abcdefgh", "lr0.1_bs64")
AWKWARD = {
    "partition": "gpu",
    "comment": 'it\'s $HOME; `touch x` "quoted" # no comment',
    "constraint": "[a100|h100]&nvlink",
    "mem": 0,
    "nice": 0,
    "exclusive": True,
    "requeue": False,
    "account": None,
    "qos": "",
    "cpus_per_task": 4,
}


def single(options, setup=(), further=()):
    return render_entry(
        ENTRY, (directives(options, walltime_s=7320), *components(further, walltime_s=7320)), setup, CONTEXT
    )


def array(options, setup=(), count=3):
    tasks = {task: EntryReference(f"id{task}", f"entry{task}") for task in range(count)}
    return render_array(tasks, (directives(options, walltime_s=7320),), setup, CONTEXT)


SCRIPTS = {
    "single": single({}),
    "single_with_awkward_options": single(AWKWARD),
    "single_with_setup": single({"requeue": True}, ("module load GCC", 'export A="b c"')),
    "single_heterogeneous": single({"nodes": 1}, further=({"nodes": 4, "gpus-per-node": 4}, {"mem": "1G"})),
    "array": array({"time": "1-00:00:00"}),
    "array_of_one": array({}, count=1),
}


@pytest.mark.parametrize(("name", "text"), SCRIPTS.items(), ids=SCRIPTS.keys())
def test_scripts_are_the_golden_ones(name, text):
    path = GOLDEN / f"{name}.sbatch"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_every_golden_file_belongs_to_a_script():
    assert {path.stem for path in GOLDEN.iterdir()} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_can_read_the_script(name):
    done = subprocess.run(
        ["bash", "-n", GOLDEN / f"{name}.sbatch"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_finds_nothing_in_any_script():
    done = subprocess.run(
        [SHELLCHECK, *sorted(GOLDEN.glob("*.sbatch"))], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def word_as_sbatch_reads_it(line):
    """Return the first word of an #SBATCH line, by the rules of _get_argument in Slurm's src/sbatch/opt.c."""
    word, quote, escaped = "", "", False
    for character in line.removeprefix("#SBATCH "):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
            continue
        elif quote:
            if character == quote:
                quote = ""
                continue
        elif character in "\"'":
            quote = character
            continue
        elif character == "#" or character.isspace():
            break
        word += character
    assert not quote, "sbatch stops here: unmatched quote"
    return word


AWKWARD_CHARACTERS = st.sampled_from(" '\"\\$`#;|&(){}*?~!<>=%é")
VALUES = st.text(AWKWARD_CHARACTERS | st.characters(codec="ascii", exclude_categories=["C"]), min_size=1)


@given(VALUES)
def test_sbatch_reads_back_any_value_of_a_directive(value):
    (line, *_) = lines(directives({"comment": value}, walltime_s=60))
    assert word_as_sbatch_reads_it(line) == f"--comment={value}"


@given(VALUES)
def test_the_embedded_scheduler_reads_the_same(value):
    text = single({"comment": value})
    assert script_options(text)["comment"] == value


RUNNER = """#!/bin/bash
printf '%s\\n' "$@" > "$RECORD"
"""


@pytest.fixture
def runnable(tmp_path):
    """Return a way to run a script whose interpreter only notes its arguments."""
    folder = tmp_path / 'it\'s a "session"'
    folder.mkdir()
    python = tmp_path / "fake python"
    python.write_text(RUNNER)
    python.chmod(0o755)
    context = ScriptContext(session_dir=folder, project="my", version="1", python=str(python))

    def run(text_of, *arguments, env=None, runner=None):
        if runner is not None:
            python.write_text(runner)
        script = tmp_path / "script.sbatch"
        script.write_text(text_of(context))
        record = tmp_path / "record"
        done = subprocess.run(
            ["bash", script, *arguments],
            env={**os.environ, "RECORD": str(record), **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done, record.read_text().splitlines() if record.exists() else None

    run.folder = folder
    return run


TASKS = {0: EntryReference("aaaa", "one"), 7: EntryReference("bbbb", "it-s-two"), 8: EntryReference("cccc", "three")}


@pytest.mark.parametrize(("task", "entry"), [("0", "aaaa"), ("7", "bbbb"), ("8", "cccc")])
def test_an_array_task_runs_exactly_its_entry(runnable, task, entry):
    done, arguments = runnable(
        lambda context: render_array(TASKS, ({},), (), context), env={"SLURM_ARRAY_TASK_ID": task}
    )
    assert done.returncode == 0, done.stderr
    sweep = str(runnable.folder / "sweep.json")
    assert arguments == ["-P", "-m", "oellm_bench.run_entry", "--sweep", sweep, "--entry", entry]


@pytest.mark.parametrize("task", ["1", "07", "", "0 ", "*"])
def test_a_task_that_is_not_in_the_map_runs_nothing(runnable, task):
    done, arguments = runnable(
        lambda context: render_array(TASKS, ({},), (), context), env={"SLURM_ARRAY_TASK_ID": task}
    )
    assert done.returncode == 2
    assert arguments is None
    assert task in done.stderr


def test_attempt_token_and_time_limit_reach_the_runner(runnable):
    _, arguments = runnable(lambda context: render_entry(ENTRY, ({},), (), context), "2", "ob-x-y-a2", "60.5")
    assert arguments[-6:] == ["--attempt", "2", "--token", "ob-x-y-a2", "--timeout-s", "60.5"]


@pytest.mark.parametrize("code", [0, 3, 255])
@pytest.mark.parametrize("setup", [(), ("set -euo pipefail",)], ids=["plain", "under set -eu"])
def test_the_script_exits_as_the_runner_does(runnable, code, setup):
    done, _ = runnable(lambda context: render_entry(ENTRY, ({},), setup, context), runner=f"#!/bin/bash\nexit {code}\n")
    assert done.returncode == code


def test_setup_runs_before_the_entry_and_cannot_redirect_it(runnable):
    setup = ("export GREETING='a b'", "name=other entry=other session=/nowhere python=false")
    done, record = runnable(
        lambda context: render_entry(ENTRY, ({},), setup, context),
        runner='#!/bin/bash\nprintf "%s\\n" "$GREETING" "$@" > "$RECORD"\n',
    )
    assert done.returncode == 0, done.stderr
    assert record[0] == "a b"
    assert record[-1] == ENTRY.id


@pytest.mark.parametrize("setup", [(), ("set -euo pipefail",)], ids=["plain", "under set -eu"])
def test_the_shell_is_the_last_witness_of_a_killed_runner(runnable, setup):
    done, _ = runnable(
        lambda context: render_entry(ENTRY, ({},), setup, context),
        "1",
        "token",
        runner="#!/bin/bash\nkill -KILL $$\n",
        env={"SLURM_RESTART_COUNT": "2"},
    )
    record = json.loads((runnable.folder / "entries" / ENTRY.name / "attempts" / "1" / "exit.json").read_text())
    assert done.returncode == 137
    assert (record["token"], record["attempt"], record["returncode"], record["restarts"]) == ("token", 1, -9, 2)


@pytest.mark.parametrize("setup", [(), ("set -euo pipefail",)], ids=["plain", "under set -eu"])
def test_a_signal_to_the_script_reaches_the_runner_and_is_waited_for(runnable, setup):
    runner = (
        "#!/bin/bash\ntrap 'echo asked > \"$RECORD\"; exit 7' TERM\n"
        "kill -TERM $PPID\nwhile :; do read -t 0.01 <> <(:); done\n"
    )
    done, record = runnable(lambda context: render_entry(ENTRY, ({},), setup, context), runner=runner)
    assert (done.returncode, record) == (7, ["asked"])


@pytest.mark.parametrize(
    ("changed", "runs"),
    [({}, False), ({"token": "other"}, True), ({"job_id": "8"}, True), ({"restarts": 1}, True), (None, True)],
)
def test_a_job_that_has_run_to_its_end_is_not_run_again(runnable, changed, runs):
    """A controller that was killed may start a job again whose end it has forgotten."""
    attempt = runnable.folder / "entries" / ENTRY.name / "attempts" / "1"
    attempt.mkdir(parents=True)
    record = {"token": "ob-x-y-a1", "attempt": 1, "restarts": 0, "job_id": "7", "returncode": 3}
    if changed is not None:
        (attempt / "exit.json").write_text(json.dumps({**record, **changed}, indent=1))
    done, arguments = runnable(
        lambda context: render_entry(ENTRY, ({},), (), context), "1", "ob-x-y-a1", env={"SLURM_JOB_ID": "7"}
    )
    assert done.returncode == 0
    assert (arguments is not None) == runs
    assert ("is not run again" in done.stderr) != runs
