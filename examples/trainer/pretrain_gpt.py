"""Train a small GPT in numpy under Megatron-LM's command line: its flags, its log lines, its checkpoint folders.

It stands in for Megatron where what matters is everything around a training: `MEGATRON_PATH=examples/trainer`. Flags of
Megatron that mean nothing here are named and ignored; flags that Megatron does not have are refused. Under RANK and
WORLD_SIZE every rank computes the whole batch, for there is nothing to reduce with; the first one writes checkpoints,
the last one prints the log. faults.py tells how it can be made to fail.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: matrices this small gain nothing from threads

from training import main

if __name__ == "__main__":
    sys.exit(main())
