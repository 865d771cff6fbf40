"""How files, groups and overrides become one configuration, and how wrong ones are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from oellm_bench.config.search_path import packaged_folder
from oellm_bench.errors import ConfigError


def test_users_file_builds_on_the_packaged_root(campaign):
    campaign.write("""
        defaults: [bench, _self_]
        project: {name: mine}
    """)
    project = campaign.project()
    assert project.project.name == "mine"
    assert project.slurm.client.class_name == "SlurmClient"


def test_packaged_root_is_found_beside_an_empty_user_folder(campaign):
    assert campaign.project(config="bench").project.name == "bench"


def test_users_option_of_a_packaged_group_comes_first(campaign):
    campaign.root().write("client: {class_name: FakeSlurmClient}", "slurm/local")
    assert campaign.project().slurm.client.class_name == "FakeSlurmClient"


@pytest.mark.parametrize(
    ("root", "overrides"),
    [
        pytest.param("defaults: [bench, {override /slurm: juwels}, _self_]", [], id="in the root file"),
        pytest.param("defaults: [bench, _self_]", ["slurm=juwels"], id="on the command line"),
    ],
)
def test_users_own_group_option_can_be_chosen(campaign, root, overrides):
    campaign.write(root)
    campaign.write("client: {class_name: SlurmClient}\nsbatch: {partition: booster}", "slurm/juwels")
    assert campaign.project(*overrides).slurm.sbatch == {"partition": "booster"}


def test_root_file_wins_over_its_groups_and_overrides_win_over_both(campaign):
    campaign.root("project: {name: my, base_output_dir: from-file}\nslurm: {sbatch: {partition: a, qos: b}}")
    project = campaign.project("slurm.sbatch.qos=c")
    assert project.project.base_output_dir == "from-file"
    assert project.slurm.sbatch == {"partition": "a", "qos": "c"}


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_override_sets_a_key_that_no_file_mentions(campaign, sign):
    assert campaign.root().project(f"{sign}project.timeout_s=60").project.timeout_s == 60


def test_override_takes_a_value_out(campaign):
    campaign.root("slurm: {sbatch: {partition: a, qos: b}}")
    assert campaign.project("~slurm.sbatch.qos").slurm.sbatch == {"partition": "a"}


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("slurm.sbatch.comment='a, b'", "a, b"),
        ("slurm.sbatch.comment='[a]'", "[a]"),
        ("slurm.sbatch.comment='1e3'", "1e3"),
        ("slurm.sbatch.comment=1e3", 1000.0),
        ("slurm.sbatch.comment=null", None),
        ("slurm.sbatch.comment=true", True),
        ("slurm.sbatch.time=12:00:00", "12:00:00"),
    ],
)
def test_override_values_keep_their_type(campaign, override, value):
    (found,) = campaign.root().project(override).slurm.sbatch.values()
    assert (type(found), found) == (type(value), value)


def test_backend_of_the_users_root_inherits_nothing_from_the_packaged_one(campaign, tmp_path):
    script = tmp_path / "script.py"
    script.touch()
    campaign.root(f"backend: {{class_name: ScriptBackend, script: {script}}}")
    assert campaign.entry().argv[1] == str(script)


def test_backend_chosen_by_overrides_inherits_nothing_either(campaign, tmp_path):
    script = tmp_path / "script.py"
    script.touch()
    campaign.write("defaults: [bench, _self_]")
    assert campaign.entry("backend.class_name=ScriptBackend", f"backend.script={script}").argv[1] == str(script)


def test_same_backend_keeps_what_its_group_set(campaign):
    campaign.write("class_name: CommandBackend\ncommand: [echo]\nargs: {n: 1}", "backend/mine")
    campaign.write("""
        defaults: [bench, {override /backend: mine}, _self_]
        backend: {class_name: CommandBackend, environment: {A: b}}
    """)
    assert campaign.entry().argv == ("echo", "--n", "1")


def test_a_group_file_that_builds_on_another_one_keeps_its_values(campaign):
    campaign.write("class_name: CommandBackend\ncommand: [echo]", "backend/theirs")
    campaign.write("defaults: [theirs, _self_]\nargs: {n: 1}\ncwd: /", "backend/mine")
    campaign.write("defaults: [bench, {override /backend: mine}, _self_]")
    assert (campaign.entry().argv, campaign.entry().cwd) == (("echo", "--n", "1"), "/")


def test_restart_policies_may_stand_at_the_root(campaign):
    campaign.root("""
        restart_policies:
          - mode: oom
            implementation: {class_name: AlwaysRestartPolicy, max_retries: 7}
    """)
    (policy,) = campaign.project().restart.restart_policies
    assert (policy.mode, policy.implementation.max_retries) == ("oom", 7)


def test_a_fault_in_root_restart_policies_is_shown_where_it_stands(campaign):
    campaign.root("""
        restart_policies:
          - mode: oom
            implementation: {class_name: AlwaysRestartPolicy, retries: 7}
    """)
    problem = campaign.problem()
    assert problem.startswith(f"{campaign.folder / 'my.yaml'}:6: ")
    assert "'retries'" in problem
    assert "7" in problem
    assert "max_retries" in problem


def test_an_unknown_mode_in_root_restart_policies_is_shown_where_it_stands(campaign):
    campaign.root("""
        restart_policies:
          - mode: ooom
            implementation: {class_name: NoRestartPolicy}
    """)
    problem = campaign.problem()
    assert problem.startswith(f"{campaign.folder / 'my.yaml'}:5: ")
    assert "'ooom'" in problem


def test_every_problem_is_reported_with_file_line_key_value_and_the_nearest_name(campaign):
    campaign.write("""
        defaults: [bench, _self_]
        project:
          name: my
          timeout: 60
        slurm:
          aray: true
          sbatch: {partion: gpu}
        backend:
          class_name: CommandBackend
          command: [echo]
          enviroment: {A: b}
        restart:
          max_restarts: 3.5
        monitoring:
          interval_s: often
    """)
    file = campaign.folder / "my.yaml"
    found = "\n".join(campaign.problems())
    assert f"{file}:4: project.timeout: unknown key 'timeout' (value 60); did you mean 'timeout_s'?" in found
    assert f"{file}:6: slurm.aray: unknown key 'aray' (value True); did you mean 'array'?" in found
    assert f"{file}:11: backend.enviroment: unknown key 'enviroment'" in found
    assert f"{file}:13: restart.max_restarts: 3.5 is not int" in found
    assert f"{file}:15: monitoring.interval_s: 'often' is not number" in found
    found = campaign.root("slurm: {srun: 5}\npaths: {a: [1]}").problems()
    assert [problem.split(": ", 1)[1] for problem in found] == [
        "slurm.srun: 5 is no mapping of text | int | number | true/false | null; give a mapping, NAME: VALUE",
        "paths: {'a': [1]} is no mapping of text",
    ]


def test_typed_sections_are_checked_further_only_when_they_can_be_read(campaign):
    campaign.root("slurm:\n  sbatch: {partion: gpu}")
    problem = campaign.problem()
    assert f"{campaign.folder / 'my.yaml'}:5: slurm.sbatch.partion" in problem
    assert "did you mean 'partition'?" in problem


def test_a_fault_of_an_override_names_the_override(campaign):
    problem = campaign.root().problem("project.timout_s=60")
    assert "-o project.timout_s=60" in problem
    assert "did you mean 'timeout_s'?" in problem


def test_an_unknown_section_is_an_error_with_the_nearest_one(campaign):
    problem = campaign.root("slrum: {array: true}").problem()
    assert f"{campaign.folder / 'my.yaml'}:4: slrum: unknown key 'slrum'" in problem
    assert "did you mean 'slurm'?" in problem


def test_what_is_said_to_a_sink_that_is_not_there_is_an_error_with_the_nearest_one(campaign):
    problem = campaign.root("sinks: {slack: {class_name: FilesSink}}\nsink_data: {slakc: {colour: red}}").problem()
    assert "my.yaml:5: sink_data.slakc: there is no sink 'slakc' to be told this; did you mean 'slack'?" in problem
    assert campaign.root("sink_data: {slack: {colour: red}}").entries("sinks=none")


def test_every_missing_variable_is_named_with_file_key_and_variable(campaign, monkeypatch):
    monkeypatch.delenv("NO_SUCH_DIR", raising=False)
    monkeypatch.delenv("NO_SUCH_QOS", raising=False)
    campaign.root("""
        project:
          name: my
          base_output_dir: "${oc.env:NO_SUCH_DIR}/out"
        slurm: {sbatch: {qos: "${oc.env:NO_SUCH_QOS}"}}
    """)
    file = campaign.folder / "my.yaml"
    first, second = campaign.problems()
    assert f"{file}:5: project.base_output_dir: environment variable NO_SUCH_DIR is not set" in first
    assert "export NO_SUCH_DIR" in first
    assert f"{file}:6: slurm.sbatch.qos: environment variable NO_SUCH_QOS is not set" in second


def test_both_missing_variables_of_one_value_are_named(campaign):
    campaign.root('slurm: {sbatch: {comment: "${oc.env:NO_SUCH_A} ${oc.env:NO_SUCH_B}"}}')
    found = "\n".join(campaign.problems())
    assert "NO_SUCH_A is not set" in found
    assert "NO_SUCH_B is not set" in found


def test_a_missing_variable_with_a_default_is_none(campaign):
    campaign.root('slurm: {sbatch: {qos: "${oc.env:NO_SUCH_QOS,normal}"}}')
    assert campaign.project().slurm.sbatch["qos"] == "normal"


@pytest.mark.parametrize("text", ["${SCRATCH}/out", "${HOME}"])
def test_shell_spelling_of_a_variable_gets_a_hint(campaign, text):
    problem = campaign.root(f'project:\n  name: my\n  base_output_dir: "{text}"').problem()
    assert f"{campaign.folder / 'my.yaml'}:5: project.base_output_dir" in problem
    assert "${oc.env:" in problem


@pytest.mark.parametrize("name", ["my", "slurm/mine"])
def test_a_duplicate_key_is_an_error_with_file_and_line(campaign, name):
    campaign.write("defaults: [bench, {override /slurm: mine}, _self_]\n")
    campaign.write("client: {class_name: SlurmClient}\n", "slurm/mine")
    path = campaign.folder / f"{name}.yaml"
    path.write_text(path.read_text() + "sbatch: {}\nsbatch: {}\n")
    problem = campaign.problem()
    assert f"{path}:3" in problem
    assert "sbatch" in problem


@pytest.mark.parametrize("text", ["project: {name: my", "project:\n\tname: my", "- a\n- b", "just text"])
def test_a_file_that_is_no_yaml_mapping_is_an_error_that_names_it(campaign, text):
    campaign.write(text)
    assert "my" in campaign.problem()


def test_time_of_day_without_quotes_is_refused_because_yaml_makes_a_number_of_it(campaign):
    campaign.root("slurm:\n  sbatch: {time: 12:00:00}")
    problem = campaign.problem()
    assert f"{campaign.folder / 'my.yaml'}:5: slurm.sbatch.time" in problem
    assert "12:00:00" in problem
    assert "quote" in problem


def test_quoted_time_of_day_is_text(campaign):
    campaign.root("slurm: {sbatch: {time: '12:00:00'}}")
    assert campaign.entry().resources.walltime_s == 12 * 3600


@pytest.mark.parametrize(
    ("defaults", "overrides", "where"),
    [
        pytest.param("[bench, {override /slurm: lokal}, _self_]", [], "my.yaml:1", id="in the root file"),
        pytest.param("[bench, _self_]", ["slurm=lokal"], "-o slurm=lokal", id="on the command line"),
    ],
)
def test_a_misspelt_option_of_a_group_gets_the_nearest_one(campaign, defaults, overrides, where):
    problem = campaign.write(f"defaults: {defaults}").problem(*overrides)
    assert where in problem
    assert "'lokal'" in problem
    assert "did you mean 'local'?" in problem


def test_a_misspelt_group_gets_the_nearest_one(campaign):
    problem = campaign.root().problem("slrum=fake")
    assert "-o slrum=fake" in problem
    assert "did you mean 'slurm'?" in problem


def test_a_misspelt_root_file_gets_the_nearest_one(campaign):
    problem = campaign.root().problem(config="mmy")
    assert "'mmy.yaml'" in problem
    assert "did you mean 'my'?" in problem


@pytest.mark.parametrize(
    ("text", "config", "expected"),
    [
        ("# @package _global_\ndefaults: [/bench, _self_]", "experiments/on", "did you mean 'experiments/one'?"),
        ("# @package _global_\ndefaults: [bench, _self_]", "experiments/one", "one.yaml: the defaults list names"),
        ("# @package _global_\ndefaults: [bench, _self_]", "experiments/one", "write /bench"),
        ("# @package _global_\ndefaults: [/bench, {override /slrum: fake}]", "experiments/one", "one.yaml:2: "),
        ("defaults: [/bench, _self_]", "experiments/one", "one.yaml:1: what stands in it would be below 'experiments'"),
        ("defaults: [/bench, _self_]", "experiments/one", "begin it with the line '# @package _global_'"),
    ],
)
def test_a_root_file_in_a_folder_says_what_it_is(campaign, text, config, expected):
    campaign.write(text, "experiments/one")
    assert expected in campaign.problem(config=config)


def test_a_missing_config_dir_is_named(campaign, tmp_path):
    campaign.folder = tmp_path / "nowhere"
    problem = campaign.problem(config="bench")
    assert str(campaign.folder) in problem
    assert "-C" in problem


def test_malformed_overrides_are_reported_together(campaign):
    problems = campaign.root().problems("nonsense", "project.name=[a", "=3")
    assert len(problems) == 3
    assert all("-o " in problem and "KEY=VALUE" in problem for problem in problems)


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        pytest.param("{command: [echo]}", "class_name", id="missing"),
        pytest.param("{class_name: ComandBackend, command: [echo]}", "did you mean 'CommandBackend'?", id="unknown"),
        pytest.param("echo", "CommandBackend", id="no mapping"),
        pytest.param("{class_name: CommandBackend}", "command", id="a required field is missing"),
    ],
)
def test_a_plugin_must_be_named_and_complete(campaign, backend, expected):
    campaign.write("name: none", "backend/empty").write(f"""
        defaults:
          - project: default
          - slurm: local
          - container: none
          - _self_
        monitoring: {{}}
        restart: {{}}
        ray: {{}}
        backend: {backend}
    """)
    problem = campaign.problem()
    assert "my.yaml:9: backend" in problem
    assert expected in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("restart.max_restarts", "3.5"),
        ("ray.num_cpus", "'4'"),
        ("slurm.array", "yes_please"),
        ("project.timeout_s", "soon"),
        ("project.name", "3"),
        ("slurm.setup", "module load"),
        ("slurm.max_parallel", "2.0"),
    ],
)
def test_types_are_strict(campaign, key, value):
    problem = campaign.root().problem(f"{key}={value}")
    assert key in problem
    assert "is no" in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("project.timeout_s", ".inf"),
        ("project.timeout_s", ".nan"),
        ("project.timeout_s", "0"),
        ("project.timeout_s", "-5"),
        ("slurm.cleanup_s", "-1"),
        ("slurm.max_parallel", "0"),
        ("restart.max_restarts", "-1"),
        ("monitoring.interval_s", "-1"),
    ],
)
def test_numbers_that_cannot_work_are_refused(campaign, key, value):
    section, field = key.split(".")
    given = {"project": "name: my\n  "}.get(section, "")
    problem = campaign.root(f"{section}:\n  {given}{field}: {value}").problem()
    assert "my.yaml:" in problem
    assert key in problem


def test_a_value_left_to_the_user_must_be_given(campaign):
    campaign.root('slurm:\n  sbatch: {account: "???"}')
    assert f"{campaign.folder / 'my.yaml'}:5: slurm.sbatch.account: a value is missing" in campaign.problem()
    assert campaign.project("slurm.sbatch.account=me").slurm.sbatch == {"account": "me"}


def test_hydra_is_left_as_it_was_found(campaign):
    from hydra.core.global_hydra import GlobalHydra

    campaign.root().plan()
    with pytest.raises(ConfigError):
        campaign.plan("slurm=lokal")
    assert not GlobalHydra.instance().is_initialized()


PLUGIN = """
from collections.abc import Sequence
from dataclasses import dataclass
from compoconf import register
from oellm_bench.backends.base import Backend, BackendJobSpec
from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem

