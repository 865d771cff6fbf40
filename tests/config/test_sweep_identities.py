"""What an entry is known by does not depend on how the sweep around it is written."""

from __future__ import annotations

import pytest

TEMPLATE = "name_template: 'e{a}_{b}'"

# Two declarations, of which the second says no less than the first.
SAME = {
    "a value more in a grid": ("params: {a: [1, 2], b: [3]}", "params: {a: [0, 1, 2], b: [9, 3]}"),
    "a set more, in front": ("configs: [{a: 1, b: 2}]", "configs: [{a: 5, b: 2}, {a: 1, b: 2}]"),
    "keys the other way round": ("params: {a: [1, 2], b: [3, 4]}", "params: {b: [4, 3], a: [2, 1]}"),
    "the older form": ("axes: {a: [1, 2], b: [3]}", "params: {a: [1, 2], b: [3]}"),
    "alternatives instead of a grid": (
        "axes: [{a: 1, b: [3, 4]}]",
        "type: list\ngroups: [{configs: [{a: 1, b: 3}]}, {configs: [{a: 1, b: 4}]}]",
    ),
    "groups the other way round": (
        "groups: [{params: {a: [1, 2]}}, {params: {b: [3]}}]",
        "groups: [{params: {b: [3]}}, {params: {a: [1, 2]}}]",
    ),
    "a group more in a list": (
        "type: list\ngroups: [{params: {a: [1], b: [3]}}]",
        "type: list\ngroups: [{params: {a: [7], b: [7]}}, {params: {a: [1], b: [3]}}]",
    ),
    "defaults instead of values": ("configs: [{a: 1, b: 2}]", "defaults: {b: 2}\nconfigs: [{a: 1}]"),
    "base_values instead of defaults": ("defaults: {b: 2}\nparams: {a: [1]}", "base_values: {b: 2}\nparams: {a: [1]}"),
    "a filter less": ("params: {a: [1, 2], b: [3]}\nfilter: a == 2", "params: {a: [1, 2], b: [3]}"),
    "a stage more": (
        "params: {a: [1, 2]}\nconfigs: [{stage: x, b: 1}]",
        "params: {a: [1, 2]}\nconfigs: [{stage: x, b: 1}, {stage: y, b: '${sibling:x.name}'}]",
    ),
}


def known_by(entries):
    return {repr(sorted(entry.parameters.items())): (entry.id, entry.name) for entry in entries}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME.keys())
def test_an_entry_that_stays_keeps_its_id_and_its_name(campaign, one, other):
    before = known_by(campaign.root(sweep=f"{one}\n{TEMPLATE}").entries())
    after = known_by(campaign.root(sweep=f"{other}\n{TEMPLATE}").entries())
    assert before.items() <= after.items() and before


def test_dotted_keys_and_nested_ones_make_the_same_entries(campaign):
    dotted = campaign.root(sweep="params: {backend.args.n: [1, 2]}").entries()
    nested = campaign.root(sweep="params: {backend: {args: {n: [1, 2]}}}").entries()
    assert [(entry.id, entry.name, entry.argv) for entry in dotted] == [
        (entry.id, entry.name, entry.argv) for entry in nested
    ]
    assert [entry.argv for entry in dotted] == [("echo", "hello", "--n", "1"), ("echo", "hello", "--n", "2")]


def test_values_that_look_the_same_and_differ_in_type_are_different_entries(campaign):
    entries = campaign.root(sweep="params: {a: [1, '1', 1.0, true, 'true']}\nname_template: '{id}'").entries()
    assert len({entry.id for entry in entries}) == 5


def test_indices_stay_when_stages_come_in_between(campaign):
    template = "name_template: '{stage}{lr}'"
    first = campaign.root(sweep=f"params: {{lr: [1, 2]}}\nconfigs: [{{stage: a}}]\n{template}").entries()
    sweep = f"params: {{lr: [1, 2]}}\nconfigs: [{{stage: a}}, {{stage: b}}]\n{template}"
    again = campaign.root(sweep=sweep).plan(previous={entry.id: entry.index for entry in first}).plan.entries
    assert [(entry.index, entry.name) for entry in again] == [(0, "a1"), (1, "a2"), (2, "b1"), (3, "b2")]
