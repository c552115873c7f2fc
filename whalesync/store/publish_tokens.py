"""The random numbers by which ``publish`` recognises its own commits (facts of the file)."""

from __future__ import annotations

from typing import NamedTuple

from whalesync.store.database import Database


class Tokens(NamedTuple):
    """What the file knows of the state that a reader keeps of it: each commit there has a random number.

    ``confirmed``: that of the last commit known to have happened; ``pending``: that of the one begun after it, which
    may or may not have happened.
    """

    confirmed: int | None
    pending: int | None


def known(db: Database) -> Tokens:
    """What was last remembered; a file that was restored, copied or made anew knows older numbers, or none."""
    return Tokens(db.fact("publish_token") or None, db.fact("publish_pending") or None)


def remember(db: Database, tokens: Tokens) -> None:
    """Remember which commit is begun, before it is."""
    with db.write():
        db.remember("publish_token", tokens.confirmed or 0)
        db.remember("publish_pending", tokens.pending or 0)
