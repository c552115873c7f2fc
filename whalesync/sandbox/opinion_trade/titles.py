"""Plausible titles of prediction markets, by category.

`{date}` and `{month}` come from the cut-off; a title without them suits a market that has none. The other braces are
filled from `WORDS`.
"""

import re
import time
from random import Random

# The number is the exchange's `labelIds` entry for the category.
LABELS = {"Politics": 1, "Crypto": 2, "Sports": 3, "Macro": 4, "Tech": 5, "Culture": 6}

DATED = {
    "Politics": "Will the {nation} prime minister leave office by {date}?",
    "Crypto": "Will Bitcoin close above ${bitcoin} on {date}?",
    "Sports": "Will {team} beat {other_team} on {date}?",
    "Macro": "Will the {bank} cut rates by {date}?",
    "Tech": "Will {lab} release a new flagship model by {date}?",
    "Culture": "Will {artist} announce a new album by {date}?",
}
UNDATED = {
    "Politics": "Will {land} join the currency union before {other_land}?",
    "Crypto": "Will {coin} flip {other_coin}?",
    "Sports": "Will {team} win a trophy before {other_team}?",
    "Macro": "Will the {bank} raise rates before it cuts?",
    "Tech": "Will {lab} go public before {other_lab}?",
    "Culture": "Will {artist} play the half-time show?",
}
TOPICS = (
    ("Politics", "Who will win the {nation} election?", ("Alvarez", "Brandt", "Chen", "Duval", "Eriksen")),
    ("Crypto", "What price will {coin} hit in {month}?", ("Down 20%", "Down 10%", "Up 10%", "Up 20%")),
    ("Sports", "Who will win the {cup}?", ("Brazil", "Spain", "Argentina", "France", "Another team")),
    (
        "Macro",
        "{bank} decision in {month}?",
        ("50+ bps decrease", "25 bps decrease", "No change", "Increase"),
    ),
    (
        "Macro",
        "Gold price at the end of {month}?",
        ("<$3,000", "$3,000-3,499", "$3,500-3,999", "$4,000 or more"),
    ),
)
"""Category, title, and the titles of the children."""

SERIES = (
    ("Bitcoin up or down this week?", "BTC", "Will Bitcoin end the week of {date} higher than it began?"),
    ("Ethereum up or down this week?", "ETH", "Will Ethereum end the week of {date} higher than it began?"),
)
"""The title of a series of weekly markets, its symbol, and the title of each market."""

WORDS: dict[str, tuple[str, ...]] = {
    "nation": ("French", "German", "Japanese", "Canadian", "Brazilian", "Polish", "Dutch", "Indian"),
    "land": ("France", "Germany", "Japan", "Canada", "Brazil", "Poland", "the Netherlands", "India"),
    "other_land": ("Mexico", "Norway", "South Korea", "Chile", "Switzerland", "Vietnam"),
    "coin": ("Bitcoin", "Ethereum", "Solana", "BNB"),
    "other_coin": ("Dogecoin", "XRP", "Cardano", "Tron"),
    "bitcoin": tuple(f"{thousands},000" for thousands in range(70, 205, 5)),
    "team": ("Arsenal", "Real Madrid", "Bayern", "Liverpool", "Inter", "Benfica", "Ajax", "Celtic"),
    "other_team": ("Chelsea", "Barcelona", "Dortmund", "Everton", "Juventus", "Porto", "Feyenoord"),
    "bank": ("Fed", "ECB", "Bank of England", "Bank of Japan"),
    "lab": ("OpenAI", "Anthropic", "Google"),
    "other_lab": ("xAI", "Meta", "DeepSeek"),
    "artist": ("Taylor Swift", "Rihanna", "Adele", "Bad Bunny", "Beyoncé", "Drake"),
    "cup": ("World Cup", "Champions League", "Copa América", "European Championship"),
}


def fill(template: str, rng: Random, cutoff_at: float) -> str:
    """Fill a title's braces; `cutoff_at` is in Unix seconds."""
    day = time.gmtime(cutoff_at)
    words = {"date": f"{time.strftime('%B', day)} {day.tm_mday}", "month": time.strftime("%B", day)}
    return re.sub(r"{(\w+)}", lambda brace: words.get(brace[1]) or rng.choice(WORDS[brace[1]]), template)


def slug(title: str, market_id: int) -> str:
    """The market's name in web addresses; the number keeps equal titles apart."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") + f"-{market_id}"
