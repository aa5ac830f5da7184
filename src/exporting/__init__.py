"""Policies to take away: programs that run without this project."""
