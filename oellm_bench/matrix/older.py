"""The older format, `--matrix FILE --datasets FILE --sink NAME`, as a document of the newer one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from oellm_bench.config.provenance import shown
from oellm_bench.errors import ConfigError, Problem
from oellm_bench.matrix.document import Node

# Sections of the older format that configure one sink each.
SINKS = ("mlflow", "wandb", "slack", "gdrive")


def modernised(matrix: Node, datasets: Node | None, sink: str) -> Node:
    """Return the older matrix in the newer form, with the one sink that is asked for, or `none`."""
    values = {name: node for name, node in matrix.value.items() if name not in SINKS}
    chosen = matrix.get(sink)
    if chosen is None and sink != "none":
        chosen = Node({}, matrix.where)
    if chosen is not None:
        settings = chosen.value if isinstance(chosen.value, dict) else {}
        values["sinks"] = Node([Node({"name": Node(sink, chosen.where), **settings}, chosen.where)], chosen.where)
    if datasets is not None:
        values["datasets"] = datasets
    return Node(values, matrix.where)


def read_datasets(path: Path) -> Node:
    """Return `{name: {format: path}}` of a JSON file as the list of the newer format. Raises ConfigError."""
    where = shown(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        what = f"cannot be read ({err.strerror})"
        raise ConfigError(Problem(what=what, where=where, fix="give the path of a JSON file")) from err
    except (ValueError, RecursionError) as err:
        raise ConfigError(Problem(what=f"this is no JSON ({err})", where=where, fix="correct it")) from err
    if not isinstance(document, dict) or not all(isinstance(formats, dict) for formats in document.values()):
        fix = 'write {"name": {"format": "path"}}'
        raise ConfigError(Problem(what="this is no mapping of datasets", where=where, fix=fix))
    return Node([_dataset(name, formats, where) for name, formats in document.items()], where)


def _dataset(name: str, formats: dict[str, Any], where: str) -> Node:
    listed = [Node({"type": Node(kind, where), "path": Node(path, where)}, where) for kind, path in formats.items()]
    return Node({"name": Node(name, where), "formats": Node(listed, where)}, where)
