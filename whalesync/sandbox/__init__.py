"""A stand-in for the exchange, served over HTTP on loopback: to try things out, and to test against.

`Books` is what the exchange holds, `Sandbox` serves it, `build_world` fills it believably from a seed, and
the `make_*` functions shape single records as the exchange sends them. It imports nothing of the rest of the
package, so that a mistake there cannot repeat itself here.
"""

from .books import Books, LastTrade, Refused
from .server import Fault, Handler, Request, Sandbox
from .wire import Record, decimal18, make_categorical, make_child, make_market, make_trade
from .world import World, build_world

__all__ = [
    "Books",
    "Fault",
    "Handler",
    "LastTrade",
    "Record",
    "Refused",
    "Request",
    "Sandbox",
    "World",
    "build_world",
    "decimal18",
    "make_categorical",
    "make_child",
    "make_market",
    "make_trade",
]
