"""The matrix game: its pay-offs by enumeration, what agents see, teams, settings."""

import itertools

import pytest
import torch

from envs.check import check_env
from envs.matrix_game.env import PAYOFFS, SCRIPTED, MatrixGameEnv
from utils.config import load_config
from utils.errors import UserError

ALPHA = 0.5
TRAINED = ("AB", "BA")


def make(num_envs=4, seed=0, **env_args) -> MatrixGameEnv:
    return MatrixGameEnv(MatrixGameEnv.resolve_args(env_args, []), num_envs, seed)


@pytest.mark.parametrize("team", ["AB/BA", "BB/AB", "BB"])
def test_contract(team):
    check_env(make(6, train_team=team), teams=["AB", "BA", "BB", "AB/BA"], varied="/" in team)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_contract_on_a_gpu():
    check_env(MatrixGameEnv(MatrixGameEnv.resolve_args({}, []), 6, 0, "cuda"), teams=["BB"])


# --- pay-offs -------------------------------------------------------------------------------------------------------


def test_the_consistent_pair_is_good_everywhere_and_best_nowhere():
    best = {}
    for team, payoff in PAYOFFS.items():
        assert payoff[0][0] == PAYOFFS["AB"][0][0]
        best[team] = max(itertools.product((0, 1), repeat=2), key=lambda pair: payoff[pair[0]][pair[1]])
        assert best[team] != (0, 0)
    assert best["AB"] != best["BA"]
    # what is best for type B in the teams that are trained on goes wrong where both are B
    second, first = best["AB"][1], best["BA"][0]
    assert PAYOFFS["BB"][first][second] < 1 < PAYOFFS["BB"][0][0]


def objectives(alpha: float, of: str) -> tuple[torch.Tensor, torch.Tensor]:
    """For every policy on a grid, its probabilities of action 1 for (agent, type) and what it is worth in training:
    pay-off minus alpha times mutual information, or plus alpha times entropy, of both agents.
    """
    axis = torch.linspace(0, 1, 21, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis, axis, axis).view(-1, 2, 2)  # (policies, agent, type)
    plays = torch.stack([1 - grid, grid], dim=-1)  # (policies, agent, type, action)
    marginal = plays.mean(dim=2)
    total = torch.zeros(len(grid), dtype=torch.float64)
    for team in TRAINED:
        types = ["AB".index(letter) for letter in team]
        first, second = plays[:, 0, types[0]], plays[:, 1, types[1]]
        payoff = torch.tensor(PAYOFFS[team], dtype=torch.float64)
        total += torch.einsum("nu,nv,uv->n", first, second, payoff) / len(TRAINED)
        for agent, policy in enumerate((first, second)):
            log_prior = marginal[:, agent].clamp(min=1e-300).log() if of == "mutual_information" else 0.0
            total -= alpha * (policy * (policy.clamp(min=1e-300).log() - log_prior)).sum(dim=-1) / len(TRAINED)
    return grid, total


@pytest.mark.parametrize(
    ("alpha", "of", "deviates"),
    [(ALPHA, "mutual_information", False), (0.0, "mutual_information", True), (ALPHA, "entropy", True)],
)
def test_by_enumeration_only_mutual_information_makes_the_consistent_pair_best(alpha, of, deviates):
    grid, worth = objectives(alpha, of)
    best = grid[worth.argmax()]
    assert (best[:, 0] < 0.5).all()  # type A plays 0
    assert ((best[:, 1] > 0.5) == deviates).all()  # type B
    if of == "mutual_information":
        assert best.tolist() == [[0.0, float(deviates)]] * 2
    near = (grid - best).abs().amax(dim=(1, 2)) < 0.5
    assert worth[near].max() > worth[~near].max()


# --- episodes -------------------------------------------------------------------------------------------------------


def test_a_game_is_one_step():
    env = make(3)
    for team, payoff in PAYOFFS.items():
        for pair in itertools.product((0, 1), repeat=2):
            assert env.reset(team=team).terminated.tolist() == [False] * 3
            seen = env.step(torch.tensor([pair] * 3))
            assert seen.reward.tolist() == pytest.approx([payoff[pair[0]][pair[1]]] * 3)
            assert seen.terminated.all()
            assert not seen.truncated.any()
            assert seen.info["consistent"].tolist() == [float(pair == (0, 0))] * 3
    assert env.step(torch.zeros(3, 2, dtype=torch.int64)).reward.tolist() == [0, 0, 0]


def test_an_agent_is_its_index_and_sees_its_own_type_beside_it():
    env = make(2)
    seen = {team: env.reset(team=team) for team in PAYOFFS}
    for team, step in seen.items():
        assert step.entities[0, :2].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
        assert step.entities[0, 2:, :2].tolist() == [[1, 0], [0, 1]]
        assert ["AB"[row.argmax()] for row in step.entities[0, 2:, 2:]] == list(team)
        assert step.obs_mask[0].tolist() == [[True, True, True, False], [True, True, False, True]]


def test_training_draws_from_its_teams():
    def share(team=None, **env_args):
        return float(make(4000, **env_args).reset(team=team).entities[:, 2, 2].mean())  # the first agent is of type A

    assert share() == pytest.approx(0.5, abs=0.03)
    assert share(train_team="BB/AB/ba") == pytest.approx(1 / 3, abs=0.03)
    assert share(team="AB") == 1


def test_scripted_teams():
    env = make(4000)
    for name, team, expected in (("consistent", "BB", 5.0), ("random", "BB", 2.6), ("random", "AB", 2.6)):
        seen = env.reset(team=team)
        seen = env.step(SCRIPTED[name](env.spec)(seen, torch.Generator().manual_seed(0)))
        assert float(seen.reward.mean()) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize(
    "word", ["test_teams=AA", "test_teams=3-5", "env_args.train_team=AB-BA", "env_args.train_team=", "test_teams=ABB"]
)
def test_impossible_teams_are_named(word):
    with pytest.raises(UserError, match=r"not possible: there are AB, BA, BB"):
        load_config(["--env-config=matrix_game", word])
