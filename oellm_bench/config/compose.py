"""Hydra merges the files and the overrides; nothing is typed or resolved here."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from oellm_bench.config.overrides import Overrides, parse_overrides
from oellm_bench.config.provenance import Provenance, Source, shown
from oellm_bench.config.search_path import hydra_folders
from oellm_bench.errors import ConfigError, Problem, nearest

_PLUGIN_GROUPS = ("backend", "container", "monitoring")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The configuration for one choice of groups, interpolations still in place.

    `choices` are the values of the group axes that lead here, e.g. `{"backend": "script"}`.
    """

    config: DictConfig
    choices: Mapping[str, str]
    provenance: Provenance


@dataclass(frozen=True, kw_only=True)
class Composition:
    """What came of a root file and its overrides: one variant per distinct choice of groups.

    `swept` are the axes given on the command line that are no groups.
    """

    reference: str
    variants: tuple[Variant, ...]
    swept: Mapping[str, Sequence[Any]]


def compose_variants(
    reference: str,
    config_dir: Path | None,
    overrides: Sequence[str],
    replacements: Mapping[str, Mapping[str, Any]] | None = None,
) -> Composition:
    """Compose the root file `reference` once per distinct choice of groups.

    `replacements`: plug-in configurations by dotted key that take the place of whatever is there, unless that
    names the same class_name.

    A group is swept by `-o backend=a,b` or by an axis of that name in `sweep.axes` (a mapping).
    Raises ConfigError for files that are missing or unreadable and for overrides that cannot be applied.
    """
    with hydra_folders(config_dir) as folders:
        loader = GlobalHydra.instance().config_loader()
        parsed = parse_overrides(overrides, loader)
        first = _compose(reference, parsed, {}, folders, loader)
        axes = {**_group_axes(first.config, loader), **parsed.group_axes}
        if not axes:
            variants: tuple[Variant, ...] = (first,)
        else:
            combinations = itertools.product(*axes.values())
            variants = tuple(
                _compose(reference, parsed, dict(zip(axes, values, strict=True)), folders, loader)
                for values in combinations
            )
    for variant in variants:
        for key, value in (replacements or {}).items():
            _replace(variant.config, key, value)
    return Composition(reference=reference, variants=variants, swept=parsed.value_axes)


def _replace(config: DictConfig, key: str, value: Mapping[str, Any]) -> None:
    if OmegaConf.select(config, f"{key}.class_name", throw_on_resolution_failure=False) != value["class_name"]:
        OmegaConf.set_struct(config, False)
        OmegaConf.update(config, key, dict(value), merge=False, force_add=True)


def _compose(
    reference: str,
    parsed: Overrides,
    choices: Mapping[str, str],
    folders: Sequence[Path],
    loader: ConfigLoader,
) -> Variant:
    lines = [*parsed.lines, *(f"{group}={option}" for group, option in choices.items())]
    try:
        config = compose(reference, overrides=lines)
        defaults = loader.compute_defaults_list(reference, lines, RunMode.RUN).defaults
        sources = [
            Source(path, default.package or "")
            for default in defaults
            if default.config_path and (path := _file(default.config_path, folders)) is not None
        ]
        problems = [problem for source in sources for problem in source.problems()]
    except RecursionError as err:
        raise ConfigError(_recursion_problem(folders)) from err
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as err:
        raise ConfigError(_hydra_problem(err, reference, folders, loader)) from err
    if problems:
        raise ConfigError(problems)
    _drop_values_of_replaced_plugins(config, sources)
    return Variant(config=config, choices=choices, provenance=Provenance(sources, parsed.origins))


def _file(config_path: str, folders: Sequence[Path]) -> Path | None:
    candidates = (folder / f"{config_path}.yaml" for folder in folders)
    return next((path for path in candidates if path.is_file()), None)


def _group_axes(config: DictConfig, loader: ConfigLoader) -> dict[str, list[str]]:
    """Return the axes of the sweep that name a configuration group and list options of it."""
    axes = OmegaConf.select(config, "sweep.axes", throw_on_resolution_failure=False)
    if not isinstance(axes, DictConfig):
        return {}
    plain = OmegaConf.to_container(axes)
    assert isinstance(plain, dict)
    return {
        str(key): [str(value) for value in (values if isinstance(values, list) else [values])]
        for key, values in plain.items()
        if is_group(str(key), loader)
    }


