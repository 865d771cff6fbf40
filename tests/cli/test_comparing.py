"""`compare`, `baseline` and `history` on recorded sessions: what they print, and with which exit code."""

from __future__ import annotations

import pytest

from benchmarks.recorded import record
from oellm_bench.core.result import ErrorMode

RUNS = [{"tokens_per_s": value, "windows": 181} for value in (1000.0, 1001.0, 999.0, 1000.5)]


@pytest.fixture
def nights(tmp_path):
    """Two equal nights of the project `p`."""
    return [record(tmp_path / "out", {"a": RUNS}, day=day) for day in (1, 2)]


def test_two_equal_nights_are_no_worse(cli, nights):
    done = cli("compare")
    assert done.rc == 0, done.stderr
    assert "p_day002 against p_day001: it is the last good session before this one" in done.stderr
    assert " same " in done.stdout and "2 same; 0 sessions of history before the baseline" in done.stdout


def test_what_changed_around_a_session_is_told(cli, nights, tmp_path):
    record(tmp_path / "out", {"a": RUNS, "b": [ErrorMode.CRASH]}, day=3, machine={"cpu": {"model": "other"}})
    done = cli("compare")
    assert done.rc == 0
    assert "b is not in the baseline" in done.stdout
    assert "changed: hardware: 8 x CPU, 16 GiB -> ? x other" in done.stdout


def test_a_direction_given_decides(cli, nights, tmp_path):
    record(tmp_path / "out", {"a": [{**run, "windows": 200} for run in RUNS]}, day=3)
    assert cli("compare").rc == 0
    assert cli("compare", "--direction", "windows=lower").rc == 1
    assert cli("compare", "last", "p_day002", "--direction", "windows=lower", "--min-effect", "20%").rc == 0


def test_the_history_of_a_project_is_printed_with_a_line(cli, nights):
    done = cli("history", "p", "--metric", "tokens_per_s")
    assert done.rc == 0
    assert "a tokens_per_s  ▅▅" in done.stdout
    assert done.stdout.count("p_day00") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "p_day001"), "no good session of p is older"),
        (("compare", "last", "last"), "is the baseline itself"),
        (("compare", "nosuch"), "no session 'nosuch'"),
        (("compare", "--metric", "token_per_s"), "did you mean 'tokens_per_s'"),
        (("compare", "--min-effect", "lots"), "is no share of a value"),
        (("compare", "--confidence", "95"), "is no confidence"),
        (("compare", "--direction", "loss=down"), "'down' is no direction"),
        (("history", "p", "--metric", "tokens"), "no session of p has a metric 'tokens'"),
        (("history", "p"), "--metric"),
        (("baseline",), "set|show|clear"),
        (("baseline", "clear"), "SESSION|PROJECT"),
        (("baseline", "show", "nope"), "no project or session 'nope'; valid: p, p_day001, p_day002"),
        (("history", "p_day00", "--metric", "windows"), "fits 2 sessions"),
    ],
)
def test_wrong_use_is_told(cli, nights, arguments, message):
    done = cli(*arguments)
    assert done.rc == 2
    assert message in done.stderr


def test_a_session_that_did_not_pass_is_no_baseline(cli, nights, tmp_path):
    record(tmp_path / "out", {"a": [ErrorMode.CRASH], "b": RUNS}, day=3)
    refused = cli("baseline", "set", "last")
    assert (refused.rc, "p_day003 did not pass (a)" in refused.stderr) == (2, True)
    assert cli("baseline", "set", "last", "--force").rc == 0
    assert "which had not passed" in cli("baseline", "show", "p").stderr
    assert cli("baseline", "clear", "p").rc == 0
    assert cli("baseline", "show", "--json").json["baseline"] is None


def test_a_project_of_several_state_folders_is_not_guessed(cli, nights, tmp_path):
    other = record(tmp_path / "elsewhere", {"a": RUNS}, day=3)
    for verb in (("history", "p", "--metric", "windows"), ("baseline", "show", "p"), ("baseline", "clear", "p")):
        refused = cli(*verb)
        assert refused.rc == 2
        assert "2 campaigns are called 'p'" in refused.stderr
        assert all(session.session_dir in refused.stderr for session in (other, nights[1]))
    told = cli("history", other.session_dir, "--metric", "windows", "--json").json["series"]
    assert [point["session"] for point in told[0]["points"]] == ["p_day003"]
    assert cli("baseline", "show", nights[0].id).rc == 0
