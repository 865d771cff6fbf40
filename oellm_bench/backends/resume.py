"""The part of a backend's configuration that says how a restarted command goes on from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from oellm_bench.backends.arguments import Arguments, to_argv
from oellm_bench.core.option import option
from oellm_bench.core.resume import Resume
from oellm_bench.errors import Problem


@dataclass(frozen=True, kw_only=True)
class ResumeConfig:
    """How restarts go on from the newest whole checkpoint; without one they begin anew."""

    checkpoints: str = option(
        "pattern of the entry's checkpoints, files or folders: {session_entry_dir}/checkpoints/iter_*; empty: none", ""
    )
    complete: str = option("file in a checkpoint's folder that is written last; empty: any file will do", "")
    tracker: str = option(
        "file beside the checkpoints with the number of the newest whole one; empty: there is none", ""
    )
    arguments: Arguments = option("arguments added: {load: '{checkpoint}'} is --load PATH", factory=dict)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong; `where` is the field's name in the backend."""
        try:
            arguments = to_argv(self.arguments)
        except ValueError as err:
            yield Problem(what=str(err), where="resume.arguments", fix="give words, numbers or booleans")
            return
        if arguments and not self.checkpoints:
            what = "there are arguments for a checkpoint, and nothing says where checkpoints are"
            yield Problem(what=what, where="resume.checkpoints", fix="give a pattern")
        if self.complete.startswith("/") or ".." in self.complete.split("/"):
            what = f"'{self.complete}' is not in a checkpoint's folder"
            yield Problem(what=what, where="resume.complete", fix="give a name relative to that folder")
        if "/" in self.tracker:
            what = f"'{self.tracker}' is not beside the checkpoints"
            yield Problem(what=what, where="resume.tracker", fix="give its name alone")

    def resume(self) -> Resume | None:
        """Return it for the plan, None where nothing is to be resumed."""
        if not self.checkpoints:
            return None
        return Resume(
            pattern=self.checkpoints,
            complete=self.complete,
            tracker=self.tracker,
            arguments=to_argv(self.arguments),
        )
