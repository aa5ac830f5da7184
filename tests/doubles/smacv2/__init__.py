"""A double of oxwhirl's SMACv2 for tests: the part of its interface that Muster uses, over a few lines of battle."""
