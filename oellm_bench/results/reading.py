"""Read the JSON objects that a script writes, whatever it wrote."""

from __future__ import annotations

import errno
import json
import math
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_DEEPEST = 50
_LARGEST_BYTES = 8 << 20  # a result is a handful of numbers; data belongs into files of its own


@dataclass(frozen=True, kw_only=True)
class ReadObject:
    """A JSON object from a file, as read and as JSON can hold it, or why there is none.

    `is_broken`: the file is there and cannot be used. `is_cut_short`: so it is, and more of it would mend that.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    writable: Mapping[str, Any] = field(default_factory=dict)
    defect: str = ""
    is_broken: bool = False
    is_cut_short: bool = False


def read_object(path: Path) -> ReadObject:
    """Return the object in a file, which is named by its folder and its name. NaN and infinity become strings."""
    name = f"{path.parent.name}/{path.name}"
    try:
        size = _size(path)
        if size > _LARGEST_BYTES:
            return _broken(f"{name} is too large ({size} bytes, at most {_LARGEST_BYTES})")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return ReadObject(defect=f"{name} is absent")
    except OSError as err:
        return _broken(f"{name} cannot be read ({err.strerror})")
    except ValueError as err:
        defect = f"{name} is not valid JSON ({'it is empty' if not size else err})"
        return ReadObject(defect=defect, is_broken=True, is_cut_short=True)
    except RecursionError as err:
        return _broken(f"{name} is not valid JSON ({err})")
    if not isinstance(document, dict):
        return _broken(f"{name} holds {_JSON_NAMES[type(document)]}, not an object")
    try:
        return ReadObject(values=document, writable=finite(document))
    except ValueError as err:
        return _broken(f"{name} is not valid JSON ({err})")


def _broken(defect: str) -> ReadObject:
    return ReadObject(defect=defect, is_broken=True)


def _size(path: Path) -> int:
    """Return the size in bytes. Raises OSError for what is no file: a FIFO would be waited for without end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no file')}, not a file")
    return status.st_size


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_JSON_NAMES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def encodable(value: Any) -> Any:
    """Return the value with halves of surrogate pairs, which no UTF-8 can hold, written as `\\ud800`, at any depth."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(item) for item in value]
    return value


def finite(value: Any, depth: int = 0) -> Any:
    """Return the value with NaN and infinity as the strings "nan", "inf" and "-inf", at any depth.

    Raises ValueError where it is nested so deeply that it could not be written again.
    """
    if depth > _DEEPEST:
        raise ValueError(f"nested more than {_DEEPEST} levels deep")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: finite(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item, depth + 1) for item in value]
    return value
