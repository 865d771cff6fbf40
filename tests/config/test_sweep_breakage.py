"""Sweeps that went wrong without a word: interpolations, stages and plug-ins that meet each other."""

from __future__ import annotations

import resource
import time

import pytest

from oellm_bench.errors import ConfigError


def test_what_follows_a_swept_key_follows_an_interpolated_value_of_it_too(campaign):
    campaign.root(
        """
        slurm: {environment: {E: base}}
        backend: {class_name: CommandBackend, command: [echo, "${slurm.environment.E}"]}
        """,
        sweep="  axes: {slurm.environment.E: [b, '${project.name}']}\n",
    )
    assert [entry.argv for entry in campaign.entries()] == [("echo", "b"), ("echo", "my")]


def test_what_follows_a_key_follows_a_siblings_value_of_it_too(campaign):
    campaign.root(
        """
        slurm: {environment: {E: base}}
        backend: {class_name: CommandBackend, command: [echo, "${slurm.environment.E}"]}
        """,
        sweep="""\
  configs:
    - {stage: a, n: 4}
    - {stage: b, slurm.environment.E: "${sibling:a.n}"}
""",
    )
    assert campaign.entries()[1].argv == ("echo", "4")


def test_a_siblings_value_in_a_whole_plugin_reaches_the_command(campaign):
    campaign.root(
        sweep="""\
  configs:
    - {stage: a, lr: 3}
    - stage: b
      backend: {class_name: CommandBackend, command: [echo, "${sibling:a.lr}"]}
"""
    )
    assert campaign.entries()[1].argv == ("echo", "3")


def test_a_siblings_folder_in_a_whole_container_is_refused_as_in_its_key(campaign):
    campaign.root(
        sweep="""\
  configs:
    - {stage: a}
    - stage: b
      container: {class_name: ApptainerLauncher, image: "${sibling:a.output_dir}/x.sif"}
"""
    )
    with pytest.raises(ConfigError, match="read before the session begins"):
        campaign.plan()


def test_a_sibling_named_by_another_value_is_found_or_refused_and_never_written_as_a_mark(campaign):
    campaign.root(
        sweep="""\
  configs:
    - {stage: a, n: 5}
    - {stage: b, which: a, m: "${sibling:${which}.n}"}
"""
    )
    assert campaign.entries()[1].parameters["m"] == 5


@pytest.mark.parametrize("reference", ["${paths[data]}", "${paths.data}"])
def test_an_interpolation_in_brackets_follows_a_sweep_too(campaign, reference):
    campaign.root(
        f"paths: {{data: /d}}\nslurm: {{environment: {{OUT: '{reference}'}}}}\n", sweep="  axes: {paths.data: [p, q]}\n"
    )
    assert [entry.environment["OUT"] for entry in campaign.entries()] == ["p", "q"]


def test_what_refers_into_a_plugin_follows_the_plugin_that_a_point_has(campaign):
    campaign.root(
        """
        slurm: {environment: {OUT: "${backend.cwd}"}}
        backend: {class_name: CommandBackend, command: [echo], cwd: /old}
        """,
        sweep="  configs: [{backend: {class_name: CommandBackend, command: [echo], cwd: /new}}]\n",
    )
    assert campaign.entry().environment["OUT"] == "/new"


def test_what_stands_beside_a_stage_is_not_compared_in_a_group_of_one_set_either(campaign):
    campaign.root(
        sweep="""\
  groups:
    - type: list
      groups:
        - configs: [{stage: stable, steps: 1000}]
        - params: {length: [10, 20]}
          configs: [{stage: decay, steps: 200, begin: "${sibling:stable.name}"}]
"""
    )
    assert [dict(entry.siblings) for entry in campaign.entries()][1:] == [{"stable": "stable"}] * 2


def test_points_that_are_listed_one_by_one_find_theirs_in_configs_as_in_axes(campaign):
    points = """\
    - {stage: a, x: 1}
    - {stage: a, x: 2}
    - {stage: b, x: 1, y: "${sibling:a.output_dir}"}
    - {stage: b, x: 2, y: "${sibling:a.output_dir}"}
"""
    found = []
    for form in ("axes", "configs"):
        campaign.root(sweep=f"  {form}:\n{points}")
        found.append([dict(entry.siblings) for entry in campaign.entries()])
    assert found[0] == found[1]


