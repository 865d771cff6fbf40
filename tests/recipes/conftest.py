"""The recipes of docs/recipes.md, run as they are printed there, in a folder like the top of a checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(number: int) -> list[tuple[str, str]]:
    """Return language and text of each block of a recipe; 0 is what comes before all of them."""
    sections = re.split(r"^## (?=\d\. )", PAGE, flags=re.MULTILINE)
    assert number == 0 or sections[number].startswith(f"{number}. ")
    return BLOCK.findall(sections[number])


@dataclass
class Checkout:
    """A folder with what the top of a checkout has, and the variables that its commands get."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def files(self, number: int) -> None:
        """Write the files of a recipe; the first line of a block names its file."""
        for language, text in blocks(number):
            if language != "bash":
                name, continued = re.match(r"# ([\w./]+)(, continued)?\n", text).groups()
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a" if continued else "w", encoding="utf-8") as stream:
                    stream.write(text)

    def commands(self, number: int) -> list[str]:
        """Return the commands of a recipe, one by one."""
        text = "".join(text for language, text in blocks(number) if language == "bash").replace("\\\n", " ")
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    def run(self, command: str, *, code: int | None = 0, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a line as a user's shell does; `code` None takes any end."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert code in (None, done.returncode), f"{command}\n{done.stdout}{done.stderr}"
        return done

    def json(self, command: str) -> dict:
        return json.loads(self.run(command).stdout)

    def sessions(self, base: str = "outputs") -> list[Path]:
        """Return the folders of the sessions below a folder, the oldest first."""
        found = (path.parent for path in (self.folder / base).glob("*/session.json"))
        return sorted(found, key=lambda session: json.loads((session / "session.json").read_text())["created_at"])

    def session(self, base: str = "outputs") -> Path:
        (found,) = self.sessions(base)
        return found

    def results(self, session: Path) -> dict[str, dict]:
        done = self.run(f"oellm-bench results {session.name} --json", code=None)
        return {row["name"]: row for row in json.loads(done.stdout)["entries"]}

    def events(self, session: Path, kind: str) -> list[dict]:
        """Return the events of one kind of a finished session."""
        found = [json.loads(line) for line in (session / "journal.jsonl").read_text().splitlines()]
        return [event for event in found if event["event"] == kind]

    def wait(self, condition: Callable[[], object], deadline_s: float = 60) -> object:
        """Return the first true value of a condition."""
        return wait_until(condition, deadline_s)

    def processes(self) -> list[psutil.Process]:
        """Return the living processes that have to do with this folder."""
        found = []
        for process in psutil.process_iter():
            try:
                belongs = str(self.folder) in " ".join(process.cmdline()) or process.cwd() == str(self.folder)
                if belongs and process.pid != os.getpid():
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    folder = tmp_path / "check out"
    folder.mkdir()
    shutil.copytree(ROOT / "config", folder / "config")
    for name in ("scripts", "container"):
        (folder / name).symlink_to(ROOT / name)
    bin_folder = Path(sys.executable).parent
    subject = Checkout(folder)
    subject.environment = {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": sys.prefix,
        "SCRATCH": str(folder / "scratch"),
        "USER": "me",
    }
    subject.files(0)
    yield subject
    for process in subject.processes():  # what a failed test left behind
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
