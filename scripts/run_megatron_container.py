#!/usr/bin/env python3
"""Plan or submit a campaign inside an Apptainer image, where Megatron's own parser and libraries are.

run_megatron_container.py --image SIF --config-ref CONFIG -C DIR -o KEY=VALUE... [--dry-run | --fake-submit]
"""

import importlib
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from oellm_bench.cli.in_image import lacking  # noqa: E402

if __name__ == "__main__":
    if lacking():
        sys.stderr.write(
            f"oellm-bench: {sys.executable} lacks {', '.join(lacking())}; `make install`, then .venv/bin/python\n"
        )
        sys.exit(2)
    sys.exit(importlib.import_module("oellm_bench.cli.container").main(sys.argv[1:], CHECKOUT))
