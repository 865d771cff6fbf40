"""Run `plan` or `submit` inside an Apptainer image: what they need of this machine is seen there, same paths."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from oellm_bench.backends.base import Backend
from oellm_bench.cli.configuration import compose
from oellm_bench.cli.in_image import ON_SLURM
from oellm_bench.cli.main import reported
from oellm_bench.cli.parser import build_parser
from oellm_bench.config.allocation import backend_job_spec
from oellm_bench.config.project import base_project
from oellm_bench.config.schema import Project
from oellm_bench.errors import ConfigError, UsageError
from oellm_bench.launchers.apptainer import PROGRAMS, ApptainerConfig, ApptainerLauncher
from oellm_bench.launchers.base import Place
from oellm_bench.launchers.prefix import with_environment
from oellm_bench.schedulers.fake import FakeSlurmClient
from oellm_bench.session import sessions_file, state_folder
from oellm_bench.session_writing import make_output_folder
from oellm_bench.shell import command_line, quote

_OURS = "PYTHONPATH"  # for this package, which the image need not have


@dataclass(frozen=True, kw_only=True)
class Execution:
    """A command line, the variables it has beyond those of this process, and the folders it writes to."""

    argv: tuple[str, ...]
    variables: Mapping[str, str]
    outputs: tuple[Path, ...]


def main(arguments: Sequence[str], checkout: Path) -> int:
    """Become the command inside the image; returns an exit code where there is nothing to become."""
    options = _parser().parse_args(arguments)
    return reported(lambda: _run(options, checkout))


def _run(options: argparse.Namespace, checkout: Path) -> int:
    launcher = _launcher(options)
    if not options.print:
        with contextlib.suppress(OSError):  # without it the session is found by its folder only
            sessions_file().parent.mkdir(parents=True, exist_ok=True)
    execution = plan_execution(options, launcher, checkout)
    if options.print:
        sys.stdout.write(f"{_shell_line(execution, options.env)}\n")
        return 0
    for folder in execution.outputs:
        make_output_folder(folder)
    os.execvpe(execution.argv[0], execution.argv, {**os.environ, **execution.variables})  # noqa: S606


def _launcher(options: argparse.Namespace) -> ApptainerLauncher:
    """Return what runs the image. Raises UsageError where it or the image is not there, unless they are only shown."""
    program = options.program or next(filter(shutil.which, PROGRAMS), "")
    if not options.print and not (program and shutil.which(program)):
        missing = f"'{program}' is" if program else f"{' and '.join(PROGRAMS)} are"
        raise UsageError(f"--program: {missing} not on PATH; install Apptainer, or load the site's module of it")
    image = options.image or os.environ.get("OELLM_BENCH_IMAGE", "")
    fix = "container/build_container.sh makes images"
    if not image:
        raise UsageError(f"--image: none is given, and OELLM_BENCH_IMAGE is not set; {fix}")
    launcher = ApptainerLauncher(
        ApptainerConfig(
            image=image, program=program or PROGRAMS[0], binds=options.bind, nv=options.nv, rocm=options.rocm
        )
    )
    problems = launcher.validate()
    if problems:
        raise ConfigError(
            replace(problem, where=f"--{problem.where.replace('binds.', 'bind, no. ')}") for problem in problems
        )
    if not options.print and launcher.image() and not Path(image).exists():
        raise UsageError(f"--image: '{image}' is not there; correct the path ($OELLM_BENCH_IMAGE), or build it: {fix}")
    return launcher


def plan_execution(options: argparse.Namespace, launcher: ApptainerLauncher, checkout: Path) -> Execution:
    """Return how the verb is run inside. Raises ConfigError where the configuration cannot be used."""
    verb = _verb(options)
    project = base_project(compose(build_parser().parse_args(verb)))
    on_slurm = project.slurm.client.class_name != FakeSlurmClient.__name__
    if on_slurm and not project.slurm.python:
        # Scripts run on the nodes, outside of the image, whose own Python is not there.
        verb += ["-o", f"slurm.python={_hydra_text(sys.executable)}"]
    if not options.dry_run:
        # The embedded scheduler ends with the container, and its jobs with it: so somebody has to wait for them.
        verb += [] if on_slurm else ["--monitor"]
    mark = [ON_SLURM] if on_slurm and not options.dry_run else []
    outputs = _outputs(project)
    config_dir = options.config_dir or Path(options.config_ref).parent  # the root file may be given by its path
    place = _place(project, outputs, (checkout, config_dir))
    prefix, variables = with_environment(launcher.prefix(place), _environment(options.env, checkout), {})
    argv = (*prefix, "python3", "-m", "oellm_bench.cli.in_image", *mark, *verb)
    return Execution(argv=argv, variables=variables, outputs=outputs)


def _verb(options: argparse.Namespace) -> list[str]:
    config_dir = ["-C", str(_plain(options.config_dir))] if options.config_dir else []
    overrides = [word for text in options.override for word in ("-o", text)]
    fake = ["--fake"] if options.fake_submit else []
    return ["plan" if options.dry_run else "submit", options.config_ref, *config_dir, *overrides, *fake]


def _hydra_text(value: str) -> str:
    """Quote a value of an override. Source: "Quoted values" in Hydra's override grammar."""
    return "'{}'".format(value.replace("'", "\\'"))


