"""Whatever happens, in any order: each trade is stored once. The machine stands in ``tests/model.py``."""

from hypothesis import HealthCheck, settings
from model import ExactSync

TestExactSync = ExactSync.TestCase
TestExactSync.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
