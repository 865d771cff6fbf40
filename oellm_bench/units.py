"""Text to numbers and back: SLURM times, memory sizes, durations for people."""

from __future__ import annotations

import math
import re

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<fields>\d+(?::\d+){0,2})")
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGTP]?)(?:i?B)?", re.IGNORECASE)
_UNLIMITED = ("UNLIMITED", "INFINITE", "NOT_SET", "PARTITION_LIMIT", "")


def parse_slurm_time(text: str | int) -> int | None:
    """Return seconds for a SLURM time, None for no limit.

    Accepts what sbatch(1) accepts for --time: "minutes", "minutes:seconds", "hours:minutes:seconds",
    "days-hours", "days-hours:minutes", "days-hours:minutes:seconds"; a bare number is minutes.
    Raises ValueError for anything else.
    """
    stripped = str(text).strip()
    if stripped.upper() in _UNLIMITED:
        return None
    match = _TIME.fullmatch(stripped)
    if match is None:
        raise ValueError(f"'{text}' is not a SLURM time; write minutes, H:MM:SS or D-HH:MM:SS")
    fields = [int(part) for part in match["fields"].split(":")]
    if match["days"] is not None:
        hours, minutes, seconds = (*fields, 0, 0)[:3]
        return ((int(match["days"]) * 24 + hours) * 60 + minutes) * 60 + seconds
    if len(fields) == 1:
        return fields[0] * 60
    if len(fields) == 2:
        return fields[0] * 60 + fields[1]
    return (fields[0] * 60 + fields[1]) * 60 + fields[2]


def format_slurm_time(seconds: float) -> str:
    """Return `D-HH:MM:SS` (days left out when zero), rounded up to whole seconds."""
    minutes, second = divmod(math.ceil(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02d}:{minute:02d}:{second:02d}"
    return f"{days}-{clock}" if days else clock


def parse_memory(text: str | int) -> int:
    """Return bytes for `4G`, `512M`, `1.5 GiB`; a bare number is MiB, as sbatch(1) reads --mem.

    Units are powers of 1024. Raises ValueError for anything else.
    """
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"'{text}' is not a memory size; write a number with K, M, G or T")
    power = "KMGTP".index((match["unit"] or "M").upper()) + 1
    return int(float(match["number"]) * 1024**power)


def scaled_memory(text: str, factor: float) -> str:
    """Return that many times a memory size, in whole MiB as sbatch reads them. Raises ValueError for no size."""
    return f"{math.ceil(parse_memory(text) * factor / 1024**2)}M"


def format_duration(seconds: float | None) -> str:
    """Return a duration for people: `7.3s`, `4m05s`, `2h10m`, `3d04h`."""
    if seconds is None:
        return "-"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
