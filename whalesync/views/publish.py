"""What ``publish --check`` has found, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from whalesync import text
from whalesync.records import DAY_MS
from whalesync.views.grid import Column, print_table, print_text

if TYPE_CHECKING:
    from rich.console import Console

    from whalesync.jobs.publish_check import Comparison, Difference

NAMED = 5  # rows of a table that are named


def as_json(found: Comparison, repaired: int) -> dict[str, Any]:
    """Everything, as one document; ``repaired``: how many rows were sent again."""
    return {
        "ok": found.ok,
        "compared": found.counts,
        "repaired": repaired,
        "differences": [_difference(each) for each in found.differences],
    }


def _difference(found: Difference) -> dict[str, Any]:
    wallet, day = found.wallet, found.day
    key = [found.table.names.index(name) for name in found.table.key]
    return {
        "table": found.table.name,
        "platform": wallet and wallet.platform,
        "address": wallet and wallet.address,
        "label": wallet and wallet.label,
        "day": None if day is None else text.iso(day * DAY_MS)[:10],
        "missing": len(found.missing),
        "different": len(found.different),
        "rows": [[row[place] for place in key] for row in found.rows[:NAMED]] if wallet is None else [],
    }


def render(document: Mapping[str, Any], console: Console) -> None:
    """Print a line for each table, or wallet and day, that differs; then what was compared."""
    differences = document["differences"]
    if differences:
        columns = [
            Column("Table", [each["table"] for each in differences]),
            Column("What", [text.plain(_what(each)) for each in differences], least=12),
            *(
                Column(name.capitalize(), [f"{each[name]:,}" for each in differences], right=True)
                for name in ("missing", "different")
            ),
        ]
        print_table(console, columns)
        console.print()
    compared = ", ".join(f"{count:,} {name}" for name, count in document["compared"].items())
    repaired = f" {text.counted(document['repaired'], 'row')} sent again." if document["repaired"] else ""
    print_text(console, f"Compared: {compared}.{repaired}")
    if document["ok"]:
        print_text(console, "The server has all that the file has.", "green")
    else:
        print_text(console, "'whalesync publish --repair' sends again what differs.", "bold red")


def _what(difference: Mapping[str, Any]) -> str:
    if difference["address"] is not None:
        return f"{text.whale_name(difference['label'], difference['address'])} {difference['day']}"
    return "; ".join(" ".join(str(part) for part in row if part is not None) for row in difference["rows"])
