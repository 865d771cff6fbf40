"""How options of sbatch stand on a command line or in a script.

Source: sbatch(1), Slurm 22.05 to 25.05.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping

from oellm_bench.core.slurm_options import ALL, FLAGS, OPTIONAL_VALUE, TAKES_VALUE

_SHORT = {
    "A": "account", "a": "array", "b": "begin", "c": "cpus-per-task", "C": "constraint", "d": "dependency",
    "D": "chdir", "e": "error", "F": "nodefile", "G": "gpus", "H": "hold", "i": "input", "J": "job-name",
    "k": "no-kill", "L": "licenses", "M": "clusters", "m": "distribution", "n": "ntasks", "N": "nodes",
    "o": "output", "O": "overcommit", "p": "partition", "q": "qos", "Q": "quiet", "s": "oversubscribe",
    "S": "core-spec", "t": "time", "v": "verbose", "w": "nodelist", "W": "wait", "x": "exclude",
}  # fmt: skip
_OPPOSITES = {"requeue": "no-requeue", "no-requeue": "requeue"}


class BadOption(ValueError):
    """An option or value that sbatch refuses; the text is what sbatch says, without its own name."""


def script_options(script: str) -> dict[str, str]:
    """Return the options in the #SBATCH lines before the script's first command, the last one winning.

    Raises BadOption.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(script.splitlines(), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            break
        if line.split() == ["#SBATCH", "hetjob"]:
            break  # the script runs in the first component; the others are not simulated
        if line.startswith("#SBATCH") and line[7:8].isspace():
            try:
                merge(found, _options(shlex.split(line[7:], comments=True)))
            except ValueError as err:
                raise BadOption(f"{err} (line {number}: {line.strip()})") from err
    return found


def checked(options: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield long options given as a mapping. Raises BadOption for one that sbatch does not know."""
    for name, value in options.items():
        if name not in ALL:
            raise BadOption(f"unrecognized option '--{name}'")
        if name in FLAGS and value:
            raise BadOption(f"option '--{name}' doesn't allow an argument")
        yield name, value


def merge(into: dict[str, str], options: Iterable[tuple[str, str]]) -> None:
    """Add options in order; a later one replaces an earlier one and its opposite."""
    for name, value in options:
        into.pop(_OPPOSITES.get(name, ""), None)
        into[name] = value


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the options in the words of one line as getopt_long reads them."""
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            yield _long(word[2:], rest)
        elif word.startswith("-") and len(word) > 1:
            yield from _cluster(word[1:], rest)
        else:
            raise BadOption(f"Invalid directive found in batch script: {word}")


def _long(text: str, rest: Iterator[str]) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if name in TAKES_VALUE and not equals:
        return name, _next(f"--{name}", rest)
    return next(checked({name: value}))


def _cluster(text: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield short options: `-N2`, `-N 2`, `-HW`."""
    for position, letter in enumerate(text):
        name = _SHORT.get(letter)
        if name is None:
            raise BadOption(f"invalid option -- '{letter}'")
        attached = text[position + 1 :]
        if name in TAKES_VALUE:
            yield name, attached or _next(f"-{letter}", rest)
            return
        if name in OPTIONAL_VALUE:
            yield name, attached
            return
        yield name, ""


def _next(option: str, rest: Iterator[str]) -> str:
    try:
        return next(rest)
    except StopIteration:
        raise BadOption(f"option '{option}' requires an argument") from None
