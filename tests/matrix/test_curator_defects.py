"""What was found wrong with the tool that these matrices were written for: here it is right.

Elsewhere: heads that die or never come up, Ray's tokens and spilled objects (tests/job/test_run_entry_ray.py), figures
counted once after a fan-out (tests/job/test_task_stages.py), MLflow and Google Drive (tests/sinks), files as one matrix
(test_merging.py).
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until

NO_RAY = "results_dir: RESULTS\nray: false\n"


def result_of(matrix, entries: str, *rest: str, more: str = "") -> tuple[int, dict, str]:
    """Run a matrix of one entry `a`; return exit code, result and what was said."""
    matrix.write("m.yaml", f"{NO_RAY}{more}entries:\n{entries}")
    done = matrix.run("run", "--config", "m.yaml", "--session-name", "s", *rest)
    return done.returncode, matrix.result("s", "a"), done.stdout + done.stderr


def test_a_program_that_cannot_be_started_has_failed(matrix):
    entry = "  - {name: a, script: bench.py}\n"
    rc, result, _ = result_of(matrix, entry, "-o", "+backend.python=/nonexistent/python")
    assert rc == 1
    assert result["success"] is False
    assert "/nonexistent/python" in result["reason"]


def test_the_time_limit_ends_all_that_the_script_has_started(matrix):
    pids = matrix.root / "pids"
    matrix.script(
        "forks",
        f"""
        import os, subprocess, time
        children = [subprocess.Popen(["sleep", "600"]), subprocess.Popen(["setsid", "sleep", "600"])]
        open({str(pids)!r}, "w").write(" ".join(str(child.pid) for child in children))
        time.sleep(600)
        """,
    )
    rc, result, _ = result_of(matrix, "  - {name: a, script: forks.py, timeout_s: 2}\n")
    assert rc == 1
    assert result["error_mode"] == "timeout"
    assert not [pid for pid in map(int, pids.read_text().split()) if psutil.pid_exists(pid)]


def test_a_child_that_outlives_its_script_holds_nobody_up(matrix):
    matrix.script("leaves", Path(matrix.root / "scripts/bench.py").read_text() + "\nos.system('sleep 600 &')\n")
    rc, result, _ = result_of(matrix, "  - {name: a, script: leaves.py, timeout_s: 60}\n")
    assert rc == 0
    assert result["exec_time_s"] < 60


def test_bytes_that_are_no_text_disturb_nothing(matrix):
    matrix.script(
        "bytes",
        "import os\nos.write(1, b'\\xff\\xfe\\n' * 50_000)\n" + Path(matrix.root / "scripts/bench.py").read_text(),
    )
    rc, result, _ = result_of(matrix, "  - {name: a, script: bytes.py, timeout_s: 60}\n")
    assert (rc, result["success"]) == (0, True)
    assert (matrix.results / "s/a/stdouterr.log").stat().st_size > 150_000


@pytest.mark.parametrize(
    ("metrics", "mode"), [('{"is_success": false}', "crash"), ("[]", "contract_error")], ids=["says so", "is no object"]
)
def test_a_script_that_says_it_failed_has_failed(matrix, metrics, mode):
    entry = f"  - name: a\n    script: bench.py\n    args: ['--metrics', '{metrics}']\n"
    rc, result, _ = result_of(matrix, entry)
    assert (rc, result["success"], result["error_mode"]) == (1, False, mode)


def test_a_script_that_wrote_no_metrics_has_failed(matrix):
    matrix.script("silent", "")
    rc, result, _ = result_of(matrix, "  - {name: a, script: silent.py}\n")
    assert (rc, result["error_mode"]) == (1, "contract_error")


@pytest.mark.parametrize(
    ("metrics", "requirement", "said"),
    [
        ('{"m": NaN}', "{metric: m, min_value: 1}", "not a finite number"),
        ('{"m": "fast"}', "{metric: m, min_value: 1}", "not a finite number"),
        ('{"m": true}', "{metric: m, exact_value: 1}", "True is not exact_value 1"),
        ('{"m": 5}', "{metric: m, min_value: 1}, {metric: m, max_value: 4}", "above max_value 4 by 1"),
    ],
)
def test_requirements_hold_for_numbers_only_and_each_of_them(matrix, metrics, requirement, said):
    entry = (
        f"  - name: a\n    script: bench.py\n    args: ['--metrics', '{metrics}']\n    requirements: [{requirement}]\n"
    )
    rc, result, _ = result_of(matrix, entry)
    assert rc == 1
    assert said in result["requirements_not_met"][0]


def test_a_machine_without_gpus_runs_what_needs_none(matrix):
    rc, result, _ = result_of(matrix, "  - {name: a, script: bench.py}\n")
    assert (rc, result["success"]) == (0, True)


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("  - {name: a, script: bench.py, timout_s: 5}\n", "m.yaml:4", "did you mean 'timeout_s'"),
        ("  - {name: a, scirpt: bench.py}\n", "m.yaml:4", "did you mean 'script'"),
        (
            "  - {name: a, script: bench.py, requirements: [{metric: m, min_val: 1, max_value: 2}]}\n",
            "m.yaml:4",
            "did you mean 'min_value'",
        ),
        ("  - {name: a, script: bench.py, ray: {num_cpu: 1}}\n", "m.yaml:4", "did you mean 'num_cpus'"),
        ("  - {name: a, script: bench.py, enabled: 'false'}\n", "m.yaml:4", "is not true/false"),
        ("  - {name: a, script: bench.py, timeout_s: '5'}\n", "m.yaml:4", "'5' is not number"),
        ("  - {name: a, script: bench.py, timeout_s: 0}\n", "m.yaml:4", "0 s is no time limit"),
        ("  - {name: ../../evil, script: bench.py}\n", "m.yaml:4", "'../../evil' cannot be a name"),
        ("  - {name: scripts, script: bench.py}\n", "m.yaml:4", "'scripts' cannot be a name"),
        ("  - {name: a, script: bench.py}\n  - {name: a, script: bench.py}\n", "m.yaml:5", "are called 'a'"),
        ("  - {name: a, script: no.py}\n", "m.yaml:4", "there is no such script"),
        ("  - {name: a, script: bench.py, args: '{dataset:x,y}'}\n", "m.yaml:4", "{dataset:x,y} has no value"),
        ("  - {name: a, script: bench.py, args: '{sesion}'}\n", "m.yaml:4", "did you mean 'session'"),
        ("  - {name: a, script: bench.py, args: 'a \"b'}\n", "m.yaml:4", "close the quote"),
        ("  - {name: a, script: bench.py, object_store_size: big}\n", "m.yaml:4", "'big' is no size"),
        ("  - {name: a, script: bench.py, repeat: 0}\n", "m.yaml:4", "runs once at least"),
        ("  - {script: bench.py}\n", "m.yaml:4", "'name' is missing"),
        ("  - 5\n", "m.yaml:4", "is not a mapping"),
        ("  - {name: a, script: bench.py, timeout_s: .inf}\n", "m.yaml:4", "is no time limit"),
        ("  - {name: a, script: bench.py, repeat: 2}\n  - {name: a_r1, script: bench.py}\n", "m.yaml:5", "'a_r1'"),
        ("  - {name: wandb, script: bench.py}\n", "m.yaml:4", "'wandb' cannot be a name"),
        ("  - {name: a, script: bench.py, args: ['--x', {a: 1}]}\n", "m.yaml:4", "give words"),
    ],
)
def test_what_is_wrong_is_said_with_its_file_and_line_before_anything_runs(matrix, text, where, said):
    matrix.write("m.yaml", f"{NO_RAY}entries:\n{text}")
    message = matrix.refused("--config", "m.yaml")
    assert where in message
    assert said in message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("default_timeout_s: .inf", "m.yaml:3: default_timeout_s: inf s is no time limit"),
        ("max_timeout_s: .nan", "m.yaml:3"),
        ("sinks: {mlflow: {}}", "m.yaml:3: sinks: the sinks are no list"),
        ("sinks: [{name: my.files, class_name: FilesSink}]", "'my.files' cannot be the name of a sink"),
    ],
)
def test_values_for_all_entries_are_refused_with_their_own_line(matrix, line, said):
    matrix.write("m.yaml", f"{NO_RAY}{line}\nentries: [{{name: a, script: bench.py}}]\n")
    assert said in matrix.refused("--config", "m.yaml")


def test_who_says_something_of_an_entrys_head_wants_one(matrix):
    matrix.write(
        "m.yaml",
        f"{NO_RAY}entries:\n"
        "  - {name: a, script: bench.py, ray: {num_cpus: 1}}\n"
        "  - {name: b, script: bench.py, ray: {num_cpus: 1, enabled: false}}\n"
        "  - {name: c, script: bench.py}\n",
    )
    entries = matrix.listed("--config", "m.yaml")
    assert [entries[name]["ray"]["enabled"] for name in "abc"] == [True, False, False]


def test_the_last_word_of_a_crash_is_told_where_both_streams_are_one(matrix):
    matrix.script("raises", "print('before')\nraise RuntimeError('boom')\n")
    _, result, said = result_of(matrix, "  - {name: a, script: raises.py}\n")
    assert result["success"] is False
    assert "exit code 1: RuntimeError: boom" in said


def test_unknown_keys_of_the_whole_are_refused_with_the_nearest(matrix):
    matrix.write("m.yaml", f"{NO_RAY}default_timout_s: 5\nentries: [{{name: a, script: bench.py}}]\n")
    assert "did you mean 'default_timeout_s'" in matrix.refused("--config", "m.yaml")


def test_a_filter_that_fits_nothing_is_an_error(matrix):
    matrix.write("m.yaml", f"{NO_RAY}entries: [{{name: a, script: bench.py}}]\n")
    assert "no entry fits 'b'" in matrix.refused("--config", "m.yaml", "--entries", "b")


def test_null_for_the_object_store_is_not_the_same_as_nothing(matrix):
    matrix.write("m.yaml", f"{NO_RAY}object_store_size: 0.25\nentries: [{{name: a, script: bench.py}}]\n")
    matrix.write("n.yaml", "object_store_size: null\n")
    share = matrix.listed("--config", "m.yaml")["a"]["ray"]
    assert share["object_store_share"] == 0.25
    null = matrix.listed("--config", "m.yaml", "--config", "n.yaml")["a"]["ray"]
    assert (null["object_store_share"], null["object_store_bytes"]) == (0.0, 0)


def test_json_stands_in_arguments_as_it_is_and_reaches_the_script(matrix):
    entry = """  - name: a
    script: bench.py
    args: >-
      --config '{"a": {"b": 1}}' --name {{session}}
