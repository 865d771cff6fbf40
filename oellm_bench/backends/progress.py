"""The pattern by which a command's progress is read from its log."""

from __future__ import annotations

import re
from collections.abc import Sequence

from oellm_bench.errors import Problem


def progress_problems(pattern: str) -> Sequence[Problem]:
    """Return what is wrong with `progress`: it is matched against bytes, and has to tell an iteration."""
    try:
        groups = re.compile(pattern.encode()).groupindex
    except (re.error, OverflowError) as err:
        return [Problem(what=f"'{pattern}' is no regular expression ({err})", where="progress")]
    if pattern and "iteration" not in groups:
        fix = "name the group that holds the step: iteration +(?P<iteration>[0-9]+)"
        return [Problem(what=f"'{pattern}' has no group 'iteration'", where="progress", fix=fix)]
    return []
