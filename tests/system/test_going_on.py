"""Going on with a finished session: further entries, and what failed once more; kill -9 while it is reopened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.system.test_order import results, shell

# Dies just before the file system is asked for that, of a file of that name.
DYING = """
import os, signal, sys
from oellm_bench.cli.main import main
event, name = sys.argv.pop(1), sys.argv.pop(1)
def hook(what, arguments):
    if what == event and str(arguments[0]).endswith(name):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
sys.exit(main())
"""


def chain(command: str) -> dict:
    return {
        "backend": shell(command),
        "sweep": {
            "configs": [
                {"stage": "stable", "from": "/dev/null"},
                {"stage": "decay", "from": "${sibling:stable.output_dir}/made"},
                {"stage": "evaluate", "from": "${sibling:decay.output_dir}/made"},
            ],
            "name_template": "{stage}",
        },
    }


def lines(path: Path) -> list[str]:
    return [json.loads(line)["name"] for line in path.read_text().splitlines()]


def killed_submit(campaign, event: str, name: str) -> None:
    argv = [sys.executable, "-c", DYING, event, name, *campaign.argv("submit")[3:]]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=campaign.folder)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_further_stages_go_on_in_the_session_of_the_first_whatever_kills_the_submit(campaign):
    campaign.write(**chain("cat {from} && echo {stage} >{session_entry_dir}/made"))
    assert campaign.run("run", "--subset", "0").returncode == 0
    archive = campaign.session_dir / "journal.jsonl"
    killed_submit(campaign, "os.rename", "journal.part")
    killed_submit(campaign, "os.remove", "journal.jsonl")
    assert archive.exists()
    assert "finished, 2 of 3 not submitted" in campaign.run("status", "last").stdout
    killed_submit(campaign, "os.remove", "lease.json")
    done = campaign.run("submit")
    assert done.returncode == 0, done.stderr
    assert not archive.exists()
    watched = campaign.run("monitor")
    assert watched.returncode == 0 and "3 of 3 passed" in watched.stderr
    assert {row["attempts"] for row in results(campaign).values()} == {1}
    assert set(campaign.jobs_by_token().values()) == {1} and len(campaign.jobs_by_token()) == 3
    assert sorted(lines(campaign.session_dir / "results.jsonl")) == ["decay", "evaluate", "stable"]
    assert [event["event"] for event in campaign.journal()].count("Selected") == 2
    refused = campaign.run("submit", "--subset", "1")
    assert refused.returncode == 2 and "has run all of this, and is finished" in refused.stderr


def test_what_failed_and_what_waited_for_it_is_tried_again_and_nothing_else(campaign):
    wanted = campaign.folder / "wanted"
    campaign.write(
        **chain(
            f'[ {{stage}} != decay ] || cat "{wanted}" && cat {{from}} && echo {{stage}} >{{session_entry_dir}}/made'
        )
    )
    assert campaign.run("run").returncode == 1
    before = results(campaign)
    assert [row["error_mode"] for row in before.values()] == ["success", "crash", "dependency_failed"]
    wanted.touch()
    begun = campaign.run("run", "--retry-failed")
    assert begun.returncode == 0, begun.stderr
    assert "it goes on with 2 entries that have failed" in begun.stderr
    after = results(campaign)
    assert [row["success"] for row in after.values()] == [True] * 3
    assert [row["attempts"] - before[name]["attempts"] for name, row in after.items()][:2] == [0, 1]
    assert set(campaign.jobs_by_token().values()) == {1}
    assert sorted(lines(campaign.session_dir / "results.jsonl")) == ["decay", "evaluate", "stable"]
    again = campaign.run("submit", "--retry-failed")
    assert again.returncode == 0 and "has ended: nothing is submitted" in again.stderr
