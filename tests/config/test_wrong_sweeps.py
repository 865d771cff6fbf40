"""Sweeps that cannot be meant: exit code 2, one message with file and line, what is wrong and what to do."""

from __future__ import annotations

import pytest

from oellm_bench.cli.main import main

CHAIN = "params: {lr: [1, 2]}\nconfigs: [{stage: a, x: 0}, {stage: b, x: %s}]\nname_template: '{stage}_{lr}_{id}'"

# Declaration, where the message points, what it says. The sweep begins in line 5.
WRONG = {
    "unknown key": ("parms: {lr: [1]}", "5: sweep.parms", ["did you mean 'params'?"]),
    "unknown key of a group": (
        "groups: [{parms: {lr: [1]}}]",
        "5: sweep.groups.0.parms",
        ["unknown key 'parms'", "did you mean 'params'?"],
    ),
    "unknown type": ("type: zip\nparams: {lr: [1]}", "5: sweep.type", ["'zip'", "product", "list"]),
    "unknown type of a group": (
        "groups:\n  - type: zip\n    params: {lr: [1]}",
        "6: sweep.groups.0.type",
        ["'zip'", "product", "list"],
    ),
    "unknown section": ("params: {slrum.array: [true]}", "5: slrum.array", ["did you mean 'slurm'?"]),
    "unknown field": ("configs:\n  - project.timeout: 1", "6: project.timeout", ["did you mean 'timeout_s'?"]),
    "unknown field of a nested mapping": (
        "configs:\n  - project:\n      timeout: 1",
        "7: project.timeout",
        ["did you mean 'timeout_s'?"],
    ),
    "unknown option of sbatch": ("params:\n  slurm.sbatch.nodez: [3]", "6: slurm.sbatch.nodez", ["'nodes'"]),
    "unknown choice of a group": ("configs: [{slurm: lokal}]", "", ["slurm", "did you mean 'local'?"]),
    "value of another type": (
        "groups:\n  - params: {project.timeout_s: [1, soon]}",
        "6: project.timeout_s",
        ["'soon'"],
    ),
    "empty axis": ("params: {lr: []}", "5: lr", ["axis 'lr' has no values"]),
    "empty grid": ("params: {}", "5: sweep.params", ["take params out"]),
    "empty grid of a group": ("groups: [{params: {}}]", "5: sweep.groups.0.params", ["it is empty"]),
    "empty list of configs": ("configs: []", "5: sweep.configs", ["empty"]),
    "empty list of groups": ("groups: []", "5: sweep.groups", ["empty"]),
    "a grid that is a list": ("groups:\n  - params: [1]", "6: sweep.groups.0.params", ["[1] is no mapping"]),
    "configs that are a mapping": ("groups:\n  - configs: {a: 1}", "6: sweep.groups.0.configs", ["is no list"]),
    "configs of values": ("configs: [{lr: 1}, 5]", "5: sweep.configs.1", ["5 is no mapping"]),
    "a group that is a number": ("groups: [{params: {lr: [1]}}, 5]", "5: sweep.groups.1", ["5 is no mapping"]),
    "defaults that are a list": (
        "groups:\n  - {params: {a: [1]}, defaults: [1]}",
        "6: sweep.groups.0.defaults",
        ["[1] is no mapping"],
    ),
    "a key that YAML reads as a number": ("configs: [{1: a}]", "5: sweep.configs.0", ["1 as no text"]),
    "repeated value": ("params: {lr: [1, 2, 1]}", "5: lr", ["the value 1 more than once"]),
    "repeated point": ("configs: [{lr: 1}, {lr: 2}, {lr: 1}]", "", ["points 0 and 2 are the same"]),
    "clash of names": (
        "params: {lr: [1, 2], bs: [3]}\nname_template: bs{bs}",
        "6: sweep.name_template",
        ["two entries would be called 'bs3'", "put {lr} into name_template"],
    ),
    "clash of keys": (
        "groups: [{params: {lr: [1]}}, {configs: [{lr: 2}]}]",
        "4: sweep",
        ["two parts of a product both set 'lr'", "defaults"],
    ),
    "clash of keys with and without dots": (
        "params: {backend.args.n: [1]}\nconfigs: [{backend: {args: {n: 2}}}]",
        "4: sweep",
        ["two parts of a product both set 'backend.args.n'"],
    ),
    "lists that add up and are none": (
        "list_composition: [tags]\nbase_values: {tags: [a]}\nparams: {tags: [b]}",
        "5: sweep.list_composition",
        ["'tags' is 'b', no list"],
    ),
    "a list for a grid": (
        "params: [lr, bs]",
        "5: sweep.params",
        ["['lr', 'bs'] is no mapping; give a mapping, NAME: VALUE"],
    ),
    "a mapping for sets": ("configs: {lr: 1}", "5: sweep.configs", ["{'lr': 1} is no list; give a list, [VALUE, ...]"]),
    "repeat 0": ("params: {lr: [1]}\nrepeat: 0", "6: sweep.repeat", ["give 1 or more"]),
    "a call in a filter": (
        "params: {lr: [1]}\nfilter: \"open('/etc/passwd') != lr\"",
        "6: sweep.filter",
        ["a call", "cannot stand in it", "write names"],
    ),
    "an attribute in a filter": ("params: {lr: [1]}\nfilter: lr.__class__ == 1", "6: sweep.filter", ["__class__"]),
    "a power in a filter": ("params: {lr: [1]}\nfilter: 9 ** 9 > lr", "6: sweep.filter", ["'**'"]),
    "an item in a filter": ("params: {lr: [1]}\nfilter: '[1][0] == lr'", "6: sweep.filter", ["'[1][0]'"]),
    "a filter that cannot be read": ("params: {lr: [1]}\nfilter: lr <", "6: sweep.filter", ["cannot be read"]),
    "a filter that gives a number": (
        "params: {lr: [1]}\nfilter: lr + 1",
        "6: sweep.filter",
        ["it gives 2, neither true nor false"],
    ),
    "a filter of a group that is a number": (
        "groups:\n  - params: {lr: [1]}\n    filter: 3",
        "7: sweep.groups.0.filter",
        ["3 is no filter"],
    ),
    "a filter of an unknown key": (
        "params: {rate: [1]}\nfilter: rat < 2",
        "6: sweep.filter",
        ["'rat' has no value", "did you mean 'rate'?"],
    ),
    "a filter over values of two kinds": ("params: {lr: [1, x]}\nfilter: lr < 2", "6: sweep.filter", ["'lr < 2'"]),
    "a filter that leaves nothing": ("params: {lr: [1, 2]}\nfilter: lr > 2", "6: sweep.filter", ["all 2 points"]),
    "a filter that is false": ("params: {lr: [1]}\nfilter: false", "6: sweep.filter", ["leaves nothing"]),
    "a reference to a stage that is not there": (
        CHAIN % '"${sibling:stabel.lr}"',
        "6: x",
        ["stage 'b' refers to stage 'stabel', which no entry has"],
    ),
    "a reference that no entry fits": (
        "type: list\ngroups:\n  - {configs: [{stage: a}], params: {lr: [1]}}\n"
        "  - {configs: [{stage: b, x: '${sibling:a.name}'}], params: {lr: [1, 2]}}",
        "8: x",
        ["stage 'b' (lr=2", "no entry of that stage has the same values of what both sweep"],
    ),
    "a reference that several entries fit": (
        "type: list\ngroups:\n  - {configs: [{stage: a}], params: {lr: [1], seed: [7, 8, 9]}}\n"
        "  - {configs: [{stage: b, x: '${sibling:a.name}'}], params: {lr: [1]}}",
        "8: x",
        ["3 entries fit", "seed=7", "seed=8", "and 1 more"],
    ),
    "stages that refer to each other": (
        "configs:\n  - {stage: a, x: '${sibling:b.name}'}\n  - {stage: b, x: '${sibling:a.name}'}",
        "6: x",
        ["in a circle", "a -> b -> a"],
    ),
    "a stage that refers to itself": (
        "configs: [{stage: a, x: '${sibling:a.name}'}]",
        "5: x",
        ["stage 'a' refers to itself"],
    ),
    "a reference without a field": (CHAIN % '"${sibling:a}"', "6: x", ["STAGE.FIELD"]),
    "a reference to a field that is not there": (
        CHAIN % '"${sibling:a.output_dri}"',
        "6: x",
        ["did you mean 'output_dir'?"],
    ),
    "a kind of waiting that is not there": (
        f"{CHAIN % 1}\nsiblings: sometimes",
        "8: sweep.siblings",
        ["'sometimes'", "afterok"],
    ),
    "a key that is there twice": (
        "params: {lr: [1]}\nparams: {bs: [2]}",
        "6: found duplicate key params",
        ["keep one of the two"],
    ),
    "an interpolation that cannot be read": (
        "params:\n  lr:\n    - 1\n    - ${a b}",
        "8: sweep.params.lr.1",
        ["an interpolation cannot be read", "' b'"],
    ),
    "an interpolation of nothing": ("params: {lr: ['${backend.args.gone}']}", "5: ", ["backend.args.gone"]),
}


@pytest.mark.parametrize(("sweep", "where", "expected"), WRONG.values(), ids=WRONG.keys())
def test_one_message_tells_what_is_wrong_where_and_what_to_do(campaign, capsys, sweep, where, expected):
    campaign.root(sweep=sweep)
    code = main(["plan", "my", "-C", str(campaign.folder), "--output", str(campaign.out)])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    (message,) = err.splitlines()
    assert f"my.yaml:{where}" in message or not where
    assert [text for text in expected if text not in message] == []
    assert not campaign.out.exists()
