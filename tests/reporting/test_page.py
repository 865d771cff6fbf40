"""The report as a file: what it says, whatever lies on disk, and how large it may become."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import pytest

from oellm_bench.cli.parser import build_parser
from oellm_bench.core.requirement import Requirement
from oellm_bench.core.result import EntryResult
from oellm_bench.reporting.gather import gather
from oellm_bench.reporting.page import render
from oellm_bench.reporting.past import read_past
from oellm_bench.reporting.plots import plots
from oellm_bench.reporting.report import Report
from oellm_bench.session import Session
from tests.reporting.sessions import BEGUN, DAY, Ran, write_session


def report_of(session: Session, **settings) -> Report:
    return gather(session, now=BEGUN + 1000, past=read_past(session, **settings))


def page_of(session: Session, **settings) -> str:
    return render(report_of(session, **settings), session.layout.report)


def words(page: str) -> str:
    """Return what a reader sees, on one line."""
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)).split())


def test_the_same_session_gives_the_same_page(tmp_path):
    write_session(tmp_path / "a", Ran(name="e", metrics={"speed": 1.0}), at=BEGUN - DAY)
    session = write_session(tmp_path / "b", Ran(name="e", metrics={"speed": 2.0}))
    assert page_of(session) == page_of(session)


def test_an_unfinished_session_says_so(tmp_path):
    session = write_session(tmp_path / "s", Ran(name="done"), Ran(name="runs", modes=("crash", "")))
    text = words(page_of(session))
    assert "not finished: this is its state at" in text
    assert "… running" in text and "no entry has failed so far" in text


def test_a_planned_session_says_that_nothing_was_submitted(tmp_path):
    assert "nothing of it has been submitted" in words(page_of(write_session(tmp_path / "s")))


def test_an_entry_that_left_no_results_is_there(tmp_path):
    session = write_session(tmp_path / "s", Ran(name="e", modes=("lost",), reason="nobody knows of it"))
    for path in session.layout.root.rglob("results.json"):
        path.unlink()
    assert "e ✗ lost nobody knows of it" in words(page_of(session))


def test_a_bound_is_shown_with_what_was_measured(tmp_path):
    bound = (Requirement(metric="speed", min_value=10.0, max_value=20.0), Requirement(metric="gone", exact_value=True))
    ran = Ran(name="e", modes=("requirements_not_met",), metrics={"speed": 9.5}, requirements=bound)
    [entry] = report_of(write_session(tmp_path / "s", ran)).entries
    assert [(b.metric, b.measured, b.required, b.met) for b in entry.bounds] == [
        ("speed", 9.5, "min_value 10 and max_value 20", False),
        ("gone", None, "exact_value True", False),
    ]


def test_a_crash_is_not_held_against_requirements(tmp_path):
    bound = (Requirement(metric="speed", min_value=10.0),)
    [entry] = report_of(write_session(tmp_path / "s", Ran(name="e", modes=("crash",), requirements=bound))).entries
    assert [b.met for b in entry.bounds] == [None]


def test_an_expected_failure_is_no_failure(tmp_path):
    ran = Ran(name="e", modes=("timeout",), expected_failure="issue 44")
    text = words(page_of(write_session(tmp_path / "s", ran)))
    assert "✓ no entry failed" in text and "✗ timeout, as expected" in text and "expected to fail: issue 44" in text


def test_a_pass_against_expectation_is_no_success(tmp_path):
    text = words(page_of(write_session(tmp_path / "s", Ran(name="e", expected_failure="issue 44"))))
    assert "✗ 1 of 1 entries passed, though they are expected to fail" in text
    assert "passed, though it is expected to fail (issue 44): take expected_failure out" in text


def test_a_reference_is_shown_with_its_bounds_unit_and_difference(tmp_path):
    bounds = (
        Requirement(metric="speed", reference=[100.0, "-5 %", "+5 %", "rows/s"], reference_session="base"),
        Requirement(metric="speed", reference=["baseline", "-5 %"]),
        Requirement(metric="speed", min_value=95.0, expected_failure="issue 45"),
        Requirement(metric="speed", max_value=95.0, expected_failure="issue 46"),
    )
    ran = Ran(name="e", modes=("requirements_not_met",), metrics={"speed": 90.0}, requirements=bounds)
    report = report_of(write_session(tmp_path / "s", ran))
    [entry] = report.entries
    assert [(b.required, b.met, b.is_missed) for b in entry.bounds] == [
        ("at least 95 rows/s and at most 105 rows/s", False, True),
        ("relative to the baseline", None, False),
        ("min_value 95", False, False),
        ("max_value 95", True, False),
    ]
    assert entry.bounds[0].limits == (95.0, 105.0)
    text = words(render(report, tmp_path / "report.html"))
    assert "90 rows/s is below 95 rows/s by 5 rows/s (5.3 %)" in text and "of baseline base" in text
    assert "✗ no, as expected" in text and "(expected: issue 45)" in text
    assert "not judged speed: not judged against the baseline" in text
    assert "met, though it is expected not to be (issue 46)" in text


def test_earlier_sessions_of_the_project_are_its_history(tmp_path):
    for day in range(5, 0, -1):
        write_session(tmp_path / f"d{day}", Ran(name="e", metrics={"speed": float(day)}), at=BEGUN - day * DAY)
    write_session(tmp_path / "other", Ran(name="e"), at=BEGUN - 0.5 * DAY, project="other")
    write_session(tmp_path / "later", Ran(name="e"), at=BEGUN + DAY)
    session = write_session(tmp_path / "s", Ran(name="e", metrics={"speed": 9.0}))
    past = read_past(session, most=3).sessions
    assert [(p.session.id, p.samples("e", "speed")) for p in past] == [("d3", (3.0,)), ("d2", (2.0,)), ("d1", (1.0,))]


def test_repetitions_are_samples_of_one_group_and_failures_are_none(tmp_path):
    runs = [Ran(name=f"e-{n}", group="e", metrics={"speed": float(n)}) for n in range(3)]
    bad = Ran(name="e-bad", group="e", modes=("crash",), metrics={"speed": 99.0})
    write_session(tmp_path / "p", *runs, bad, at=BEGUN - DAY)
    session = write_session(tmp_path / "s", *runs, bad)
    [line] = next(plot for plot in plots(report_of(session)) if plot.metric == "speed").lines
    assert [(point.median, point.low, point.high, point.n) for point in line.series.points] == [(1.0, 0.0, 2.0, 3)] * 2


def test_what_changed_around_the_runs_is_named(tmp_path):
    old = Ran(name="e", machine={"host": "n1", "gpu_driver": "550"}, packages=["numpy==2.1", "gone==1"])
    new = Ran(name="e", machine={"host": "n1", "gpu_driver": "560"}, packages=["numpy==2.2", "ray==2.60"])
    write_session(tmp_path / "old", old, at=BEGUN - DAY)
    environment = report_of(write_session(tmp_path / "new", new)).environment
    assert [(f.name, f.before, f.value) for f in environment.facts if f.changed and f.name != "pip-freeze"] == [
        ("gpu_driver", "550", "560")
    ]
    assert {(p.name, p.before, p.value) for p in environment.changed_packages} == {
        ("numpy", "2.1", "2.2"),
        ("gone", "1", "not there"),
        ("ray", "not there", "2.60"),
    }


def test_a_baseline_is_what_is_compared_with(tmp_path):
    baseline = write_session(tmp_path / "base", Ran(name="e", metrics={"v": 1.0}), at=BEGUN - 9 * DAY)
    write_session(tmp_path / "last", Ran(name="e", metrics={"v": 2.0}), at=BEGUN - DAY)
    report = report_of(write_session(tmp_path / "s", Ran(name="e", metrics={"v": 3.0})), given=baseline)
    assert report.environment.compared_with == "base"
    assert [past.session.id for past in report.past.sessions] == ["base", "last"]
    assert [plot.sessions[plot.baseline][:8] for plot in plots(report)] == ["baseline"]


def test_values_of_variables_stay_out(tmp_path):
    machine = {"host": "n1", "environment": {"OMP_NUM_THREADS": "leak-1"}, "slurm": {"SLURM_JOB_ACCOUNT": "leak-2"}}
    assert "leak" not in page_of(write_session(tmp_path / "s", Ran(name="e", machine=machine)))


HOSTILE = {
    "markup": "</td><script>alert(1)</script>",
    "\x1b[31mred\x07": "\u202egnp.exe",
    "lone": "\ud800",
    "nan": "nan",
    "huge": 10**400,
    "</style></svg><script>": 5.5,
    "$x^{": 6.5,
    "long": "x" * 5_000_000,
    "deep": [[1]],
}


def test_whatever_jobs_wrote_is_text(tmp_path):
    ran = Ran(name="e", modes=("crash",), metrics=HOSTILE, reason="<b>\x1b[2J", stderr="a\x1b]0;t\x07\r\n<i>")
    page = page_of(write_session(tmp_path / "s", ran, Ran(name="f", metrics=HOSTILE)))
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    page.encode("utf-8")
    assert "^[]0;t^G" in words(page) and "<b>^[[2J" in words(page)
    assert len(page) < 1_000_000


BROKEN = json.dumps(
    {**EntryResult(name="e", id="i", attempt=1, success=True, error_mode="").to_document(), "metrics": 5}
)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"attempt": 1}', "null", "\udcff", BROKEN])
def test_a_results_file_that_is_none_is_no_obstacle(tmp_path, content):
    session = write_session(tmp_path / "s", Ran(name="e"))
    session.layout.entry("e").attempt(1).results.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert "✓ passed" in words(page_of(session))


def test_times_that_cannot_be_are_drawn_all_the_same(tmp_path):
    session = write_session(tmp_path / "s", Ran(name="e", seconds=-500.0, waited=-100.0), Ran(name="f", seconds=0.0))
    assert page_of(session).count('class="bar"') == 2


def test_thousands_of_entries_are_cut_to_the_most_interesting(tmp_path):
    entries = [Ran(name=f"e{number:04}", metrics={f"m{number}": 1.0, "v": 1.0}) for number in range(2000)]
    entries[1500] = Ran(name="e1500", modes=("crash",), stderr="why\n" * 9000)
    report = report_of(write_session(tmp_path / "s", *entries))
    page = render(report, tmp_path / "report.html")
    text = words(page)
    assert "1 of 2000 entries failed: 1 crash" in text
    assert "1700 more entries are left out here" in text and "1940 more entries are left out" in text
    assert page.count("e1500") >= 3 and len(page) < 2_000_000


def test_links_go_from_where_the_page_lies(tmp_path):
    session = write_session(tmp_path / "it's #1", Ran(name="e", modes=("crash",), stderr="why"))
    elsewhere = tmp_path / "web" / "page.html"
    page = render(report_of(session), elsewhere)
    assert 'href="./../it%27s%20%231/entries/e/attempts/1/stderr.log"' in page


def test_nothing_is_written_where_the_page_cannot_be(tmp_path, cli):
    session = write_session(tmp_path / "s", Ran(name="e"))
    (tmp_path / "file").write_text("")
    done = cli("report", session.session_dir, "--output", tmp_path / "file" / "report.html")
    assert done.rc == 2 and "cannot be written" in done.stderr


def test_the_verb_writes_the_page_and_prints_where(tmp_path, cli):
    base = write_session(tmp_path / "base", Ran(name="e", metrics={"v": 1.0}), at=BEGUN - DAY)
    session = write_session(tmp_path / "s", Ran(name="e", modes=("crash",)))
    done = cli("report", session.session_dir, "--baseline", base.session_dir, "--history", "0")
    assert (done.rc, done.stdout) == (0, f"{session.layout.report}\n"), done.stderr
    assert "Compared with base" in words(Path(done.stdout.strip()).read_text())


def test_the_printed_commands_of_the_documentation_are_known():
    text = (Path(__file__).resolve().parents[2] / "docs" / "reports.md").read_text()
    commands = re.findall(r"^\$ oellm-bench ([^#\n]*)", text, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        assert build_parser().parse_args(shlex.split(command)).verb in ("report", "results")
