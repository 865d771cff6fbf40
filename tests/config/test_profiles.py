"""The packaged cluster profiles: each plans anywhere, takes account and partition from the environment."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

FILES = sorted((ROOT / "config").rglob("*.yaml"))
GPUS = {"juwels": 4, "jupiter": 4, "leonardo": 4, "lumi": 8, "marenostrum": 4, "snellius": 4}
VARIABLES = ("SBATCH_PARTITION", "SBATCH_ACCOUNT", "SBATCH_QOS")


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def directives(campaign, cluster):
    (script,) = campaign.root("project: {name: my, timeout_s: 3480}\n").plan(f"slurm={cluster}").scripts.values()
    return dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.MULTILINE))


@pytest.mark.parametrize("cluster", GPUS)
def test_a_profile_asks_for_one_whole_node(campaign, cluster):
    found = directives(campaign, cluster)
    assert found["partition"] and found["nodes"] == "1" and "account" not in found and "qos" not in found
    entry = campaign.entry(f"slurm={cluster}")
    assert (entry.resources.nodes, entry.resources.gpus) == (1, GPUS[cluster])
    assert entry.resources.gpu_hours == pytest.approx(GPUS[cluster])


@pytest.mark.parametrize("cluster", GPUS)
def test_account_and_partition_come_from_the_environment(campaign, cluster, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "mine")
    monkeypatch.setenv("SBATCH_ACCOUNT", "budget7")
    found = directives(campaign, cluster)
    assert (found["partition"], found["account"]) == ("mine", "budget7")


@pytest.mark.parametrize("cluster", ["leonardo", "marenostrum"])
def test_a_qos_comes_from_the_environment_where_the_site_has_them(campaign, cluster, monkeypatch):
    monkeypatch.setenv("SBATCH_QOS", "debug")
    assert directives(campaign, cluster)["qos"] == "debug"


def test_the_array_of_the_juwels_recipe_plans(campaign, monkeypatch):
    monkeypatch.delenv("SCRATCH", raising=False)
    swept = campaign.root("", sweep="axes: {n: [1, 2, 3]}")
    campaign.write((swept.folder / "my.yaml").read_text().replace("project: {name: my}\n", ""))
    plan = campaign.plan("project=juwels", "slurm=juwels", "slurm.array=true").plan
    assert {entry.script for entry in plan.entries} == {"scripts/array_000.sbatch"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_packaged_file_says_what_it_is_for_and_names_nobody(path):
    text = path.read_text()
    assert not re.search(r"(?:^|[\s\"'=])/(?:home|p|users|scratch|work|data|gpfs|lustre|leonardo)\b", text), text
    if path.parent.name == "slurm":
        assert text.startswith("# ")
