"""The matrix game: two agents, two types, one step."""
