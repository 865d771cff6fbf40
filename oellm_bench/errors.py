"""Every error this package raises on purpose.

BenchError                   something a user can act on; one line (or one list), never a traceback
├── ConfigError              the configuration is wrong: a list of problems                exit 2
├── UsageError               a command was used in a way that cannot work                  exit 2
├── StateError               a file this tool keeps is unreadable or held by another       exit 2
│   ├── AlreadyWatched       another monitor has the session
│   └── WriteError           (fileio) a file could not be written; an OSError as well
└── SchedulerError           the scheduler said no, or said nothing                        exit 4
    ├── SchedulerUnavailable no answer: nothing is known, nothing may change (transient)
    ├── SubmissionUnclear    sbatch failed in a way that may have created the job
    ├── QueueFull            no place just now; the job was not taken (transient)
    └── SubmissionRejected   sbatch refused; asking again cannot help                      exit 2
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MOST_NAMES = 20

EXIT_DONE = 0
EXIT_NOT_PASSED = 1
EXIT_USAGE = 2
EXIT_BUG = 3
EXIT_UNREACHABLE = 4
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong: what, where it stands, and what to do about it."""

    what: str
    where: str = ""
    fix: str = ""

    def __str__(self) -> str:
        """Join the three parts into one line."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.fix}" if self.fix else text


class BenchError(Exception):
    """Base of all errors a user can act on."""

    exit_code = EXIT_USAGE


class ConfigError(BenchError):
    """The configuration cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (
            (problems,) if isinstance(problems, Problem) else tuple(dict.fromkeys(problems))
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(BenchError):
    """The command line asks for something that cannot be done."""


class StateError(BenchError):
    """A file kept by this tool is unreadable, of another version, or held by another process."""


class AlreadyWatched(StateError):
    """Another live monitor has the session."""


class SchedulerError(BenchError):
    """The scheduler could not do what was asked; `transient` says whether asking again may help."""

    exit_code = EXIT_UNREACHABLE
    transient = False


class SchedulerUnavailable(SchedulerError):
    """The scheduler did not answer; whatever was known before still stands."""

    transient = True


class SubmissionUnclear(SchedulerError):
    """A submission failed in a way that may have created the job: look it up before trying again."""

    transient = True


class QueueFull(SchedulerError):
    """The scheduler takes no more jobs from this user for now: wait, it is no failure."""

    transient = True


class SubmissionRejected(SchedulerError):
    """The scheduler refused a submission; it will refuse it again."""

    exit_code = EXIT_USAGE


def nearest(name: str, valid: Sequence[str]) -> str:
    """Return `did you mean 'x'?`, or the list of valid names where none is near."""
    import difflib  # not above: it is wanted only where something is wrong, and a job starts without

    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    shown = sorted(valid)[:_MOST_NAMES]
    more = f" and {len(valid) - len(shown)} more" if len(valid) > len(shown) else ""
    return f"valid: {', '.join(shown)}{more}" if valid else ""
