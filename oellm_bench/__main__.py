"""`python -m oellm_bench` is `oellm-bench`."""

import sys

from oellm_bench.cli.main import main

sys.exit(main())
