"""The arguments of the verbs that compare sessions; imports nothing heavy, so that --help is quick."""

from __future__ import annotations

import argparse

from oellm_bench.core.metric import MIN_EFFECT, parse_effect

_SESSION = "id, unique beginning or folder of the session, or last"
_PROJECT = "name of a project, or one of its sessions"


def compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `compare`."""
    _reference(parser, "SESSION", f"{_SESSION} (default: last)", optional=True)
    parser.add_argument(
        "baseline",
        nargs="?",
        metavar="BASELINE",
        help="session to compare with (default: the campaign's baseline, else the last good session before)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print as JSON")
    form.add_argument("--md", dest="form", action="store_const", const="md", help="print as Markdown")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="M",
        help="name or pattern of metrics (default: what scripts report, and exec_time_s); may be repeated",
    )
    _entries(parser)
    parser.add_argument(
        "--direction",
        action="append",
        default=[],
        type=_direction,
        metavar="M=higher|lower|none",
        help="which values of a metric are better, where its name does not say; may be repeated",
    )
    parser.add_argument(
        "--min-effect",
        type=_effect,
        default=MIN_EFFECT,
        metavar="SHARE",
        help="the least difference that matters (default: 2%%)",
    )
    parser.add_argument("--confidence", type=_confidence, default=0.95, metavar="C", help="default: 0.95")
    parser.add_argument(
        "--history",
        type=_count,
        default=10,
        metavar="N",
        help="sessions before the baseline that tell of the spread between sessions (default: 10; 0: none)",
    )


def _entries(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--entry", action="append", default=[], metavar="E", help="name or pattern of entries; may be repeated"
    )


def baseline_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `baseline`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="set|show|clear")
    chosen = actions.add_parser("set", help="choose a session; one that did not pass is refused")
    _reference(chosen, "SESSION", _SESSION, optional=False)
    chosen.add_argument("--force", action="store_true", help="take a session that did not pass")
    for name, text in (("show", "which session it is"), ("clear", "have none")):
        action = actions.add_parser(name, help=text)
        shows = name == "show"
        _reference(action, "SESSION|PROJECT", f"{_PROJECT} (default: last)" if shows else _PROJECT, optional=shows)
        if shows:
            action.add_argument("--json", action="store_true", help="print as JSON")


def history_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `history`."""
    _reference(parser, "SESSION|PROJECT", _PROJECT, optional=False)
    parser.add_argument("--metric", required=True, metavar="M", help="name of the metric")
    _entries(parser)
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _reference(parser: argparse.ArgumentParser, metavar: str, meaning: str, *, optional: bool) -> None:
    parser.add_argument("session", metavar=metavar, help=meaning, nargs="?" if optional else None)
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0")
    return int(text)


def _direction(text: str) -> tuple[str, str]:
    name, _, direction = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"'{text}' is not METRIC=DIRECTION")
    if direction not in ("higher", "lower", "none"):
        raise argparse.ArgumentTypeError(f"'{direction}' is no direction; give higher, lower or none")
    return name, direction


def _effect(text: str) -> float:
    try:
        return parse_effect(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def _confidence(text: str) -> float:
    try:
        confidence = float(text)
    except ValueError:
        confidence = 0.0
    if not 0.5 <= confidence < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no confidence; give 0.5 or more, and less than 1")
    return confidence
