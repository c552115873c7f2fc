"""The PostgreSQL server that ``publish`` writes to: its schema, and all SQL that it runs."""

from whalesync.errors import SettingsError

INSTALL = "pipx inject whalesync 'psycopg[binary]>=3.2,<4' (without pipx: README, Upgrade)"


def check_driver() -> None:
    """Load psycopg, which the other modules of this package need.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        import psycopg as psycopg
    except ImportError as exc:
        raise SettingsError(f"publishing to PostgreSQL needs psycopg: {INSTALL}") from exc
