"""Clients that others wrote, in a Python of their own, so that their dependencies do not mix with ours."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any


def install(folder: Path, *packages: str) -> Path:
    """A Python with some packages from PyPI."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def run(python: Path, script: str, *arguments: str) -> Any:
    """What the script prints as JSON; its traceback is shown if it fails."""
    command = [str(python), "-c", script, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=sys.stderr, timeout=120, check=True)
    return json.loads(done.stdout)