@dataclass(frozen=True, kw_only=True)
class TrainingConfig(PluginConfig):
    model: str = option("which model")

@register
class TrainingBackend(Backend):
    config: TrainingConfig
    def __init__(self, config): self.config = config
    def validate(self, spec: BackendJobSpec) -> Sequence[Problem]:
        bad = self.config.model == "bad"
        return [Problem(what="no such model 'bad'", where="model", fix="say good")] if bad else []
    def build_launch_command(self, spec: BackendJobSpec) -> LaunchCommand:
        return LaunchCommand(argv=("train", self.config.model, "{lr}"))
"""


@pytest.fixture
def foreign_package(tmp_path: Path) -> Path:
    """Return a folder that pip could have installed a package of somebody else's into."""
    site = tmp_path / "it's site"
    (site / "their_tool").mkdir(parents=True)
    (site / "their_tool" / "__init__.py").write_text(PLUGIN)
    metadata = site / "their_tool-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-tool\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[oellm_bench.backends]\ntraining = their_tool\n")
    return site


def test_a_backend_of_another_package_is_found_by_entry_point(cli, campaign, foreign_package):
    campaign.root("backend: {class_name: TrainingBackend, model: good}", sweep="axes: {lr: [0.5]}")
    ran = cli("plan", "my", "-C", campaign.folder, "--json", env={"PYTHONPATH": str(foreign_package)})
    assert ran.rc == 0, ran.stderr
    assert ran.json["entries"][0]["argv"] == ["train", "good", "0.5"]


