"""The command lines that launchers put in front of a command."""

from __future__ import annotations

import itertools

import pytest

from oellm_bench.builtins import load_all
from oellm_bench.config.schema import LauncherChoice
from oellm_bench.config.typing import parse
from oellm_bench.launchers.base import Launcher, Place

load_all()
PLACE = Place(cwd="/w, d", readable=("/s",), writable=("/s/e",))


def made(**document) -> Launcher:
    return parse(LauncherChoice, document, "container").instantiate(Launcher)


def test_apptainer_gets_its_own_process_namespace_and_mounts_that_hold_any_path():
    prefix = made(class_name="ApptainerLauncher", image="/i.sif", nv=True, cleanenv=True, binds=["/a:/b:ro"]).prefix(
        PLACE
    )
    assert prefix[:3] == ("apptainer", "--quiet", "exec") and prefix[-1] == "/i.sif"
    assert {"--pid", "--nv", "--cleanenv", "--no-home"} <= set(prefix)
    mounts = [text for flag, text in itertools.pairwise(prefix) if flag == "--mount"]
    assert mounts == [
        "type=bind,src=/s,dst=/s,ro",
        'type=bind,"src=/w, d","dst=/w, d"',
        "type=bind,src=/s/e,dst=/s/e",
        "type=bind,src=/a,dst=/b,ro",
    ]


@pytest.mark.parametrize(("program", "gpus"), [("podman", "--device=nvidia.com/gpu=all"), ("docker", "--gpus=all")])
def test_an_engine_removes_the_container_and_passes_signals_on(program, gpus):
    prefix = made(class_name="EngineLauncher", image="i", program=program, gpus=True).prefix(PLACE)
    assert prefix[:2] == (program, "run") and prefix[-1] == "i"
    assert {"--rm", "--init", gpus} <= set(prefix)


def test_pyxis_is_told_through_srun():
    prefix = made(class_name="PyxisLauncher", image="/i.sqsh", binds=["/a:/b:ro"]).prefix(
        Place(cwd="/w", readable=("/s",))
    )
    assert prefix[0] == "srun" and "--container-image=/i.sqsh" in prefix
    assert "--container-mounts=/s:/s:ro,/w:/w,/a:/b:ro" in prefix


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"class_name": "ApptainerLauncher", "image": ""}, "image"),
        ({"class_name": "ApptainerLauncher", "image": "x", "binds": ["relative"]}, "binds.0"),
        ({"class_name": "ApptainerLauncher", "image": "x", "nv": True, "rocm": True}, "rocm"),
        ({"class_name": "EngineLauncher", "image": "x", "binds": ["/a:/b:rx"]}, "binds.0"),
        ({"class_name": "PyxisLauncher", "image": "x", "binds": ["/a,b"]}, "binds.0"),
    ],
)
def test_what_cannot_work_is_refused(document, where):
    (problem,) = made(**document).validate()
    assert problem.where == where
