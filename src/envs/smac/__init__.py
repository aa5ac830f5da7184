"""SMAC's and SMACv2's own environments over StarCraft II, by the names of their maps."""