def is_group(key: str, loader: ConfigLoader) -> bool:
    """Tell whether `key` is a configuration group with options in one of the folders."""
    return bool(loader.get_group_options(key.replace(".", "/")))


def _drop_values_of_replaced_plugins(config: DictConfig, sources: Sequence[Source]) -> None:
    """Take a group's values out where a later file put another class_name in its place.

    Hydra merges mappings, so values meant for the packaged plug-in would linger beside the user's own.
    """
    for group in _PLUGIN_GROUPS:
        file = next((s for s in reversed(sources) if s.package == group), None)
        node = OmegaConf.select(config, group, throw_on_resolution_failure=False)
        if file is None or not isinstance(node, DictConfig):
            continue
        packaged = dict(file.keys())
        if packaged.pop("class_name", None) == OmegaConf.select(node, "class_name", throw_on_resolution_failure=False):
            continue
        for key, value in packaged.items():
            current = OmegaConf.to_container(node).get(key)  # type: ignore[union-attr]
            if current == value:
                OmegaConf.set_struct(config, False)
                del node[key]


def _hydra_problem(err: Exception, reference: str, folders: Sequence[Path], loader: ConfigLoader) -> Problem:
    """Word a failed composition: what, where, and what would be right."""
    text = str(err).split("Config search path")[0].strip()
    if isinstance(err, yaml.MarkedYAMLError):
        mark = err.problem_mark
        where = f"{mark.name}:{mark.line + 1}" if mark else reference
        return Problem(what=str(err.problem or err), where=where, fix=_yaml_fix(str(err)))
    if "must be a DictConfig" in text:
        where = shown(_file(reference, folders) or Path(reference))
        return Problem(what="the file holds no mapping", where=where, fix="write KEY: VALUE lines")
    if "Cannot find primary config" in text:
        names = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
        where = ", ".join(str(folder) for folder in folders)
        fix = nearest(reference, names) if len(folders) > 1 else f"name its folder with -C; {nearest(reference, names)}"
        return Problem(what=f"no file '{reference}.yaml'", where=where, fix=fix)
    if "No match in the defaults list" in text:
        group = text.split("Could not override '")[-1].split("'")[0].lstrip("/")
        what = f"the defaults list overrides '{group}', which is no group"
        return Problem(what=what, where=_quoting_file(group, "", folders), fix=nearest(group, loader.list_groups("")))
    if "Could not find '" in text:
        group, _, option = text.split("Could not find '")[1].split("'")[0].rpartition("/")
        options = loader.get_group_options(group)
        what = f"group '{group}' has no option '{option}'"
        return Problem(what=what, where=_quoting_file(group, option, folders), fix=nearest(option, options))
    cause = f" ({err.__cause__})" if err.__cause__ else ""
    return Problem(what=" ".join(f"{text}{cause}".split()), where=reference)


def _yaml_fix(message: str) -> str:
    if "duplicate key" in message:
        return "keep one of the two"
    if "unknown escape character" in message:  # a regular expression, as a rule
        return "put the value in single quotes, or write each backslash twice"
    return "correct the YAML"


def _recursion_problem(folders: Sequence[Path]) -> Problem:
    """Find the anchor that holds itself; nothing else makes a configuration endless."""
    for path in (path for folder in folders for path in sorted(folder.rglob("*.yaml"))):
        with contextlib.suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
            if line := Source(path, "").recursive_at:
                return Problem(what="an anchor holds itself", where=f"{shown(path)}:{line}", fix="write the values out")
    what = "values are nested too deeply"
    return Problem(what=what, where=", ".join(map(str, folders)), fix="take levels out")


def _quoting_file(group: str, option: str, folders: Sequence[Path]) -> str:
    """Return the root file that asks for the option, or the command line."""
    for folder in folders:
        for path in folder.glob("*.yaml"):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if group in line and option in line:
                    return f"{shown(path)}:{number}"
    return f"-o {group}={option}"
