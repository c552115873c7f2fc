"""whalesync: every trade of the whales you watch, in one SQLite file, kept up to date by cron.

The packages, from the ground up (imports point down only):

- ``errors``, ``settings``, ``records``: what can go wrong, what can be set, what exchanges tell. ``units``, ``text``
  and ``redact``: how figures, times and secrets are written.
- ``exchanges``: what an exchange is, and a package for each. Why every trade is stored exactly once is in
  ``exact`` of each: read it first.
- ``store``: the file. SQL and nothing else. ``postgres``: the same for a PostgreSQL server.
- ``alerts``: rules, which trades they tell of, messages, delivery.
- ``jobs``: what happens, in order; the table of jobs, their health, and the pings of a monitor.
- ``host``: running on a machine: crontab, doctor, backup.
- ``views``: what people and monitors see.
- ``sandbox``: the exchanges simulated on loopback, for trying things out and for the tests.
- ``cli``: commands; each parses, wires, runs, and hands the result to the printer.
"""

__version__ = "0.1.0"