def test_validate_of_another_packages_backend_is_called_by_plan(cli, campaign, foreign_package):
    campaign.root("backend:\n  class_name: TrainingBackend\n  model: bad")
    ran = cli("plan", "my", "-C", campaign.folder, env={"PYTHONPATH": str(foreign_package)})
    assert ran.rc == 2
    assert f"{campaign.folder / 'my.yaml'}:5: backend.model: no such model 'bad'; say good" in ran.stderr


def test_fields_of_another_packages_backend_are_among_the_options(cli, foreign_package):
    ran = cli("options", "TrainingBackend", env={"PYTHONPATH": str(foreign_package)})
    assert "backend[TrainingBackend].model" in ran.stdout


def test_a_plugin_that_cannot_be_imported_is_reported_and_left_out(cli, campaign, foreign_package):
    (foreign_package / "their_tool" / "__init__.py").write_text("import no_such_module")
    ran = cli("plan", "my", "-C", campaign.root().folder, env={"PYTHONPATH": str(foreign_package)})
    assert ran.rc == 0, ran.stderr
    assert "their_tool" in ran.stderr
    assert "no_such_module" in ran.stderr


@pytest.mark.parametrize("key", ["sbatch", "environment", "setup", "launcher_cmd"])
def test_a_collection_with_all_its_items_commented_out_is_empty(campaign, key):
    assert campaign.root(f"slurm:\n  {key}:\n    # nothing").entry() == campaign.root().entry()


