"""Team battles with StarCraft II units: one environment over interchangeable battle engines."""
