"""What a comparison of the file with the exchange's lists says about a wallet."""

from __future__ import annotations

from dataclasses import dataclass, field

from whalesync.exchanges.base import Account
from whalesync.exchanges.copy import Difference
from whalesync.store.verify import ChangedRow
from whalesync.store.whales import Whale
from whalesync.text import counted, id_ranges

NOT_LOOKED_AT = "it was not looked at"
UNKNOWN_EXCHANGE = "this version does not know its exchange"


@dataclass(slots=True)
class Verdict:
    """How one wallet's rows compare with the exchange's list.

    ``listed``, ``accounted``, ``arrived``: see ``whalesync.exchanges.base.Account``. ``changed``: ids of rows that do
    not agree with their fill key. Of a deep comparison, else None: ``missing``, how many listed trades are not stored;
    ``extra`` and ``corrected``, ids of rows that are not listed, or with another fee or profit; ``records``, how many
    unreadable records are not listed as often as they are counted. ``problem``: why the rest is not known, or why the
    counts cannot be right. ``repaired``: what was changed.
    """

    whale: Whale
    listed: int | None = None
    accounted: int | None = None
    arrived: int = 0
    changed: list[int] = field(default_factory=list)
    missing: int | None = None
    extra: list[int] | None = None
    corrected: list[int] | None = None
    records: int | None = None
    problem: str | None = NOT_LOOKED_AT
    repaired: str = ""

    @property
    def looked_at(self) -> bool:
        """Whether anything is known of it."""
        return self.problem != NOT_LOOKED_AT

    @property
    def faults(self) -> list[str]:
        """Why the wallet does not add up; none if it does."""
        faults = [self.problem] if self.problem else []
        if self.missing:
            faults.append(f"{counted(self.missing, 'listed trade')} not stored")
        for ids, what in (
            (self.extra, "not listed"),
            (self.corrected, "listed with another fee or profit"),
            (self.changed, "changed since it was stored"),
        ):
            if ids:
                faults.append(f"{counted(len(ids), 'row')} {what}: {id_ranges(ids)}")
        if self.records:
            faults.append(f"{counted(self.records, 'unreadable record')} not listed any more")
        return faults

    @property
    def ok(self) -> bool:
        """Whether the wallet adds up."""
        return not self.faults


@dataclass(slots=True)
class Walk:
    """One whole comparison of a wallet's list with a copy of its entries, taken in the state ``begun``.

    ``total``: the length of the list. ``unlisted``: changed rows whose key is not listed. ``problem``: why the
    comparison could not end; then there is no ``difference``.
    """

    begun: str | None
    account: Account
    total: int | None = None
    difference: Difference | None = None
    unlisted: list[ChangedRow] = field(default_factory=list)
    problem: str | None = None

    @property
    def removed(self) -> frozenset[object]:
        """What the list does not show, so that two walks can be compared."""
        return frozenset([*(self.difference.removed if self.difference else ()), *self.unlisted])


def judge_walk(verdict: Verdict, walk: Walk) -> None:
    """What a whole comparison says about a wallet."""
    account, difference = walk.account, walk.difference
    verdict.listed, verdict.accounted, verdict.arrived, verdict.problem = account
    if difference is None:
        verdict.problem = walk.problem
        return
    batch = difference.batch
    listed = difference.missing
    arrived = account.arrived + (walk.total or 0) - (account.listed or 0)
    if account.problem is not None and account.accounted is not None and not walk.removed and listed <= arrived:
        arrived = 0  # what arrived may be older than what is stored: then other trades are missing
    verdict.listed, verdict.arrived, verdict.problem = walk.total, arrived, None
    if account.accounted is None and walk.total is not None:
        verdict.accounted = walk.total - listed + len(difference.removed)
    verdict.missing = max(0, listed - arrived)
    verdict.extra = list(batch.superseded)
    verdict.corrected = [each.id for each in batch.corrected]
    verdict.records = sum(isinstance(entry.key, bytes) for entry in difference.removed)
