"""What an ended attempt is taken for, and what follows."""

from __future__ import annotations

import pytest

from oellm_bench.core.job import JobState
from oellm_bench.core.result import NO_RECORD, EntryResult, ErrorMode, ExitRecord
from oellm_bench.monitoring.classify import Evidence, classify
from oellm_bench.restart.base import Failure, RestartPolicy
from oellm_bench.restart.policies import (
    AdjustTimeLimitConfig,
    AdjustTimeLimitPolicy,
    AlwaysRestartConfig,
    AlwaysRestartPolicy,
    NoRestartConfig,
    NoRestartPolicy,
    SelectiveRestartConfig,
    SelectiveRestartPolicy,
)
from oellm_bench.restart.settings import RestartConfig, decide


def record(returncode, failure="", message=""):
    return ExitRecord(token="t", attempt=1, returncode=returncode, failure=failure, message=message)


def result(success=True, mode="success"):
    return EntryResult(name="e", id="i", attempt=1, success=success, error_mode=mode, reason="why")


S = JobState
CASES = {
    "all three agree": ({"state": S.COMPLETED, "record": record(0), "result": result()}, "success"),
    "requirements": (
        {"state": S.COMPLETED, "record": record(0), "result": result(False, "requirements_not_met")},
        "requirements_not_met",
    ),
    "contract": (
        {"state": S.COMPLETED, "record": record(0), "result": result(False, "contract_error")},
        "contract_error",
    ),
    "no results": ({"state": S.COMPLETED, "record": record(0)}, "unknown"),
    "COMPLETED without a record": ({"state": S.COMPLETED}, "unknown"),
    "success of a job that accounting forgot": (
        {"state": S.UNKNOWN, "record": record(0), "result": result()},
        "success",
    ),
    "success before a cancel arrived": (
        {"state": S.CANCELLED, "record": record(0), "result": result(), "cancel_by": "user"},
        "success",
    ),
    "success before the time limit": ({"state": S.TIMEOUT, "record": record(0), "result": result()}, "success"),
    "cancelled by the user": ({"state": S.CANCELLED, "cancel_by": "user"}, "cancelled"),
    "cancelled with scancel": ({"state": S.CANCELLED, "cancelled_by": "1000"}, "cancelled"),
    "cancelled, and the job noticed": (
        {"state": S.CANCELLED, "record": record(-15, "cancelled"), "cancel_by": "user"},
        "cancelled",
    ),
    "stall": ({"state": S.CANCELLED, "cancel_by": "stall", "cancel_mode": "stall", "cancel_reason": "silent"}, "stall"),
    "ended by a signal nobody sent": ({"state": S.FAILED, "record": record(-15, "cancelled")}, "crash"),
    "revoked": ({"state": S.REVOKED}, "cancelled"),
    "node": ({"state": S.NODE_FAIL, "record": record(-15, "cancelled")}, "node_fail"),
    "node did not boot": ({"state": S.BOOT_FAIL}, "node_fail"),
    "preempted": ({"state": S.PREEMPTED, "record": record(-15, "cancelled")}, "preempted"),
    "memory": ({"state": S.OUT_OF_MEMORY, "record": record(-9)}, "oom"),
    "memory while Ray starts": (
        {
            "state": S.FAILED,
            "record": record(None, failure="ray_start_failed"),
            "scheduler_log": "slurmstepd-node1: error: Exceeded job memory limit",
        },
        "oom",
    ),
    "time limit of the job": ({"state": S.TIMEOUT}, "timeout"),
    "deadline": ({"state": S.DEADLINE}, "timeout"),
    "time limit of the command": ({"state": S.FAILED, "record": record(124, "timeout", "after 60 s")}, "timeout"),
    "Ray": ({"state": S.FAILED, "record": record(None, "ray_start_failed")}, "ray_start_failed"),
    "exit code": ({"state": S.FAILED, "record": record(3)}, "crash"),
    "killed": ({"state": S.FAILED, "record": record(-9)}, "crash"),
    "exit code from accounting only": ({"state": S.FAILED, "exit_code": 3}, "crash"),
    "signal from accounting only": ({"state": S.FAILED, "exit_code": 0, "signal": 9}, "crash"),
    "log signal names the crash": (
        {"state": S.FAILED, "record": record(1), "signal_modes": (("oom", "cuda_oom"), ("stall", "late"))},
        "oom",
    ),
    "log signal does not unmake a success": (
        {"state": S.COMPLETED, "record": record(0), "result": result(), "signal_modes": (("oom", "cuda_oom"),)},
        "success",
    ),
    "log signal does not unmake a cancel": (
        {"state": S.CANCELLED, "cancel_by": "user", "signal_modes": (("oom", "cuda_oom"),)},
        "cancelled",
    ),
    "time limit, as the job's log says": (
        {
            "state": S.UNKNOWN,
            "scheduler_log": "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT now DUE TO TIME LIMIT ***",
        },
        "timeout",
    ),
    "preemption, as the job's log says": (
        {
            "state": S.FAILED,
            "record": record(-15, "cancelled"),
            "scheduler_log": "*** STEP 7.0 ... DUE TO PREEMPTION ***",
        },
        "preempted",
    ),
    "an earlier run's preemption": (
        {
            "state": S.FAILED,
            "record": record(-15, "cancelled"),
            "scheduler_log": "CANCELLED DUE TO PREEMPTION ***\nentry=a attempt=1 logs=x\n",
        },
        "crash",
    ),
    "its own word comes before the log's": (
        {"state": S.FAILED, "record": record(3), "scheduler_log": "DUE TO NODE FAILURE"},
        "crash",
    ),
    "gone at its limit": ({"state": S.UNKNOWN, "at_limit": True}, "timeout"),
    "gone at its limit with a record": ({"state": S.FAILED, "record": record(3), "at_limit": True}, "crash"),
    "nobody knows": ({"state": S.UNKNOWN}, "lost"),
}


