"""The wire: what the exchange says, and the manners to ask it with. No table of ours is known here."""
