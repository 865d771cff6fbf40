"""Pack the payload package into one file that runs on any Python 3.9, inside any container."""

from __future__ import annotations

from pathlib import Path

# Named, not imported: it runs in another interpreter, which need not have this package.
_PACKAGE = Path(__file__).resolve().parent.parent / "payload"


def write_archive(target: Path) -> None:
    """Write the program. Raises OSError. Source: "Executing a directory or zipfile", zipapp in Python's library."""
    import zipfile  # not above: most entries need no archive

    with zipfile.ZipFile(target, "w", strict_timestamps=False) as archive:
        for path in sorted(_PACKAGE.glob("*.py")):
            archive.write(path, f"payload/{path.name}")
        archive.writestr("__main__.py", "import sys\n\nfrom payload.main import main\n\nsys.exit(main(sys.argv[1:]))\n")
