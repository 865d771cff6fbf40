"""Give half-written results the time to become whole."""

from __future__ import annotations

import contextlib
import time

from oellm_bench.core.layout import EntryLayout
from oellm_bench.core.result import ExitRecord
from oellm_bench.results.reading import read_object

LIMIT_S = 2.0
_LOOK_S = 0.05


def settle(record: ExitRecord, layout: EntryLayout, *, limit_s: float = LIMIT_S) -> None:
    """Wait, `limit_s` at most, while params.json or metrics.json of an attempt that exited 0 is cut short.

    What the command left running here has ended by now; a step on another node or a slow file system may still be
    at it. A file that is absent is not waited for: that is the commonest fault, and as a rule it stays so.
    """
    if record.failure or record.returncode != 0:
        return
    folder = layout.benchmark_results
    # NFS goes on denying, as long as it caches that, a file written on another node; a listing asks the server.
    with contextlib.suppress(OSError):
        any(folder.iterdir())
    deadline = time.monotonic() + limit_s
    while any(read_object(folder / name).is_cut_short for name in ("params.json", "metrics.json")):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return
        time.sleep(min(_LOOK_S, left_s))
