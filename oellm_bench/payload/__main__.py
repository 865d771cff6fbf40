"""Run the program: `python -m oellm_bench.payload`, as the archive does."""

import sys

from .main import main

sys.exit(main(sys.argv[1:]))
