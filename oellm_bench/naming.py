"""Names and ids of entries: stable, unique, safe as a folder, a job name and a shell word."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from oellm_bench.errors import Problem
from oellm_bench.placeholders import SIBLING, by_key_or_suffix, expand, literal_parts, names_in, value_text, without

STAGE = "stage"  # the parameter that says which step of a chain an entry is, first in its name
REPETITION = "repetition"  # the parameter that counts them, from 1
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+@,-]*")
_UNSAFE_CHARACTERS = re.compile(r"[^A-Za-z0-9._=+@,-]+")
# What an entry's folder has of its own.
_OF_AN_ENTRY = frozenset({"attempts", "artifacts", "benchmark_results", "ray_cluster", "results.json", "scratch"})
_LONGEST = 120  # a name is a folder and part of longer file names; file systems allow 255


def identity(document: Mapping[str, Any]) -> str:
    """Return 8 characters of base 32 (40 bits of SHA-256) that say what `document` says."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:5]).decode().lower()


def check_name(name: str, where: str) -> list[Problem]:
    """Return a problem where `name` cannot be a folder and a job name."""
    if _SAFE.fullmatch(name) and len(name) <= _LONGEST:
        return []
    fix = f"use up to {_LONGEST} letters, digits and . _ = + @ , - and begin with a letter or digit"
    return [Problem(what=f"'{name}' cannot be a name", where=where, fix=fix)]


def link_problems(links: Mapping[str, str]) -> Iterator[Problem]:
    """Yield why a name in an entry's folder cannot be a link to something else in it."""
    for name, target in links.items():
        where = f"project.links.{name}"
        if not _SAFE.fullmatch(name) or name in _OF_AN_ENTRY:
            fix = f"choose a name that is no path, and none of {', '.join(sorted(_OF_AN_ENTRY))}"
            yield Problem(what=f"'{name}' cannot be a further name", where=where, fix=fix)
        if target.startswith("/") or ".." in target.split("/"):
            fix = "name something below the entry's folder"
            yield Problem(what=f"'{target}' is outside of the entry's folder", where=where, fix=fix)


def file_problems(names: Iterable[str], links: Collection[str], where: str) -> Iterator[Problem]:
    """Yield why a file of that name cannot lie in an entry's folder beside what is there already, its links too."""
    for name in names:
        if not _SAFE.fullmatch(name) or name in _OF_AN_ENTRY:
            fix = f"choose a name that is no path, and none of {', '.join(sorted(_OF_AN_ENTRY))}"
            yield Problem(what=f"'{name}' cannot be a file of the entry", where=where, fix=fix)
        if name in links:
            what = f"a link would take the place of '{name}', which the command reads"
            yield Problem(what=what, where=f"project.links.{name}", fix="choose another name for the link")


def check_template(template: str) -> list[Problem]:
    """Return a problem where the fixed text of a name template holds what a name cannot."""
    if not _UNSAFE_CHARACTERS.search(literal_parts(template)):
        return []
    fix = "use letters, digits and . _ = + @ , - around the placeholders"
    return [Problem(what=f"'{template}' cannot make names", where="sweep.name_template", fix=fix)]


def entry_name(template: str, parameters: Mapping[str, Any], entry_id: str, project: str) -> str:
    """Return the name of an entry from its template, or from its parameters where there is none.

    A value that cannot stand in a name as it is gets its other characters replaced by `-` and the entry's id
    added, so that two values never fall together. Raises UnknownPlaceholder, ValueError (stray brace).
    """
    texts = {key: value_text(value) for key, value in parameters.items()}
    if template:
        lookup = by_key_or_suffix({**texts, "id": entry_id, "project_name": project}, [*parameters])
        text = expand(template, lookup)
    else:
        stage = [texts[STAGE]] if STAGE in texts else []
        swept = (
            f"{key.rsplit('.', 1)[-1]}{texts[key]}"
            for key, value in parameters.items()
            if _is_telling(key, value, stage)
        )
        text = "_".join([*stage, *swept]) or project
    return _safe(text, entry_id)


def _is_telling(key: str, value: object, stage: Sequence[str]) -> bool:
    """Tell whether a parameter belongs in a name: paths of other entries are not known yet, and the stage says what
    the mappings that came with it would say.
    """
    return key != STAGE and f"{{{SIBLING}" not in str(value) and not (stage and isinstance(value, Mapping))


def without_repetition(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the repetitions of a point have in common."""
    return {key: value for key, value in parameters.items() if key != REPETITION}


def repetition_names(
    template: str, parameters: Mapping[str, Any], ids: tuple[str, str], project: str
) -> tuple[str, str]:
    """Return the name of one repetition, and that of its group: the name without the number.

    `ids`: its own, and the one that all repetitions share. Raises as `entry_name` does.
    """
    entry_id, shared_id = ids
    group = entry_name(without(template, REPETITION), without_repetition(parameters), shared_id, project)
    if REPETITION in names_in(template):
        return entry_name(template, parameters, entry_id, project), group
    return f"{group}_r{parameters[REPETITION]}", group


def _safe(text: str, entry_id: str) -> str:
    if _SAFE.fullmatch(text) and len(text) <= _LONGEST:
        return text
    slug = _UNSAFE_CHARACTERS.sub("-", text).strip("-._=+@,")[: _LONGEST - len(entry_id) - 1]
    return f"{slug}-{entry_id}" if slug else entry_id
