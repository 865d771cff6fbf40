"""Declarations of sweeps and the points that a reader of the documentation expects of them, written down by hand.

Names, order, values and their types; none of the lists was made by the program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Case:
    """A sweep, what is beside it in the file and on the command line, and its points: name and parameters.

    `{id}` in a name is the entry's.
    """

    sweep: str
    points: Sequence[tuple[str, Mapping[str, Any]]]
    text: str = ""
    overrides: tuple[str, ...] = ()


CASES = {
    "a grid turns its last key fastest": Case(
        "params: {lr: [1, 2], bs: [8, 16]}",
        [
            ("lr1_bs8", {"lr": 1, "bs": 8}),
            ("lr1_bs16", {"lr": 1, "bs": 16}),
            ("lr2_bs8", {"lr": 2, "bs": 8}),
            ("lr2_bs16", {"lr": 2, "bs": 16}),
        ],
    ),
    "a single value in a grid is a list of one": Case(
        "params: {lr: [1, 2], seed: 7}",
        [("lr1_seed7", {"lr": 1, "seed": 7}), ("lr2_seed7", {"lr": 2, "seed": 7})],
    ),
    "configs are one point each": Case(
        "configs: [{lr: 1, bs: 8}, {lr: 2, bs: 4}]",
        [("lr1_bs8", {"lr": 1, "bs": 8}), ("lr2_bs4", {"lr": 2, "bs": 4})],
    ),
    "a list in configs is a value": Case(
        "configs: [{x: [1, 2]}, {x: [3]}]\nname_template: '{id}'",
        [("{id}", {"x": [1, 2]}), ("{id}", {"x": [3]})],
    ),
    "a grid times configs": Case(
        "params: {seed: [1, 2]}\nconfigs: [{lr: 1, bs: 8}, {lr: 2, bs: 4}]",
        [
            ("seed1_lr1_bs8", {"seed": 1, "lr": 1, "bs": 8}),
            ("seed1_lr2_bs4", {"seed": 1, "lr": 2, "bs": 4}),
            ("seed2_lr1_bs8", {"seed": 2, "lr": 1, "bs": 8}),
            ("seed2_lr2_bs4", {"seed": 2, "lr": 2, "bs": 4}),
        ],
    ),
    "a grid and configs one after the other": Case(
        "type: list\nparams: {lr: [1, 2]}\nconfigs: [{bs: 8}]",
        [("lr1", {"lr": 1}), ("lr2", {"lr": 2}), ("bs8", {"bs": 8})],
    ),
    "groups multiply": Case(
        "groups: [{params: {a: [1, 2]}}, {params: {b: [3, 4]}}]",
        [
            ("a1_b3", {"a": 1, "b": 3}),
            ("a1_b4", {"a": 1, "b": 4}),
            ("a2_b3", {"a": 2, "b": 3}),
            ("a2_b4", {"a": 2, "b": 4}),
        ],
    ),
    "groups of a list follow each other": Case(
        "type: list\ngroups: [{params: {a: [1, 2]}}, {params: {b: [3, 4]}}]",
        [("a1", {"a": 1}), ("a2", {"a": 2}), ("b3", {"b": 3}), ("b4", {"b": 4})],
    ),
    "groups in groups": Case(
        """
        groups:
          - type: list
            groups:
              - params: {a: [1, 2]}
              - configs: [{a: 3, x: 1}]
          - params: {b: [5, 6]}
        """,
        [
            ("a1_b5", {"a": 1, "b": 5}),
            ("a1_b6", {"a": 1, "b": 6}),
            ("a2_b5", {"a": 2, "b": 5}),
            ("a2_b6", {"a": 2, "b": 6}),
            ("a3_x1_b5", {"a": 3, "x": 1, "b": 5}),
            ("a3_x1_b6", {"a": 3, "x": 1, "b": 6}),
        ],
    ),
    "an item of configs that is a group": Case(
        "configs: [{lr: 1}, {params: {lr: [2, 3], w: [0]}}]",
        [("lr1", {"lr": 1}), ("lr2_w0", {"lr": 2, "w": 0}), ("lr3_w0", {"lr": 3, "w": 0})],
    ),
    "inner defaults go over outer ones, values over both": Case(
        """
        type: list
        defaults: {w: 0, s: 1}
        groups:
          - {defaults: {w: 5}, params: {lr: [1]}}
          - {defaults: {w: 5}, configs: [{lr: 2, w: 9}]}
          - {configs: [{lr: 3}]}
        name_template: "lr{lr}_w{w}_s{s}"
        """,
        [
            ("lr1_w5_s1", {"lr": 1, "w": 5, "s": 1}),
            ("lr2_w9_s1", {"lr": 2, "w": 9, "s": 1}),
            ("lr3_w0_s1", {"lr": 3, "w": 0, "s": 1}),
        ],
    ),
    "defaults go over base_values": Case(
        """
        type: list
        base_values: {w: 0, seed: 4}
        groups: [{defaults: {w: 1}, params: {lr: [1]}}, {params: {lr: [2]}}]
        name_template: "lr{lr}_w{w}_seed{seed}"
        """,
        [("lr1_w1_seed4", {"lr": 1, "w": 1, "seed": 4}), ("lr2_w0_seed4", {"lr": 2, "w": 0, "seed": 4})],
    ),
    "base_values alone are one point": Case("base_values: {lr: 1}", [("lr1", {"lr": 1})]),
    "a filter of a grid": Case(
        "params: {lr: [1, 2, 3], bs: [8, 16]}\nfilter: lr * bs <= 24",
        [
            ("lr1_bs8", {"lr": 1, "bs": 8}),
            ("lr1_bs16", {"lr": 1, "bs": 16}),
            ("lr2_bs8", {"lr": 2, "bs": 8}),
            ("lr3_bs8", {"lr": 3, "bs": 8}),
        ],
    ),
    "a filter of configs": Case(
        "configs: [{lr: 1, bs: 8}, {lr: 2, bs: 4}, {lr: 3, bs: 8}]\nfilter: bs == 8",
        [("lr1_bs8", {"lr": 1, "bs": 8}), ("lr3_bs8", {"lr": 3, "bs": 8})],
    ),
    "a filter of a list of groups, and one of a group in it": Case(
        """
        type: list
        groups:
          - {params: {a: [1, 2, 3]}, filter: a != 2}
          - {type: list, configs: [{a: 4}, {a: 5}], filter: a > 4}
          - {params: {a: [6, 9]}}
        filter: a < 9
        """,
        [("a1", {"a": 1}), ("a3", {"a": 3}), ("a5", {"a": 5}), ("a6", {"a": 6})],
    ),
    "a filter of a group sees what multiplies it and what is default": Case(
        """
        defaults: {most: 10}
        groups:
          - {params: {a: [1, 2]}, filter: a * b < most}
          - {params: {b: [4, 5]}}
        name_template: "a{a}_b{b}"
        """,
        [
            ("a1_b4", {"most": 10, "a": 1, "b": 4}),
            ("a1_b5", {"most": 10, "a": 1, "b": 5}),
            ("a2_b4", {"most": 10, "a": 2, "b": 4}),
        ],
    ),
    "a filter over texts, truth and nothing": Case(
        """
        params: {mode: [x, y, z], fast: [true, false], top: [null, 5]}
        filter: "mode in ['x', 'z'] and not fast and (top == null or mode != 'x')"
        """,
        [
            ("modex_fastfalse_topnull", {"mode": "x", "fast": False, "top": None}),
            ("modez_fastfalse_topnull", {"mode": "z", "fast": False, "top": None}),
            ("modez_fastfalse_top5", {"mode": "z", "fast": False, "top": 5}),
        ],
    ),
    "a filter over dotted keys and what follows from them": Case(
        "params: {backend.args.n: [1, 2, 3]}\nfilter: n < 3 and backend.args.twice != 'n2'",
        [("n1", {"backend.args.n": 1})],
        text="backend: {class_name: CommandBackend, command: [echo], args: {n: 0, twice: 'n${.n}'}}",
    ),
    "lists that add up": Case(
        """
        base_values: {tags: [all]}
        list_composition: [tags]
        configs: [{tags: [a]}, {tags: [b, c]}]
        name_template: "{id}"
        """,
        [("{id}", {"tags": ["all", "a"]}), ("{id}", {"tags": ["all", "b", "c"]})],
    ),
    "lists that add up in a product": Case(
        """
        defaults: {tags: [all]}
        list_composition: [tags]
        groups: [{configs: [{tags: [a]}, {tags: [b]}]}, {configs: [{tags: [c], x: 1}, {x: 2}]}]
        name_template: "{id}"
        """,
        [
            ("{id}", {"tags": ["all", "a", "c"], "x": 1}),
            ("{id}", {"tags": ["all", "a"], "x": 2}),
            ("{id}", {"tags": ["all", "b", "c"], "x": 1}),
            ("{id}", {"tags": ["all", "b"], "x": 2}),
        ],
    ),
    "the older form: a mapping of axes beside a grid": Case(
        "axes: {a: [1, 2]}\nparams: {b: [3, 4]}",
        [
            ("a1_b3", {"a": 1, "b": 3}),
            ("a1_b4", {"a": 1, "b": 4}),
            ("a2_b3", {"a": 2, "b": 3}),
            ("a2_b4", {"a": 2, "b": 4}),
        ],
    ),
    "the older form: alternatives with lists in them": Case(
        "axes: [{lr: 1, bs: [2, 3]}, {lr: 5}]\nbase_values: {w: 0}\nname_template: 'lr{lr}_{id}'",
        [
            ("lr1_{id}", {"w": 0, "lr": 1, "bs": 2}),
            ("lr1_{id}", {"w": 0, "lr": 1, "bs": 3}),
            ("lr5_{id}", {"w": 0, "lr": 5}),
        ],
    ),
    "the older form: mappings of one key": Case(
        "axes: [{lr: 1}, {lr: 2}, {bs: 4}]", [("lr1", {"lr": 1}), ("lr2", {"lr": 2}), ("bs4", {"bs": 4})]
    ),
    "mappings below a section are dotted keys": Case(
        "params: {backend: {args: {n: [1, 2], m: 3}}, seed: [0]}\nconfigs: [{slurm: {sbatch: {time: '10'}}}]",
        [
            ("n1_m3_seed0_time10", {"backend.args.n": 1, "backend.args.m": 3, "seed": 0, "slurm.sbatch.time": "10"}),
            ("n2_m3_seed0_time10", {"backend.args.n": 2, "backend.args.m": 3, "seed": 0, "slurm.sbatch.time": "10"}),
        ],
    ),
    "keys of every section": Case(
        """
        params:
          slurm.sbatch.nodes: [1, 2]
          monitoring.inactivity_s: [60.0]
          restart.max_restarts: [3]
        name_template: "nodes{nodes}"
        """,
        [
            ("nodes1", {"slurm.sbatch.nodes": 1, "monitoring.inactivity_s": 60.0, "restart.max_restarts": 3}),
            ("nodes2", {"slurm.sbatch.nodes": 2, "monitoring.inactivity_s": 60.0, "restart.max_restarts": 3}),
        ],
    ),
    "groups of the configuration in a grid and in configs": Case(
        "type: list\nparams: {ray: ['off', head]}\nconfigs: [{ray: head, slurm: local, lr: 1}]",
        [
            ("rayoff", {"ray": "off"}),
            ("rayhead", {"ray": "head"}),
            ("rayhead_slurmlocal_lr1", {"ray": "head", "slurm": "local", "lr": 1}),
        ],
    ),
    "an axis of the command line multiplies": Case(
        "configs: [{lr: 1}, {lr: 2}]",
        [
            ("lr1_seed1", {"lr": 1, "seed": 1}),
            ("lr1_seed2", {"lr": 1, "seed": 2}),
            ("lr2_seed1", {"lr": 2, "seed": 1}),
            ("lr2_seed2", {"lr": 2, "seed": 2}),
        ],
        overrides=("seed=1,2",),
    ),
    "an axis of the command line takes the place of one in a group": Case(
        "groups: [{params: {lr: [1, 2], bs: [3]}}, {params: {w: [4]}}]\nname_template: 'lr{lr}_bs{bs}_w{w}'",
        [("lr7_bs3_w4", {"lr": 7, "bs": 3, "w": 4}), ("lr8_bs3_w4", {"lr": 8, "bs": 3, "w": 4})],
        overrides=("lr=7,8",),
    ),
    "repetitions": Case(
        "configs: [{lr: 1}, {lr: 2}]\nrepeat: 2",
        [
            ("lr1_r1", {"lr": 1, "repetition": 1}),
            ("lr1_r2", {"lr": 1, "repetition": 2}),
            ("lr2_r1", {"lr": 2, "repetition": 1}),
            ("lr2_r2", {"lr": 2, "repetition": 2}),
        ],
    ),
    "stages times a grid": Case(
        """
        params: {lr: [1, 2]}
        configs: [{stage: stable, steps: 10}, {stage: decay, steps: 3}]
        name_template: "{stage}_{lr}"
        """,
        [
            ("stable_1", {"lr": 1, "stage": "stable", "steps": 10}),
            ("decay_1", {"lr": 1, "stage": "decay", "steps": 3}),
            ("stable_2", {"lr": 2, "stage": "stable", "steps": 10}),
            ("decay_2", {"lr": 2, "stage": "decay", "steps": 3}),
        ],
    ),
    "values of the entry of another stage keep their types": Case(
        """
        params: {lr: [0.5, 1]}
        configs: [{stage: a, steps: 10}, {stage: b, begin: "${sibling:a.steps}", said: "from ${sibling:a.lr}"}]
        name_template: "{stage}_{lr}"
        """,
        [
            ("a_0.5", {"lr": 0.5, "stage": "a", "steps": 10}),
            ("b_0.5", {"lr": 0.5, "stage": "b", "begin": 10, "said": "from 0.5"}),
            ("a_1", {"lr": 1, "stage": "a", "steps": 10}),
            ("b_1", {"lr": 1, "stage": "b", "begin": 10, "said": "from 1"}),
        ],
    ),
    "texts that look like numbers, lists and mappings": Case(
        """params: {v: ["1e3", 1e3, "007", 7, 7.0, "c,d", "[a]", "{b}", true, "true", null, "null"]}
