"""The campaign against faults; docs/reliability.md says what it tries."""
