"""The other half of `time_to_win.py`: MAPPO or PQN-VDN of JaxMARL's public baselines, trained on SMAX `3m`.

Run by a Python that has jaxmarl, distrax and hydra-core. The networks, the training and its settings are the checkout's
own, imported from there; what differs from its configuration stands in `OURS`. Its training is one compiled loop from
beginning to end: here the loop's body is taken out of it and compiled for a few rounds at a time, with greedy tests in
between, each of one episode in every environment and always the same ones. Nothing is sent to Weights & Biases.

Prints a line of JSON after each test: environment steps, CPU seconds of the process so far, of these in tests, and the
share of episodes won.
"""

import importlib.util
import json
import sys
import time
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback  # noqa: F401 (the baselines take it from jax.experimental, which this loads)
from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario
from omegaconf import OmegaConf

#: environments, width of networks
ENVS, WIDTH = 64, 64
OURS = {
    "mappo": {"NUM_ENVS": ENVS, "FC_DIM_SIZE": WIDTH, "GRU_HIDDEN_DIM": WIDTH, "MAP_NAME": "3m"},
    "pqn_vdn": {"NUM_ENVS": ENVS, "HIDDEN_SIZE": WIDTH, "MAP_NAME": "3m", "TEST_DURING_TRAINING": False},
}
FILES = {
    "mappo": ("MAPPO/mappo_rnn_smax.py", "MAPPO/config/mappo_homogenous_rnn_smax.yaml"),
    "pqn_vdn": ("QLearning/pqn_vdn_rnn.py", "QLearning/config/alg/pqn_vdn_rnn_smax.yaml"),
}


class Mappo:
    """MAPPO's own parts, as a test needs them."""

    def __init__(self, module, config, episodes):
        # its training begins with memories of width 128 whatever the configuration says
        memory = module.ScannedRNN.initialize_carry
        module.ScannedRNN.initialize_carry = staticmethod(lambda rows, _: memory(rows, WIDTH))
        self.train = module.make_train(config)
        env = HeuristicEnemySMAX(scenario=map_name_to_scenario("3m"), **config["ENV_KWARGS"])
        self.env = module.SMAXLogWrapper(module.SMAXWorldStateWrapper(env, config["OBS_WITH_AGENT_ID"]))
        self.actor = module.ActorRNN(self.env.action_space(self.env.agents[0]).n, config=config)
        self.module, self.episodes, self.rows = module, episodes, episodes * self.env.num_agents

    def reset(self, key):
        return jax.vmap(self.env.reset)(jax.random.split(key, self.episodes))

    def step(self, key, state, actions):
        return jax.vmap(self.env.step)(jax.random.split(key, self.episodes), state, actions)

    def memory(self):
        return self.module.ScannedRNN.initialize_carry(self.rows, WIDTH)

    def act(self, state, memory, seen, done, env_state):
        agents, batchify = self.env.agents, self.module.batchify
        legal = batchify(jax.vmap(self.env.get_avail_actions)(env_state.env_state), agents, self.rows)
        over = batchify(done, agents, self.rows)[:, 0]
        inputs = (batchify(seen, agents, self.rows)[None], over[None], legal)
        (actor, _), *_ = state[0]
        memory, policy = self.actor.apply(actor.params, memory, inputs)
        chosen = policy.mode().reshape(len(agents), self.episodes)
        return memory, dict(zip(agents, chosen, strict=True))


