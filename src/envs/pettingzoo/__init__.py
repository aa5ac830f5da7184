"""Environments of PettingZoo's interface, by the names of their modules."""