name_template: "{id}"
""",
        [
            ("{id}", {"v": value})
            for value in ("1e3", 1000.0, "007", 7, 7.0, "c,d", "[a]", "{b}", True, "true", None, "null")
        ],
    ),
    "letters of all kinds": Case(
        """params: {v: ["ü", "a b", "", "x/y", "-", "$HOME", "it's"]}""",
        [
            ("v-{id}", {"v": "ü"}),
            ("va-b-{id}", {"v": "a b"}),
            ("v", {"v": ""}),
            ("vx-y-{id}", {"v": "x/y"}),
            ("v-", {"v": "-"}),
            ("v-HOME-{id}", {"v": "$HOME"}),
            ("vit-s-{id}", {"v": "it's"}),
        ],
    ),
    "a mapping below a key that is no section is a value": Case(
        "params: {opt: [{name: adam, eps: 1.0e-8}, {name: sgd}]}\nname_template: '{id}'",
        [("{id}", {"opt": {"name": "adam", "eps": 1e-8}}), ("{id}", {"opt": {"name": "sgd"}})],
    ),
    "names by the end of a dotted key": Case(
        "params: {backend.args.lr: [1.0e-4, 5.0e-5]}\nname_template: 'lr{lr}_{backend.args.lr}'",
        [("lr0.0001_0.0001", {"backend.args.lr": 1e-4}), ("lr5e-05_5e-05", {"backend.args.lr": 5e-5})],
    ),
}


def test_names_without_a_template_begin_with_the_stage_and_leave_out_what_it_says(campaign):
    campaign.root(
        sweep="""
        params: {lr: [1, 2]}
        configs:
          - {stage: a, opt: {x: 1}}
          - {stage: b, load: "${sibling:a.output_dir}/x"}
        """
    )
    assert [entry.name for entry in campaign.entries()] == ["a_lr1", "b_lr1", "a_lr2", "b_lr2"]


def typed(value: Any) -> Any:
    """Return a value that differs from that of another type, whatever the order of keys."""
    if isinstance(value, Mapping):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [typed(item) for item in value]
    return type(value).__name__, value


def plan_of(campaign, case: Case):
    return campaign.root(case.text, sweep=case.sweep).entries(*case.overrides)


def test_there_are_thirty_declarations_at_least():
    assert len(CASES) >= 30


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_points_of_a_declaration(campaign, case):
    entries = plan_of(campaign, case)
    assert [entry.index for entry in entries] == [*range(len(case.points))]
    assert [typed(entry.parameters) for entry in entries] == [typed(values) for _, values in case.points]
    names = [name.replace("{id}", entry.id) for entry, (name, _) in zip(entries, case.points, strict=True)]
    assert [entry.name for entry in entries] == names
    assert len({entry.id for entry in entries}) == len(entries)