def test_a_thousand_interpolated_values_cost_no_copy_of_the_configuration_each(campaign):
    values = ", ".join(f"'${{project.name}}/file{number}'" for number in range(300))
    campaign.root(
        "backend: {class_name: CommandBackend, command: [cat, '{f}']}\n",
        sweep=f"  axes: {{f: [{values}]}}\n  name_template: 'e{{id}}'\n",
    )
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    campaign.plan()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 << 10  # KiB
    assert time.process_time() - start < 5


@pytest.mark.parametrize("text", ["n is 1000", "s is 'ab c'"])
def test_is_compares_values_or_is_refused(campaign, text):
    """Which objects Python keeps once is nobody's business: `n is 5` holds, `n is 1000` never does."""
    campaign.root(sweep=f'  axes: {{n: [1000, 5], s: ["ab c", d]}}\n  filter: "{text}"\n')
    try:
        assert len(campaign.entries()) == 2
    except ConfigError as err:
        assert "filters take out all" not in str(err)


def test_a_filter_does_not_take_one_key_for_another(campaign):
    campaign.root(sweep="  axes: {a-b: [1, 2], a_b: [3, 4]}\n  filter: a_b == 3\n")
    assert len(campaign.entries()) == 2
    campaign.root(sweep="  axes: {a_b: [3, 4], a-b: [1, 2]}\n  filter: a_b == 3\n")
    assert len(campaign.entries()) == 2


def test_doubled_braces_are_no_reference(campaign):
    campaign.root("backend: {class_name: CommandBackend, command: [echo, '{{sibling:x.name}}']}\n")
    assert campaign.entry().argv == ("echo", "{sibling:x.name}")


def test_a_stage_is_called_as_it_is_written(campaign):
    campaign.root(
        sweep="""\
  configs:
    - {stage: true}
    - {stage: b, begin: "${sibling:true.name}"}
"""
    )
    assert dict(campaign.entries()[1].siblings) == {"true": "true"}


def test_any_key_of_the_configuration_has_a_value_for_siblings_and_filters(campaign):
    campaign.root(
        sweep="""\
  configs:
    - {stage: a}
    - {stage: b, t: "${sibling:a.project.merge_output}"}
  filter: project.merge_output == false
"""
    )
    assert campaign.entries()[1].parameters["t"] is False


@pytest.mark.parametrize("monitoring", ["monitoring: null", "monitoring: {start_conditions: 5}"])
def test_wrong_monitoring_beside_sibling_conditions_is_a_problem(campaign, monitoring):
    campaign.root(
        f"{monitoring}\n",
        sweep="""\
  siblings: condition
  configs:
    - {stage: a}
    - {stage: b, begin: "${sibling:a.name}"}
""",
    )
    with pytest.raises(ConfigError):
        campaign.plan()


def test_a_long_chain_that_is_written_backwards_is_planned_or_refused(campaign):
    lines = [
        f'    - {{stage: s{n}, w: "{{sibling:s{n - 1}.name}}"}}\n' if n else "    - {stage: s0}\n" for n in range(700)
    ]
    campaign.root(sweep="  configs:\n" + "".join(reversed(lines)))
    try:
        assert len(campaign.entries()) == 700
    except ConfigError:
        pass


def test_a_placeholder_in_a_siblings_value_is_the_siblings(campaign):
    """Else `decay` loads from its own empty folder, and a training begins anew without a word."""
    campaign.root(
        sweep="""\
  configs:
    - {stage: stable, backend.args.save: "{session_entry_dir}/checkpoints"}
    - {stage: decay, backend.args.load: "${sibling:stable.backend.args.save}"}
  name_template: "{stage}"
"""
    )
    try:
        (load,) = (word for word in campaign.entries()[1].argv if word.endswith("/checkpoints"))
    except ConfigError:
        return  # refused is as good
    assert load.endswith("/entries/stable/checkpoints")
