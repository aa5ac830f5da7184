"""Agent networks: what one team member computes from what it sees. All agents share one network."""
