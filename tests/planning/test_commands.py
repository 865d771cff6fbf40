"""The command of an entry: placeholders, shell lines, datasets, backends; and what must not be written down."""

from __future__ import annotations

import json
import subprocess

import pytest

from oellm_bench.core.plan import to_text

NASTY = ["$(touch x); 'a\"b", "`touch x`", "a b", "*", "", "-n", "ü\n2", "$HOME", "!x", "a\\b", "{lr}", "x; touch x"]


def command(campaign, text, sweep="", more=""):
    return campaign.root(f"backend: {{class_name: CommandBackend, command: {text}}}\n{more}", sweep=sweep)


def shell_line(campaign, line, values):
    """Plan a shell line with a swept value `v`."""
    sweep = f"axes: {{v: {json.dumps(values)}}}\nname_template: '{{id}}'"
    return command(campaign, json.dumps(line), sweep).entries()


def run(entry, folder):
    done = subprocess.run(entry.argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_placeholders_are_filled_by_key_and_by_suffix(campaign):
    entry = command(
        campaign,
        "[run, '{lr}', '{backend.args.n}', '{n}', '{entry_name}', '{entry_id}', '{project_name}']",
        sweep="axes: {lr: [0.5], backend.args.n: [3]}",
    ).entry()
    assert entry.argv == ("run", "0.5", "3", "3", "lr0.5_n3", entry.id, "my", "--n", "3")


def test_paths_of_the_session_are_filled_in(campaign):
    names = ("session_dir", "session_entry_dir", "session", "benchmark_results_path", "scratch")
    entry = command(campaign, [f"{{{name}}}" for name in names]).entry()
    own = f"{campaign.out}/entries/my"
    assert entry.argv == (str(campaign.out), own, own, f"{own}/benchmark_results", f"{own}/scratch")


def test_environment_and_folder_are_filled_in_too(campaign):
    entry = campaign.root(
        "backend: {class_name: CommandBackend, command: [x], environment: {LR: 'v{lr}', N: 3, B: true}, "
        "cwd: '{session_dir}/{lr}'}",
        sweep="axes: {lr: [0.5]}",
    ).entry()
    assert entry.environment == {"LR": "v0.5", "N": "3", "B": "true"}
    assert entry.cwd == f"{campaign.out}/0.5"


def test_the_environment_of_the_backend_wins_over_that_of_slurm(campaign):
    entry = campaign.root("""
        slurm: {environment: {A: slurm, B: slurm}}
        backend: {class_name: CommandBackend, command: [x], environment: {B: backend}}
    """).entry()
    assert entry.environment == {"A": "slurm", "B": "backend"}


def test_a_doubled_brace_is_a_literal_one(campaign):
    entry = command(campaign, """[python, -c, "print({{'lr': {lr}}})"]""", sweep="axes: {lr: [1]}").entry()
    assert entry.argv[-1] == "print({'lr': 1})"


def test_a_value_that_looks_like_a_placeholder_is_not_filled_again(campaign):
    entry = command(campaign, "['{a}', '{b}']", sweep="axes: {a: ['{b}'], b: [2]}").entry()
    assert entry.argv == ("{b}", "2")


@pytest.mark.parametrize(
    ("value", "text"), [("true", "true"), ("null", "null"), ("1.0e-4", "0.0001"), ("'007'", "007")]
)
def test_values_are_spelt_as_yaml_spells_them(campaign, value, text):
    assert command(campaign, "['{v}']", sweep=f"axes: {{v: [{value}]}}").entry().argv == (text,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['{lrr}']", ["{lrr}", "did you mean 'lr'?", "{{ and }}"]),
        ("['{entry_nam}']", ["{entry_nam}", "did you mean 'entry_name'?"]),
        ("['{']", ["single '{'", "'{{'"]),
        ("['a } b']", ["single '}'", "'}}'"]),
        ("['{dataset:wiki,parquet}']", ["{dataset:wiki,parquet}"]),
        ("[]", ["command is empty"]),
        ("''", ["command is empty"]),
        ("[[a, b]]", ["['a', 'b'] is not a single value"]),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(campaign, text, expected):
    problem = command(campaign, text, sweep="axes: {lr: [1, 2]}").problem()
    assert "my.yaml:3: backend" in problem
    assert [part for part in expected if part not in problem] == []


def test_every_unknown_placeholder_is_reported(campaign):
    problems = command(campaign, "['{a}', '{b}']").problems()
    assert ["{a}" in problems[0], "{b}" in problems[1]] == [True, True]


def test_a_suffix_that_two_keys_share_is_no_name(campaign):
    problem = command(
        campaign, "['{n}']", sweep="axes: {backend.args.n: [1], slurm.environment.n: ['x']}\nname_template: '{id}'"
    ).problem()
    assert "{n}" in problem


def test_a_dataset_is_filled_in_by_name_and_format(campaign):
    entry = command(
        campaign,
        "['{dataset:wiki,parquet}', '{dataset: wiki , json }']",
        more="datasets: {wiki: {parquet: /data/wiki, json: '/data/w i.json'}}",
    ).entry()
    assert entry.argv == ("/data/wiki", "/data/w i.json")


@pytest.mark.parametrize("value", NASTY)
def test_a_value_in_a_shell_line_is_one_word_whatever_is_in_it(campaign, tmp_path, value):
    (entry,) = shell_line(campaign, "printf '[%s]' {v} end", [value])
    assert run(entry, tmp_path) == f"[{value}][end]"
    assert not (tmp_path / "x").exists()


def test_a_value_in_a_shell_line_may_be_part_of_a_word(campaign, tmp_path):
    (entry,) = shell_line(campaign, "printf '[%s]' a={v}.txt", ["b c"])
    assert run(entry, tmp_path) == "[a=b c.txt]"


@pytest.mark.parametrize("line", ['echo "{v}"', "echo '{v}'", 'echo "$(echo "{v}")"'])
def test_a_harmless_value_may_stand_inside_quotes(campaign, tmp_path, line):
    (entry,) = shell_line(campaign, line, ["0.5"])
    assert run(entry, tmp_path) == "0.5\n"


@pytest.mark.parametrize("line", ['echo "{v}"', "echo 'a {v}'", 'echo "\\"{v}"', 'echo "$(echo "{v}")"'])
def test_a_value_that_needs_quotes_is_refused_inside_quotes(campaign, line):
    command(campaign, json.dumps(line), sweep="axes: {v: ['$(touch x)']}")
    problem = campaign.problem()
    assert "my.yaml:3: backend" in problem
    assert "{v}" in problem
    assert "quotes" in problem


@pytest.mark.parametrize(
    "line",
    ['echo "a"{v}', "echo 'a b'{v}", 'echo "$(echo {v})"', "echo \\'{v}", "echo it\\'s {v} # it's", 'echo "\'" {v}'],
)
def test_a_value_after_closed_quotes_is_not_inside_them(campaign, tmp_path, line):
    (entry,) = shell_line(campaign, line, ["$(touch x)"])
    assert "$(touch x)" in run(entry, tmp_path)
    assert not (tmp_path / "x").exists()


def test_arguments_of_a_shell_line_are_its_positional_parameters(campaign, tmp_path):
    entry = campaign.root(
        "backend: {class_name: CommandBackend, command: 'printf \"[%s]\" \"$@\"', args: {n: '$(touch x)', flag: true}}"
    ).entry()
    assert run(entry, tmp_path) == "[--n][$(touch x)][--flag]"


@pytest.mark.parametrize(
    ("args", "argv"),
    [
        ("{n: 3, flag: true, quiet: false, none: null, many: [1, b], -v: x}", "--n 3 --flag --many 1 b -v x"),
        ("[a, 1, true]", "a 1 true"),
        ("--n 3 'b'", "--n 3 b"),
    ],
)
def test_arguments_are_a_mapping_a_list_or_a_line(campaign, args, argv):
    entry = campaign.root(f"backend:\n  class_name: CommandBackend\n  command: [x]\n  args: {args}").entry()
    assert entry.argv == ("x", *argv.split())


def test_a_line_of_arguments_is_split_as_a_shell_splits_it(campaign):
    entry = campaign.root("backend: {class_name: CommandBackend, command: [x], args: \"a 'b c' $HOME\"}").entry()
    assert entry.argv == ("x", "a", "b c", "$HOME")


@pytest.mark.parametrize("key", ["backend.args", "slurm.launcher_cmd"])
def test_an_unclosed_quote_is_shown_where_it_stands(campaign, key):
    problem = campaign.root().problem(f'{key}="srun \'x"')
    assert f"-o {key}=" in problem
    assert "quot" in problem


def test_the_launcher_is_put_in_front(campaign):
    assert campaign.root("slurm: {launcher_cmd: [srun, --exclusive]}").entry().launcher == ("srun", "--exclusive")


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "my script.py"
    path.touch()
    return path


def script_campaign(campaign, script, more=""):
    return campaign.root(f"backend:\n  class_name: ScriptBackend\n  script: {json.dumps(str(script))}\n{more}")


def test_a_script_gets_the_path_for_its_results(campaign, script):
    entry = script_campaign(campaign, script, "  args: {n: 1}").entry()
    assert entry.argv[1:] == (
        str(script),
        "--n",
        "1",
        "--benchmark-results-path",
        f"{campaign.out}/entries/my/benchmark_results",
    )
    assert entry.contract


@pytest.mark.parametrize("args", ["[--benchmark-results-path, /x]", "['--benchmark-results-path=/x']"])
def test_a_path_for_results_that_is_given_is_kept(campaign, script, args):
    argv = script_campaign(campaign, script, f"  args: {args}").entry().argv
    assert sum("--benchmark-results-path" in item for item in argv) == 1
    assert "/x" in argv[-1]


def test_a_script_that_is_not_there_is_refused(campaign, tmp_path):
    problem = script_campaign(campaign, tmp_path / "none.py").problem()
    assert "my.yaml:5: backend.script: no such file" in problem


def test_a_script_is_found_below_its_base_folder(campaign, script):
    campaign.root(f"backend: {{class_name: ScriptBackend, script: {script.name}, script_base_dir: {script.parent}}}")
    assert campaign.entry().argv[1] == str(script)


@pytest.mark.parametrize("secret", ["s3cr3t-value-1", 'q"uote\\s and "more"', "it's a pässword", "$pec;ial `chars`"])
def test_the_value_of_a_secret_variable_is_never_planned(campaign, monkeypatch, secret):
    monkeypatch.setenv("MY_API_TOKEN", secret)
    problem = command(campaign, "[upload, '${oc.env:MY_API_TOKEN}']").problem()
    assert "$MY_API_TOKEN" in problem
    assert secret not in problem


def test_a_secret_in_a_shell_line_is_found(campaign, monkeypatch):
    monkeypatch.setenv("MY_API_TOKEN", "it's s3cr3t")
    problem = command(campaign, '"upload {t}"', sweep='axes: {t: ["${oc.env:MY_API_TOKEN}"]}').problem()
    assert "$MY_API_TOKEN" in problem
    assert "s3cr3t" not in problem


@pytest.mark.parametrize("section", ["slurm", "backend"])
@pytest.mark.parametrize("name", ["API_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "SLACK_WEBHOOK_URL"])
def test_an_environment_with_a_secret_name_is_refused(campaign, section, name):
    problem = campaign.root().problem(f"{section}.environment.{name}=abcdefgh")
    assert f"{section}.environment.{name}" in problem
    assert "looks like a secret" in problem


def test_a_swept_environment_with_a_secret_name_is_refused_too(campaign):
    problems = campaign.root(sweep="axes: {backend.environment.API_TOKEN: [abcdefgh, ijklmnop]}").problems()
    assert "my.yaml:5" in problems[0]
    assert "looks like a secret" in problems[0]


def test_a_secret_of_one_point_only_is_refused_too(campaign):
    problem = campaign.root(sweep="axes: [{lr: 1}, {backend.environment.API_TOKEN: abcdefgh}]").problem()
    assert "looks like a secret" in problem


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "MONKEYPATCH", "KEYBOARD", "COMPASS_DIR"])
def test_an_environment_with_a_harmless_name_is_not_refused(campaign, name):
    assert campaign.root().entry(f"backend.environment.{name}=abcdefgh").environment == {name: "abcdefgh"}


def test_requirements_stand_in_the_plan(campaign):
    entry = campaign.root("requirements: [{metric: speed, min_value: 1.5}, {metric: ok, exact_value: true}]").entry()
    assert [(item.metric, item.min_value, item.exact_value) for item in entry.requirements] == [
        ("speed", 1.5, None),
        ("ok", None, True),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[{metrc: speed}]", ["requirements.0.metrc", "did you mean 'metric'?"]),
        ("[{min_value: 1.0}]", ["requirements.0.metric", "is missing"]),
        ("[{metric: speed, min_value: fast}]", ["requirements.0.min_value", "'fast'"]),
        ("{speed: 1}", ["requirements"]),
        ("[{metric: speed, min_value: 2.0, max_value: 1.0}]", ["requirements.0", "2.0", "1.0"]),
        ("[{metric: speed, min_value: 2.0, exact_value: 3.0}]", ["requirements.0", "exact_value"]),
    ],
)
def test_a_requirement_that_cannot_be_meant_is_refused(campaign, text, expected):
    found = "\n".join(campaign.root(f"requirements: {text}").problems())
    assert "my.yaml:4: requirements" in found
    assert [part for part in expected if part not in found] == []


@pytest.mark.parametrize("name", ["a b", "it's", 'a"b', "a;b", "a/b", "../a", "-a", ".a", "", "a\nb", "é", "x" * 121])
def test_a_project_name_that_is_no_folder_and_job_name_is_refused(campaign, name):
    problem = campaign.root(f"project:\n  name: {json.dumps(name)}").problem()
    assert "my.yaml:4: project.name" in problem
    assert "cannot be a name" in problem


@pytest.mark.parametrize("value", ["a b", "it's", 'a"b', "a;b", "../up", "a/b", "é", "x" * 300, "", "\n"])
def test_a_value_that_cannot_stand_in_a_name_becomes_a_slug_with_the_id(campaign, value):
    entry = campaign.root(sweep=f"axes: {{v: [{json.dumps(value)}]}}\nname_template: '{{v}}'").entry()
    assert entry.name.endswith(entry.id)
    assert len(entry.name) <= 120
    assert not set(entry.name) & set(" '\"/;\n\\")
    assert entry.script == f"scripts/{entry.name}.sbatch"


def test_values_that_look_alike_as_slugs_get_names_of_their_own(campaign):
    entries = campaign.root(sweep="axes: {v: ['a b', 'a/b', a-b]}").entries()
    assert len({entry.name for entry in entries}) == 3


def test_entries_share_no_script_even_beside_an_array(campaign):
    campaign.root(
        sweep="""
        axes: [{slurm.array: false, v: [array_000, array_001, array_002]}, {slurm.array: true, v: [one, two]}]
        name_template: "{v}"
    """
    )
    plan = campaign.plan()
    single = [entry.script for entry in plan.plan.entries if entry.task is None]
    shared = {entry.script for entry in plan.plan.entries if entry.task is not None}
    assert len(set(single)) == 3
    assert len(shared) == 1
    assert not shared & set(single)
    assert set(plan.scripts) == shared | set(single)


def test_entries_of_different_resources_go_into_different_arrays(campaign):
    entries = campaign.root(sweep="axes: {slurm.sbatch.partition: [a, b], lr: [1, 2]}").entries("slurm.array=true")
    assert [entry.task for entry in entries] == [0, 1, 0, 1]
    assert len({entry.script for entry in entries}) == 2


def test_the_plan_is_the_same_text_every_time(campaign):
    campaign.root(sweep="axes: {lr: [1, 2], bs: [8, 16]}")
    first, second = campaign.plan(), campaign.plan()
    assert to_text(first.plan) == to_text(second.plan)
    assert first.scripts == second.scripts


def test_planning_writes_nothing(campaign):
    campaign.root(sweep="axes: {lr: [1, 2]}").plan()
    assert not campaign.out.exists()
