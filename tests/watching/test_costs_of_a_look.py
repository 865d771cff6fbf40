"""What earlier tools got wrong while they watched: what each look costs."""

from __future__ import annotations

from pathlib import Path

import pytest


def written_by(action) -> int:
    """Return how many bytes this process has written while it did something."""

    def so_far() -> int:
        lines = Path("/proc/self/io").read_text().splitlines()
        return int(dict(line.split(": ") for line in lines)["wchar"])

    before = so_far()
    action()
    return so_far() - before


@pytest.mark.parametrize("entries", [20, 200])
def test_the_state_of_all_jobs_was_written_for_each_of_them(watch, cluster, entries):
    watched = watch(slurm={"array": True}, sweep=[*range(entries)])
    watched.submit()
    for state, bytes_each in (("PENDING", 1200), ("PENDING", 700), ("RUNNING", 1200), ("RUNNING", 700)):
        cluster.queue(*(watched.queue_row(state, index) for index in range(entries)))
        written = written_by(lambda: watched.look(1))
        assert written <= 1000 + bytes_each * entries, state
