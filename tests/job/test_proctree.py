from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from live_job import wait_for

from oellm_bench import proctree


def run_python(code: str, *arguments: str) -> str:
    """Run code in a process of its own (a subreaper stays one for good) and return its output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_tree_of_a_program_with_a_bracket_in_its_name_is_found(tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (b"
    shutil.copy("/bin/sleep", odd)
    with subprocess.Popen([odd, "60"]) as child:
        try:
            wait_for(lambda: child.pid in proctree.descendants(os.getpid()), "the child")
        finally:
            child.kill()


def test_zombie_is_no_living_descendant() -> None:
    child = subprocess.Popen(["true"])
    wait_for(lambda: child.pid not in proctree.descendants(os.getpid()), "the child's end")
    assert Path(f"/proc/{child.pid}").exists()
    assert child.wait() == 0


def test_daemon_that_left_its_session_and_ignores_term_is_killed() -> None:
    output = run_python(
        """
        import os, subprocess, sys
        from oellm_bench import proctree
        proctree.become_subreaper()
        script = "(setsid sh -c 'trap \\"\\" TERM; echo up; while :; do sleep 60; done' &) ; sleep 60"
        child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
        child.stdout.readline()
        survivors = proctree.kill_descendants(os.getpid(), grace_s=0.1)
        print(survivors, proctree.descendants(os.getpid()), proctree.reap()[child.pid])
        child.returncode = 0
        """
    )
    assert output == "[] [] -15"


def test_stopped_process_gets_to_handle_term() -> None:
    output = run_python(
        """
        import os, signal, subprocess
        from oellm_bench import proctree
        code = "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"
        child = subprocess.Popen(["sh", "-c", code], stdout=subprocess.PIPE)
        child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        proctree.kill_descendants(os.getpid(), grace_s=20)
        print(child.wait())
        """
    )
    assert output == "7"


def test_fork_storm_is_ended() -> None:
    output = run_python(
        """
        import os, subprocess
        from oellm_bench import proctree
        proctree.become_subreaper()
        storm = "trap '' TERM; while :; do for i in 1 2 3 4 5; do sleep 60 & done; echo up; sleep 0.01; done"
        child = subprocess.Popen(["bash", "-c", storm], stdout=subprocess.PIPE)
        child.stdout.readline()
        proctree.kill_descendants(os.getpid(), grace_s=0)
        print(proctree.descendants(os.getpid()), proctree.reap()[child.pid])
        child.returncode = 0
        """
    )
    assert output == "[] -9"


def test_signal_goes_to_the_topmost_handler_only() -> None:
    handler = "trap 'echo got; exit' USR1; echo up; while :; do sleep 0.02; done"
    with subprocess.Popen(["sh", "-c", f'sh -c "{handler}"; true'], stdout=subprocess.PIPE) as outer:
        assert outer.stdout is not None
        assert outer.stdout.readline() == b"up\n"
        told = proctree.notify_handlers(outer.pid, signal.SIGUSR1)
        assert outer.stdout.readline() == b"got\n"
        assert len(told) == 1
        assert told != [outer.pid]
        assert outer.wait(timeout=60) == 0


def test_return_codes_are_collected_by_pid() -> None:
    output = run_python(
        """
        import os, time
        from oellm_bench import proctree
        pid = os.fork()
        if pid == 0:
            os._exit(5)
        found = {}
        while not found:
            found = proctree.reap()
        print(found[pid], proctree.reap())
        """
    )
    assert output == "5 {}"


@pytest.mark.parametrize("pid", [2**22 + 1])
def test_process_that_is_gone_has_no_tree_and_no_handlers(pid: int) -> None:
    assert proctree.descendants(pid) == []
    assert not proctree.catches(pid, signal.SIGUSR1)
    assert not proctree.send(pid, signal.SIGTERM)