class Pqn:
    """PQN-VDN's own parts, as a test needs them."""

    def __init__(self, module, config, episodes):
        env, _ = module.env_from_config(config)
        self.train = module.make_train(config, env)
        self.env = module.CTRolloutManager(env, batch_size=episodes, preprocess_obs=True)
        self.network = module.QNetwork(
            action_dim=self.env.max_action_space,
            hidden_size=WIDTH,
            num_layers=config["NUM_LAYERS"],
            norm_type=config["NORM_TYPE"],
            norm_input=config["NORM_INPUT"],
        )
        self.module, self.episodes = module, episodes
        self.reset, self.step = self.env.batch_reset, self.env.batch_step

    def memory(self):
        return self.module.ScannedRNN.initialize_carry(WIDTH, len(self.env.agents), self.episodes)

    def act(self, state, memory, seen, done, env_state):
        learnt, agents = state[0], self.env.agents
        variables = {"params": learnt.params, "batch_stats": learnt.batch_stats}
        inputs = [jnp.stack([values[agent] for agent in agents])[:, None] for values in (seen, done)]
        memory, values = jax.vmap(self.network.apply, (None, 0, 0, 0, None))(variables, memory, *inputs, False)
        legal = self.env.get_valid_actions(env_state.env_state)
        chosen = {
            agent: jnp.where(legal[agent] > 0, values[index, 0], -jnp.inf).argmax(axis=-1)
            for index, agent in enumerate(agents)
        }
        return memory, chosen


def load(path):
    """The module in the file `path`, whose import of wandb finds something that does nothing."""
    sys.modules["wandb"] = types.ModuleType("wandb")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def opened(train, key):
    """The state that the loop of `train(key)` begins with, and the loop's body."""
    scan, bodies = jax.lax.scan, []

    def passing(body, init, *args, **more):
        if getattr(body, "__name__", "") != "_update_step":
            return scan(body, init, *args, **more)
        bodies.append(body)
        return init, None

    jax.lax.scan = passing
    try:  # not compiled as a whole: what is made before the loop must outlive it
        state = train(key)["runner_state"]
    finally:
        jax.lax.scan = scan
    return state, bodies[-1]


def tester(learner):
    """A function of the loop's state and a key: which of the test's episodes a greedy team wins, (episodes,) bool."""

    def won(state, key):
        def step(carry):
            key, env_state, seen, done, memory, over, wins = carry
            memory, actions = learner.act(state, memory, seen, done, env_state)
            key, play = jax.random.split(key)
            seen, env_state, _, done, info = learner.step(play, env_state, actions)
            ending = info["returned_episode"][:, 0] & ~over  # finished environments begin anew; the first one counts
            wins = wins | (ending & (info["returned_won_episode"][:, 0] > 0))
            return key, env_state, seen, done, memory, over | ending, wins

        key, begin = jax.random.split(key)
        seen, env_state = learner.reset(begin)
        nobody = jnp.zeros(learner.episodes, dtype=bool)
        done = dict.fromkeys([*learner.env.agents, "__all__"], nobody)
        start = (key, env_state, seen, done, learner.memory(), nobody, nobody)
        return jax.lax.while_loop(lambda carry: ~carry[-2].all(), step, start)[-1]

    return jax.jit(won)


def main(checkout, algorithm, seed, steps, interval, episodes):
    code, settings = (Path(checkout) / "baselines" / file for file in FILES[algorithm])
    config = {**OmegaConf.to_container(OmegaConf.load(settings)), **OURS[algorithm], "TOTAL_TIMESTEPS": steps}
    config["WANDB_MODE"] = "disabled"
    learner = {"mappo": Mappo, "pqn_vdn": Pqn}[algorithm](load(code), config, episodes)
    jax.experimental.io_callback = lambda *args, **more: None
    state, body = opened(learner.train, jax.random.PRNGKey(seed))
    size = config["NUM_STEPS"] * config["NUM_ENVS"]
    rounds = max(1, round(interval / size))
    advance = jax.jit(lambda state: jax.lax.scan(lambda now, _: (body(now, None)[0], None), state, None, rounds)[0])
    test, played, testing = tester(learner), 0, 0.0
    while True:
        begin = time.process_time()
        rate = float(np.asarray(test(state, jax.random.PRNGKey(0))).mean())
        now = time.process_time()
        testing += now - begin
        print(json.dumps({"step": played, "cpu": now, "testing": testing, "won": rate}), flush=True)
        if played >= steps:
            return
        state = jax.block_until_ready(advance(state))
        played += rounds * size


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
