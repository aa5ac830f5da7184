"""Building blocks of every network: masked attention, a GRU that respects joins, the entity input."""
