"""Recipe 7: a backend of the user's own, installed from the user's own folder."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.recipes.conftest import BLOCK, ROOT


@pytest.fixture
def own_backend(checkout):
    checkout.files(7)
    checkout.environment |= {"UV_OFFLINE": "1", "UV_NO_CACHE": "1"}
    return checkout


def test_recipe_7_a_backend_of_ones_own_is_swept(own_backend):
    own_backend.run("\n".join(own_backend.commands(7)))
    session = own_backend.session()
    assert {name: row["success"] for name, row in own_backend.results(session).items()} == {
        "steps2": True,
        "steps4": True,
    }
    log = session / "entries" / "steps4" / "attempts" / "1" / "stdout.log"
    assert log.read_text().count("iteration ") == 4


def test_recipe_7_it_is_watched_and_restarted_like_any_other(own_backend):
    campaign = {
        "defaults": ["bench", "_self_"],
        "project": {"name": "own"},
        "sweep": {"axes": {"backend.fault": ["none", "crash"]}},
        "restart_policies": [
            {"mode": "crash", "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 1}}
        ],
        "monitoring": {
            "log_signals": [{"name": "saved", "pattern": "Checkpoint saved: (?P<path>.+)", "action": "note"}],
            "actions": {"note": "sh -c 'echo \"$1\" >>noted' sh {path}"},
        },
    }
    (own_backend.folder / "config" / "own.yaml").write_text(yaml.safe_dump(campaign))
    install, export, run = own_backend.commands(7)
    run = run.replace("run ", "run own ").replace("steps=2,4", "steps=2")
    own_backend.run("\n".join([install, export, run]), code=1)
    results = own_backend.results(own_backend.session())
    assert {name: (row["error_mode"], row["attempts"]) for name, row in results.items()} == {
        "faultnone": ("success", 1),
        "faultcrash": ("crash", 2),
    }
    assert len((own_backend.folder / "noted").read_text().splitlines()) == 2 * 3  # two steps in each of three attempts


def test_recipe_7_plan_calls_its_validate(own_backend):
    install, export, _ = own_backend.commands(7)
    plan = "oellm-bench plan -C config -o backend=example -o backend.steps=0"
    done = own_backend.run("\n".join([install, export, plan]), code=2)
    assert "backend.steps: steps must be positive; give 1 or more" in done.stderr


def test_recipe_7_it_is_told_of_the_job(own_backend):
    install, export, _ = own_backend.commands(7)
    submit = "oellm-bench submit -C config -o backend=example -o slurm.sbatch.nodes=2 --fake"
    done = own_backend.run("\n".join([install, export, submit]), code=2)
    assert "backend: train.py runs on one node, not on 2; set slurm.sbatch.nodes: 1" in done.stderr
    assert own_backend.sessions() == []


def test_recipe_7_a_backend_that_is_not_installed_is_named(own_backend):
    done = own_backend.run("oellm-bench plan -C config -o backend=example", code=2)
    assert "ExampleBackend" in done.stderr


@pytest.fixture
def extending(checkout):
    """The page on extending, its files written where their first lines say."""
    checkout.environment |= {"UV_OFFLINE": "1", "UV_NO_CACHE": "1"}
    found = BLOCK.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8"))
    for _, text in found:
        if named := re.match(r"# ([\w./]+)\n", text):
            path = checkout.folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    (commands,) = (text for language, text in found if language == "bash")
    touch, install, plan = commands.splitlines()
    checkout.run(f"{touch}; {install.replace('-e .', '--target plugins .')}")
    checkout.environment["PYTHONPATH"] = str(checkout.folder / "plugins")
    return checkout, plan


def test_the_package_of_the_page_on_extending_is_installed_and_planned_as_printed(extending):
    checkout, plan = extending
    assert [entry["argv"][-1] for entry in checkout.json(f"{plan} --json")["entries"]] == ["10", "20"]


def test_a_plug_in_that_breaks_after_it_has_registered_cannot_be_named(extending):
    checkout, plan = extending
    module = checkout.folder / "plugins" / "my_package" / "backend.py"
    module.write_text(f"{module.read_text()}\nimport no_such_module\n")
    said = checkout.run(plan, code=2).stderr
    assert "plug-in example (my_package.backend) could not be loaded: No module named 'no_such_module'" in said
    assert "unknown class_name 'ExampleBackend'" in said
    others = plan.partition(" -o ")[0]
    assert checkout.run(f"{others} -o backend=command -o backend.command=[echo]").stdout
