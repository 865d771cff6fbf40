"""A parser built from the packaged table by argparse alone: nothing of the package is in it but the file."""

from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path
from typing import Any

import oellm_bench

ROWS: list[dict[str, Any]] = json.loads(
    (Path(oellm_bench.__file__).parent / "megatron" / "arguments.json").read_text(encoding="utf-8")
)["arguments"]


def members(row: dict[str, Any]) -> list[str]:
    """Return the names by which an enumeration's members are given on the command line."""
    return [member(choice) for choice in row["choices"]]


def member(value: str | int) -> str:
    return value.split(".")[-1] if isinstance(value, str) else signal.Signals(value).name


def layers(text: str) -> Any:
    return eval(text, {"__builtins__": {}}) if "[" in text else int(text)


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.strip("()").split(","))


TYPES = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "moe_freq_type": layers,
    "la_freq_type": layers,
    "no_rope_freq_type": layers,
    "tuple_type": numbers,
    "_parse_cuda_graph_modules_arg": str,
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(exit_on_error=False)
    for row in ROWS:
        options: dict[str, Any] = {"dest": row["dest"], "default": row["default"]}
        if row["action"] in ("store_true", "store_false"):
            options["action"] = row["action"]
        elif row["action"] == "boolean_optional":
            options["action"] = argparse.BooleanOptionalAction
        elif row.get("type") == "enum_type_handler":
            options |= {"choices": members(row), "default": member(row["default"])}
        else:
            options |= {"type": TYPES[row["type"]] if row.get("type") else str}
            options |= {name: row[name] for name in ("nargs", "choices") if row.get(name) is not None}
        flags = [flag for flag in row["flags"] if row["action"] != "boolean_optional" or not flag.startswith("--no-")]
        parser.add_argument(*flags, **options)
    return parser
