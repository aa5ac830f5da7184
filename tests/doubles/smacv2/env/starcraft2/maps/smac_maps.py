"""The maps, with short episodes; they share a file."""

_LIMIT = {"limit": 20, "unit_type_bits": 3, "map_name": "32x32_flat"}
_REGISTRY = {
    "10gen_protoss": {"n_agents": 10, "n_enemies": 10, "map_type": "protoss_gen", **_LIMIT},
    "10gen_terran": {"n_agents": 10, "n_enemies": 10, "map_type": "terran_gen", **_LIMIT},
}


def get_smac_map_registry():
    return _REGISTRY
