"""Whatever a sink does, the monitor goes on: real processes that hang, crash, exit and print."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from oellm_bench.sink_channel import Call, ProcessChannel
from tests.waiting import wait_until

ODD = """
import ctypes, os, sys, time

class Odd:
    def __init__(self, config):
        self.config = config

    def initialize(self, session_name, env_data):
        if self.config.get("slow_start"):
            time.sleep(3600)

    def process_result(self, result):
        how = result["id"]
        print('{"error": ""}')
        os.write(1, b"garbage, with no end of line")
        if how == "hang":
            time.sleep(3600)
        elif how == "exit":
            sys.exit(3)
        elif how == "die":
            os._exit(4)
        elif how == "segfault":
            ctypes.string_at(0)
        elif how == "secret":
            print("the token is", os.environ["ODD_TOKEN"])
            raise ValueError("wrong token " + os.environ["ODD_TOKEN"])
        elif how == "named":
            print("the address is", os.environ["ODD_PLACE"])
            raise ValueError("no way to " + os.environ["ODD_PLACE"] + " with hunter@2hunter@2")
        elif how == "long":
            raise ValueError("no such table\\n" + "SQL " * 500)
        elif how == "address":
            raise ValueError("no postgresql://me:hunter2@host/runs, nor http://host/a@b")
        elif how == "child":
            os.spawnvp(os.P_NOWAIT, "sleep", ["sleep", "3600"])
            time.sleep(3600)

    def finalize(self):
        pass
"""


@pytest.fixture
def odd(packaged, worker):
    packaged(ODD, odd="Odd")
    return lambda **values: worker({"class_name": "odd"}, **values)


def result(how: str) -> tuple[str, dict[str, str]]:
    return "result", {"id": how}


def test_what_a_sink_prints_is_no_answer_and_lies_in_its_log(odd):
    process = odd()
    assert [process.call(*result("print")).error for _ in range(3)] == ["", "", ""]
    assert process.log.read_text().count("garbage") == 3


@pytest.mark.parametrize(
    ("how", "error"),
    [("exit", "SystemExit: 3"), ("die", "its worker ended with exit code 4"), ("segfault", "was ended by SIGSEGV")],
)
def test_a_sink_that_ends_itself_is_begun_anew(odd, how, error):
    process = odd()
    assert error in process.call(*result(how)).error
    assert process.call(*result("fine")).error == ""


def test_a_sink_that_hangs_is_killed_with_all_that_it_started(odd):
    process = odd(timeout_s=1.0)
    assert process.call(*result("fine")).error == ""
    before = psutil.Process(process._process.pid)
    assert "no answer within 1 s" in process.call(*result("child")).error
    assert not before.is_running()
    wait_until(
        lambda: not [p for p in psutil.process_iter() if _group(p.pid) == before.pid]
    )  # whoever adopts it buries it
    assert process.call(*result("fine")).error == ""


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid) if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else 0
    except (ProcessLookupError, psutil.NoSuchProcess):
        return 0


def test_large_results_for_a_sink_that_does_not_read_are_no_trap(odd):
    process = odd(timeout_s=1.0)
    assert process.call(*result("fine")).error == ""
    os.kill(process._process.pid, signal.SIGSTOP)
    assert "no answer" in process.call("result", {"id": "x" * 5_000_000}).error


def test_the_values_of_secrets_are_in_no_log_and_no_message(odd, monkeypatch):
    monkeypatch.setenv("ODD_TOKEN", "xoxb-0123456789")
    process = odd()
    assert process.call(*result("secret")).error == "ValueError: wrong token $ODD_TOKEN"
    assert process.call(*result("address")).error == "ValueError: no postgresql://***@host/runs, nor http://host/a@b"
    assert process.call(*result("fine")).error == ""
    assert "the token is $ODD_TOKEN" in process.log.read_text()
    assert "0123456789" not in process.log.read_text()


def test_what_the_variables_named_in_a_configuration_hold_is_in_no_log_and_no_message(packaged, worker, monkeypatch):
    packaged(ODD, odd="Odd")
    monkeypatch.setenv("ODD_PLACE", "postgresql://me:hunter%402hunter%402@host/runs")
    process = worker({"class_name": "odd", "place_env": "ODD_PLACE"})
    assert process.call(*result("named")).error == "ValueError: no way to $ODD_PLACE with $ODD_PLACE"
    assert "the address is $ODD_PLACE" in process.log.read_text()


def test_a_long_error_is_a_line_and_all_of_it_is_in_the_log(odd):
    process = odd()
    error = process.call(*result("long")).error
    assert error.startswith("ValueError: no such table SQL SQL") and error.endswith("...") and len(error) == 250
    assert "SQL " * 500 in process.log.read_text()


def test_who_hands_over_never_waits(odd):
    channel = ProcessChannel(odd(timeout_s=3600.0))
    channel.hand_over([Call(kind="result", key="a", document={"id": "hang"})])
    assert list(channel.outcomes()) == []
    assert not channel.idle
    wait_until(lambda: channel._process._ready)
    assert list(channel.outcomes()) == []
    channel.close()  # in the middle of a call
    assert channel._process._process is None


def test_a_batch_ends_where_two_calls_in_a_row_fail(odd):
    channel = ProcessChannel(odd())
    names = ["fine", "exit", "fine", "exit", "exit", "fine"]
    channel.hand_over([Call(kind="result", key=str(n), document={"id": name}) for n, name in enumerate(names)])
    wait_until(lambda: channel.idle)
    assert [bool(outcome.error) for outcome in channel.outcomes()] == [False, True, False, True, True]
    channel.close()


def test_a_worker_ends_with_its_monitor(odd):
    process = odd()
    assert process.call(*result("fine")).error == ""
    pid = process._process.pid
    process._process.stdin.close()
    wait_until(lambda: process._process.poll() is not None)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
