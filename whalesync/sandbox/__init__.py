"""Simulated exchanges, served over HTTP on loopback: to try the program out, and to test against.

`Sandbox` serves both from one port. Of Opinion.Trade, `Books` is what it holds, `build_world` fills it plausibly from a
seed, and the `make_*` functions build single records as it sends them; Polymarket has the same in its own package. It
imports nothing of the rest of the program, so that a mistake there cannot repeat itself here.
"""

from .opinion_trade.books import Books as Books
from .opinion_trade.books import LastTrade as LastTrade
from .opinion_trade.queries import Refused as Refused
from .opinion_trade.wire import make_categorical as make_categorical
from .opinion_trade.wire import make_child as make_child
from .opinion_trade.wire import make_market as make_market
from .opinion_trade.wire import make_position as make_position
from .opinion_trade.wire import make_trade as make_trade
from .opinion_trade.world import World as World
from .opinion_trade.world import build_world as build_world
from .polymarket import Polymarket as Polymarket
from .server import Fault as Fault
from .server import Handler as Handler
from .server import Request as Request
from .server import Sandbox as Sandbox
from .values import Record as Record
from .worlds import Worlds as Worlds
from .worlds import build_worlds as build_worlds