@pytest.mark.parametrize("key", ["timeout_s", "name", "delete_scratch"])
def test_a_single_value_may_not_be_null(campaign, key):
    problem = campaign.root(f"project:\n  {'' if key == 'name' else 'name: my'}\n  {key}: null").problem()
    assert f"my.yaml:5: project.{key}: None is not" in problem


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("defaults: bench", id="defaults that are no list"),
        pytest.param("defaults: [[bench]]", id="a list in the defaults"),
        pytest.param("defaults: [bench, _self_]\ncontainer: '${nowhere}'", id="a section that leads nowhere"),
        pytest.param("defaults: [bench, _self_]\nsweep: '${nowhere}'", id="a sweep that leads nowhere"),
        pytest.param("defaults: [bench, _self_]\nbackend: {class_name: '${nowhere}'}", id="a class_name that does"),
        pytest.param("defaults: [bench, _self_]\nsweep: {axes: {lr: !!binary aGk=}}", id="bytes"),
        pytest.param("defaults: [bench, _self_]\nproject: {name: '${'}", id="an interpolation without an end"),
    ],
)
def test_no_configuration_ends_in_a_traceback(campaign, text):
    assert campaign.write(text).problems()


def test_a_file_that_is_not_utf_8_is_an_error(campaign):
    campaign.folder.joinpath("my.yaml").write_bytes(b"project: {name: \xff\xfe}\n")
    assert campaign.problems()


