"""What the tokens of a market are traded at, and the order books around it."""

from ..prices import TICK, Path
from ..values import Record
from .books import Books, LastTrade, Levels


def quote(books: Books, market: Record, path: Path) -> None:
    """Give both tokens of a market prices and order books."""
    for token, yes in ((market["yesTokenId"], True), (market["noTokenId"], False)):
        _quote(books, token, path, yes)


def _quote(books: Books, token_id: str, path: Path, yes: bool) -> None:
    def last_trade(at: float) -> LastTrade:
        at = path.last_tick(at)
        number = int(at // TICK)
        # The exchange was seen to write the side in either way.
        side = "BUY" if number % 2 else "sell-limit"
        return LastTrade(price(path.thousandths(at, yes)), at, side, size=str(10 + number % 490))

    def book(at: float) -> tuple[Levels, Levels]:
        if at >= path.closes:
            return (), ()
        middle = path.thousandths(at, yes)
        steps = (1, 2, 4, 8, 15, 30)
        bids = [(price(middle - step), str(100 * step)) for step in steps if middle - step > 0]
        asks = [(price(middle + step), str(150 * step)) for step in steps if middle + step < 1000]
        return bids, asks

    books.set_price(token_id, last_trade)
    books.set_book_path(token_id, book)


def price(thousandths: int) -> str:
    """A price as the exchange writes it: 0.65, not 0.650."""
    return f"{thousandths / 1000:.3f}".rstrip("0")