"""
    _, result, _ = result_of(matrix, entry)
    assert result["params"]["arguments"] == ["--config", '{"a": {"b": 1}}', "--name", "{session}"]


def test_a_dataset_with_blanks_in_its_path_stays_one_argument(matrix):
    folder = matrix.root / "my data"
    folder.mkdir()
    entry = "  - {name: a, script: bench.py, args: '--in {dataset: d , json}'}\n"
    more = f"datasets: [{{name: d, formats: [{{type: json, path: '{folder}'}}]}}]\n"
    _, result, _ = result_of(matrix, entry, more=more)
    assert result["params"]["arguments"] == ["--in", str(folder)]


def test_a_dataset_that_is_not_there_is_said_before_the_run(matrix):
    matrix.write(
        "m.yaml",
        f"{NO_RAY}datasets: [{{name: d, formats: [{{type: json, path: /nowhere/d}}]}}]\n"
        "entries: [{name: a, script: bench.py, args: '--in {dataset:d,json}'}]\n",
    )
    assert "'/nowhere/d' is not there" in matrix.refused("--config", "m.yaml")


def test_the_same_name_again_runs_nothing_twice_and_keeps_the_results(matrix):
    matrix.write("m.yaml", f"{NO_RAY}entries: [{{name: a, script: bench.py}}]\n")
    first = matrix.run("run", "--config", "m.yaml", "--session-name", "s")
    started = matrix.result("s", "a")["started_at"]
    again = matrix.run("run", "--config", "m.yaml", "--session-name", "s")
    assert (first.returncode, again.returncode) == (0, 0)
    assert "nothing is submitted" in again.stderr
    assert matrix.result("s", "a")["started_at"] == started


def test_the_same_name_for_another_matrix_is_refused_and_harms_nothing(matrix):
    matrix.write("m.yaml", f"{NO_RAY}entries: [{{name: a, script: bench.py}}]\n")
    matrix.run("run", "--config", "m.yaml", "--session-name", "s")
    matrix.write("m.yaml", f"{NO_RAY}entries: [{{name: a, script: bench.py, args: --n 2}}]\n")
    done = matrix.run("run", "--config", "m.yaml", "--session-name", "s")
    assert done.returncode == 2
    assert "choose another --session-name" in done.stderr
    assert matrix.result("s", "a")["success"] is True


def test_a_run_that_is_told_to_end_leaves_nothing_behind_and_can_go_on(matrix):
    """The entry that runs is brought to its end; none is begun after it until somebody asks."""
    matrix.write(
        "m.yaml",
        f"{NO_RAY}entries: [{{name: a, script: bench.py, args: --seconds 1.5}}, {{name: b, script: bench.py}}]\n",
    )
    process = matrix.start("run", "--config", "m.yaml", "--session-name", "s")
    wait_until(lambda: list(matrix.results.glob("s/a/attempts/1/stdout.log")))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    wait_until(lambda: (matrix.results / "s/a/attempts/1/exit.json").exists())
    of_ours = str(matrix.results)
    wait_until(lambda: not [p for p in psutil.process_iter(["cmdline"]) if _mentions(p, of_ours)])
    assert not (matrix.results / "s/b/attempts").exists()
    done = matrix.run("run", "--config", "m.yaml", "--session-name", "s")
    assert done.returncode == 0, done.stderr
    assert [matrix.result("s", name)["attempt"] for name in ("a", "b")] == [1, 1]


def _mentions(process: psutil.Process, text: str) -> bool:
    command = process.info["cmdline"] or []
    return process.pid != os.getpid() and any(text in word for word in command) and "pytest" not in " ".join(command)


def test_paths_of_the_host_and_of_a_container(matrix):
    (matrix.root / "weights").mkdir()
    matrix.write("scripts/x.sif", "")
    matrix.write(
        "m.yaml",
        """
        results_dir: RESULTS
        ray: false
        paths: [{name: model_weights_path, host_path: ROOT/weights, container_path: /MOUNT/weights}]
        entries: [{name: a, script: bench.py, args: "--model {model_weights_path}/m"}]
        """,
    )
    here = matrix.listed("--config", "m.yaml")["a"]
    assert f"{matrix.root}/weights/m" in here["argv"]
    image = ("-o", "container=apptainer", "-o", f"container.image={matrix.root}/scripts/x.sif")
    inside = matrix.listed("--config", "m.yaml", *image)["a"]
    assert "/MOUNT/weights/m" in inside["argv"]
    assert f"type=bind,src={matrix.root}/weights,dst=/MOUNT/weights" in inside["launcher"]


def test_a_pickle_of_a_hostile_script_runs_nothing(matrix):
    matrix.script(
        "hostile",
        Path(matrix.root / "scripts/bench.py").read_text()
        + "\nclass X:\n    def __reduce__(self):\n        return os.system, ('touch ROOT/owned',)\n"
        "(out / 'tasks.pkl').write_bytes(pickle.dumps([X()]))\n",
    )
    rc, _, _ = result_of(matrix, "  - {name: a, script: hostile.py}\n")
    assert rc == 0
    assert not (matrix.root / "owned").exists()


def test_what_a_matrix_was_is_kept_with_the_session_but_no_secret_of_it(matrix):
    matrix.write(
        "m.yaml", f"{NO_RAY}run_reason: nightly\nentries: [{{name: a, script: bench.py, args: '--u ${{WHO}}'}}]\n"
    )
    done = matrix.run("run", "--config", "m.yaml", "--session-name", "s", env={"WHO": "me"})
    assert done.returncode == 0, done.stderr
    assert "nightly" in (matrix.results / "s/config.yaml").read_text()
    assert json.loads((matrix.results / "s/session.json").read_text())["run_reason"] == "nightly"
