"""Inputs that are not there are told before anything is submitted."""

from __future__ import annotations


def test_a_dataset_that_is_missing_keeps_a_session_from_beginning(campaign):
    there = campaign.folder / "there.jsonl"
    campaign.write(
        backend={"class_name": "CommandBackend", "command": ["test", "-e", "{dataset:wiki,jsonl}"]},
        datasets={"wiki": {"jsonl": str(there), "remote": "s3://bucket/wiki"}},
        paths={"models": str(campaign.folder / "no models")},
    )
    refused = campaign.run("submit")
    assert refused.returncode == 2
    assert f"datasets.wiki.jsonl: '{there}' is not there" in refused.stderr
    assert "paths.models" in refused.stderr and "s3://" not in refused.stderr
    assert not list(campaign.out.glob("*/session.json"))
    there.touch()
    assert campaign.run("run", "-o", "project.check_inputs=false").returncode == 0


def test_a_session_that_has_begun_goes_on_without(campaign):
    there = campaign.folder / "there.jsonl"
    there.touch()
    campaign.write(
        backend={"class_name": "CommandBackend", "command": ["true"]}, datasets={"wiki": {"jsonl": str(there)}}
    )
    assert campaign.run("submit").returncode == 0
    there.unlink()
    assert campaign.run("submit").returncode == 0
    assert campaign.run("monitor").returncode == 0
