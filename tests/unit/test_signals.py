"""Patterns in logs: what fires, how often, with which values, under which position."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from oellm_bench.core.layout import AttemptLayout
from oellm_bench.monitoring.log_tail import Cursor, read_new
from oellm_bench.monitoring.logs import own_logs, read_logs, scan_counted
from oellm_bench.monitoring.settings import LogSignal, MonitoringConfig
from oellm_bench.monitoring.signals import MOST_MATCHES, Scanner, signal_problems
from oellm_bench.state.fold import apply
from oellm_bench.state.model import AttemptState, EntryState, SessionState


@pytest.fixture
def scan(tmp_path):
    """Return a way to append to a log and see what fires; what has fired is remembered as the journal does."""
    path = tmp_path / "log"
    cursors, counts = [Cursor()], Counter()

    def scan(signals, text):
        with path.open("ab") as stream:
            stream.write(text if isinstance(text, bytes) else text.encode())
        chunk = read_new(path, cursors[-1])
        if chunk is None:
            return []
        cursors.append(chunk.cursor)
        return scan_counted(Scanner(signals), chunk, "stdout", counts, path)

    return scan


def test_every_match_fires_with_its_whole_line(scan):
    seen = scan([LogSignal(name="loss", pattern=r"loss=\d+")], "a loss=1 b\nnothing\nloss=2\n")
    assert [signal.line for signal in seen] == ["a loss=1 b", "loss=2"]


def test_a_once_signal_fires_once_in_a_chunk_and_never_again(scan):
    signal = LogSignal(name="start", pattern="started", once=True)
    assert len(scan([signal], "started\nstarted\n")) == 1
    assert scan([signal], "started\n") == []


def test_named_groups_and_extracted_groups_become_values(scan):
    signal = LogSignal(
        name="step",
        pattern=r"step (?P<step>\d+) loss ([\d.]+)",
        extract_groups={"loss": 2, "again": "step", "all": "match"},
    )
    (seen,) = scan([signal], "at step 7 loss 0.5\n")
    assert seen.values == {"step": "7", "loss": "0.5", "again": "7", "all": "step 7 loss 0.5"}


def test_an_optional_group_that_did_not_match_is_no_value(scan):
    (seen,) = scan([LogSignal(name="x", pattern=r"x(?P<a>1)?(?P<b>2)?")], "x2\n")
    assert seen.values == {"b": "2"}


@pytest.mark.parametrize(
    ("metadata", "values"),
    [
        ({"kind": "checkpoint"}, {"path": "/c/1", "checkpoint_path": "/c/1"}),
        ({"kind": "other"}, {"path": "/c/1"}),
        ({}, {"path": "/c/1"}),
    ],
)
def test_the_path_of_a_checkpoint_is_its_checkpoint_path(scan, metadata, values):
    signal = LogSignal(name="saved", pattern=r"saved (?P<path>\S+)", metadata=metadata)
    (seen,) = scan([signal], "saved /c/1\n")
    assert seen.values == values
    assert seen.metadata == metadata


def test_a_substring_is_no_regular_expression(scan):
    signal = LogSignal(name="x", pattern="a.b[", pattern_type="substring")
    assert [seen.line for seen in scan([signal], "axb[\na.b[\n")] == ["a.b["]


@pytest.mark.parametrize("pattern", ["^error$", "error$", "^error"])
def test_anchors_hold_for_each_line(scan, pattern):
    assert len(scan([LogSignal(name="x", pattern=pattern)], "ok\nerror\nok\n")) == 1


def test_a_position_is_stable_and_never_shared(scan):
    signals = [LogSignal(name="a", pattern="x"), LogSignal(name="b", pattern="x")]
    first = [seen.position for seen in scan(signals, "x\nx\n")]
    second = [seen.position for seen in scan(signals, "x\n")]
    assert len({*first, *second}) == 6


def test_a_position_does_not_depend_on_how_the_file_was_cut(tmp_path):
    path, scanner = tmp_path / "log", Scanner([LogSignal(name="a", pattern="x+")])
    path.write_bytes(b"x\nyy\nxx\nx\n")

    def positions(max_bytes):
        cursor, found = Cursor(), []
        while chunk := read_new(path, cursor, max_bytes=max_bytes):
            found += [seen.position for seen in scanner.scan(chunk, "stdout", {})]
            cursor = chunk.cursor
        return found

    assert positions(6) == positions(1000)


def test_the_same_place_in_a_replaced_file_is_another_position(tmp_path):
    path, scanner = tmp_path / "log", Scanner([LogSignal(name="a", pattern="x")])
    path.write_bytes(b"x one\n")
    first = read_new(path, Cursor())
    path.write_bytes(b"x two, longer\n")
    second = read_new(path, first.cursor)
    (one,), (two,) = (list(scanner.scan(chunk, "stdout", {})) for chunk in (first, second))
    assert one.position != two.position


def test_streams_do_not_share_positions(tmp_path):
    path, scanner = tmp_path / "log", Scanner([LogSignal(name="a", pattern="x")])
    path.write_bytes(b"x\n")
    chunk = read_new(path, Cursor())
    assert len({seen.position for stream in ("a", "b") for seen in scanner.scan(chunk, stream, {})}) == 2


def test_bytes_that_are_no_text_do_no_harm(scan):
    (seen,) = scan([LogSignal(name="x", pattern=r"err (?P<what>.*)")], b"err \xff\xfe\n")
    assert seen.values == {"what": "\ufffd\ufffd"}


def test_a_pattern_beyond_ascii_is_found(scan):
    assert len(scan([LogSignal(name="x", pattern="größe")], "größe 3\n")) == 1


def test_a_very_long_line_is_cut_in_the_journal(scan):
    (seen,) = scan([LogSignal(name="x", pattern="needle")], "needle" + "x" * 10_000 + "\n")
    assert len(seen.line) == 500


def test_a_signal_is_plain_json(scan):
    (seen,) = scan([LogSignal(name="x", pattern="x", metadata={"a": 1}, mode="oom", action="tell")], "x\n")
    assert json.loads(json.dumps(seen.to_document())) == seen.to_document()


def test_a_signal_that_fires_without_end_is_cut_off_with_one_warning(scan, caplog):
    signals = [LogSignal(name="loss", pattern="loss"), LogSignal(name="rare", pattern="rare")]
    assert len(scan(signals, "loss\n" * (MOST_MATCHES - 1))) == MOST_MATCHES - 1
    assert caplog.records == []
    assert len(scan(signals, "loss\n" * 100)) == 1
    assert [seen.name for seen in scan(signals, "loss\nrare\n")] == ["rare"]
    (record,) = caplog.records
    assert f"signal loss has fired {MOST_MATCHES} times" in record.getMessage()


def test_the_limit_of_a_signal_holds_for_an_attempt_over_both_streams_and_all_looks(tmp_path):
    layout = AttemptLayout(tmp_path / "it's an attempt")
    layout.root.mkdir()
    attempt = AttemptState(number=1, token="t", task=None, timeout_s=1.0, intended_at=0.0)
    state = SessionState(entries={"e": EntryState(id="e", attempts=[attempt])})
    scanner = Scanner([LogSignal(name="loss", pattern="loss")])
    for path in (layout.stdout, layout.stderr, layout.stdout):
        with path.open("ab") as stream:
            stream.write(b"loss\n" * (MOST_MATCHES // 2 + 100))
        for event in read_logs("e", attempt, own_logs(attempt, layout), scanner, 0.0, final=False):
            apply(event, state)
    assert len(attempt.signals) == MOST_MATCHES
    assert attempt.cursors["stdout"]["offset"] == layout.stdout.stat().st_size


@pytest.mark.parametrize(
    "text",
    ["{long}\nx 1\n", "x 1\n{long}\n", "{long}\n{long}\nx 1\n{long}\n", "{long}\rx 1\r{long}\n"],
    ids=["first", "last", "around", "progress bar"],
)
def test_a_regex_is_not_tried_on_a_very_long_line_but_on_all_others(scan, caplog, text):
    signals = [LogSignal(name="x", pattern=r"x (?P<n>\d)")]
    seen = scan(signals, text.format(long="x 2" * 30_000))
    assert [signal.values for signal in seen] == [{"n": "1"}]
    assert [record.getMessage().split(" are ")[0] for record in caplog.records] == ["lines of more than 65536 bytes"]


def test_a_substring_is_found_in_a_very_long_line(scan):
    signal = LogSignal(name="x", pattern="needle", pattern_type="substring")
    assert len(scan([signal], "x" * 100_000 + "needle\n")) == 1


def test_no_line_is_lost_where_a_long_log_has_none_that_is_too_long(scan):
    lines = "".join(f"step {number} {'.' * (number * 97 % 60_000)}\n" for number in range(200))
    assert len(scan([LogSignal(name="x", pattern=r"^step \d+ \.*$")], lines)) == 200


@pytest.mark.parametrize(
    ("signals", "where", "what"),
    [
        ([{"pattern": "("}], "monitoring.log_signals.0.pattern", "no regular expression"),
        ([{"pattern": "x*"}], "monitoring.log_signals.0.pattern", "'x*' matches the empty string"),
        ([{"pattern": "^$"}], "monitoring.log_signals.0.pattern", "'^$' matches the empty string"),
        (
            [{"pattern": "", "pattern_type": "substring"}],
            "monitoring.log_signals.0.pattern",
            "'' matches the empty string",
        ),
        ([{"pattern": "a"}, {"pattern": "b"}], "monitoring.log_signals.0.name", "two signals"),
        ([{"pattern": "a", "mode": "oomm"}], "monitoring.log_signals.0.mode", "'oomm' is no error mode"),
        ([{"pattern": "a", "extract_groups": {"step": 1}}], "monitoring.log_signals.0.extract_groups", "1"),
        ([{"pattern": "a", "extract_groups": {"step": "s"}}], "monitoring.log_signals.0.extract_groups", "'s'"),
    ],
)
def test_a_signal_that_cannot_work_is_refused(signals, where, what):
    config = MonitoringConfig(log_signals=tuple(LogSignal(name="x", **signal) for signal in signals))
    problem = signal_problems(config)[0]
    assert problem.where == where
    assert what in problem.what


def rehearse(campaign, cli, *arguments):
    return cli("monitor", "my", "-C", campaign.folder, "--dry-run", "--json-output", *arguments)


def test_a_rehearsal_decides_by_the_subsystems_of_signals_and_names_the_job(campaign, cli):
    campaign.root("""
        monitoring:
          log_signals:
            - {name: link, pattern: link down, action: tell, metadata: {subsystem: network}}
        restart:
          restart_policies:
            - mode: crash
              implementation: {class_name: SelectiveRestartPolicy, restart_on_subsystems: [network]}
    """)
    log = cli.cwd / "train.out"
    log.write_text("link down\n")
    given = ("--log", f"train={log}", "--slurm-state", "train=FAILED", "--action", "tell=true", "--job", "train=123_4")
    document = rehearse(campaign, cli, *given).json
    assert [(row["job_id"], row["decision"]) for row in document["decisions"]] == [("123_4", "restart")]
    assert [(row["job_id"], row["signal"]) for row in document["actions"]] == [("123_4", "link")]


def test_a_job_of_which_nothing_else_is_said_is_refused(campaign, cli):
    campaign.root()
    done = rehearse(campaign, cli, "--slurm-state", "train=FAILED", "--job", "trian=123")
    assert done.rc == 2
    assert "--job trian=123" in done.stderr
