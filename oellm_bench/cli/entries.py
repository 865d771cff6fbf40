"""Entries as people name them."""

from __future__ import annotations

from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.errors import UsageError, nearest


def find_entry(plan: Plan, reference: str) -> PlannedEntry:
    """Return the entry of that name, id or index. Raises UsageError naming what is near."""
    for entry in plan.entries:
        if reference in (entry.name, entry.id):
            return entry
    for entry in plan.entries:
        if reference == str(entry.index):
            return entry
    raise UsageError(f"no entry '{reference}'; {nearest(reference, [entry.name for entry in plan.entries][:50])}")
