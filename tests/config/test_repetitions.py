"""Points that are run several times, and requirements as the configuration has them."""

from __future__ import annotations


def names(entries):
    return [entry.name for entry in entries]


def test_each_point_is_run_as_often_as_asked(campaign):
    campaign.root(sweep="axes: {lr: [1, 2]}\nrepeat: 2\n")
    entries = campaign.entries()
    assert names(entries) == ["lr1_r1", "lr1_r2", "lr2_r1", "lr2_r2"]
    assert [entry.group for entry in entries] == ["lr1", "lr1", "lr2", "lr2"]
    assert [entry.parameters for entry in entries[:2]] == [{"lr": 1, "repetition": 1}, {"lr": 1, "repetition": 2}]
    assert len({entry.id for entry in entries}) == 4


def test_once_changes_nothing(campaign):
    campaign.root(sweep="axes: {lr: [1, 2]}\n")
    plain = campaign.plan()
    once = campaign.plan("sweep.repeat=1")
    assert [entry.id for entry in once.plan.entries] == [entry.id for entry in plain.plan.entries]
    assert once.plan.fingerprint == plain.plan.fingerprint
    assert names(plain.plan.entries) == [entry.group for entry in plain.plan.entries] == ["lr1", "lr2"]


def test_a_group_is_called_like_the_entry_that_is_not_repeated(campaign):
    """So that a session of five repetitions is comparable with one of a single run."""
    campaign.root(sweep="axes: {note: ['a b', c]}\n")
    alone = names(campaign.entries())
    repeated = campaign.entries("sweep.repeat=3")
    assert list(dict.fromkeys(entry.group for entry in repeated)) == alone


def test_a_single_entry_is_repeated_too(campaign):
    campaign.root(sweep="repeat: 3\n")
    assert names(campaign.entries()) == ["my_r1", "my_r2", "my_r3"]


def test_the_template_may_place_the_number(campaign):
    campaign.root(sweep="axes: {lr: [1]}\nrepeat: 2\nname_template: 'run{repetition}_lr{lr}'\n")
    entries = campaign.entries()
    assert names(entries) == ["run1_lr1", "run2_lr1"]
    assert {entry.group for entry in entries} == {"lr1"}


def test_commands_may_use_the_number(campaign):
    campaign.root("backend: {class_name: CommandBackend, command: [echo, '{repetition}']}\n", sweep="repeat: 2\n")
    assert [entry.argv[-1] for entry in campaign.entries()] == ["1", "2"]


def test_no_repetition_at_all_is_refused(campaign):
    campaign.root(sweep="repeat: 0\n")
    assert "repeat: 0 leaves nothing to run" in campaign.problem()
    assert "my.yaml:" in campaign.problem()


def test_an_axis_of_that_name_is_refused(campaign):
    campaign.root(sweep="axes: {repetition: [1, 2]}\nrepeat: 2\n")
    assert "has an axis 'repetition'" in campaign.problem()


def test_a_reference_is_read_as_list_and_as_text(campaign):
    campaign.root(
        """
        requirements:
          - {metric: m, reference: [1130, -5 %, +5 %, rows/s]}
          - {metric: m, reference: "1130, -5 %, +5 %, rows/s"}
        """
    )
    first, second = campaign.entry().requirements
    assert first.reference == [1130, "-5 %", "+5 %", "rows/s"]
    assert second.reference == "1130, -5 %, +5 %, rows/s"


def test_an_unknown_key_of_a_requirement_is_refused_with_the_nearest(campaign):
    campaign.root("requirements:\n  - {metric: m, min_val: 3}\n")
    assert "unknown key 'min_val'" in campaign.problem() and "did you mean 'min_value'?" in campaign.problem()


def test_a_contradiction_is_told_with_its_line(campaign):
    campaign.root("requirements:\n  - {metric: m, reference: [1130, +5 %, null]}\n")
    assert "my.yaml:" in campaign.problem() and "lower bound '+5 %'" in campaign.problem()


def test_rules_for_metrics_are_checked(campaign):
    campaign.root("metrics: {'*_s': {direction: up}}\n")
    assert "'up' is not" in campaign.problem() and "my.yaml:" in campaign.problem()
    campaign.root("metrics: {'*_s': {min_effect: lots}}\n")
    assert "'lots' is no share of a value" in campaign.problem()


def test_one_entry_of_a_sweep_may_be_expected_to_fail(campaign):
    campaign.root(sweep="axes: [{size: 1}, {size: 2, project.expected_failure: why}]\nname_template: 's{size}'\n")
    assert {entry.name: entry.expected_failure for entry in campaign.entries()} == {"s1": "", "s2": "why"}


def test_entries_may_wait_for_all_repetitions(campaign):
    campaign.root(
        "slurm: {after: []}\n",
        sweep="axes: [{step: a}, {step: b, slurm.after: 'a_r*'}]\nrepeat: 2\nname_template: '{step}'\n",
    )
    by_name = {entry.name: entry for entry in campaign.entries()}
    first = {by_name["a_r1"].id, by_name["a_r2"].id}
    assert set(by_name["b_r1"].after) == set(by_name["b_r2"].after) == first
