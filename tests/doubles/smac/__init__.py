"""A double of oxwhirl's SMAC for tests: the part of its interface that Muster uses, over a few lines of battle."""
