"""The other half of `engine.py`: SMAX of JaxMARL, run by a Python that has `jaxmarl` (pip install jaxmarl).

Compiles, says so, then plays one round for every line on its input and answers with the seconds it took.
"""

import sys
import time

import jax
import jax.numpy as jnp
from jaxmarl import make
from jaxmarl.environments.smax import map_name_to_scenario


def main(battles: int, steps: int) -> None:
    env = make("HeuristicEnemySMAX", scenario=map_name_to_scenario("3s5z"))

    def step(carry, _):
        state, key = carry
        key, draw, play = jax.random.split(key, 3)
        legal = jax.vmap(env.get_avail_actions)(state)
        keys = jax.random.split(draw, len(env.agents))
        # uniform over the legal actions
        actions = {
            agent: jnp.argmax(jax.random.uniform(k, legal[agent].shape) * legal[agent], axis=-1)
            for agent, k in zip(env.agents, keys, strict=True)
        }
        _, state, reward, *_ = jax.vmap(env.step)(jax.random.split(play, battles), state, actions)
        return (state, key), reward[env.agents[0]].sum()

    @jax.jit
    def play(state, key):
        return jax.lax.scan(step, (state, key), None, steps)

    key = jax.random.PRNGKey(0)
    _, state = jax.vmap(env.reset)(jax.random.split(key, battles))
    # twice: what the first round returns may differ from the first state in ways that compile anew
    for _ in range(2):
        (state, key), rewards = play(state, key)
        rewards.block_until_ready()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        (state, key), rewards = play(state, key)
        rewards.block_until_ready()
        print(time.perf_counter() - start, flush=True)


main(int(sys.argv[1]), int(sys.argv[2]))
