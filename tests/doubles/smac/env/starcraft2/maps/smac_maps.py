"""The maps, with short episodes, and who fights on them."""

_REGISTRY = {
    "3m": {"n_agents": 3, "n_enemies": 3, "limit": 20, "unit_type_bits": 0, "map_type": "marines"},
    "3s5z": {"n_agents": 8, "n_enemies": 8, "limit": 20, "unit_type_bits": 2, "map_type": "stalkers_and_zealots"},
    "MMM2": {"n_agents": 10, "n_enemies": 12, "limit": 20, "unit_type_bits": 3, "map_type": "MMM"},
}
#: map -> types of the team and of the enemies
ARMIES = {
    "3m": ("mmm", "mmm"),
    "3s5z": ("sss" + "z" * 5, "sss" + "z" * 5),
    "MMM2": ("dd" + "m" * 7 + "h", "ddd" + "m" * 8 + "h"),
}


def get_smac_map_registry():
    return _REGISTRY
