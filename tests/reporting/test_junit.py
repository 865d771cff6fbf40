"""JUnit XML: what continuous integration shows of a session."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.reporting.sessions import Ran, write_session

AWKWARD = "a\x00b\x1b[31m\ud800\uffff]]><&\"'\r\n\tgrün"
ORDER = ("properties", "skipped", "error", "failure", "system-out", "system-err")


@pytest.fixture
def suite(tmp_path: Path, cli) -> ET.Element:
    """The suite of a session with one entry of each standing."""
    session = write_session(
        tmp_path / "s",
        Ran(name="good", metrics={"speed": 1.5}, parameters={"n": 3}),
        Ran(name="bad", modes=("node_fail", "crash"), reason=AWKWARD, stdout=AWKWARD, stderr="why\n"),
        Ran(name="slow", modes=("requirements_not_met",), reason="speed: 1 is below min_value 2 by 1 (50.0 %)"),
        Ran(name="known", modes=("timeout",), expected_failure="issue 44"),
        Ran(name="runs", modes=("",)),
    )
    path = tmp_path / "junit.xml"
    done = cli("results", session.session_dir, "--junit", "--output", path)
    assert (done.rc, done.stdout) == (1, ""), done.stderr
    root = ET.fromstring(path.read_bytes())
    assert root.tag == "testsuites"
    [found] = root
    return found


def case(suite: ET.Element, name: str) -> ET.Element:
    [found] = suite.findall(f"testcase[@name='{name}']")
    return found


def test_the_counts_add_up(suite):
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 5, "failures": 2, "errors": 0, "skipped": 2}
    cases = suite.findall("testcase")
    assert len(cases) == 5
    for tag, count in (("failure", 2), ("skipped", 2)):
        assert sum(one.find(tag) is not None for one in cases) == count


def test_the_shape_is_that_of_the_schema(suite):
    """Ant's JUnit schema: these attributes are required, these elements allowed, in this order."""
    assert {"name", "tests", "failures", "errors", "time", "timestamp"} <= set(suite.keys())
    assert [child.tag for child in suite] == ["properties", *["testcase"] * 5]
    for one in suite.findall("testcase"):
        assert {"name", "classname", "time"} == set(one.keys()) and float(one.get("time")) >= 0
        places = [ORDER.index(child.tag) for child in one]
        assert places == sorted(set(places))
        assert all(set(item.keys()) == {"name", "value"} for item in one.iter("property"))


def test_a_failure_says_why_and_shows_the_end_of_the_logs(suite):
    failure = case(suite, "bad").find("failure")
    assert failure.get("type") == "crash"
    assert "a^@b^[[31m\\u{d800}\\u{ffff}]]><&\"'" in failure.get("message")
    assert "why" in case(suite, "bad").findtext("system-out") and "grün" in case(suite, "bad").findtext("system-out")
    assert case(suite, "slow").find("failure").get("message").startswith("speed: 1 is below min_value 2")


def test_what_is_not_over_or_was_expected_is_skipped(suite):
    assert case(suite, "runs").find("skipped").get("message") == "running"
    assert "failed as expected (issue 44)" in case(suite, "known").find("skipped").get("message")


def test_a_pass_against_expectation_is_a_failure_as_in_results(tmp_path, cli):
    session = write_session(tmp_path / "s", Ran(name="e", expected_failure="issue 44"))
    done = cli("results", session.session_dir, "--junit")
    [failure] = ET.fromstring(done.stdout.encode()).iter("failure")
    assert (done.rc, failure.get("type")) == (1, "unexpected_pass")
    assert failure.get("message") == "passed, though it is expected to fail (issue 44): take expected_failure out"


def test_what_never_ran_did_not_fail_as_expected(tmp_path, cli):
    session = write_session(tmp_path / "s", Ran(name="e", modes=("lost",), expected_failure="issue 44"))
    done = cli("results", session.session_dir, "--junit")
    assert done.rc == 1 and ET.fromstring(done.stdout.encode())[0].get("failures") == "1"


def test_parameters_and_metrics_are_properties(suite):
    found = {item.get("name"): item.get("value") for item in case(suite, "good").iter("property")}
    assert found == {"n": "3", "speed": "1.5", "attempts": "1"}


@pytest.mark.parametrize("form", ["--json", "--csv", "--md", None])
def test_output_has_what_would_be_printed(tmp_path, cli, form):
    session = write_session(tmp_path / "s", Ran(name="e", metrics={"speed": 1.5}))
    forms = [form] if form else []
    printed = cli("results", session.session_dir, *forms)
    path = tmp_path / "new" / "results"
    written = cli("results", session.session_dir, *forms, "--output", path)
    assert (written.rc, written.stdout) == (0, "")
    assert path.read_text() == printed.stdout != ""
