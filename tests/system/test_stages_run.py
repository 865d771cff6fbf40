"""Stages on the embedded scheduler: each runs after the entry it refers to, on what that one made."""

from __future__ import annotations

import pytest

from tests.system.test_order import results, shell

MAKES = shell("cat {from} >/dev/null && echo {stage} >{session_entry_dir}/made && exit {code}")
STAGES = {
    "params": {"code": [0, 3]},
    "configs": [
        {"stage": "first", "from": "/dev/null"},
        {"stage": "second", "from": "${sibling:first.output_dir}/made"},
        {"stage": "third", "from": "${sibling:second.output_dir}/made"},
    ],
    "name_template": "{stage}_{code}",
}


@pytest.mark.parametrize("siblings", ["afterok", "condition"])
def test_a_stage_runs_on_what_the_one_before_made_and_not_where_that_failed(campaign, siblings):
    campaign.write(backend=MAKES, sweep={**STAGES, "siblings": siblings})
    assert campaign.run("run").returncode == 1
    modes = {name: row["error_mode"] for name, row in results(campaign).items()}
    assert [modes[f"{stage}_0"] for stage in ("first", "second", "third")] == ["success"] * 3
    assert modes["first_3"] == "crash"
    assert {modes["second_3"], modes["third_3"]} == {"dependency_failed"}


def test_a_subset_without_what_it_reads_is_refused(campaign):
    campaign.write(backend=MAKES, sweep={**STAGES, "params": {"code": [0]}})
    refused = campaign.run("submit", "--subset", "1")
    assert refused.returncode == 2
    assert "--subset: entry 1 (second_0) reads what first_0 makes; add 0, or submit that one first" in refused.stderr
    assert not [*campaign.folder.rglob("journal.jsonl")]
    assert campaign.run("submit", "--subset", "0").returncode == 0
    assert campaign.run("submit", "--subset", "1").returncode == 0
