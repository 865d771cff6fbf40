"""Hydra merges the files and the overrides; nothing is typed or resolved here."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException

from oellm_bench.config.expansion import points_of
from oellm_bench.config.overrides import Overrides, parse_overrides, quoted_option
from oellm_bench.config.provenance import Provenance, Source, clash, shown
from oellm_bench.config.schema import Project
from oellm_bench.config.search_path import ROOT_HEADER, hydra_folders, root_files
from oellm_bench.config.typing import field_types
from oellm_bench.config.variant import Choices, Composition, Variant, choices_of
from oellm_bench.errors import ConfigError, Problem, nearest

_SPELLINGS = {"on": "(?:on|yes|true)", "off": "(?:off|no|false)"}  # in YAML 1.1
_MERGING = "Error merging override "
_IN_A_SWEEP = frozenset(("axes", "params", "configs", "groups", "defaults", "base_values"))
_PLUGIN_GROUPS = ("backend", "container", "monitoring")


def compose_variants(
    reference: str,
    config_dir: Path | None,
    overrides: Sequence[str],
    replacements: Mapping[str, Mapping[str, Any]] | None = None,
) -> Composition:
    """Compose the root file `reference` once per distinct choice of groups.

    `replacements`: plug-in configurations by dotted key that take the place of whatever is there, unless that
    names the same class_name.

    A group is swept by `-o backend=a,b`, or by a key of that name in the sweep.
    Raises ConfigError for files that are missing or unreadable and for overrides that cannot be applied.
    """
    with hydra_folders(config_dir) as folders:
        loader = GlobalHydra.instance().config_loader()
        parsed = parse_overrides(overrides, loader)
        groups: set[str] = set()
        variants = []
        for values in itertools.product(*parsed.group_axes.values()):
            choices = dict(zip(parsed.group_axes, values, strict=True))
            variant = _compose(reference, parsed, choices, folders, loader)
            swept = _swept_groups(variant.config, loader)
            groups |= swept
            further = {
                chosen: _compose(reference, parsed, {**choices, **dict(chosen)}, folders, loader)
                for chosen in _further_choices(variant, parsed.value_axes, swept)
            }
            variants.append(replace(variant, chosen=further))
    composition = Composition(
        reference=reference, variants=tuple(variants), swept=parsed.value_axes, groups=frozenset(groups)
    )
    for config in [*(variant.config for variant in variants), *composition.configs]:
        for key, value in (replacements or {}).items():
            _replace(config, key, value)
    return composition


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
    chosen = (f"{_group_name(group, loader)}={quoted_option(option)}" for group, option in choices.items())
    lines = [*parsed.lines, *chosen]
    try:
        config = _merged(reference, lines, folders, loader)
        sources = _sources(reference, lines, folders, loader)
        problems = [problem for source in sources for problem in (*source.problems(), *_package_problems(source))]
    except RecursionError as err:
        raise ConfigError(_recursion_problem(folders)) from err
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as err:
        raise ConfigError(_hydra_problem(err, reference, folders, loader)) from err
    if problems:
        raise ConfigError(problems)
    _drop_values_of_replaced_plugins(config, sources)
    return Variant(config=config, choices=choices, provenance=Provenance(sources, parsed.origins))


def _merged(reference: str, lines: list[str], folders: Sequence[Path], loader: ConfigLoader) -> DictConfig:
    """Return what Hydra makes of the files. Raises as it does, and ConfigError where it tells of no place."""
    try:
        return compose(reference, overrides=lines)
    except ConfigCompositionException as err:
        found = clash(_sources(reference, lines, folders, loader)) if "Cannot merge" in str(err) else None
        if found is None:
            raise
        raise ConfigError(found) from err


def _sources(reference: str, lines: list[str], folders: Sequence[Path], loader: ConfigLoader) -> list[Source]:
    """Return the files of a composition, in the order they are merged."""
    defaults = loader.compute_defaults_list(reference, lines, RunMode.RUN).defaults
    paths = ((default, _file(default.config_path, folders)) for default in defaults if default.config_path)
    return [Source(path, default.package or "") for default, path in paths if path is not None]


def _package_problems(source: Source) -> Iterator[Problem]:
    """Yield that the values of a file land below the name of its folder, where nothing reads them."""
    own_folder = source.path.parent.as_posix().endswith("/" + source.package.replace(".", "/"))
    if own_folder and source.package.split(".")[0] not in field_types(Project):
        what = f"what stands in it would be below '{source.package}', which is no section"
        yield Problem(what=what, where=f"{shown(source.path)}:1", fix=f"begin it with the line '{ROOT_HEADER}'")


def _file(config_path: str, folders: Sequence[Path]) -> Path | None:
    candidates = (folder / f"{config_path}.yaml" for folder in folders)
    return next((path for path in candidates if path.is_file()), None)


def _swept_groups(config: DictConfig, loader: ConfigLoader) -> set[str]:
    """Return the keys in a sweep that name a configuration group."""
    sweep = OmegaConf.select(config, "sweep", throw_on_resolution_failure=False)
    if not isinstance(sweep, DictConfig):
        return set()
    return {key for key in {*_keys_in(OmegaConf.to_container(sweep))} if is_group(key, loader)}


def _keys_in(node: object) -> Iterator[str]:
    """Yield the keys of values in a sweep, those of groups in groups too."""
    if isinstance(node, list):
        for item in node:
            yield from _keys_in(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, dict | list) and key in _IN_A_SWEEP:
                yield from _keys_in(value)
            elif isinstance(key, str) and not isinstance(value, dict):
                yield key


def _further_choices(
    variant: Variant, swept: Mapping[str, Sequence[Any]], groups: Collection[str]
) -> dict[Choices, None]:
    """Return the distinct choices of groups that the points of a sweep make."""
    if not groups:
        return {}
    try:
        points = points_of(variant, swept, groups)
    except ConfigError:
        return {}  # told with all other problems where the points are made
    return dict.fromkeys(choices_of(point.values, groups) for point in points)


def is_group(key: str, loader: ConfigLoader) -> bool:
    """Tell whether `key` is a configuration group with options in one of the folders; `/` and `.` are alike in it."""
    return bool(loader.get_group_options(_group_name(key, loader)))


def _group_name(key: str, loader: ConfigLoader) -> str:
    """Return the group that a key names, as Hydra's overrides have it."""
    return key if loader.get_group_options(key) else key.replace(".", "/")


