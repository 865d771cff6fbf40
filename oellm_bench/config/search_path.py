"""Where configuration files are looked for: the user's folder first, then the packaged one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from oellm_bench.errors import ConfigError, Problem

ROOT_HEADER = "# @package _global_"  # the first line of a root file that stands in a folder


def packaged_folder() -> Path:
    """Return the folder with the packaged configuration, in a wheel or in a checkout."""
    package = Path(__file__).resolve().parents[1]
    in_wheel = package / "config_files"
    return in_wheel if in_wheel.is_dir() else package.parent / "config"


def root_files(folders: Sequence[Path]) -> dict[str, Path]:
    """Return the files that a campaign can begin with, by name, first folder wins: those on top and `experiments/x`."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*/**/*.yaml"))]:
            if path.parent == folder or _says_global(path):
                found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def _says_global(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline().split() == ROOT_HEADER.split()
    return False


class PackagedConfig(SearchPathPlugin):
    """Put the packaged folder behind the user's. A search path entry could not hold the primary config."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the packaged folder."""
        search_path.append("oellm-bench", f"file://{packaged_folder()}")


@contextlib.contextmanager
def hydra_folders(config_dir: Path | None) -> Iterator[tuple[Path, ...]]:
    """Initialise Hydra for the block and yield the folders it searches, first wins.

    Raises ConfigError where `config_dir` is no folder.
    """
    if config_dir is not None and not config_dir.is_dir():
        fix = "give -C the folder that holds your YAML files"
        raise ConfigError(Problem(what=f"no folder '{config_dir}'", where="-C/--config-dir", fix=fix))
    folders = (packaged_folder(),) if config_dir is None else (config_dir.absolute(), packaged_folder())
    Plugins.instance().register(PackagedConfig)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(folders[0])):
            OmegaConf.clear_resolver("now")  # Hydra's: with it a plan would be another one each time
            yield folders
    finally:
        GlobalHydra.instance().clear()
