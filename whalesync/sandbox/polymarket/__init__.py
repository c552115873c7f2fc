"""Polymarket simulated: what it holds, how its two APIs answer, and a world that fills it."""

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
