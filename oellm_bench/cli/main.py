"""The entry point: parse, run one verb, turn errors into messages and exit codes."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence

from oellm_bench import __version__
from oellm_bench.cli.parser import build_parser
from oellm_bench.errors import EXIT_BUG, EXIT_INTERRUPTED, BenchError, ConfigError

_MOST_PROBLEMS = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = build_parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        verb = " ".join(filter(None, (arguments.verb, getattr(arguments, "step", ""))))
        overrides = [f"-o {text}" for text in unknown if "=" in text and not text.startswith("-")]
        hint = f"; write {' '.join(overrides)}" if overrides else f"; `oellm-bench {verb} --help` lists them"
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return reported(lambda: int(importlib.import_module(f"oellm_bench.cli.{arguments.verb}").run(arguments)))


def reported(action: Callable[[], int]) -> int:
    """Return the exit code of an action, whatever it raises; the user gets a message."""
    try:
        code = action()
        sys.stdout.flush()
    except BenchError as err:
        _say(_message(err))
        code = err.exit_code
    except KeyboardInterrupt:
        _say("interrupted; jobs go on, and `oellm-bench monitor` picks them up again")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing left to say, and no traceback at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as err:  # the last line of defence: a bug becomes a file that can be sent in
        _say(f"this is a bug in oellm-bench ({type(err).__name__}: {err}); the traceback is in {_report()}")
        code = EXIT_BUG
    return code


def _message(err: BenchError) -> str:
    if not isinstance(err, ConfigError) or len(err.problems) == 1:
        return str(err)
    shown = [f"  {problem}" for problem in err.problems[:_MOST_PROBLEMS]]
    left = len(err.problems) - len(shown)
    return "\n".join([f"{len(err.problems)} problems:", *shown, *([f"  ... and {left} more"] if left else [])])


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"oellm-bench: {text}\n")


def _report() -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="oellm-bench-", suffix=".log", delete=False, encoding="utf-8"
    ) as stream:
        stream.write(f"oellm-bench {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
        stream.write(traceback.format_exc())
    return stream.name


if __name__ == "__main__":
    sys.exit(main())