@pytest.mark.parametrize(("evidence", "mode"), CASES.values(), ids=CASES.keys())
def test_an_ended_attempt_is_classified(evidence, mode):
    assert classify(Evidence(**evidence)).mode.value == mode


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"state": S.FAILED, "record": record(3), "last_error": "ValueError: x"}, "exit code 3: ValueError: x"),
        ({"state": S.FAILED, "record": record(-9)}, "killed by signal 9"),
        ({"state": S.FAILED, "record": record(124, "timeout", "after 60 s")}, "after 60 s"),
        ({"state": S.CANCELLED, "cancelled_by": "1000"}, "1000"),
        (
            {"state": S.CANCELLED, "cancel_by": "stall", "cancel_mode": "stall", "cancel_reason": "silent for 60 s"},
            "silent for 60 s",
        ),
        ({"state": S.FAILED, "record": record(1), "signal_modes": (("oom", "cuda_oom"),)}, "cuda_oom"),
        (
            {"state": S.FAILED, "record": record(2, "", NO_RECORD), "scheduler_log": "run_entry: changed\nmore\n"},
            "exit code 2: run_entry: changed",
        ),
        ({"state": S.FAILED, "record": record(-9, "", NO_RECORD)}, NO_RECORD),
    ],
)
def test_the_reason_says_what_is_known(evidence, words):
    assert words in classify(Evidence(**evidence)).reason


def failure(mode="crash", restarts=0, for_mode=0, **more):
    values = {"mode": ErrorMode(mode), "reason": "why", "attempt": restarts + 1, **more}
    return Failure(restarts=restarts, restarts_for_mode=for_mode, **values)


def restarts_until_the_end(policy, mode="crash", max_restarts=100):
    config = RestartConfig(max_restarts=max_restarts)
    """Return how often an entry that fails every time is restarted."""
    policies = {ErrorMode(mode): policy}
    for count in range(max_restarts + 5):
        if not decide(failure(mode, restarts=count, for_mode=count), policies, config).restart:
            return count
    return None


@pytest.mark.parametrize("max_retries", [0, 1, 2, 7])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: AlwaysRestartPolicy(AlwaysRestartConfig(max_retries=n)),
        lambda n: AdjustTimeLimitPolicy(AdjustTimeLimitConfig(minutes=5, max_retries=n)),
        lambda n: SelectiveRestartPolicy(SelectiveRestartConfig(restart_on_error_types=("crash",), max_retries=n)),
    ],
    ids=["always", "more time", "selective"],
)
def test_two_retries_are_two_restarts(make, max_retries):
    assert restarts_until_the_end(make(max_retries)) == max_retries


def test_no_policy_restarts_beyond_the_budget_of_the_entry():
    assert restarts_until_the_end(AlwaysRestartPolicy(AlwaysRestartConfig(max_retries=50)), max_restarts=4) == 4


