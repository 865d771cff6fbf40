"""From the options that verbs share to a composed configuration, a plan, a session."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from oellm_bench.cli.selection import Wanted
from oellm_bench.clock import Clock, SystemClock
from oellm_bench.comparison.references import with_references
from oellm_bench.config.compose import compose_variants
from oellm_bench.config.project import base_project
from oellm_bench.config.variant import Composition
from oellm_bench.core.layout import StateLayout
from oellm_bench.core.plan import Plan, read_plan
from oellm_bench.errors import UsageError
from oellm_bench.planning import Campaign, plan_campaign
from oellm_bench.session import Session, find_finished, find_open, find_overlapping, read_session, state_folder
from oellm_bench.session_writing import new_session_dir, write_session

# What is meant for a cluster is tried out here: it may ask for more than this machine has.
_FAKE = {"slurm.client": {"class_name": "FakeSlurmClient", "shrink": True}}


# Plans a campaign for a folder; entries of an earlier plan (index by id) keep their indices.
Planner = Callable[[Path, "Mapping[str, int] | None"], Campaign]
Finder = Callable[[Campaign], "Session | None"]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A campaign and the session it belongs to; `session` is None until it is written.

    `find` looks for the session that a campaign goes on with; `again` prepares the same anew.
    """

    campaign: Campaign
    session_dir: Path
    session8: str
    session: Session | None
    find: Finder
    again: Callable[[], Prepared]

    @property
    def goes_on(self) -> bool:
        """Whether the session is one that has not ended."""
        return self.session is not None and not self.session.store().state.finished

    @property
    def state_layout(self) -> StateLayout:
        """Where the project keeps its state."""
        project = self.campaign.project.project
        return StateLayout(state_folder(project.base_output_dir, project.state_dir))

    def is_current(self) -> bool:
        """Tell whether the session this was planned for is still the one to go on with."""
        known = self.find(self.campaign)
        planned_for = self.session_dir if self.session is not None or self.session_dir.exists() else None
        return (Path(known.session_dir) if known is not None else None) == planned_for

    def written(self, clock: Clock) -> Session:
        """Return the session, writing it first where it is new."""
        return self.session or write_session(self.campaign, self.session_dir, self.session8, clock)

    def refuse_overlap(self) -> None:
        """Raise UsageError where an unfinished session of another plan runs some of these entries already."""
        project, client = self.campaign.project.project, self.campaign.project.slurm.client
        base = Path(project.base_output_dir).absolute()
        ids = [entry.id for entry in self.campaign.plan.entries]
        found = None if self.goes_on else find_overlapping(base, project.name, client.class_name, ids)
        if found is not None:
            session, shared = found
            raise UsageError(
                f"session {session.id} is unfinished and runs {shared} of these {len(ids)} entries already; wait for "
                f"it, cancel it (`oellm-bench cancel {session.id}`), or give this campaign another project.name"
            )

    def finished_before(self, request: str = "") -> Session | None:
        """Return a finished session of just this plan, where a new one is about to begin; one made for `request`."""
        project, client = self.campaign.project.project, self.campaign.project.slurm.client
        base = Path(project.base_output_dir).absolute()
        if self.session is not None:
            return None
        return find_finished(base, project.name, self.campaign.plan.fingerprint, client.class_name, request)

    def changed_settings(self) -> bool:
        """Tell whether a submitted session was planned with other monitoring or restart settings than these."""
        if self.session is None:
            return False
        planned = json.loads(json.dumps(self.campaign.plan.watch))  # as it would be read back
        return bool(json.loads(json.dumps(read_plan(self.session.layout.sweep).watch)) != planned)


def compose(args: argparse.Namespace) -> Composition:
    """Compose the configuration that the command line names."""
    config, config_dir = _root_file(args.config, args.config_dir)
    replacements = _FAKE if getattr(args, "fake", False) else None
    return compose_variants(config, config_dir, args.override, replacements)


