"""Opinion.Trade simulated: what it holds, how it answers, and a world that fills it."""
