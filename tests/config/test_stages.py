"""Sweeps with stages: which entry refers to which, what it gets from it, and in which order they run."""

from __future__ import annotations

COMMAND = "backend: {class_name: CommandBackend, command: [train, '{lr}'], args: {iters: 5}}"
CHAIN = """
params: {lr: [0.1, 0.2]}
configs:
  - {stage: stable, backend.args.iters: 100}
  - stage: decay
    backend.args: {iters: "${sibling:stable.backend.args.iters}", load: "${sibling:stable.output_dir}/ckpt"}
"""


def chain(campaign, *overrides, sweep=CHAIN):
    return campaign.root(COMMAND, sweep=sweep).plan(*overrides).plan.entries


def test_a_stage_refers_to_the_entry_before_it_with_the_same_values(campaign):
    stable, decay, other_stable, other_decay = chain(campaign)
    assert [entry.parameters["stage"] for entry in (stable, decay)] == ["stable", "decay"]
    assert (decay.siblings, other_decay.siblings) == ({"stable": stable.name}, {"stable": other_stable.name})
    assert (decay.after, other_decay.after, stable.after) == ((stable.id,), (other_stable.id,), ())


def test_a_reference_to_the_configuration_keeps_its_type_and_one_to_the_folder_is_a_path(campaign):
    stable, decay, *_ = chain(campaign)
    folder = campaign.plan().plan.entries[1].parameters["backend.args"]["load"]
    assert decay.parameters["backend.args"]["iters"] == 100
    assert decay.argv == ("train", "0.1", "--iters", "100", "--load", folder)
    assert folder.endswith(f"/entries/{stable.name}/ckpt")


def test_the_id_of_an_entry_follows_what_it_refers_to_but_no_folder(campaign, tmp_path):
    before = chain(campaign)
    after = chain(campaign, sweep=CHAIN.replace("100", "200"))
    assert [a.id != b.id for a, b in zip(before, after, strict=True)] == [True] * 4
    elsewhere = chain(campaign, f"project.base_output_dir={tmp_path}/elsewhere")
    assert [entry.id for entry in elsewhere] == [entry.id for entry in before]


def test_a_start_condition_in_place_of_a_dependency(campaign):
    plan = campaign.root(COMMAND, sweep=f"{CHAIN}\nsiblings: condition").plan().plan
    assert [entry.after for entry in plan.entries] == [()] * 4
    conditions = [plan.watch[entry.watch]["monitoring"]["start_conditions"] for entry in plan.entries]
    assert [len(found) for found in conditions] == [0, 1, 0, 1]
    assert conditions[1][0]["entry"] == "{sibling:stable.name}"


def test_interpolations_in_swept_values_are_those_of_the_point(campaign):
    sweep = "params: {lr: [1, 2], backend.args.iters: [3, 4]}\ndefaults: {tag: 'x${lr}-${backend.args.iters}'}"
    entries = chain(campaign, sweep=sweep)
    assert [entry.parameters["tag"] for entry in entries] == ["x1-3", "x1-4", "x2-3", "x2-4"]


def test_a_stage_may_have_another_backend(campaign):
    campaign.write("class_name: CommandBackend\ncommand: [train]", "backend/train")
    campaign.write("class_name: CommandBackend\ncommand: [convert]", "backend/convert")
    campaign.write("""
        defaults: [bench, _self_]
        project: {name: my}
        sweep:
          configs:
            - {stage: train, backend: train, lr: 1}
            - {stage: convert, backend: convert, backend.args.from: "${sibling:train.output_dir}"}
    """)
    train, convert = campaign.plan().plan.entries
    assert train.argv == ("train",)
    assert convert.argv[:2] == ("convert", "--from")
    assert convert.parameters["backend"] == "convert"


def test_a_backend_that_is_given_whole_takes_the_place_of_all_of_the_other(campaign):
    sweep = """
configs:
  - {stage: train, lr: 1}
  - stage: convert
    backend: {class_name: CommandBackend, command: [convert, "${sibling:train.output_dir}"]}
"""
    train, convert = chain(campaign, sweep=sweep)
    assert train.argv == ("train", "1", "--iters", "5")
    assert [word.rpartition("/")[2] for word in convert.argv] == ["convert", train.name]
    assert (train.name, convert.name) == ("train", "convert")


def test_repetitions_refer_to_the_same_repetition(campaign):
    entries = chain(campaign, sweep=f"{CHAIN}\nrepeat: 2")
    siblings = {entry.name: entry.siblings.get("stable") for entry in entries if entry.siblings}
    assert len(siblings) == 4
    assert all(name[-3:] == sibling[-3:] for name, sibling in siblings.items())


def test_a_reference_where_no_session_is_known_is_refused(campaign):
    sweep = """
configs:
  - {stage: train, lr: 1}
  - {stage: convert, lr: 1, slurm.sbatch.comment: "${sibling:train.output_dir}"}
"""
    problem = campaign.root(COMMAND, sweep=sweep).problem()
    assert "'slurm.sbatch.comment' cannot be told output_dir of another entry" in problem