def _root_file(config: str, config_dir: Path | None) -> tuple[str, Path | None]:
    """Take a path to a YAML file for what it means: its folder and its name."""
    path = Path(config)
    if path.suffix in (".yaml", ".yml") and config_dir is None and path.is_file():
        return path.stem, path.parent
    return config.removesuffix(".yaml"), config_dir


def prepare(args: argparse.Namespace, *, output: Path | None = None) -> Prepared:
    """Plan the campaign, for the session of just this plan that it goes on with or for a new one.

    A session that was submitted keeps its plan; one that was only planned is planned afresh in its place.
    """
    composition = compose(args)

    def plan(folder: Path, previous: Mapping[str, int] | None) -> Campaign:
        return plan_campaign(composition, folder, previous)

    def again() -> Prepared:
        return prepare(args, output=output)

    if output is not None:
        return _for_folder(plan, output.absolute(), again)
    project = base_project(composition).project
    base = Path(project.base_output_dir).absolute()
    session_dir, session8 = new_session_dir(base, project.name, SystemClock())
    wanted = Wanted(subset=getattr(args, "subset", None), again=getattr(args, "retry_failed", False))
    # A session that is made for a request is not gone on with once it has ended.
    find = open_session if getattr(args, "request", "") else functools.partial(session_to_go_on_with, wanted)
    return prepared(plan, find, session_dir, session8, again)


def prepared(plan: Planner, find: Finder, session_dir: Path, session8: str, again: Callable[[], Prepared]) -> Prepared:
    """Plan for the session that `find` knows of, else for a new one in `session_dir`."""
    campaign = plan(session_dir, None)
    known = find(campaign)
    if known is not None:
        session_dir, session8 = Path(known.session_dir), known.session8
        campaign = plan(session_dir, _indices(read_plan(known.layout.sweep)))
    session = known if known is not None and known.store().begun else None
    return Prepared(
        campaign=campaign if session is not None else _with_references(campaign),
        session_dir=session_dir,
        session8=session8,
        session=session,
        find=find,
        again=again,
    )


def open_session(campaign: Campaign) -> Session | None:
    """Return the unfinished session that runs just this campaign."""
    base = Path(campaign.project.project.base_output_dir).absolute()
    scheduler = campaign.project.slurm.client.class_name
    return find_open(base, campaign.plan.project, campaign.plan.fingerprint, scheduler)


def session_to_go_on_with(wanted: Wanted, campaign: Campaign) -> Session | None:
    """Return the unfinished session that runs just this campaign, else the last one where there is more to do in it."""
    known = open_session(campaign)
    if known is not None and known.store().begun:
        return known
    base = Path(campaign.project.project.base_output_dir).absolute()
    scheduler = campaign.project.slurm.client.class_name
    ended = find_finished(base, campaign.plan.project, campaign.plan.fingerprint, scheduler)
    if ended is not None and wanted.goes_on_with(read_plan(ended.layout.sweep), ended.store().state):
        return ended
    return known


def _for_folder(plan: Planner, folder: Path, again: Callable[[], Prepared]) -> Prepared:
    """Plan into a folder the user names; entries that stood there before keep their indices."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output '{folder}' is a file; give a folder")
    _, session8 = new_session_dir(folder.parent, folder.name, SystemClock())
    previous = None
    if (folder / "session.json").is_file():
        known = read_session(folder)
        session8, previous = known.session8, _indices(read_plan(known.layout.sweep))
    campaign = _with_references(plan(folder, previous))
    return Prepared(
        campaign=campaign, session_dir=folder, session8=session8, session=None, find=open_session, again=again
    )


def _with_references(campaign: Campaign) -> Campaign:
    """Return a campaign with what its requirements take from its baseline; frozen once it is submitted."""
    project = campaign.project.project
    state = StateLayout(state_folder(project.base_output_dir, project.state_dir))
    return replace(campaign, plan=with_references(campaign.plan, state))


def _indices(plan: Plan) -> dict[str, int]:
    return {entry.id: entry.index for entry in plan.entries}
