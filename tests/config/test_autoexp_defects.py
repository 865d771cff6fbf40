"""What an earlier auto-experimentation tool got wrong: where each is shown to go right here.

In this file: keys that were read and had no effect (`resume`, `test_only`, `max_jobs`, a rate limit, `max_retries`
beside a policy, `extra_env`), arithmetic that made 0 of an error, points resolved before they were filtered, Hydra
patched inside. Paths are below tests/.

Its first release
    an array's index in quotes, no mapping of tasks:
        rendering/test_golden_scripts.py::test_an_array_task_runs_exactly_its_entry,
        cli/test_plan.py::test_an_array_task_run_by_bash_runs_exactly_its_entry
    a resumed array ran other entries:
        system/test_autoexp_backend_defects.py::test_tasks_of_what_was_submitted_later_...
    a restarted task ran as a plain job: system/test_campaigns.py::test_an_array_runs_each_task_and_restarts_only_...
    no --array, no task in log names: conformance/test_scheduler.py::test_array_has_a_row_for_each_task; what a job
        says lies in its attempt's folder, which no other task has
        (test_sweep_defects.py::test_entries_of_a_sweep_shared_...)
    an entry that was given up kept `submit` for ever:
        system/test_campaigns.py::test_no_restart_policy_stops_with_its_message
    a simulated cluster where nothing went on, a monitor without logs that left at once: all of
        system/test_campaigns.py, system/test_autoexp_backend_defects.py::test_the_word_error_is_no_failure_...
    a job that squeue had forgotten was run again: races/test_races_accounting.py::test_race_16_..., test_race_04_...
    the whole state written for each job: watching/test_costs_of_a_look.py
    state torn or unreadable, all submitted again: system/test_kill.py,
        system/test_concurrency.py::test_a_torn_last_line_..., test_a_journal_that_is_gone_is_not_taken_for_no_jobs,
        unit/test_fileio.py::test_a_full_disk_leaves_what_was_there_...
    logs read anew, old signals seen again: system/test_kill.py::test_monitor_killed_at_random_points (each signal and
        action once), unit/test_log_tail.py::test_every_line_is_read_once, test_an_idle_file_is_not_even_opened
    the word `error` was a crash: system/test_autoexp_backend_defects.py::test_the_word_error_is_no_failure_...,
        unit/test_signatures.py::test_ordinary_lines_are_no_cause
    a command whose exit code meant the opposite, had no limit and held the monitor up:
        unit/test_conditions.py::test_a_command_is_run_beside_the_caller, test_what_is_not_known_yet_...,
        test_a_command_that_takes_too_long_...
    `{checkpoint_path}` without a value: unit/test_signals.py::test_the_path_of_a_checkpoint_is_its_checkpoint_path,
        recipes/test_errors_and_signals.py::test_recipe_6_...
    dotted names in templates: test_sweep_defects.py::test_a_template_could_not_name_a_key_with_dots
    a packaged choice that could not be planned, `null` among them:
        test_composition.py::test_every_packaged_option_can_be_planned,
        test_null_is_the_name_of_an_option_like_any_other; experiments/test_experiments.py
    variables as shell code: system/test_autoexp_backend_defects.py::test_a_line_may_hold_any_quote_...; values made
        texts: test_sweep_defects.py::test_every_entry_of_a_sweep_can_be_read_back
    one restart too few, budgets without effect, no more time:
        unit/test_failures.py::test_two_retries_are_two_restarts, test_the_budget_of_a_mode_is_its_own;
        system/test_campaigns.py::test_adjust_time_limit_..., test_selective_policy_...

Configuration and sweeps
    variables that were never read: test_composition.py::test_every_missing_variable_is_named_...,
        test_shell_spelling_...
    limits without effect: unit/test_exactly_once.py::test_no_more_than_max_submit_...,
        unit/test_slurm_calls.py::test_calls_of_all_processes_come_out_of_one_budget,
        embedded/test_queue.py::test_throttle_shows_as_the_reason_...
    `srun`, passing on variables, `array`: planning/test_order_and_launchers.py::test_srun_and_its_options_come_first,
        test_apptainer_gets_the_environment_...; system/test_campaigns.py::test_an_array_runs_each_task_...
    `nodez`, `False` in a directive: test_sweep_defects.py::test_a_wrong_option_of_sbatch_...;
        rendering/test_directives.py
    one folder for all entries: test_sweep_defects.py::test_entries_of_a_sweep_shared_a_folder_and_a_log
    containers that were read only: unit/test_launchers.py, planning/test_torch_backends.py,
        system/test_containers.py. Conda and venv are no launchers here (`slurm.setup`, `slurm.python`); no variable
        has to be said twice
    the composed configuration was not kept:
        cli/test_plan.py::test_the_folder_holds_the_plan_the_scripts_and_the_configuration
    duplicate keys, Python in YAML, in filters: test_sweep_defects.py::test_the_last_of_two_equal_keys_won,
        ..._was_run
    no constraints, no stages, an index by order: test_sweep_declarations.py, test_stages.py, test_sweep_identities.py
    values as texts of overrides, an identity by index, filters left out, references escaped twice, the first of
        several, whole configurations in a second stage, names and scripts given twice: test_sweep_defects.py. None:
        test_wrong_sweeps.py
    a composition for each point: test_sweep_points.py::test_hydra_composes_once_however_many_points_there_are

Backends
    a text for a command: planning/test_commands.py,
        system/test_autoexp_backend_defects.py::test_a_line_may_hold_any_quote_...
    `validate` never called: test_composition.py::test_validate_of_another_packages_backend_is_called_by_plan,
        system/test_autoexp_backend_defects.py::test_what_a_backend_refuses_is_not_submitted
    two lists of imports: test_composition.py::test_a_backend_of_another_package_is_found_by_entry_point,
        recipes/test_own_backend.py
    a table read for --help: megatron/test_megatron_backend.py::test_help_reaches_nothing_of_the_table
    a check that checked nothing:
        megatron/test_flags.py::test_what_megatron_could_not_read_is_refused_and_never_dropped,
        megatron/test_megatron_backend.py::test_everything_that_is_wrong_is_told_at_once_with_its_line
    lr and eval_interval had to be there:
        test_composition.py::test_every_packaged_option_can_be_planned[backend=megatron]
    a file written by a dry run: system/test_autoexp_backend_defects.py::test_a_dry_run_writes_nothing_for_the_command
    what follows a run was lost with the monitor: system/test_kill.py (actions), system/test_stages_run.py (entries);
        ran in a shell: system/test_campaigns.py::test_an_action_gets_log_text_as_one_argument_and_runs_once; flags of
        containers that nobody asked for: unit/test_launchers.py
    data that nobody looked for: system/test_inputs.py, system/test_order.py::test_plan_check_names_the_datasets_...

Megatron's conveniences
    dropped where something was missing:
        megatron/test_conveniences.py::test_what_cannot_be_worked_out_is_refused_and_never_dropped
    tokens, fractions, WSD: megatron/test_conveniences.py. The decay of the first release rounds down as here
    spellings, lists, true and false, counts, defaults left out:
        megatron/test_flags.py::test_values_are_told_in_megatrons_own_spelling,
        test_what_is_rendered_parses_back_to_the_same_values
    an unknown name dropped, 0 for what is no number: megatron/test_flags.py::test_what_megatron_could_not_read_...
    parameters over the configuration:
        megatron/test_megatron_backend.py::test_a_sweep_of_tokens_and_sizes_is_worked_out_...
"""

