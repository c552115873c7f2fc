"""Reading all of a wallet's positions on Opinion.Trade.

The list is sorted by the number of shares, so a row can change pages while they are read: one is then met twice, and
another not at all. The key of a row is its token, or its market and side if it has none. A reading is complete when
every page named the same total, as many different rows were met, and all of them could be read. That a row is missing
all the same would take a swap, an opening and a closing between two requests: whoever concludes something from a
missing row waits for a second reading.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from whalesync.exchanges.base import Holdings
from whalesync.exchanges.opinion_trade.pages import LARGEST_PAGE
from whalesync.exchanges.opinion_trade.parsing.wallets import PositionPage
from whalesync.records import Position, RejectedRecord

MOST_PAGES = 500


def read_all(fetch: Callable[[int], PositionPage]) -> Holdings:
    """Read the pages that ``fetch`` gives (numbers from 1), up to the last one.

    Raises what ``fetch`` raises.
    """
    found: dict[object, Position] = {}
    rejected: dict[bytes, RejectedRecord] = {}
    totals: set[int] = set()
    number = 0
    while number < MOST_PAGES:
        number += 1
        page = fetch(number)
        totals.add(page.total)
        for record in page.records:
            if isinstance(record, Position):
                side = record.outcome or record.outcome_label
                found[record.token_id or (record.market_external_id, side)] = record
            else:
                rejected[record.fingerprint] = record
        if not page.records or number >= ceil(page.total / LARGEST_PAGE):
            break
    met = len(found) + len(rejected)
    return Holdings(
        positions=list(found.values()),
        rejected=list(rejected.values()),
        complete=totals == {met} and not rejected,
        requests=number,
    )