def _outputs(project: Project) -> tuple[Path, ...]:
    base, state = project.project.base_output_dir, project.project.state_dir
    return (Path(base).absolute(), state_folder(base, state))


def _place(project: Project, outputs: Sequence[Path], inputs: Sequence[Path]) -> Place:
    """Return what the verb has to see. Apptainer mounts in this order, and what is mounted later is seen."""
    sessions = sessions_file().parent
    writable = _outermost([Path.cwd(), *outputs, *([sessions] if sessions.is_dir() else [])])
    backend = project.backend.instantiate(Backend)
    spec = backend_job_spec(project)
    reads = () if backend.validate(spec) else backend.build_launch_command(spec).reads
    named = [path for path in project.named_paths().values() if path.startswith("/")]
    wanted = [*inputs, *map(Path, (*reads, *named))]
    readable = [
        path for path in _outermost(wanted) if path.exists() and not {path, *path.parents}.intersection(writable)
    ]
    return Place(cwd=str(Path.cwd()), readable=tuple(map(str, readable)), writable=tuple(map(str, writable)))


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Return the paths that lie in no other one of them."""
    distinct = list(dict.fromkeys(map(_plain, paths)))
    return [path for path in distinct if not any(other in path.parents for other in distinct)]


def _plain(path: Path) -> Path:
    """Return a path absolute and without `..`; links in it stay, since inside it has to be called the same."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _environment(names: Sequence[str], checkout: Path) -> dict[str, str]:
    """Return the variables to set inside, where PATH and LD_LIBRARY_PATH are the image's and PYTHONPATH is ours."""
    unset = [name for name in names if name not in os.environ]
    if unset:
        raise UsageError(f"--env: {', '.join(unset)} not set here; export what is to be handed on")
    given = {name: os.environ[name] for name in names}
    return {**given, _OURS: os.pathsep.join([str(checkout), *filter(None, [given.get(_OURS)])])}


def _shell_line(execution: Execution, named: Sequence[str]) -> str:
    """Return the command for a shell; a value that was handed on by name is not shown."""
    words = []
    for variable, value in execution.variables.items():
        name = variable.partition("ENV_")[2]
        words.append(f'{variable}="${name}"' if name in named and name != _OURS else f"{variable}={quote(value)}")
    return " ".join([*words, command_line(execution.argv)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run_megatron_container.py",
        description="Plan or submit a campaign inside an Apptainer image. Without --dry-run and --fake-submit it is "
        "submitted to SLURM, for which the image needs sbatch.",
        epilog="Exit codes: those of oellm-bench inside; 2 where the image or Apptainer is missing, 4 where sbatch is.",
    )
    add = parser.add_argument
    add("--image", metavar="SIF", help="the image, or a sandbox folder (default: $OELLM_BENCH_IMAGE)")
    add("--config-ref", default="bench", metavar="CONFIG", help="name of the root file (default: bench)")
    add("-C", "--config-dir", type=Path, metavar="DIR", help="folder searched before the packaged configuration")
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="Hydra override; may be repeated")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--dry-run", action="store_true", help="plan: render the scripts, submit nothing")
    way.add_argument("--fake-submit", action="store_true", help="the embedded scheduler, inside; waits for the end")
    add("--program", choices=PROGRAMS, help="what runs the image (default: the first one that is installed)")
    add("--bind", action="append", default=[], metavar="SRC[:DST[:ro]]", help="seen inside as well; may be repeated")
    add("--env", action="append", default=[], metavar="NAME", help="variable to set inside as it is here, even PATH")
    gpus = parser.add_mutually_exclusive_group()
    gpus.add_argument("--nv", action="store_true", help="NVIDIA GPUs and their driver inside")
    gpus.add_argument("--rocm", action="store_true", help="AMD GPUs and their driver inside")
    add("--print", action="store_true", help="print the command line and do nothing")
    return parser
