"""Start a process of the embedded scheduler: `python -I -S program.py ROLE ARGUMENT...`.

Run by its path, without site-packages (-S) and without the user's PYTHON* variables (-I), so that it
starts in a few hundredths of a second and no job's environment can bend it.
"""

import importlib
import sys
from pathlib import Path


def argv(role: str, *arguments: str) -> list[str]:
    """Return the command line that starts a role."""
    return [sys.executable, "-I", "-S", __file__, role, *arguments]


def main() -> int:
    """Run the role named by the first argument, which is the name of its module."""
    sys.path.insert(0, str(Path(__file__).parents[3]))
    role = importlib.import_module(f"oellm_bench.schedulers.embedded.{sys.argv[1]}")
    return int(role.main(*sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
