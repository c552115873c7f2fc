"""What ``verify`` has found, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from whalesync import text
from whalesync.exchanges import title_of
from whalesync.jobs.verdict import Verdict
from whalesync.views.grid import Column, print_table, print_text
from whalesync.views.tables import ADD_A_WHALE, exchange

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"adds up": "green", "repaired": "yellow", "does not add up": "bold red"}


def render(verdicts: Sequence[Verdict], console: Console) -> None:
    """Print a line for each wallet; then why some do not add up, and what was repaired."""
    if not verdicts:
        print_text(console, ADD_A_WHALE)
        return
    print_table(console, _columns(verdicts))
    console.print()
    several = len({each.whale.platform for each in verdicts}) > 1
    for each in verdicts:
        platform = each.whale.platform
        name = _name(each) + (f" of {title_of(platform)}" if several else "")
        for fault in each.faults:
            print_text(console, f"! {name}: {text.plain(fault)}", "bold red", indent=2)
        if each.repaired:
            print_text(console, f"- {name}: {text.plain(each.repaired)}", indent=2)
    if all(each.ok for each in verdicts):
        print_text(console, "Every wallet adds up.", "green")


def as_json(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the verdicts as one JSON object; rows by their ids, null where a figure is not known."""
    return {
        "ok": all(each.ok for each in verdicts),
        "wallets": [
            {
                "platform": each.whale.platform,
                "address": each.whale.address,
                "label": each.whale.label,
                "ok": each.ok,
                "listed": each.listed,
                "accounted": each.accounted,
                "arrived": each.arrived,
                "missing": each.missing,
                "extra_rows": each.extra,
                "corrected_rows": each.corrected,
                "changed_rows": each.changed,
                "faults": each.faults,
                "repaired": each.repaired or None,
            }
            for each in verdicts
        ],
    }


def _columns(verdicts: Sequence[Verdict]) -> list[Column]:
    said = ["does not add up" if not each.ok else "repaired" if each.repaired else "adds up" for each in verdicts]
    return [
        Column("Whale", list(map(_name, verdicts)), least=11),
        exchange([each.whale.platform for each in verdicts], rank=2),
        Column("Listed", [text.count(each.listed) for each in verdicts], right=True),
        Column("Accounted for", [text.count(each.accounted) for each in verdicts], right=True),
        Column("New since", [text.count(each.arrived) if each.arrived else "" for each in verdicts], right=True),
        Column("Verdict", said, styles=STYLES),
        Column("Why", ["; ".join(map(text.plain, each.faults)) for each in verdicts], rank=1, least=10),
    ]


def _name(verdict: Verdict) -> str:
    return text.whale_name(verdict.whale.label, verdict.whale.address)