from __future__ import annotations

import pytest

NO_EFFECT = {
    "project: {name: my, resume: true}": "3: project.resume: unknown key",
    "slurm: {test_only: true}": "4: slurm.test_only: unknown key",
    "scheduler: {max_jobs: 3}": "4: scheduler: unknown key",
    "slurm: {submit_rate_limit_seconds: 2}": "4: slurm.submit_rate_limit_seconds: unknown key",
    "backend: {class_name: CommandBackend, command: [x], extra_env: {A: b}}": "3: backend.extra_env: unknown key",
    "restart: {restart_policies: [{mode: crash, max_retries: 9}]}": "4: restart.restart_policies.0.max_retries: ",
}


@pytest.mark.parametrize(("text", "said"), NO_EFFECT.items())
def test_keys_without_an_effect_were_read_and_dropped(campaign, text, said):
    assert any(f"my.yaml:{said}" in problem for problem in campaign.root(text).problems())


@pytest.mark.parametrize("call", ["oc.mul:3,x", "oc.timestring:", "oc.len:nothing", "oc.slurmtime:x"])
def test_arithmetic_in_a_configuration_made_0_of_what_it_could_not_reckon(campaign, call):
    said = campaign.root(sweep=f"params:\n  x: ['${{{call}}}']").problem()
    assert "my.yaml:6: x" in said and call.partition(":")[0] in said


def test_points_that_a_filter_takes_out_were_resolved_and_checked_all_the_same(campaign):
    sweep = "params: {project.timeout_s: [1, soon], y: ['${project.timeout_s}']}\nfilter: timeout_s != 'soon'"
    assert campaign.root(sweep=sweep).entry().timeout_s == 1


UNTOUCHED = """
import importlib, pkgutil, sys
import hydra, omegaconf

for package in (hydra, omegaconf):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if "test" not in module.name and "grammar" not in module.name:
            importlib.import_module(module.name)

def code():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("hydra", "omegaconf") and "core_plugins" not in name:  # Hydra loads those twice
            for key, value in vars(module).items():
                if callable(value):
                    found[name, key] = value
                if isinstance(value, type) and value.__module__ == name:
                    found.update({(name, key, part): each for part, each in vars(value).items() if callable(each)})
    return found

before = code()
from oellm_bench.cli.main import main
assert main(sys.argv[1:]) == 0
after = code()
print([key for key in before if after.get(key) is not before[key]])
"""


def test_hydra_was_patched_inside(cli, campaign):
    campaign.root(sweep="params: {x: [1, 2], slurm: [local, fake]}")
    ran = cli.python("-c", UNTOUCHED, "plan", "my", "-C", str(campaign.folder), "--output", str(campaign.out))
    assert ran.rc == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"
