"""A simulated exchange, served over HTTP on loopback: to try the program out, and to test against.

`Books` is what the exchange holds, `Sandbox` serves it, `build_world` fills it plausibly from a seed, and the
`make_*` functions build single records as the exchange sends them. It imports nothing of the rest of the package, so
that a mistake there cannot repeat itself here.
"""

from .books import Books as Books
from .books import LastTrade as LastTrade
from .queries import Refused as Refused
from .server import Fault as Fault
from .server import Handler as Handler
from .server import Request as Request
from .server import Sandbox as Sandbox
from .wire import Record as Record
from .wire import make_categorical as make_categorical
from .wire import make_child as make_child
from .wire import make_market as make_market
from .wire import make_position as make_position
from .wire import make_trade as make_trade
from .world import World as World
from .world import build_world as build_world
