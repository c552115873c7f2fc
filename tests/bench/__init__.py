"""How near whalesync comes to its limits: ``python -m tests.bench`` (``--quick`` for a smaller world,
``--large`` for more statistics).

Every figure is a ratio of two things measured side by side in one run: against bare sqlite3 on the same tables
and indexes, against the import of the libraries, against the request rate allowed. So it can be compared from
machine to machine, and a busy machine disturbs both sides alike.
"""
