"""The entry point: ``whalesync`` and ``python -m whalesync``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        # Scripts ask this before anything else; loading the command line would take four times as long.
        from whalesync import __version__

        sys.stdout.write(f"whalesync {__version__}\n")
        return
    try:
        from whalesync.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while the command line is being loaded
        code = 130
    except (ImportError, MemoryError, OSError) as exc:
        # Too little memory, too few file descriptors, or a package that is missing.
        reason = str(exc) or "not enough memory"
        sys.exit(f"whalesync: cannot load the program ({reason}). See 'ulimit -a', or install whalesync again")
    sys.exit(code)


if __name__ == "__main__":
    main()
