"""The table of a checkout: its own parser says it, a process is started once for each state of the files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from oellm_bench.errors import ConfigError
from oellm_bench.megatron import asking
from oellm_bench.megatron.asking import Interpreter
from oellm_bench.megatron.checkout import cache_folder, table_for, table_text
from oellm_bench.megatron.table import PACKAGED, Table, packaged_table
from tests.container.real_apptainer import ray_image
from tests.megatron.stand_in_checkout import SCRIPT, Checkout, make_checkout
from tests.waiting import wait_until

PYTHON = Interpreter(python=sys.executable)
ANSWERS_BY_ITSELF = """\
import os
mark = open("/proc/self/cmdline").read().split("\\0")[-2]
for number in range(3, 20):
    try:
        os.write(number, (mark + ' {"error": "boo"}\\n').encode())
    except OSError:
        pass
os._exit(0)
"""
HOSTILE = {
    "ends": ("import os; os._exit(3)", ["exit code 3", "without naming arguments"]),
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", ["SIGKILL"]),
    "killed by a signal without a name": ("import os; os.kill(os.getpid(), 35)", ["was ended by signal 35"]),
    "answers by itself": (ANSWERS_BY_ITSELF, ["exit code 0", "without naming arguments"]),
    "leaves with success": ("raise SystemExit(0)", ["SystemExit"]),
    "prints without end": ("while True: print('x' * 65536)", ["more than 16 MiB"]),
    "no answer": ("import time\nwhile True: time.sleep(60)", ["no answer", "in 1.5 s"]),
    "no module": ("import torch_of_the_run.nn", ["cannot import 'torch_of_the_run'", sys.executable, "arguments.py:1"]),
    "fails": ("x = {}['device']", ["failed", "KeyError", "arguments.py:1"]),
    "no parser": ("pass", ["no checkout of Megatron-LM", "makes no parser"]),
    "empty": ("def add_megatron_arguments(parser): return parser", ["its parser has no arguments"]),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "it's a cache"))
    monkeypatch.setenv("STAND_IN_ASKED", str(tmp_path / "asked"))


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return make_checkout(tmp_path / 'my "Megatron-LM"', tmp_path / "asked")


def by_dest(table: Table) -> dict[str, dict[str, object]]:
    return {row["dest"]: row for row in json.loads(table_text(table))["arguments"]}


def refusal(checkout: Path, interpreter: Interpreter = PYTHON, timeout_s: float = 60) -> str:
    with pytest.raises(ConfigError) as caught:
        table_for(checkout, interpreter, timeout_s=timeout_s)
    (problem,) = caught.value.problems
    return str(problem)


def test_every_kind_of_argument_stands_in_the_table_as_the_parser_has_it(checkout):
    rows = by_dest(table_for(checkout.folder, PYTHON))
    expected = [
        {"dest": "add_bias_linear", "flags": ["--disable-bias-linear"], "action": "store_false", "default": True},
        {
            "dest": "backend",
            "flags": ["--backend"],
            "action": "store",
            "type": "<lambda>",
            "choices": ["Backend.flash", "Backend.auto"],
            "default": "Backend.auto",
        },
        {"dest": "bf16", "flags": ["--bf16"], "action": "store_true", "const": True, "default": False},
        {"dest": "data_path", "flags": ["--data-path"], "action": "store", "nargs": "*", "default": None},
        {"dest": "fp8", "flags": ["--fp8"], "action": "store_const", "const": "hybrid", "default": None},
        {"dest": "lr", "flags": ["--lr"], "action": "store", "type": "float", "default": "inf"},
        {"dest": "moe_layer_freq", "flags": ["--moe-layer-freq"], "action": "store", "type": "freq_type", "default": 1},
        {
            "dest": "normalization",
            "flags": ["--normalization"],
            "action": "store",
            "choices": ["LayerNorm", "RMSNorm"],
            "default": "LayerNorm",
        },
        {"dest": "num_layers", "flags": ["--num-layers"], "action": "store", "type": "int", "default": None},
        {
            "dest": "rampup_batch_size",
            "flags": ["--rampup-batch-size"],
            "action": "store",
            "type": "int",
            "nargs": 3,
            "default": None,
        },
        {"dest": "skip", "flags": ["--skip", "--no-skip"], "action": "boolean_optional", "default": False},
        {"dest": "spec", "flags": ["--spec"], "action": "append", "default": None},
        {"dest": "zero", "flags": ["--zero"], "action": "store_const", "const": 0, "default": 7},
    ]
    assert list(rows.values()) == expected


def test_the_file_has_the_form_of_the_packaged_one():
    assert table_text(packaged_table()) == PACKAGED.read_text()


def test_the_table_says_which_commit_it_is_of(checkout):
    commit = checkout.git("rev-parse", "HEAD")[:10]
    assert table_for(checkout.folder, PYTHON).source.startswith(f"Megatron-LM {commit} (")
    checkout.write("pretrain_gpt.py", "pass\n")
    assert "with changes" in table_for(checkout.folder, PYTHON).source


def test_arguments_of_the_script_count_where_it_is_named(checkout):
    assert "export_dir" not in by_dest(table_for(checkout.folder, PYTHON))
    script = Interpreter(python=sys.executable, script="pretrain_gpt.py")
    assert by_dest(table_for(checkout.folder, script))["export_dir"]["type"] == "str"


def test_a_script_need_not_be_in_the_checkout(checkout, tmp_path):
    own = tmp_path / "own" / "train.py"
    own.parent.mkdir()
    own.write_text("import beside\n" + SCRIPT)
    own.with_name("beside.py").write_text("")
    script = Interpreter(python=sys.executable, script=str(own))
    assert "export_dir" in by_dest(table_for(checkout.folder, script))
    own.write_text(SCRIPT.replace("--export-dir", "--import-dir"))
    assert "import_dir" in by_dest(table_for(checkout.folder, script))


@pytest.mark.parametrize(
    ("taken", "begins"),
    [
        ("megatron.training.training import pretrain", "pretrain(None, None, own)"),
        ("megatron.training.initialize import initialize_megatron", "initialize_megatron(own, True)"),
        ("megatron.training.arguments import parse_args", "parse_args(own)"),
    ],
)
def test_no_script_gets_as_far_as_its_training(checkout, taken, begins):
    own = "def own(parser):\n    parser.add_argument('--own')\n    return parser"
    checkout.write("train.py", f"from {taken}\n{own}\n{begins}\nprint('trains')")
    assert "own" in by_dest(table_for(checkout.folder, Interpreter(python=sys.executable, script="train.py")))


def test_a_script_that_parses_by_itself_is_read(checkout):
    checkout.write(
        "train.py", "import argparse\np = argparse.ArgumentParser()\np.add_argument('--own')\np.parse_args()\n"
    )
    assert list(by_dest(table_for(checkout.folder, Interpreter(python=sys.executable, script="train.py")))) == ["own"]


def test_a_script_that_does_not_train_is_told_of(checkout):
    checkout.write("prepare.py", "print('prepared')\n")
    message = refusal(checkout.folder, Interpreter(python=sys.executable, script="prepare.py"))
    assert "ended without a call of megatron.training.pretrain" in message


def test_an_older_layout_is_read_too(checkout):
    checkout.folder.joinpath("megatron/training/arguments.py").rename(checkout.folder / "megatron/arguments.py")
    assert "num_layers" in by_dest(table_for(checkout.folder, PYTHON))


def test_a_state_is_asked_once(checkout):
    first = table_for(checkout.folder, PYTHON)
    checkout.write("README.md", "No Python.\n")
    checkout.write("runs/plot.py", "pass\n")
    assert table_for(checkout.folder, PYTHON).arguments == first.arguments
    assert checkout.times_asked == 1


def a_commit(checkout: Checkout) -> None:
    checkout.commit()


def an_uncommitted_change(checkout: Checkout) -> None:
    text = checkout.folder.joinpath("megatron/training/arguments.py").read_text()
    checkout.write("megatron/training/arguments.py", text.replace("--spec", "--further"))


def an_uncommitted_change_of_another_file(checkout: Checkout) -> None:
    checkout.write("megatron/core/config.py", "pass\n")


def a_staged_change(checkout: Checkout) -> None:
    checkout.write("megatron/core/config.py", "pass\n")
    checkout.git("add", "-A")


@pytest.mark.parametrize(
    "change", [a_commit, an_uncommitted_change, an_uncommitted_change_of_another_file, a_staged_change]
)
def test_another_state_is_asked_again(checkout, change):
    table_for(checkout.folder, PYTHON)
    change(checkout)
    table_for(checkout.folder, PYTHON)
    table_for(checkout.folder, PYTHON)
    assert checkout.times_asked == 2


def test_changes_are_told_apart_and_the_first_state_is_still_known(checkout):
    table_for(checkout.folder, PYTHON)
    for name in ("--one", "--two"):
        text = checkout.git("show", "HEAD:megatron/training/arguments.py")
        checkout.write("megatron/training/arguments.py", text.replace("--spec", name))
        assert name[2:] in by_dest(table_for(checkout.folder, PYTHON))
    checkout.git("checkout", "-q", ".")
    assert "spec" in by_dest(table_for(checkout.folder, PYTHON))
    assert checkout.times_asked == 3


@pytest.mark.parametrize(
    "around", ["no repository", "a repository that ignores it", "a repository that does not know it"]
)
def test_without_a_commit_of_its_own_the_files_count(tmp_path, around):
    made = make_checkout(tmp_path / "outer" / "megatron-lm", tmp_path / "asked", is_git=False)
    if around != "no repository":
        outer = Checkout(tmp_path / "outer", made.asked)
        outer.git("init", "-q")
        outer.write(".gitignore", "megatron-lm\n" if "ignores" in around else "")
        outer.git("add", ".gitignore")
        outer.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "a commit")
    assert "Megatron-LM without a commit" in table_for(made.folder, PYTHON).source
    table_for(made.folder, PYTHON)
    assert made.times_asked == 1
    an_uncommitted_change(made)
    assert "further" in by_dest(table_for(made.folder, PYTHON))
    assert made.times_asked == 2


def test_another_interpreter_is_asked_again(checkout, tmp_path):
    table_for(checkout.folder, PYTHON)
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    table_for(checkout.folder, Interpreter(python=str(link)))
    table_for(checkout.folder, Interpreter(python=sys.executable, prefix=("env", "LAUNCHED=1")))
    assert checkout.times_asked == 3


def test_a_launcher_may_print_what_it_likes(checkout, tmp_path):
    wrapper = tmp_path / "launcher"
    wrapper.write_text('#!/bin/sh\necho "{\\"arguments\\": []} oellm-bench-"; printf "no newline "; exec "$@"\n')
    wrapper.chmod(0o755)
    interpreter = Interpreter(python=sys.executable, prefix=(str(wrapper),))
    assert len(table_for(checkout.folder, interpreter).arguments) == 13


def test_two_at_once_ask_once(checkout, tmp_path):
    program = (
        "import sys; from pathlib import Path; from oellm_bench.megatron.checkout import Interpreter, table_for;"
        "print(len(table_for(Path(sys.argv[1]), Interpreter(python=sys.executable)).arguments))"
    )
    argv = [sys.executable, "-c", program, str(checkout.folder)]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in both] == ["13\n", "13\n"]
    assert checkout.times_asked == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"source": "x", "arguments": [{"dest": "a"}]}', "\xff"])
def test_a_spoilt_memory_is_put_aside_and_the_checkout_asked_anew(checkout, content, caplog):
    table = table_for(checkout.folder, PYTHON)
    (path,) = cache_folder().glob("*.json")
    path.write_text(content, encoding="latin-1")
    again = [table_for(checkout.folder, PYTHON).arguments for _ in range(2)]
    assert again == [table.arguments, table.arguments]
    assert checkout.times_asked == 2
    assert [kept.name for kept in cache_folder().glob("*.corrupt")] == [f"{path.name}.corrupt"]
    assert "asked anew" in caplog.text


def test_fresh_asks_in_spite_of_what_is_known(checkout):
    table_for(checkout.folder, PYTHON)
    table_for(checkout.folder, PYTHON, fresh=True)
    assert checkout.times_asked == 2


def test_without_a_place_to_remember_the_checkout_is_asked_each_time(checkout, tmp_path, monkeypatch, caplog):
    tmp_path.joinpath("file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    first, second = (table_for(checkout.folder, PYTHON) for _ in range(2))
    assert first.arguments == second.arguments
    assert checkout.times_asked == 2
    assert "not remembered" in caplog.text


def test_nothing_is_written_to_the_checkout(checkout):
    table_for(checkout.folder, PYTHON)
    assert checkout.git("status", "--porcelain", "--ignored") == ""


@pytest.mark.parametrize(("text", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_checkout_that_cannot_be_asked_is_told_of(tmp_path, monkeypatch, text, expected):
    checkout = make_checkout(tmp_path / "Megatron-LM", tmp_path / "asked", is_git=False)
    checkout.write("megatron/training/arguments.py", text)
    checkout.write("megatron/training/__init__.py", "")
    waits = "no answer" in expected
    message = refusal(checkout.folder, timeout_s=1.5 if waits else 60)
    assert [part for part in expected if part not in message] == []
    assert list(cache_folder().glob("*.json")) == []


def test_what_a_checkout_leaves_running_is_ended(checkout):
    checkout.write(
        "megatron/training/arguments.py",
        "import os, subprocess, sys\n"
        "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        "open(os.environ['STAND_IN_ASKED'], 'w').write(str(left.pid))\n"
        "os._exit(0)\n",
    )
    assert "exit code 0" in refusal(checkout.folder)
    left = int(checkout.asked.read_text())
    wait_until(lambda: not Path(f"/proc/{left}").exists() or "Z" in Path(f"/proc/{left}/stat").read_text().split()[2])


def test_what_runs_the_checkout_has_to_be_a_python(checkout, tmp_path):
    assert "'/no/such/python' cannot be started" in refusal(checkout.folder, Interpreter(python="/no/such/python"))
    assert "without naming arguments" in refusal(checkout.folder, Interpreter(python="/bin/true"))


def test_a_package_that_hides_the_checkout_is_told_of(checkout, tmp_path, monkeypatch):
    other = make_checkout(tmp_path / "installed", tmp_path / "asked", is_git=False)
    other.write("megatron/__init__.py", "")
    checkout.write("megatron/__init__.py", f"__path__[:] = [{str(other.folder / 'megatron')!r}]")
    assert "hides the one of the checkout" in refusal(checkout.folder)


def test_the_command_writes_the_table_and_says_what_differs(cli, checkout, tmp_path):
    options = ("--megatron-path", checkout.folder, "--python", sys.executable)
    ran = cli("megatron", "schema", *options)
    assert (ran.rc, len(ran.json["arguments"])) == (0, ran.json["count"])
    assert "13 arguments of Megatron-LM" in ran.stderr
    assert "  3 new: backend, skip, zero\n" in ran.stderr
    written = cli("megatron", "schema", *options, "--output", tmp_path / "table.json")
    assert written.stdout == f"{tmp_path / 'table.json'}\n"
    assert tmp_path.joinpath("table.json").read_text() == ran.stdout
    assert checkout.times_asked == 1


@pytest.mark.ray
@pytest.mark.xdist_group("slurm")
def test_the_interpreter_of_a_container_is_asked(cli, checkout):
    image = ray_image()
    ran = cli("megatron", "schema", "--megatron-path", checkout.folder, "--container", image, "-v")
    assert (ran.rc, ran.json["count"]) == (0, 13)
    missing = cli(
        "megatron", "schema", "--megatron-path", checkout.folder, "--container", image, "--python", "/no/python"
    )
    assert (missing.rc, missing.stdout) == (2, "")
    assert "/no/python" in missing.stderr


WRONG = {
    "no folder": (["--megatron-path", "nowhere"], ["--megatron-path", "no folder"]),
    "no checkout": (["--megatron-path", "/"], ["--megatron-path", "'/' is no checkout of Megatron-LM"]),
    "no interpreter": (["--megatron-path", "{checkout}", "--python", "/bin/true"], ["--python", "'/bin/true'"]),
    "no script": (["--megatron-path", "{checkout}", "--script", "train.py"], ["--script", "no 'train.py'"]),
    "no time": (["--megatron-path", "{checkout}", "--timeout", "0"], ["--python", "no answer", "in 0 s"]),
    "no path": ([], ["--megatron-path"]),
    "no step": (None, ["{schema}"]),
}


@pytest.mark.parametrize(("options", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_command_is_refused(cli, checkout, options, expected):
    step = [] if options is None else ["schema", *(o.replace("{checkout}", str(checkout.folder)) for o in options)]
    ran = cli("megatron", *step)
    assert (ran.rc, ran.stdout) == (2, "")
    assert [part for part in expected if part not in ran.stderr] == []


def test_the_program_needs_no_package_of_ours():
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", asking.PROGRAM.read_text(), "/nowhere", "", "mark"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
        check=True,
    )
    assert done.stdout.startswith('mark {"error": ')