def test_the_budget_of_a_mode_is_its_own():
    policies = {ErrorMode.OOM: AlwaysRestartPolicy(AlwaysRestartConfig(max_retries=1))}
    assert decide(failure("oom", restarts=3, for_mode=0), policies, RestartConfig(max_restarts=5)).restart


def test_no_restart_gives_its_message():
    decision = NoRestartPolicy(NoRestartConfig(message="look at the log")).decide(failure())
    assert (decision.restart, decision.reason) == (False, "look at the log")


def test_more_time_is_given_in_seconds():
    decision = AdjustTimeLimitPolicy(AdjustTimeLimitConfig(minutes=1.5)).decide(failure("timeout"))
    assert (decision.restart, decision.change.extra_time_s) == (True, 90)


ALWAYS = AlwaysRestartPolicy(AlwaysRestartConfig(max_retries=9))


@pytest.mark.parametrize("mode", ["cancelled", "success", "submit_rejected"])
def test_nothing_restarts_what_was_cancelled_has_passed_or_was_refused(mode):
    assert not decide(failure(mode), {kind: ALWAYS for kind in ErrorMode}, RestartConfig(max_restarts=9)).restart


class Stubborn(RestartPolicy):
    """A user's own policy that always says yes."""

    def decide(self, failure):
        return self.again("whatever")


def test_a_users_own_policy_cannot_restart_without_end():
    assert restarts_until_the_end(Stubborn(), max_restarts=5) == 5


@pytest.mark.parametrize(
    ("mode", "policy"),
    [
        ("oom", "crash"),
        ("node_fail", "crash"),
        ("contract_error", "crash"),
        ("preempted", "crash"),
        ("unknown", "crash"),
    ],
)
def test_a_finer_mode_without_a_policy_uses_its_parents(mode, policy):
    assert decide(failure(mode), {ErrorMode(policy): ALWAYS}, RestartConfig(max_restarts=9)).restart


@pytest.mark.parametrize("mode", ["timeout", "stall", "requirements_not_met", "lost"])
def test_a_mode_of_its_own_does_not_use_the_policy_of_crash(mode):
    decision = decide(failure(mode), {ErrorMode.CRASH: ALWAYS}, RestartConfig(max_restarts=9))
    assert (decision.restart, decision.reason) == (False, f"no policy for {mode}")


def test_its_own_policy_goes_before_its_parents():
    policies = {ErrorMode.CRASH: ALWAYS, ErrorMode.OOM: NoRestartPolicy(NoRestartConfig())}
    assert not decide(failure("oom"), policies, RestartConfig(max_restarts=9)).restart


SELECTIVE = {
    "error type": ({"restart_on_error_types": ("crash",)}, {}, True),
    "another error type": ({"restart_on_error_types": ("stall",)}, {}, False),
    "signal": ({"restart_on_signals": ("nccl",)}, {"signals": frozenset({"nccl"})}, True),
    "another signal": ({"restart_on_signals": ("nccl",)}, {"signals": frozenset({"cuda"})}, False),
    "subsystem": ({"restart_on_subsystems": ("net",)}, {"subsystems": frozenset({"net"})}, True),
    "another subsystem": ({"restart_on_subsystems": ("net",)}, {"subsystems": frozenset({"disk"})}, False),
    "exclusion before inclusion": (
        {"restart_on_error_types": ("crash",), "exclude_error_types": ("crash",)},
        {},
        False,
    ),
    "excluded signal before included mode": (
        {"restart_on_error_types": ("crash",), "exclude_error_types": ("assert",)},
        {"signals": frozenset({"assert"})},
        False,
    ),
    "exclusion before the default": ({"default_action": "restart", "exclude_error_types": ("crash",)}, {}, False),
    "default restart": ({"default_action": "restart"}, {}, True),
    "default stop": ({}, {}, False),
    "budget before the default": ({"default_action": "restart", "max_retries": 1}, {"for_mode": 1}, False),
    "budget before inclusion": ({"restart_on_error_types": ("crash",), "max_retries": 1}, {"for_mode": 1}, False),
}


@pytest.mark.parametrize(("config", "facts", "restart"), SELECTIVE.values(), ids=SELECTIVE.keys())
def test_a_selective_policy_restarts_for_some_reasons_only(config, facts, restart):
    policy = SelectiveRestartPolicy(SelectiveRestartConfig(**config))
    assert policy.decide(failure(**facts)).restart is restart