OPTIONS = sorted(
    f"{path.parent.relative_to(packaged_folder())}={path.stem}"
    for path in packaged_folder().glob("*/**/*.yaml")
    if path.parent.name != "experiments"  # root files: tests/experiments
)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_packaged_option_can_be_planned(campaign, tmp_path, monkeypatch, option):
    for variable in ("MEGATRON_PATH", "DATA_PATH", "TOKENIZER_MODEL"):  # of backend=megatron_1b
        monkeypatch.setenv(variable, str(tmp_path))
    script = tmp_path / "it's a script.py"
    script.touch()
    needed = {
        "backend=script": [f'backend.script="{script}"'],
        "backend=megatron": [f'backend.script="{script}"'],
        "backend=nemo_curator_script": [f'backend.script="{script}"'],
        "backend=torchrun": ["backend.module=trainer"],
        "backend=megatron_1b": [f'backend.script="{script}"'],
        "sinks=gdrive": ["sinks.gdrive.drive_folder_id=f"],
    }
    campaign.write("defaults: [bench, _self_]\nproject: {name: my}")
    assert len(campaign.entries(option, *needed.get(option, []))) == 1


def test_a_monitor_that_reads_no_logs_can_be_chosen(campaign):
    assert campaign.root().project("monitoring=none").monitoring.class_name == "NullMonitor"


