"""Resource Collection: a team of agents with different talents fetches resources and guards its home."""
