"""The part of a backend that says how restarts go on, from the configuration to the plan and back."""

from __future__ import annotations

import pytest

from oellm_bench.core.plan import read_entry, to_text
from oellm_bench.core.resume import Resume

BACKEND = """
    backend:
      class_name: CommandBackend
      command: {command}
      resume: {{checkpoints: "{checkpoints}", arguments: {arguments}}}
"""


def planned(campaign, checkpoints="ckpt/{lr}/iter_*", arguments="{load: '{checkpoint}'}", command="[train]"):
    return campaign.root(
        BACKEND.format(command=command, checkpoints=checkpoints, arguments=arguments), sweep="axes: {lr: ['a*']}"
    )


def test_all_is_filled_in_but_the_checkpoint(campaign, tmp_path):
    entry = planned(campaign).entry()
    assert entry.resume is not None
    assert entry.resume.arguments == ("--load", "{checkpoint}")
    assert entry.resume.pattern.endswith("/ckpt/a[*]/iter_*")
    assert entry.resume.pattern.startswith("/")
    assert entry.resume.arguments_for("/x y") == ("--load", "/x y")


def test_the_number_of_the_checkpoint_and_the_tracker_are_of_the_job(campaign):
    resume = "{checkpoints: 'c/iter_*', tracker: latest.txt, arguments: ['--step={checkpoint_iteration}']}"
    entry = campaign.root(f"backend: {{class_name: CommandBackend, command: [train], resume: {resume}}}").entry()
    assert entry.resume is not None and entry.resume.tracker == "latest.txt"
    assert entry.resume.resumed(entry.argv, "/c/iter_0000012") == ("train", "--step=12")


def test_a_line_for_bash_gets_them_as_its_arguments(campaign):
    entry = planned(campaign, command="'train \"$@\"'").entry()
    assert entry.argv == ("bash", "-c", 'train "$@"', "bash")


def test_it_outlives_the_plan_on_disk(campaign, tmp_path):
    plan = planned(campaign).plan().plan
    (tmp_path / "sweep.json").write_text(to_text(plan))
    assert read_entry(tmp_path / "sweep.json", index=0).resume == plan.entries[0].resume
    assert isinstance(plan.entries[0].resume, Resume)


def test_an_entry_that_can_be_resumed_is_the_same_entry(campaign):
    without = campaign.root("backend: {class_name: CommandBackend, command: [train]}").entry().id
    with_it = campaign.root(BACKEND.format(command="[train]", checkpoints="x", arguments="[a]")).entry().id
    assert with_it == without


@pytest.mark.parametrize(
    ("resume", "said"),
    [
        ("{arguments: {load: '{checkpoint}'}}", "nothing says where checkpoints are"),
        ("{checkpoints: x, arguments: [[1]]}", "not a single value"),
        ("{checkpoints: x, complete: ../y}", "is not in a checkpoint's folder"),
        ("{checkpoints: x, tracker: ../y}", "is not beside the checkpoints"),
        ("{checkpoints: '{nothing}'}", "{nothing} has no value"),
        ("{checkpoint: x}", "unknown key 'checkpoint'"),
    ],
)
def test_what_cannot_work_is_refused(campaign, resume, said):
    text = f"backend: {{class_name: CommandBackend, command: [train], resume: {resume}}}"
    assert said in campaign.root(text).problem()
