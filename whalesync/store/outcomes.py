"""Put stored trades and positions on the side (YES or NO) that their token stands for, once the market is known.

While a row is new, an exchange may name another side, or none; the token is certain. Where the side is part of a
trade's fill key, it is final, and nothing is corrected.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from whalesync.records import FILL_KEY_RULE_MASK, TOKEN_FILL_KEY_RULE
from whalesync.store.database import Database

_RULE = f"fill_key & {FILL_KEY_RULE_MASK} = {TOKEN_FILL_KEY_RULE}"


class Side(NamedTuple):
    """The outcome that a token stands for, and its label."""

    outcome: str
    label: str | None


def sides(db: Database, market_ids: Iterable[int]) -> dict[str, Side]:
    """The sides of markets by their tokens, as far as they are known."""
    found: dict[str, Side] = {}
    for market_id in set(market_ids):
        for yes, no, yes_label, no_label in db.rows(
            "SELECT yes_token_id, no_token_id, yes_label, no_label FROM markets WHERE id = ?", (market_id,)
        ):
            named = ((yes, Side("YES", yes_label)), (no, Side("NO", no_label)))
            found |= {token: side for token, side in named if token}
    return found


def changed_at(now: int) -> str:
    """SQL: what a trade that changes at ``now`` (ms) gets as ``changed_at``.

    Later than what it had, whatever was done to the clock: readers elsewhere keep the newest observation.
    """
    return f"max({now:d}, coalesce(changed_at, stored_at, 0) + 1)"


def correct(db: Database, market_ids: Iterable[int], now: int) -> None:
    """Correct the sides of the trades and positions of markets; inside a write transaction. ``now`` in ms."""
    for market_id in market_ids:
        known = sides(db, [market_id])
        for token, (outcome, label) in known.items():
            values = {
                "market": market_id, "token": token, "outcome": outcome, "label": label,
                "revision": db.revision(),
            }  # fmt: skip
            db.execute(
                "UPDATE whale_activity SET outcome = :outcome, outcome_label = coalesce(:label, outcome_label),"
                f" changed_at = {changed_at(now)}, revision = :revision"
                f" WHERE market_id = :market AND token_id = :token AND {_RULE}"
                " AND (outcome, outcome_label) IS NOT (:outcome, coalesce(:label, outcome_label))",
                values,
            )
        _correct_positions(db, market_id, known, now)


def _correct_positions(db: Database, market_id: int, known: dict[str, Side], now: int) -> None:
    """Two positions of one wallet may have each other's side: they leave it before they take the right one."""
    rows = db.rows("SELECT id, token_id, outcome FROM positions WHERE market_id = ?", (market_id,))
    wrong = [(row_id, known[token]) for row_id, token, outcome in rows
             if token in known and outcome != known[token].outcome]  # fmt: skip
    db.execute_many(
        "UPDATE positions SET outcome = NULL, outcome_label = token_id WHERE id = ?", [(row_id,) for row_id, _ in wrong]
    )
    db.execute_many(
        "UPDATE positions SET outcome = ?, outcome_label = ?, updated_at = ?, revision = ? WHERE id = ?",
        [(side.outcome, side.label or side.outcome, now, db.revision(), row_id) for row_id, side in wrong],
    )
