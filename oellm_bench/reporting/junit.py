"""A report as JUnit XML, for what shows test results: one suite a session, one case an entry."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from oellm_bench.clock import utc_text
from oellm_bench.reporting.report import EntryReport, Report, Standing
from oellm_bench.reporting.visible import visible

_LONGEST_TEXT = 20_000  # characters of a log's tail or a reason


def junit_xml(report: Report) -> str:
    """Return the document: XML 1.0 whatever jobs wrote, characters that it may not hold shown as escapes.

    A failure has the error mode as its type, or `unexpected_pass`. Skipped is what is not over, was cancelled,
    or failed as expected.
    """
    counts = report.counts
    skipped = sum(counts[standing] for standing in _SKIPPED)
    numbers = {
        "tests": str(len(report.entries)),
        "failures": str(counts[Standing.FAILED] + counts[Standing.UNEXPECTED]),
        "errors": "0",
        "skipped": str(skipped),
        "time": f"{max(report.ended_at - report.created_at, 0.0):.3f}",
    }
    root = ET.Element("testsuites", {"name": visible(report.project), **numbers})
    about = {"name": visible(report.session), **numbers, "timestamp": utc_text(report.created_at).removesuffix("Z")}
    suite = ET.SubElement(root, "testsuite", about)
    facts = {fact.name: fact.value for fact in report.environment.facts}
    _properties(suite, {"project": report.project, "run_reason": report.run_reason, **facts})
    for entry in report.entries:
        _case(suite, entry, report.project)
    ET.indent(root, " ")
    # Plain ASCII, other letters as references: right in every locale that it may be printed in.
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="us-ascii").decode()}\n'


_SKIPPED = (Standing.OPEN, Standing.CANCELLED, Standing.EXPECTED)


def _case(suite: ET.Element, entry: EntryReport, project: str) -> None:
    about = {"classname": visible(project), "name": visible(entry.name)}
    case = ET.SubElement(suite, "testcase", {**about, "time": f"{entry.exec_time_s or 0.0:.3f}"})
    attempts = {"attempts": len(entry.attempts)} if entry.attempts else {}
    _properties(case, {**entry.parameters, **entry.metrics, **attempts})
    reason = "; ".join(bound.message for bound in entry.unmet) or entry.reason
    if entry.standing is Standing.FAILED:
        failure = ET.SubElement(case, "failure", {"type": entry.error_mode, "message": visible(reason or entry.state)})
        failure.text = visible("\n".join(filter(None, (reason, entry.advice))), _LONGEST_TEXT)
    elif entry.standing is Standing.UNEXPECTED:
        ET.SubElement(case, "failure", {"type": "unexpected_pass", "message": visible(entry.note)})
    elif entry.standing in _SKIPPED:
        ET.SubElement(case, "skipped", {"message": visible(_why_skipped(entry, reason))})
    tails = [f"--- {tail.path}\n{tail.text}" for tail in entry.logs]
    if tails:
        ET.SubElement(case, "system-out").text = visible("\n".join(tails), _LONGEST_TEXT)


def _why_skipped(entry: EntryReport, reason: str) -> str:
    if entry.standing is Standing.EXPECTED:
        return f"failed as expected ({entry.expected_failure}): {entry.error_mode}: {reason}"
    return f"{entry.state.lower()}: {reason}" if reason else entry.state.lower()


def _properties(parent: ET.Element, values: dict[str, object]) -> None:
    given = {name: value for name, value in values.items() if value not in (None, "")}
    if given:
        properties = ET.SubElement(parent, "properties")
        for name, value in given.items():
            ET.SubElement(properties, "property", {"name": visible(name), "value": visible(str(value))})
