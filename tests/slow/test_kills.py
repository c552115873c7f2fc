"""The tests that kill, with hundreds of kills: WHALESYNC_KILLS of each kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REAL = Path(__file__).parents[1] / "real"
FILES = ("test_kills.py", "test_alert_kills.py", "test_restore_in_use.py", "test_disk.py")


@pytest.mark.slow
def test_hundreds_of_kills() -> None:
    """Whenever it came, the file is whole and the next run completes."""
    env = {**os.environ, "WHALESYNC_KILLS": os.environ.get("WHALESYNC_KILLS", "100")}
    command = [sys.executable, "-m", "pytest", "-n", "4", "--dist", "worksteal", "-k", "kill or end or damaged"]
    done = subprocess.run([*command, *(REAL / file for file in FILES)], env=env, check=False)
    assert done.returncode == 0