def test_settings_beside_the_class_name_of_a_monitor_are_read(campaign):
    campaign.root("monitoring: {class_name: SlurmLogMonitor, interval_s: 5, log_signals: [{name: x, pattern: y}]}")
    monitoring = campaign.project().monitoring
    assert (monitoring.class_name, monitoring.interval_s, len(monitoring.log_signals)) == ("SlurmLogMonitor", 5, 1)


def test_a_misspelt_monitor_gets_the_nearest_one(campaign):
    problem = campaign.root("monitoring: {class_name: NulMonitor}").problem()
    assert f"{campaign.folder / 'my.yaml'}:4: monitoring.class_name: 'NulMonitor'" in problem
    assert "did you mean 'NullMonitor'?" in problem


def test_a_monitor_that_reads_no_logs_cannot_notice_silence(campaign):
    problem = campaign.root("monitoring:\n  inactivity_s: 60").problem("monitoring=none")
    assert f"{campaign.folder / 'my.yaml'}:5: monitoring.inactivity_s: NullMonitor reads no logs" in problem


@pytest.mark.parametrize("section", ["project", "slurm", "container", "monitoring", "restart", "ray", "sinks"])
def test_a_section_may_not_be_null(campaign, section):
    campaign.write(f"defaults: [bench, _self_]\n{section}: null")
    problem = campaign.problem()
    assert f"{campaign.folder / 'my.yaml'}:2: {section}: null" in problem
    assert "give a mapping, or take the line out" in problem


def test_restart_may_not_be_null_beside_policies_at_the_root(campaign):
    assert "my.yaml:4: restart: null" in campaign.root("restart: null\nrestart_policies: []").problem()


@pytest.mark.parametrize("section", ["datasets", "paths", "requirements", "sweep"])
def test_a_section_without_packaged_values_may_be_null(campaign, section):
    assert campaign.root(f"{section}:\n  # nothing").entry() == campaign.root().entry()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('backend: {class_name: CommandBackend, command: [echo, "a\\0b"]}', "backend.command.1"),
        ('slurm: {environment: {A: "a\\0b"}}', "slurm.environment.A"),
        ('slurm: {environment: {"A\\0": b}}', "slurm.environment.A"),
        ('backend: {class_name: CommandBackend, command: [echo], cwd: "a\\0b"}', "backend.cwd"),
        ('sweep: {axes: {lr: ["a\\0b"]}}', "sweep.axes.lr.0"),
    ],
)
def test_a_nul_character_is_refused(campaign, text, key):
    problem = campaign.root(text).problem()
    assert f"{campaign.folder / 'my.yaml'}:" in problem
    assert key in problem
    assert "NUL" in problem


