"""From Opinion.Trade's JSON to records: its fields, units and spellings.

Facts are from the exchange's public reference ("Opinion Open API", docs.opinion.trade), its official client
(``opinion-api`` 0.4.0), ``ccxt.prediction.opinion`` (4.5.90) and recorded responses. Where they disagree, both are
accepted. What is not a list, a price or an order book at all raises InvalidResponse or ContradictoryList.
"""
