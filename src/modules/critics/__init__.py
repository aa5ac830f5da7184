"""Critics: what a state is worth to the team."""
