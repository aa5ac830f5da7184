"""`StarCraftCapabilityEnvWrapper` without StarCraft: it draws units and places, by the streams that SMACv2 uses."""

from random import shuffle

from numpy.random import default_rng
from smac.env import StarCraft2Env

from smacv2.env.starcraft2.maps.smac_maps import get_smac_map_registry

LETTERS = {"stalker": "s", "zealot": "z", "colossus": "c", "marine": "m", "marauder": "d", "medivac": "h"}


class Teams:
    def __init__(self, config):
        self.config = config
        self.rng = default_rng()

    def generate(self):
        team = list(self.rng.choice(self.config["unit_types"], size=self.config["n_units"], p=self.config["weights"]))
        shuffle(team)
        return "".join(LETTERS[name] for name in team)


class Places:
    """One that asks another, as those of SMACv2 do."""

    def __init__(self, config):
        self.inner = Uniform(config)

    def generate(self):
        return self.inner.generate()


class Uniform:
    def __init__(self, config):
        self.config = config
        self.rng = default_rng()

    def generate(self):
        size = (self.config["n_units"], 2)
        return [(self.rng.uniform(0, 16, size) + (16 * side, 8)).tolist() for side in (0, 1)]


class StarCraftCapabilityEnvWrapper:
    def __init__(self, *, capability_config, use_unit_ranges=False, min_attack_range=2, **kwargs):
        self.env = StarCraft2Env(registry=get_smac_map_registry(), **kwargs)
        self.env.n_agents = self.env.n_enemies = capability_config["n_units"]
        self.env.n_actions = 6 + self.env.n_agents
        for key in ("team_gen", "start_positions"):
            capability_config[key]["n_units"] = capability_config["n_units"]  # it writes into what it is given
        self.env_key_to_distribution_map = {
            "team_gen": Teams(capability_config["team_gen"]),
            "start_positions": Places(capability_config["start_positions"]),
        }

    def reset(self):
        team = self.env_key_to_distribution_map["team_gen"].generate()
        self.env.reset((team, team), self.env_key_to_distribution_map["start_positions"].generate())

    def __getattr__(self, name):
        return getattr(self.env, name)