def test_text_that_cannot_be_written_is_refused(campaign):
    problem = campaign.root().problem("project.description='\udcff'")
    assert "project.description" in problem
    assert "UTF-8" in problem


@pytest.mark.parametrize("name", ["''", "A=B"])
def test_a_name_that_no_variable_can_have_is_refused(campaign, name):
    problem = campaign.root(f"slurm:\n  environment: {{{name}: x}}").problem()
    assert f"{campaign.folder / 'my.yaml'}:5: slurm.environment" in problem


@pytest.mark.parametrize(("name", "line"), [("my", 4), ("slurm/mine", 2)])
def test_an_anchor_that_holds_itself_is_named_with_file_and_line(campaign, name, line):
    campaign.root().write("client: {class_name: SlurmClient}\n", "slurm/mine")
    path = campaign.folder / f"{name}.yaml"
    path.write_text(path.read_text() + "sweep: &s {base_values: *s}\n")
    assert campaign.problem("slurm=mine").startswith(f"{path}:{line}: an anchor holds itself")


def test_a_root_file_that_is_a_list_is_named(campaign):
    problem = campaign.write("- a\n- b").problem()
    assert problem == f"{campaign.folder / 'my.yaml'}: the file holds no mapping; write KEY: VALUE lines"


@pytest.mark.parametrize(
    ("text", "key", "before"),
    [
        ("sweep: [1, 2]", "sweep: a list cannot be merged with the mapping", "KEY: VALUE lines"),
        ("sweep: {axes: {a: [1]}, base_values: [1]}", "sweep.base_values: a list", "KEY: VALUE lines"),
        ("slurm: [1]", "slurm: a list", "KEY: VALUE lines"),
    ],
)
def test_a_list_for_a_mapping_is_an_error_with_file_line_and_key(campaign, text, key, before):
    problem = campaign.root(text).problem()
    assert problem.startswith(f"{campaign.folder / 'my.yaml'}:4: {key}") and problem.endswith(before)


def test_a_mapping_for_a_list_is_one_too(campaign):
    campaign.write("class_name: CommandBackend\ncommand: [echo]", "backend/mine")
    campaign.write(
        "defaults: [bench, override /backend: mine, _self_]\nproject: {name: my}\nbackend: {command: {a: 1}}"
    )
    assert "my.yaml:3: backend.command: a mapping cannot be merged with the list that is there" in campaign.problem()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sweep.base_values=[1]", "there is a mapping in the files; write KEY={NAME: VALUE}"),
        ("backend.command={a: 1}", "there is a list in the files; write KEY=[VALUE]"),
        ("sweep=[1,2]", "'sweep' is a group; name an option, or set a single value: sweep.KEY=VALUE"),
        ("ray=5", "'ray' is a group; name an option, or set a single value: ray.KEY=VALUE"),
    ],
)
def test_an_override_of_another_shape_says_what_to_write(campaign, override, said):
    assert campaign.root().problem(override) == f"-o {override}: {said}"


def test_what_only_one_of_two_yaml_readers_refuses_is_an_error_with_file_and_line(campaign):
    campaign.root('backend: {class_name: CommandBackend, command: ["a\\ud800"]}')
    assert f"{campaign.folder / 'my.yaml'}:3: " in campaign.problem()


def test_what_the_scheduler_says_against_its_configuration_is_shown_where_it_stands(campaign):
    campaign.root("""
        slurm:
          client:
            class_name: FakeSlurmClient
            faults:
              - {kind: node_fail, node: node1, after_s: 3}
              - {kind: node_fial}
    """)
    problem = campaign.problem()
    assert f"{campaign.folder / 'my.yaml'}:9: slurm.client.faults.1: unknown fault 'node_fial'" in problem


