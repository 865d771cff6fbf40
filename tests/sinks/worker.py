"""A process that hands a session to a sink as the delivery does: `python -m tests.sinks.worker FILE`.

FILE holds the sink's module, class and configuration, and the session: its data and its results. Everything is told
from the beginning, each time the process is started.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def tell(document: dict[str, Any]) -> None:
    module = importlib.import_module(document["module"])
    sink = getattr(module, document["sink"])(getattr(module, f"{document['sink']}Config")(**document["config"]))
    sink.initialize(document["environment"]["id"], document["environment"])
    for result in document["results"]:
        sink.process_result(result)
    sink.finalize()


if __name__ == "__main__":
    tell(json.loads(Path(sys.argv[1]).read_text()))
