"""Whatever happens, in any order: each trade is stored once. The machine is ``tests/support/model.py``."""

from hypothesis import HealthCheck, settings
from support.model import ExactSync

TestExactSync = ExactSync.TestCase
TestExactSync.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
