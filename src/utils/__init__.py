"""Helpers shared by every room: masks, seeds, configuration, logging, checkpoints."""
