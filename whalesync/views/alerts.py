"""The alert rules and how their deliveries stand: tables for people, JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whalesync import text
from whalesync.alerts.plan import State
from whalesync.store.alerts import Target
from whalesync.views.grid import Column, print_table, print_text

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

NOTHING = {"sent": 0, "pending": 0, "failed": 0, "last_sent_at": None, "last_error": None}


def gather(
    targets: Iterable[Target], summary: Iterable[Row], states: Mapping[str, tuple[str, State]]
) -> list[dict[str, Any]]:
    """Return one row for each target of each rule, those of the file first.

    Args:
        targets: of the alerts file.
        summary: how deliveries stand, by rule and target.
        states: what the rules remember, by name, each with its selection.

    ``pending`` counts messages that are tried again; ``held_back`` trades that wait for the end of quiet hours or of a
    fold, or for the limit of messages a minute. ``in_file`` is false for what only the database knows.
    """
    remembered = {name: state for name, (_, state) in states.items()}
    known = {Target(row["alert"], row["target"], row["target_number"]): row for row in summary}
    in_file = list(targets)
    return [
        {
            "alert": target.alert,
            "target": target.key,
            "in_file": target in in_file,
            "held_back": _held_back(target, remembered.get(target.alert)),
            **{name: known[target][name] if target in known else value for name, value in NOTHING.items()},
        }
        for target in [*in_file, *(each for each in known if each not in in_file)]
    ]


def render(rows: Sequence[Row], console: Console, now: int, path: Path | None, usual: Path) -> None:
    """Print the table, and what to do about failures; ``path``: of the alerts file, ``usual``: where it would be."""
    if path is None:
        print_text(console, f"No alert rules: write them into {text.plain(str(usual))}, see Alerts in the README.")
    if rows:
        print_table(console, _columns(rows, now))
    elif path is not None:
        print_text(console, f"No rules in {text.plain(str(path))} yet.")
    for name in dict.fromkeys(row["alert"] for row in rows if row["failed"]):
        console.print()
        advice = f"! Correct the cause, then 'whalesync alerts retry \"{text.plain(name)}\"'."
        print_text(console, advice, "bold red", indent=2)


def _held_back(target: Target, state: State | None) -> int:
    if state is None:
        return 0
    gathered = sum(bool(each.fills) for each in state.folds)
    return len(state.held) + gathered + len(state.waiting.get(target.key, ()))


def _columns(rows: Sequence[Row], now: int) -> list[Column]:
    return [
        Column("Alert", [text.plain(row["alert"]) for row in rows], least=12),
        Column("Target", [row["target"] + ("" if row["in_file"] else " (not in the file)") for row in rows], least=12),
        Column("Sent", [text.count(row["sent"]) for row in rows], right=True),
        Column("Pending", [text.count(row["pending"]) for row in rows], right=True),
        Column("Held back", [text.count(row["held_back"]) for row in rows], right=True, rank=1),
        Column("Failed", [text.count(row["failed"]) for row in rows], right=True),
        Column("Last sent", [text.ago(row["last_sent_at"], now) for row in rows], rank=2),
        Column("Last error", [text.plain(row["last_error"]) for row in rows], least=20, rank=3),
    ]