FUSSY = """
from dataclasses import dataclass
from compoconf import register
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.restart.base import RestartPolicy
from oellm_bench.sinks.base import Sink

@dataclass(frozen=True, kw_only=True)
class FussyConfig(PluginConfig):
    pass

@dataclass(frozen=True, kw_only=True)
class FussyPolicyConfig(PluginConfig):
    pass

@register
class FussySink(Sink):
    config: FussyConfig
    def __init__(self, config): import no_such_client
    def initialize(self, session_name, env_data): pass
    def process_result(self, result): pass
    def finalize(self): pass

@register
class FussyPolicy(RestartPolicy):
    config: FussyPolicyConfig
    def __init__(self, config): raise ValueError("not on a Sunday")
    def decide(self, failure): pass
"""


def test_what_sinks_and_policies_say_when_they_are_made_is_shown_by_plan(cli, campaign, foreign_package):
    (foreign_package / "their_tool" / "__init__.py").write_text(FUSSY)
    campaign.root("""
        sinks:
          mine: {class_name: FussySink}
        restart:
          restart_policies:
            - mode: oom
              implementation: {class_name: FussyPolicy}
    """)
    ran = cli("plan", "my", "-C", campaign.folder, env={"PYTHONPATH": str(foreign_package)})
    file = campaign.folder / "my.yaml"
    assert ran.rc == 2
    assert f"{file}:5: sinks.mine: FussySink cannot be made (No module named 'no_such_client')" in ran.stderr
    assert f"{file}:9: restart.restart_policies.0.implementation: FussyPolicy cannot be made (not on a" in ran.stderr
    assert [path.name for path in cli.cwd.iterdir()] == []


@pytest.mark.parametrize("override", ["backend=null", "backend='null'", "backend=command,null"])
def test_null_is_the_name_of_an_option_like_any_other(campaign, override):
    campaign.write("defaults: [bench, _self_]\nproject: {name: my}")
    assert campaign.entries(override)[-1].argv[0] == "echo"
    assert any(entry.argv[1:] == (entry.name,) for entry in campaign.entries(override))


@pytest.mark.parametrize("override", ["ray=off,head", "ray=false,head"])
def test_an_option_off_can_be_swept_where_yaml_reads_it_as_false(campaign, override):
    campaign.root(sweep="axes: {ray: [off, head]}")
    assert [entry.ray.enabled for entry in campaign.entries()] == [False, True]
    assert [entry.ray.enabled for entry in campaign.root().entries(override)] == [False, True]


def test_where_on_is_no_option_it_is_told_how_yaml_reads_yes(campaign):
    problem = campaign.root(sweep="axes: {ray: [yes, head]}").problem()
    assert "my.yaml:5: group 'ray' has no option 'on'; valid: head, off; YAML reads a bare yes, no" in problem


@pytest.mark.parametrize("key", ["slurm/kind", "slurm.kind"])
def test_a_group_in_a_group_is_chosen_by_either_spelling(campaign, key):
    for name in ("one", "two"):
        campaign.write(f"# @package slurm\nsbatch: {{qos: {name}}}\n", f"slurm/kind/{name}")
    campaign.write(
        "defaults: [bench, slurm/kind: one, _self_]\nproject: {name: my}\n"
        "backend: {class_name: CommandBackend, command: [echo]}\n"
        f"sweep: {{axes: {{{key}: [one, two]}}}}\n"
    )
    scripts = campaign.plan().scripts.values()
    assert [f"#SBATCH --qos={name}" in script for name, script in zip(("one", "two"), scripts, strict=True)] == [
        True
    ] * 2


def test_null_as_an_axis_chooses_the_option(campaign):
    campaign.write("defaults: [bench, _self_]\nproject: {name: my}\nsweep: {axes: {backend: [null, command]}}")
    assert [entry.name for entry in campaign.entries()] == ["backendnull", "backendcommand"]


def test_a_group_without_such_an_option_names_those_it_has(campaign):
    problem = campaign.root().problem("slurm=null")
    assert "-o slurm=null: group 'slurm' has no option 'null'; valid: fake," in problem


def test_a_file_of_a_group_may_extend_another_without_naming_its_class(campaign):
    campaign.root().write("defaults: [default, _self_]\ninterval_s: 7.5", "monitoring/mine")
    assert campaign.project("monitoring=mine").monitoring.interval_s == 7.5
