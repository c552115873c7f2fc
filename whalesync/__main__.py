"""The way in: ``whalesync`` and ``python -m whalesync``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        # Scripts ask this before anything else; loading the command line would take four times as long.
        from whalesync import __version__

        sys.stdout.write(f"whalesync {__version__}\n")
        return
    from whalesync.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
