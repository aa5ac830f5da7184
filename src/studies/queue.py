"""The evidence queue: the long trainings that `./run.sh queue` carries out in the background of all other work, in this
order.

The first entry wins within minutes and says what the embedded battles allow. The settings of the five after it are
those of the studies in `results/published`, which trained for a small part of these steps: what the longer trainings
show follows from their length alone.
"""

from studies.cesma import CESMA_FIGURE4, CESMA_FIGURE5, CESMA_TEAMS
from studies.copa import COPA_TABLE1
from studies.declaration import Entry
from studies.mipi import MIPI_TABLE1, MIPI_TABLE2
from studies.recipes import FAST_BATTLES
from studies.rescue import RESCUE_TABLE2

_SEEDS = (0, 1, 2)
_ALL = ("threads=1", "log_interval=20000", "save_model_interval=50000")
_BATTLES = (
    *_ALL,
    *("target_values=pairs", "attn_embed_dim=64", "hypernet_embed=64"),
    *("batch_size_run=64", "batch_size=20", "training_iters=120", "sequence_length=10", "buffer_size=10000"),
    *("target_update_interval=200", "target_update_unit=updates", "epsilon_anneal_time=100000"),
    *("env_args.episode_limit=100", "td_lambda=0.6", "gamma=0.97", "lr=0.0005", "lr_decay=linear"),
    *("ppo_epochs=10", "num_mini_batch=4", "entropy_coef=0.01", "test_interval=125000"),
)
_COPA = (
    *_ALL,
    *("attn_embed_dim=32", "hypernet_embed=32", "rnn_hidden_dim=32", "coach_embed_dim=32", "strategy_dim=32"),
    "mixing_embed_dim=32",  # as wide as all the rest; the task's YAML, which has the paper's 128, did not set it then
    *("batch_size_run=32", "batch_size=64", "sequence_length=8", "steps_per_update=50", "buffer_size=20000"),
    *("lr=0.002", "gamma=0.9", "td_lambda=0.8", "target_update_interval=50", "epsilon_decay=linear"),
    "test_interval=100000",
)
_TAUGHT = (
    *_ALL,
    *("attn_embed_dim=64", "hypernet_embed=64", "expert_args.attn_embed_dim=64", "expert_args.hypernet_embed=64"),
    *("batch_size_run=32", "env_args.episode_limit=100", "test_interval=100000"),
)

QUEUE = (
    Entry(FAST_BATTLES, _SEEDS, 2_000_000, (*_ALL, "test_interval=100000")),
    Entry(MIPI_TABLE1.on(["sc2_sz"]), _SEEDS, 1_000_000, _BATTLES),
    Entry(COPA_TABLE1, _SEEDS, 2_000_000, (*_COPA, "epsilon_anneal_time=120000")),
    Entry(MIPI_TABLE1.on(["sc2_csz", "sc2_mmm"]), _SEEDS, 1_000_000, _BATTLES),
    Entry(RESCUE_TABLE2, _SEEDS, 2_000_000, (*_COPA, "epsilon_anneal_time=40000")),
    Entry(MIPI_TABLE2, _SEEDS, 1_000_000, _BATTLES),
    Entry(CESMA_FIGURE5, _SEEDS, 1_000_000, _ALL),
    Entry(CESMA_TEAMS, _SEEDS, 1_000_000, _TAUGHT),
    Entry(CESMA_FIGURE4, _SEEDS, 1_000_000, _TAUGHT),
)
