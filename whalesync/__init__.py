"""whalesync: every trade of the whales you watch, in one SQLite file, kept by cron.

The rooms, from the ground up (imports point down only):

- ``errors``, ``records``, ``settings``: what can go wrong, what the exchange's answers mean, what is set.
- ``ledger``: why every trade is stored exactly once. Read this first.
- ``exchange``: the wire. HTTP, the shared rate, and Opinion.Trade's paths and quirks.
- ``store``: the file. SQL and nothing else.
- ``jobs``: what happens, in order.
- ``host``: living on a machine: crontab, doctor, backup, pings.
- ``views``: what people and monitors see.
- ``sandbox``: a stand-in exchange on loopback, for trying things out and for the tests.
- ``cli``: commands; each parses, wires, runs, and hands the result to the printer.
"""

__version__ = "0.1.0"
