"""Commands that signals ask for: how many run at once, never one try twice, nothing left of a killed one."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oellm_bench.actions.commands import MOST_AT_ONCE, ActionRunner
from oellm_bench.core.events import ActionQueued, ActionTried
from oellm_bench.state.fold import apply
from oellm_bench.state.model import SessionState

LIMIT_S = 30.0


class Commands:
    """Actions that report to the test when they begin and end when the test lets them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tries = folder / "tries"
        self.state = SessionState()
        self._ready = self._fifo("ready")
        self._gates: dict[str, int] = {}
        self._wrappers: dict[str, int] = {}

    def _fifo(self, name: str) -> int:
        os.mkfifo(self.folder / name)
        return os.open(self.folder / name, os.O_RDWR)

    def runner(self, attempts: int = 2) -> ActionRunner:
        return ActionRunner(self.tries, timeout_s=LIMIT_S, attempts=attempts, environment=os.environ)

    def queue(self, *names: str) -> None:
        program = 'echo "$OELLM_BENCH_ACTION_ID $PPID $$" >"$1"; read code <"$2"; exit "$code"'
        for name in names:
            self._gates[name] = self._fifo(f"gate {name}")
            argv = ("sh", "-c", program, "sh", str(self.folder / "ready"), str(self.folder / f"gate {name}"))
            apply(ActionQueued(at=0.0, id=name, entry="e", attempt=1, name=name, argv=argv), self.state)

    def step(self, runner: ActionRunner) -> list[ActionTried]:
        events = list(runner.step(self.state, 0.0))
        for event in events:
            apply(event, self.state)
        return events

    def begun(self, count: int) -> dict[str, tuple[int, int]]:
        """Wait for so many commands to begin; returns the process ids of wrapper and command by name."""
        lines: list[str] = []
        while len(lines) < count:
            assert select.select([self._ready], [], [], LIMIT_S)[0], f"only {lines} began"
            lines += os.read(self._ready, 4096).decode().splitlines()
        found = {name: (int(wrapper), int(command)) for name, wrapper, command in map(str.split, lines)}
        assert len(found) == count
        for name, (wrapper, _) in found.items():
            self._wrappers[name] = os.pidfd_open(wrapper)
        return found

    def end(self, name: str, code: int = 0) -> None:
        """Let a command end and wait for its wrapper to follow."""
        os.write(self._gates[name], f"{code}\n".encode())
        self.await_wrapper(name)

    def await_wrapper(self, name: str) -> None:
        assert has_ended(self._wrappers[name])
        os.close(self._wrappers.pop(name))

    def close(self) -> None:
        for descriptor in (self._ready, *self._gates.values(), *self._wrappers.values()):
            os.close(descriptor)


def has_ended(process: int, limit_s: float = LIMIT_S) -> bool:
    return bool(select.select([process], [], [], limit_s)[0])


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    folder = tmp_path / "it's a session"
    folder.mkdir()
    subject = Commands(folder)
    yield subject
    subject.close()


def test_a_bounded_number_runs_at_once_and_a_freed_place_is_taken_in_the_same_step(commands):
    names = [f"n{index}" for index in range(MOST_AT_ONCE + 2)]
    commands.queue(*names)
    runner = commands.runner()
    assert commands.step(runner) == []
    running = commands.begun(MOST_AT_ONCE)
    assert sorted(running) == names[:MOST_AT_ONCE]
    assert commands.step(runner) == []
    assert len(list(commands.tries.iterdir())) == MOST_AT_ONCE
    commands.end(names[0])
    commands.end(names[1])
    assert [(event.id, event.ok) for event in commands.step(runner)] == [(names[0], True), (names[1], True)]
    assert sorted(commands.begun(2)) == names[MOST_AT_ONCE:]
    for name in names[2:]:
        commands.end(name)
    commands.step(runner)
    assert runner.idle(commands.state)


def test_one_that_takes_long_keeps_nobody_from_being_tried_again(commands):
    commands.queue("long", "failing")
    runner = commands.runner()
    commands.step(runner)
    commands.begun(2)
    commands.end("failing", code=3)
    (event,) = commands.step(runner)
    assert (event.id, event.ok) == ("failing", False)
    assert event.message.startswith("exit code 3")
    commands.step(runner)
    assert list(commands.begun(1)) == ["failing"]
    commands.end("failing")
    commands.end("long")
    assert [event.ok for event in commands.step(runner)] == [True, True]


def test_a_monitor_started_anew_counts_and_awaits_what_still_runs(commands):
    names = [f"n{index}" for index in range(MOST_AT_ONCE + 1)]
    commands.queue(*names)
    first = multiprocessing.get_context("fork").Process(target=lambda: commands.step(commands.runner()))
    first.start()
    first.join()
    commands.begun(MOST_AT_ONCE)
    anew = commands.runner()
    assert commands.step(anew) == []
    assert len(list(commands.tries.iterdir())) == MOST_AT_ONCE
    for name in names[:-1]:
        commands.end(name)
    assert [event.id for event in commands.step(anew)] == names[:-1]
    commands.begun(1)
    commands.end(names[-1])
    assert [event.id for event in commands.step(anew)] == names[-1:]


def test_a_try_is_not_run_again_by_a_second_wrapper(commands):
    commands.queue("once")
    runner = commands.runner()
    commands.step(runner)
    commands.begun(1)
    commands.end("once")
    commands.step(runner)
    (folder,) = commands.tries.iterdir()
    again = (sys.executable, "-m", "oellm_bench.actions.wrapper", str(folder), "5", "touch", str(folder / "again"))
    assert subprocess.run(again, timeout=LIMIT_S, check=False).returncode == 0
    assert not (folder / "again").exists()


def test_a_command_does_not_outlive_its_killed_wrapper(commands):
    commands.queue("orphan")
    runner = commands.runner()
    commands.step(runner)
    wrapper, command = commands.begun(1)["orphan"]
    watched = os.pidfd_open(command)
    os.kill(wrapper, signal.SIGKILL)
    ended = has_ended(watched, limit_s=5.0)
    if not ended:
        os.kill(command, signal.SIGKILL)
    os.close(watched)
    assert ended
    commands.await_wrapper("orphan")
    (event,) = commands.step(runner)
    assert (event.ok, event.message.split(",")[0]) == (False, "ended without a word")
    commands.step(runner)
    commands.begun(1)
    commands.end("orphan")
    assert [event.ok for event in commands.step(runner)] == [True]


def test_what_cannot_be_started_now_stays_due(commands, caplog):
    """A full disk, no more processes: the monitor goes on, and the action runs once it can."""
    commands.tries.write_text("in the way of the folder")
    commands.queue("late")
    runner = commands.runner()
    assert commands.step(runner) == []
    assert "cannot be started now" in caplog.text
    commands.tries.unlink()
    assert commands.step(runner) == []
    commands.begun(1)
    commands.end("late")
    assert [event.ok for event in commands.step(runner)] == [True]
