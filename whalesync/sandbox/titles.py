"""Questions that people would recognise as prediction markets, by category.

`{date}` and `{month}` come from the cut-off; a title without them suits a market that has none. The other
braces are filled from `WORDS`, so that a few lines give thousands of different titles.
"""

import re
import time
from random import Random

# The number is the exchange's `labelIds` entry for the category.
LABELS = {"Politics": 1, "Crypto": 2, "Sports": 3, "Macro": 4, "Tech": 5, "Culture": 6}

DATED = {
    "Politics": (
        "Will the {nation} parliament be dissolved by {date}?",
        "Will {land} hold a snap election by {date}?",
        "Will the {nation} prime minister leave office by {date}?",
        "Will {land} and {other_land} sign a trade agreement by {date}?",
    ),
    "Crypto": (
        "Will Bitcoin close above ${bitcoin} on {date}?",
        "Will {coin} reach a new all-time high by {date}?",
        "Will {coin} spot ETF inflows exceed ${count}0M in the week to {date}?",
        "Will Ethereum fall below ${ether} before {date}?",
    ),
    "Sports": (
        "Will {team} beat {other_team} on {date}?",
        "Will {team} score {small} or more goals before {date}?",
        "Will {team} top the table on {date}?",
    ),
    "Macro": (
        "Will the {bank} cut rates by {date}?",
        "Will {land} inflation come in above {small}.{tenth}% before {date}?",
        "Will gold close above ${gold} on {date}?",
    ),
    "Tech": (
        "Will {lab} release a new flagship model by {date}?",
        "Will {lab} top the chatbot leaderboard on {date}?",
        "Will {company} be the largest company in the world on {date}?",
    ),
    "Culture": (
        "Will the {award} ceremony exceed {count}M viewers by {date}?",
        "Will {artist} announce a new album by {date}?",
    ),
}

UNDATED = {
    "Politics": ("Will {land} join the currency union before {other_land}?",),
    "Crypto": (
        "Will Bitcoin reach ${bitcoin} before Ethereum reaches ${ether}?",
        "Will {coin} flip {other_coin}?",
    ),
    "Sports": ("Will {team} win a trophy before {other_team}?",),
    "Macro": ("Will the {bank} raise rates before it cuts?",),
    "Tech": ("Will {lab} go public before {company} splits its stock?",),
    "Culture": ("Will {artist} play the half-time show before {other_artist}?",),
}

# Each with the names of its children; a world takes some of them.
CATEGORICAL = {
    "Politics": (
        (
            "Who will win the {nation} presidential election?",
            ("Alvarez", "Brandt", "Chen", "Duval", "Eriksen"),
        ),
        (
            "How many seats will the {nation} coalition hold?",
            ("Under 200", "200-249", "250-299", "300 or more"),
        ),
    ),
    "Crypto": (
        ("What price will {coin} hit in {month}?", ("Down 20%", "Down 10%", "Up 10%", "Up 20%", "Up 50%")),
        (
            "Which chain will lead stablecoin volume in {month}?",
            ("Ethereum", "Tron", "Solana", "BNB Chain", "Base"),
        ),
    ),
    "Sports": (
        ("Who will win the {cup}?", ("Brazil", "Spain", "Argentina", "France", "England", "Another team")),
        ("Who will be top scorer of the {cup}?", ("A forward", "A midfielder", "A defender")),
    ),
    "Macro": (
        ("{bank} decision in {month}?", ("50+ bps decrease", "25 bps decrease", "No change", "Increase")),
        ("Gold price at the end of {month}?", ("<$3,000", "$3,000-3,499", "$3,500-3,999", "$4,000 or more")),
    ),
    "Tech": (
        (
            "Which lab has the best model at the end of {month}?",
            ("Anthropic", "Google", "OpenAI", "xAI", "DeepSeek"),
        ),
    ),
    "Culture": (
        ("Who will win album of the year at the {award}?", ("The favourite", "The runner-up", "Another")),
    ),
}

WORDS: dict[str, tuple[str, ...]] = {
    "nation": ("French", "German", "Japanese", "Canadian", "Brazilian", "Polish", "Dutch", "Indian"),
    "land": ("France", "Germany", "Japan", "Canada", "Brazil", "Poland", "the Netherlands", "India"),
    "other_land": ("Mexico", "Norway", "South Korea", "Chile", "Switzerland", "Vietnam"),
    "coin": ("Bitcoin", "Ethereum", "Solana", "BNB"),
    "other_coin": ("Dogecoin", "XRP", "Cardano", "Tron"),
    "bitcoin": tuple(f"{thousands},000" for thousands in range(70, 205, 5)),
    "ether": tuple(f"{hundreds / 10:.1f}00".replace(".", ",") for hundreds in range(15, 80, 5)),
    "team": ("Arsenal", "Real Madrid", "Bayern", "Liverpool", "Inter", "Benfica", "Ajax", "Celtic"),
    "other_team": (
        "Chelsea",
        "Barcelona",
        "Dortmund",
        "Everton",
        "Juventus",
        "Porto",
        "Feyenoord",
        "Rangers",
    ),
    "bank": ("Fed", "ECB", "Bank of England", "Bank of Japan"),
    "gold": ("3,000", "3,500", "4,000", "4,500"),
    "lab": ("OpenAI", "Anthropic", "Google", "xAI", "Meta", "DeepSeek"),
    "company": ("Nvidia", "Microsoft", "Apple", "Alphabet"),
    "award": ("Oscars", "Grammys", "Emmys"),
    "artist": ("Taylor Swift", "Rihanna", "Adele", "Bad Bunny"),
    "other_artist": ("Beyoncé", "Drake", "Billie Eilish", "Coldplay"),
    "cup": ("World Cup", "Champions League", "Copa América", "European Championship"),
    "small": ("2", "3", "4", "5"),
    "tenth": ("0", "2", "5", "8"),
    "count": tuple(str(number) for number in range(10, 60)),
}


def fill(template: str, rng: Random, cutoff_at: float) -> str:
    """Fill a title's braces; `cutoff_at` is in Unix seconds."""
    day = time.gmtime(cutoff_at)
    words = {"date": f"{time.strftime('%B', day)} {day.tm_mday}", "month": time.strftime("%B", day)}
    return re.sub(r"{(\w+)}", lambda brace: words.get(brace[1]) or rng.choice(WORDS[brace[1]]), template)


def slug(title: str, market_id: int) -> str:
    """The market's name in web addresses; the id keeps equal titles apart."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") + f"-{market_id}"
