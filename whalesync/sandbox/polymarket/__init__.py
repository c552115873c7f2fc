"""Polymarket simulated: what it holds, how its two APIs answer, and a world that fills it.

A test adds markets and rows to `Books`, serves them by `Sandbox(polymarket=Polymarket(books))`, and asks the books for
the truth: `activity`, `holdings`, `volume`, `markets`. A row is shown, counted, labelled and removed when the test
says, may be mined again in another second, and the whole index may stall.
"""

from .books import Arrival as Arrival
from .books import Books as Books
from .books import Market as Market
from .books import Row as Row
from .books import Volume as Volume
from .ledger import Move as Move
from .queries import Problem as Problem
from .service import Limits as Limits
from .service import Polymarket as Polymarket
from .wire import combo_id as combo_id
from .wire import condition_id as condition_id
from .wire import make_activity as make_activity
from .wire import make_event as make_event
from .wire import make_market as make_market
from .wire import token_id as token_id
from .world import World as World
from .world import build_world as build_world
