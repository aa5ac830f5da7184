"""The Rescue Game: robots of different skill put out fires in a town."""