def _drop_values_of_replaced_plugins(config: DictConfig, sources: Sequence[Source]) -> None:
    """Take a group's values out where a later file put another class_name in its place.

    Hydra merges mappings, so values meant for the packaged plug-in would linger beside the user's own.
    """
    for group in _PLUGIN_GROUPS:
        node = OmegaConf.select(config, group, throw_on_resolution_failure=False)
        packaged: dict[str, object] = {}
        for source in sources:  # one file of a group may extend another, and name no class of its own
            packaged |= source.keys() if source.package == group else {}
        name = packaged.pop("class_name", None)
        if name is None or not isinstance(node, DictConfig):
            continue
        if name == OmegaConf.select(node, "class_name", throw_on_resolution_failure=False):
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
        names = sorted(root_files(folders))
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
        hint = "; YAML reads a bare yes, no, true or false as on or off: quote it" if option in ("on", "off") else ""
        return Problem(what=what, where=_quoting_file(group, option, folders), fix=f"{nearest(option, options)}{hint}")
    broken = next((e for e in (err, err.__cause__) if isinstance(e, GrammarParseError)), None)
    if broken is not None:
        return _broken_interpolation(broken, reference, folders)
    if "Could not load '" in text:
        return _missing_default(text, folders)
    if text.startswith(_MERGING) and "Cannot merge" in str(err.__cause__):
        is_list = "object_type=list" in str(err.__cause__)
        what, fix = ("a list", "write KEY=[VALUE]") if is_list else ("a mapping", "write KEY={NAME: VALUE}")
        override = text.removeprefix(_MERGING).lstrip("+")
        return Problem(what=f"there is {what} in the files", where=f"-o {override}", fix=fix)
    cause = f" ({err.__cause__})" if err.__cause__ else ""
    return Problem(what=" ".join(f"{text}{cause}".split()), where=reference)


def _missing_default(text: str, folders: Sequence[Path]) -> Problem:
    """Word Hydra's `In 'experiments/x': Could not load 'experiments/bench'`: names start from the file's own folder."""
    name, own = text.split("Could not load '")[1].split("'")[0], text.split("In '")[-1].split("'")[0]
    folder, _, last = name.rpartition("/")
    known = root_files(folders)
    fix = f"write /{last}" if folder and last in known else nearest(name, sorted(known))
    where = shown(_file(own, folders) or Path(own))
    return Problem(what=f"the defaults list names '{name}', which is no file", where=where, fix=fix)


def _broken_interpolation(err: GrammarParseError, reference: str, folders: Sequence[Path]) -> Problem:
    """Return where the interpolation stands: the parser knows its key within the file, and not which file."""
    key = re.sub(r"\[(\w+)\]", r".\1", err.full_key or "")
    what = f"an interpolation cannot be read: {str(err).splitlines()[0]}"
    fix = "write ${KEY} or ${RESOLVER:'text',...}; \\${ where no interpolation is meant"
    for path in (path for folder in folders for path in sorted(folder.rglob("*.yaml"))):
        with contextlib.suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
            try:
                OmegaConf.load(path)
            except GrammarParseError as found:
                if found.full_key == err.full_key:
                    return Problem(what=what, where=Provenance([Source(path, "")], {}).where(key), fix=fix)
    return Problem(what=what, where=reference, fix=fix)


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
    words = [
        rf"(?<!\w){re.escape(group).replace('/', '[/.]')}(?!\w)",
        rf"(?<!\w)(?i:{_SPELLINGS.get(option, re.escape(option))})",
    ]
    for path in root_files(folders).values():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if all(re.search(word, line) for word in words):
                return f"{shown(path)}:{number}"
    return f"-o {group}={option}"
