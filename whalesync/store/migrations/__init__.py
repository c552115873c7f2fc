"""The steps from an empty file, or from any older one, to today's schema.

Heavy (sqlite-utils is) and therefore imported only when a file is made or brought up to date. Each step runs once,
in its order, all in one transaction. A step that has been released is never edited: a change is a new step, which
is tested with a file that the older version wrote.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

from whalesync.store.migrations import from_schema_1, schema_2, schema_3, schema_4, schema_5

steps = Migrations("whalesync")


@steps()
def second(db: Database) -> None:
    """Schema 2, from nothing or from the schema of the first release."""
    if db["whale_activity"].exists():
        from_schema_1.upgrade(db)
    else:
        schema_2.create(db)


@steps()
def third(db: Database) -> None:
    """Schema 3."""
    schema_3.upgrade(db)


@steps()
def fourth(db: Database) -> None:
    """Schema 4."""
    schema_4.upgrade(db)


@steps()
def fifth(db: Database) -> None:
    """Schema 5."""
    schema_5.upgrade(db)
