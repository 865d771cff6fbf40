"""The stages of a plan as a graph, and what a terminal shows of it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from oellm_bench.cli.stage_tree import stage_documents, stage_tree
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.resources import Resources
from oellm_bench.stages import is_worth_drawing, stages_of


def plan_of(**waits_for: str) -> Plan:
    """Return a plan of entries `stage__number`, each waiting for those that are named; `__number` has none."""
    entries = []
    for index, (name, others) in enumerate(waits_for.items()):
        stage = name.partition("__")[0]
        entries.append(
            PlannedEntry(
                index=index,
                id=name,
                name=name,
                parameters={"stage": stage} if stage else {},
                argv=("true",),
                timeout_s=1800.0,
                script="s",
                resources=Resources(nodes=2, gpus=8, walltime_s=3600),
                after=tuple(others.split()),
            )
        )
    return Plan(project="p", fingerprint="f", entries=tuple(entries))


CHAIN = plan_of(
    stable__1="", stable__2="", decay__1="stable__1", decay__2="stable__2", decay__3="stable__2", eval__1="decay__3"
)
DIAMOND = plan_of(a__="", b__="a__", c__="a__", d__="b__ c__ a__", other__="")


def drawn(plan: Plan, *, width: int = 80, encoding: str = "utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width, markup=False, highlight=False).print(stage_tree(stages_of(plan)))
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def test_a_chain_is_counted_by_stage_with_costs_and_dependencies():
    assert [
        (d["stage"], d["entries"], d["node_hours"], d["gpu_hours"], d["after"])
        for d in stage_documents(stages_of(CHAIN))
    ] == [
        ("stable", 2, 4.0, 16.0, {}),
        ("decay", 3, 6.0, 24.0, {"stable": 3}),
        ("eval", 1, 2.0, 8.0, {"decay": 1}),
    ]


def test_a_chain_is_drawn_from_its_first_stage_to_its_last():
    assert drawn(CHAIN).splitlines()[1:] == [
        "└── stable: 2 entries, 4 node-hours, 16 GPU-hours",
        "    └── decay: 3 entries, 6 node-hours, 24 GPU-hours",
        "        └── eval: 1 entry, 2 node-hours, 8 GPU-hours",
    ]


def test_a_diamond_and_a_second_root_have_each_stage_once_and_no_dependency_is_lost():
    assert [line.replace(", 2 node-hours, 8 GPU-hours", "") for line in drawn(DIAMOND, width=100).splitlines()[1:]] == [
        "├── a: 1 entry",
        "│   ├── b: 1 entry",
        "│   └── c: 1 entry",
        "│       └── d: 1 entry, also after b and a",
        "└── other: 1 entry",
    ]


def test_stdout_without_utf_8_gets_ascii():
    assert drawn(DIAMOND, encoding="ascii").isascii()


def test_nothing_is_wider_than_the_terminal():
    wide = plan_of(**{f"{'x' * 90}__": "", "b__": f"{'x' * 90}__"})
    assert max(map(len, drawn(wide).splitlines())) <= 80


@pytest.mark.parametrize("plan", [plan_of(a__1="", a__2=""), plan_of(__1="", __2="")])
def test_a_heap_of_entries_is_not_drawn(plan):
    assert not is_worth_drawing(stages_of(plan))


@pytest.mark.parametrize("plan", [plan_of(a__1="", a__2="a__1"), plan_of(a__1="", __2=""), plan_of(__1="", __2="__1")])
def test_stages_and_dependencies_are(plan):
    assert is_worth_drawing(stages_of(plan))


def test_entries_without_a_stage_are_grouped_by_how_many_they_wait_for_one_after_the_other():
    stages = stages_of(plan_of(__1="", __2="", __3="__1 __2", __4="__3", __5="__2"))
    assert [(stage.name, [entry.name for entry in stage.entries], dict(stage.after)) for stage in stages] == [
        ("step 1", ["__1", "__2"], {}),
        ("step 2", ["__3", "__5"], {"step 1": 3}),
        ("step 3", ["__4"], {"step 2": 1}),
    ]


def test_entries_without_a_stage_beside_stages_are_one_group():
    stages = stages_of(plan_of(a__="", __1="a__", __2=""))
    assert [(stage.name, dict(stage.after)) for stage in stages] == [("a", {}), ("step 1", {}), ("step 2", {"a": 1})]
    assert [stage.name for stage in stages_of(plan_of(a__="", __1="", __2=""))] == ["a", "entries without a stage"]


def test_stages_that_wait_for_each_other_and_for_themselves_are_all_there():
    plan = plan_of(a__1="", b__1="a__1", a__2="b__1", b__2="a__2", b__3="b__2")
    assert [(stage.name, dict(stage.after)) for stage in stages_of(plan)] == [
        ("a", {"b": 1}),
        ("b", {"a": 2, "b": 1}),
    ]
    assert "GPU-hours, also after b\n" in drawn(plan) and "GPU-hours, 1 time after itself\n" in drawn(plan)


def test_a_stage_may_be_a_number_and_an_entry_may_wait_for_one_that_is_not_there():
    entry = PlannedEntry(index=0, id="i", name="n", parameters={"stage": 1}, argv=(), timeout_s=1.0, script="")
    other = PlannedEntry(
        index=1, id="j", name="m", parameters={"stage": None}, argv=(), timeout_s=1.0, script="", after=("gone",)
    )
    assert [(stage.name, dict(stage.after)) for stage in stages_of(plan_with(entry, other))] == [
        ("1", {}),
        ("entries without a stage", {}),
    ]


def test_an_entry_that_another_refers_to_comes_before_it_whether_it_is_waited_for_or_not():
    names = {"index": 0, "argv": (), "timeout_s": 1.0, "script": ""}
    first = PlannedEntry(**names, id="i", name="n", parameters={"stage": "a"})
    second = PlannedEntry(**names, id="j", name="m", parameters={"stage": "b"}, siblings={"a": "n"}, after=("i",))
    third = PlannedEntry(**names, id="k", name="o", parameters={"stage": "c"}, siblings={"b": "m", "a": "n"})
    assert [(stage.name, dict(stage.after)) for stage in stages_of(plan_with(first, second, third))] == [
        ("a", {}),
        ("b", {"a": 1}),
        ("c", {"b": 1, "a": 1}),
    ]


def plan_with(*entries: PlannedEntry) -> Plan:
    return Plan(project="p", fingerprint="f", entries=entries)


def test_control_characters_in_a_name_move_no_cursor():
    entry = PlannedEntry(
        index=0, id="i", name="n", parameters={"stage": "a\x1b[2J\nb"}, argv=(), timeout_s=1.0, script=""
    )
    assert "\x1b" not in drawn(plan_with(entry)) and "a [2J b" in drawn(plan_with(entry))


def test_a_chain_of_ten_thousand_is_drawn_within_bounds():
    chain = plan_of(__0="", **{f"_{number}": f"_{number - 1}" for number in range(1, 10_000)})
    assert len(stages_of(chain)) == 10_000
    text = drawn(chain, width=4000).splitlines()
    assert len(text) == 62 and "9940 more" in text[-1]
