"""`python -m oellm_bench.sink_worker`: one sink in a process of its own, spoken to by lines of JSON.

Each line on stdin is a request, `{"kind": begin | result | notice | progress | end, ...}`; each has one answer on
stdout, `{"error": text, "after_s": seconds}`: no text where the sink has taken it, seconds where it only asks for
another try. What the sink itself writes goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from oellm_bench.builtins import load_all
from oellm_bench.config.schema import SinkChoice
from oellm_bench.config.typing import parse
from oellm_bench.errors import BenchError
from oellm_bench.fileio import file_lock
from oellm_bench.leaks import without_secrets
from oellm_bench.log import set_up
from oellm_bench.proctree import die_with_parent
from oellm_bench.sink_channel import call_sink
from oellm_bench.sinks.base import Sink, TryAgain

_LONGEST_ERROR = 250


class Guarded:
    """A stream of text on which no value of a secret variable appears; `named`: what further ones are called."""

    def __init__(self, stream: TextIO, named: Collection[str]) -> None:
        self._stream, self._named = stream, named

    def write(self, text: str) -> int:
        """Write text without the values of secrets."""
        self._stream.write(without_secrets(text, os.environ, self._named))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main() -> None:
    """Answer requests until stdin ends."""
    parent = os.getppid()
    die_with_parent(signal.SIGKILL)  # whoever takes over from a monitor that was killed is alone with the service
    if os.getppid() != parent:
        return
    requests, answers = os.fdopen(os.dup(0), "r", encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what the sink prints is no answer
    named: set[str] = set()
    sys.stdout = sys.stderr = Guarded(sys.stderr, named)
    set_up(verbose=False)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    with contextlib.ExitStack() as held:
        for error, after_s in _answers(map(json.loads, requests), held, named):
            text = without_secrets(error, os.environ, named)
            answers.write(json.dumps({"error": _in_a_line(text), "after_s": after_s}) + "\n")
            answers.flush()


def _in_a_line(text: str) -> str:
    """Return the beginning of a text in one line; all of it goes into the log where that is more."""
    line = " ".join(text.split())
    if len(line) <= _LONGEST_ERROR:
        return line
    sys.stderr.write(f"{text}\n")
    return f"{line[: _LONGEST_ERROR - 3]}..."


def _answers(
    requests: Iterator[Mapping[str, Any]], held: contextlib.ExitStack, named: set[str]
) -> Iterator[tuple[str, float | None]]:
    """Yield what became of each request; `named` gets the names of the variables that the sink's secrets are in."""
    sink: Sink | None = None
    locked = False
    for request in requests:
        try:
            if request["kind"] == "begin":
                if not locked:
                    held.enter_context(file_lock(Path(request["lock"])))
                    locked = True
                if sink is None:
                    sink = _made(request, named)
                sink.initialize(request["session_name"], request["environment"])
            else:
                assert sink is not None
                call_sink(sink, request["kind"], request["document"])
        except TryAgain as err:
            yield str(err), err.after_s
        except BenchError as err:
            yield str(err), None
        except (Exception, SystemExit) as err:  # a sink's code is not ours, and must not end the worker
            yield f"{type(err).__name__}: {err}" if str(err) else type(err).__name__, None
        else:
            yield "", None


def _made(request: Mapping[str, Any], named: set[str]) -> Sink:
    load_all()
    config = parse(SinkChoice, dict(request["sink"]), f"sinks.{request['name']}")
    given = {**request["sink"], **vars(config)}  # a plain class has no fields of its own
    named |= {str(value) for key, value in given.items() if key.endswith("_env")}
    sink: Sink = config.instantiate(Sink)
    return sink


if __name__ == "__main__":
    main()
