"""Where entries may share one Ray head, and where that is refused."""

from __future__ import annotations

import pytest

from tests.conftest import CampaignFolder

SHARED = ("ray=head", "ray.reuse=true")
HERE = ("slurm=here",)


@pytest.mark.parametrize(
    "overrides", [HERE, ("slurm=fake", "slurm.max_submit=1"), ("slurm=fake", "slurm.client.nodes=1")]
)
def test_entries_on_this_machine_may_share_a_head(campaign: CampaignFolder, overrides: tuple[str, ...]) -> None:
    assert campaign.root().entry(*SHARED, *overrides).ray.reuse


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("slurm=juwels", "slurm.sbatch.account=a"), "jobs land on different nodes"),
        (("slurm=fake", "slurm.client.nodes=2"), "slurm.max_submit: 1"),
        ((*HERE, "slurm.launcher_cmd=nice"), "behind a launcher"),
    ],
)
def test_a_head_that_not_all_could_reach_is_refused(
    campaign: CampaignFolder, overrides: tuple[str, ...], said: str
) -> None:
    problem = campaign.root().problem(*SHARED, *overrides)
    assert said in problem and "leave ray.reuse out" in problem


def test_entries_that_do_not_share_a_head_are_the_same_as_ever(campaign: CampaignFolder) -> None:
    campaign.root()
    alone = campaign.entry("ray=head", *HERE)
    assert alone.id == campaign.entry("ray=head", "ray.reuse=false", *HERE).id
    assert alone.id != campaign.entry(*SHARED, *HERE).id
