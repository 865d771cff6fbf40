"""Where the embedded scheduler keeps what in its folder."""

from __future__ import annotations

from pathlib import Path


class Layout:
    """Paths below the scheduler's folder.

    queue.db             every submission and job, SQLite in WAL mode: the truth; queue.lock: held to create it
    controller.lock      held by the one controller; controller.log: what it and the supervisors say
    wake                 a fifo: one byte written makes the controller look; no reader means no controller
    bin/srun             what jobs find as srun
    scripts/<job>/       the script as it was at submission
    steps/<raw>.<run>/   one run of one job, gone once its end is in the database
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "queue.db"
        self.lock = folder / "controller.lock"
        self.log = folder / "controller.log"
        self.wake = folder / "wake"
        self.steps = folder / "steps"
        self.programs = folder / "bin"

    def script(self, job: int) -> Path:
        """Return the copy of a job's script; the tasks of an array share it."""
        return self.folder / "scripts" / str(job) / "slurm_script"

    def step(self, raw_id: int, run: int) -> StepLayout:
        """Return the folder of one run (0, or the number of the requeue) of one job."""
        return StepLayout(self.steps / f"{raw_id}.{run}")


class StepLayout:
    """Files by which the controller and the supervisor of one run talk; each is written in one step.

    order.json   what to run (controller)
    claim.json   who runs it (supervisor); its existence decides between two supervisors
    stop.json    end it before its time, and why (controller)
    exit.json    how it ended (supervisor), after its last process is gone
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.order = folder / "order.json"
        self.claim = folder / "claim.json"
        self.stop = folder / "stop.json"
        self.exit = folder / "exit.json"
