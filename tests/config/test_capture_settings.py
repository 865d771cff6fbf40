"""Settings of what is recorded, and of what depends on it."""

from __future__ import annotations

import pytest

COMMAND = "backend: {class_name: CommandBackend, command: [echo]%s}\n"
TOLD = COMMAND % ", progress: '(?P<iteration>x)'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("capture: {interval_s: 1.0e+12}\n", "capture.interval_s: 1e+12 s between two heartbeats cannot work"),
        ("monitoring: {progress_s: 60}\n", "monitoring.progress_s: nobody tells of progress"),
        (TOLD + "monitoring: {progress_s: 60}\ncapture: {enabled: false}\n", "nobody tells of progress"),
        (COMMAND % ", progress: 'step [0-9]+'", "has no group 'iteration'"),
    ],
)
def test_settings_that_cannot_work_are_refused(campaign, text, said):
    assert said in campaign.root(text).problem()


def test_progress_that_is_told_can_be_watched(campaign):
    assert campaign.root(TOLD + "monitoring: {progress_s: 60}\n").entry().progress == "(?P<iteration>x)"
