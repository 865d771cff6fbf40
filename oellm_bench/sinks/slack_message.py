"""What Slack is told of a session: pure functions from results to messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oellm_bench.sinks.base import Notice, Progress
from oellm_bench.sinks.slack_blocks import (
    MOST_COLUMNS,
    Block,
    Message,
    fields,
    header,
    listed,
    messages,
    section,
    tables,
)
from oellm_bench.sinks.slack_text import (
    MISSING,
    escaped,
    link,
    measured,
    mention,
    metric_text,
    plain,
    texts,
    went_well,
)

_LONGEST_NAME = 100  # of an entry in a header; a longer one follows in full
_LONGEST_WHY = 60  # a failure is expected, in a header; a section has it in full
_MOST_MENTIONS = 50


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What the parent message of a session shows; an entry that failed as it was expected to is one of `passed`.

    `progress` is None where nobody has told yet what runs.
    """

    session: str
    total: int
    passed: int
    failed: int
    progress: Progress | None = None
    over: bool = False
    run_reason: str = ""
    viewer_url: str = ""

    @property
    def status(self) -> str:
        """In three words at most."""
        if not self.over:
            return "running"
        return "complete with failures" if self.failed else "complete"


def overview(of: Overview) -> Message:
    """Return the parent message; always one."""
    left = max(0, of.total - of.passed - of.failed)
    running = min(of.progress.running, left) if of.progress and not of.over else 0
    known = of.over or of.progress is not None
    counts = {
        "Total": of.total,
        "Passed": of.passed,
        "Failed": of.failed,
        "Running": running if known else "-",
        "Waiting": left - running if known else "-",
    }
    lines = [f"*Run status:* {of.status}"]
    if of.run_reason:
        lines.append(f"*Reason:* {escaped(of.run_reason, 1000)}")
    if of.viewer_url:
        lines.append(link(of.viewer_url, "Report"))
    blocks = [header(of.session), section("\n".join(lines)), fields(counts)]
    return Message(escaped(f"{of.session}: {of.status}", 300), tuple(blocks))


def title_of(result: Mapping[str, Any]) -> str:
    """Return the name of an entry and how it ended: `train: Failed (timeout)`."""
    return f"{plain(result['name'], _LONGEST_NAME)}: {_outcome(result)}"


def warnings_of(result: Mapping[str, Any]) -> Sequence[str]:
    """Return what an entry warns of though it may have passed."""
    return texts(result.get("warnings"))


def entry_messages(result: Mapping[str, Any], metrics: Sequence[str], people: Sequence[str]) -> list[Message]:
    """Return the messages about one ended entry: its metrics in that order, and `people` mentioned."""
    return messages(title_of(result), _entry_blocks(result, metrics, people))


def notice_messages(notice: Notice) -> list[Message]:
    """Return the messages about a notice."""
    about = f"{notice.entry} (attempt {notice.attempt})" if notice.attempt else notice.entry
    start = f"*{escaped(about, 300)}*: " if about else ""
    text = f"{notice.entry}: {notice.message}" if notice.entry else notice.message
    return messages(text, [section(start + escaped(notice.message, 2500))])


def summary_of(result: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    """Return what the table of a session shows of an entry, as plain values."""
    values = measured(result)
    shown = {name: metric_text(name, values.get(name)) for name in _with_time(metrics)}
    return {"name": plain(result["name"], 200), "outcome": _outcome(result), "values": shown}


def session_messages(of: Overview, summaries: Sequence[Mapping[str, Any]], people: Sequence[str]) -> list[Message]:
    """Return a whole session as messages: the overview, mentions for failures, a table of what `summary_of` told."""
    names = _with_time([name for summary in summaries for name in summary["values"]])
    columns = names[: MOST_COLUMNS - 2]
    blocks = [*overview(of).blocks, *(_mentions(people) if of.failed else ())]
    if left_out := names[len(columns) :]:
        blocks += listed(f"No place in a table of {MOST_COLUMNS} columns", left_out)
    rows = (
        [summary["name"], summary["outcome"], *(summary["values"].get(name, MISSING) for name in columns)]
        for summary in summaries
    )
    return messages(f"{of.session}: {of.status}", [*blocks, *tables(["Entry", "Result", *columns], rows)])


def _entry_blocks(result: Mapping[str, Any], metrics: Sequence[str], people: Sequence[str]) -> Iterator[Block]:
    yield header(title_of(result))
    if len(str(result["name"])) > _LONGEST_NAME:
        yield section(escaped(result["name"], 2500))
    if result.get("expected_failure"):
        yield section(f"*Expected to fail*\n{escaped(result['expected_failure'], 2500)}")
    if not result["success"]:
        if result.get("reason"):
            yield section(f"*Reason*\n{escaped(result['reason'], 2500)}")
        if result.get("entry_dir"):
            yield section(f"*Folder*\n{escaped(result['entry_dir'], 1000)}")
    yield from _mentions(people)
    missed = texts(result.get("requirements_not_met"))
    if result.get("requirements") and not missed and result["success"]:
        yield section("All requirements met")
    yield from listed("Requirements not met", missed)
    yield from listed("Warnings", warnings_of(result))
    yield from listed("Attempts", [*_attempts(result)])
    values, names = measured(result), _with_time(metrics)
    yield from tables(["Metric", "Value"], ([name, metric_text(name, values.get(name))] for name in names))


def _attempts(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each attempt of an entry that had several."""
    attempts = result.get("attempts") or ()
    for attempt in attempts if len(attempts) > 1 else ():
        nodes = ", ".join(texts(attempt.get("nodes")))
        parts = (
            f"job {attempt['job_id']}" if attempt.get("job_id") else "",
            nodes,
            str(attempt.get("error_mode") or ""),
        )
        reason = f": {plain(attempt['reason'], 300)}" if attempt.get("reason") else ""
        decision = f" -> {plain(attempt['decision'], 300)}" if attempt.get("decision") else ""
        yield f"{attempt.get('number', '?')}. {', '.join(filter(None, parts))}{reason}{decision}"


def _with_time(metrics: Sequence[str]) -> list[str]:
    return [*dict.fromkeys(["exec_time_s", *metrics])]


def _outcome(result: Mapping[str, Any]) -> str:
    expected = result.get("expected_failure")
    if result["success"]:
        return "Passed, though expected to fail" if expected else "Success"
    if expected and went_well(result):
        return f"Failed as expected ({plain(str(expected), _LONGEST_WHY)})"
    return f"Failed ({plain(result.get('error_mode', ''), 30)})"


def _mentions(people: Sequence[str]) -> list[Block]:
    named = [*dict.fromkeys(people)][:_MOST_MENTIONS]
    return [section(" ".join(mention(person) for person in named))] if named else []
