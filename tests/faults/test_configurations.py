"""What a user may get wrong: each ends in one line that names it, with exit code 2 and nothing written; and whatever
else is given as a value or a YAML file either would start or ends in such a line.
"""

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import main
import run
import study
from utils import command_line, config
from utils.command_line import CONFIG_DIR
from utils.config import load_config
from utils.config_checks import CHECKS
from utils.errors import UserError

LONG = "9" * 400
HUGE = "1000000000000"
MAPPO = "--config=mappo --env-config=sc2_sz"
COLLECTION = "--env-config=resource_collection"
RESCUE = "--env-config=rescue"
MATRIX = "--env-config=matrix_game"
TESTED = "evaluate=True checkpoint_path=models/7"

#: words of the command line (a tuple where one has a space in it) -> a part of the line that names what is wrong
FAULTS: list[tuple[str | tuple[str, ...], str]] = [
    # --- words -------------------------------------------------------------------------------------------------------
    ("--config=cpa", "--config=cpa: there is no config/algs/cpa.yaml; the nearest is 'copa'"),
    ("--config=COPA", "the nearest is 'copa'"),
    ("--config=../default", "there is no config/algs/../default.yaml"),
    ("--config=", "--config needs a name"),
    ("--config --env-config=sc2_sz", "--config needs a name"),
    ("--config=copa --config=refil", "--config is given twice: 'copa' and 'refil'"),
    ("--env-config=sc2_zs", "--env-config=sc2_zs: there is no config/envs/sc2_zs.yaml; the nearest is"),
    ("--env-config", "--env-config needs a name"),
    ("--confg=copa", "unknown option '--confg'; the nearest is '--config'"),
    ("--seed=3", "unknown option '--seed'"),
    ("-x", "unknown option '-x'"),
    ("lr", "cannot read 'lr': settings are written KEY=VALUE"),
    ("=3", "cannot read '=3'"),
    (("lr =3",), "unknown key lr =3 (command line); the nearest known key is 'lr'"),
    (("lr", "=", "3"), "cannot read 'lr'"),
    ("wiht lr=1", "cannot read 'wiht'"),
    # --- keys --------------------------------------------------------------------------------------------------------
    ("gama=0.9", "unknown key gama=0.9 (command line); the nearest known key is 'gamma'"),
    ("LR=1", "unknown key LR=1"),
    ("lr.x=3", "the nearest known key is 'lr'"),
    ("--env-config=sc2_sz train_tem=3", "the nearest known key is 'env_args.train_team'"),
    (f"{RESCUE} episode_limt=3", "the nearest known key is 'env_args.episode_limit'"),
    ("batchsize=3", "'batch_size'"),
    ("env_args.train_tem=3", "unknown key env_args.train_tem=3 (command line) for env=starcraft"),
    ("env_args.sight=1", "unknown key env_args.sight=1 (command line) for env=starcraft"),
    (f"{RESCUE} env_args.scenario=sz", "for env=rescue"),
    (f"{MATRIX} env_args.episode_limit=3", "for env=matrix_game"),
    (f"{COLLECTION} env_args.varyng=2-4", "'env_args.varying'"),
    ("env=rescue env_args.backend=auto", "for env=rescue"),
    (("env_args={1: 2}",), "unknown key env_args.1=2"),
    # --- the run -----------------------------------------------------------------------------------------------------
    (("name=two words",), "name='two words' (command line): must be a word"),
    ("name=", "name='' (command line): must be a word"),
    ("seed=-1", "seed=-1 (command line): must be from 0 to 4294967295"),
    ("seed=4294967296", "seed=4294967296"),
    ("seed=1.5", "seed=1.5 (command line): must be a whole number"),
    ("device=gpu", "device='gpu' (command line): must be auto, cpu, cuda or cuda:N"),
    ("device=cuda:-1", "device='cuda:-1'"),
    ("device=cuda:01", "device='cuda:01'"),
    ("device=cuda:99", "device=cuda:99: torch sees"),
    ("device=cuda:99999999999999999999", "device='cuda:99999999999999999999' (command line): must be"),
    ("worker_start_timeout=0", "worker_start_timeout=0.0 (command line): must be above 0"),
    ("worker_step_timeout=-1", "worker_step_timeout=-1.0 (command line): must be above 0"),
    ("lr=1e39", "lr=1e+39 (command line): must be above 0 and at most 1e+38"),
    ("threads=-1", "threads=-1 (command line): must be from 0 to 4096"),
    (f"threads={HUGE}", "must be from 0 to 4096"),
    ("t_max=0", "t_max=0 (command line): must be at least 1"),
    ("t_max=1.5", "t_max=1.5 (command line): must be a whole number"),
    ("t_max=true", "t_max=True (command line): must be a whole number"),
    ("t_max=", "t_max='' (command line): must be a whole number"),
    ("t_max=soon", "t_max='soon'"),
    ("t_max=inf", "t_max='inf' (command line): must be a whole number"),
    ("t_max=1e30", "must be a whole number below 2**63"),
    (f"t_max={LONG}", "must be a whole number below 2**63"),
    ("t_max=0x" + "f" * 5000, "t_max=a very long int (command line)"),
    ("t_max=1+2j", "t_max=(1+2j)"),
    ("t_max=None", "t_max=None (command line): must be a whole number"),
    ("t_max=[1]", "t_max=[1]"),
    ("amp=1", "amp=1 (command line): must be true or false"),
    ("compile=maybe", "compile='maybe' (command line): must be true or false"),
    ("env=starcaft", "env='starcaft' (command line): must be one of"),
    ("env=[1]", "env='[1]'"),
    ("env_args=3", "env_args=3 (command line): must be a mapping"),
    # --- collecting and exploring ------------------------------------------------------------------------------------
    ("runner=paralel", "the nearest is 'parallel'"),
    ("batch_size_run=0", "batch_size_run=0 (command line): must be at least 1"),
    ("rollout_steps=-1", "rollout_steps=-1 (command line): must be at least 0"),
    ("rollout_steps=2.5", "rollout_steps=2.5 (command line): must be a whole number"),
    ("rollout_steps=9 runner=parallel", "rollout_steps=9 needs all environments in one batch"),
    (f"{MAPPO} rollout_steps=100000000", "rollout_steps=100000000: this run needs"),
    ("round_episodes=-1 runner=parallel", "round_episodes=-1 (command line): must be at least 0"),
    ("round_episodes=2", "round_episodes=2 needs environments that do not wait for each other"),
    ("max_staleness=0", "max_staleness=0 (command line): must be at least 1"),
    ("training_iters=0", "training_iters=0"),
    ("steps_per_update=-1", "steps_per_update=-1"),
    ("view=fulll", "view='fulll' (command line): must be one of local, full, periodic, joint; the nearest is 'full'"),
    ("view_interval=0", "view_interval=0"),
    (("policy=",), "policy='' (command line): must be the name of a scripted team"),
    ("action_selector=greedy", "action_selector='greedy'"),
    ("epsilon_start=1.2", "epsilon_start=1.2 (command line): must be from 0 to 1"),
    ("epsilon_finish=-0.1", "epsilon_finish=-0.1"),
    ("epsilon_decay=exp", "the nearest is 'exponential'"),
    ("epsilon_decay=exponential epsilon_finish=0", "epsilon_finish=0: no exponential epsilon_decay"),
    ("epsilon_decay=exponential epsilon_start=0", "epsilon_start=0: no exponential epsilon_decay"),
    ("epsilon_anneal_time=-1", "epsilon_anneal_time=-1"),
    # --- replay ------------------------------------------------------------------------------------------------------
    ("buffer_size=0", "buffer_size=0"),
    ("buffer_dtype=float64", "buffer_dtype='float64'"),
    ("buffer_device=gpu", "buffer_device='gpu' (command line): must be one of cpu, device"),
    ("sequence_length=-1", "sequence_length=-1"),
    ("batch_size=0", "batch_size=0"),
    ("batch_size=6000", "batch_size=6000 is more than buffer_size=5000: nothing would be learned"),
    (f"batch_size={HUGE}", "is more than buffer_size=5000"),
    ("--config=copa sequence_length=6", "sequence_length=6 must be a multiple of broadcast_interval=4"),
    ("view=periodic view_interval=3 sequence_length=4", "must be a multiple of view_interval=3"),
    # --- networks ----------------------------------------------------------------------------------------------------
    ("controller=entty", "controller='entty' (command line): must be one of"),
    ("mixer=qmax", "mixer='qmax' (command line): must be one of flex_qmix, flex_qmix_even, flex_qmix_low, linear, "),
    ("attn_embed_dim=0", "attn_embed_dim=0"),
    ("attn_embed_dim=130", "attn_embed_dim=130 must be a multiple of attn_heads=4"),
    ("attn_heads=0", "attn_heads=0"),
    ("attn_heads=3", "attn_embed_dim=128 must be a multiple of attn_heads=3"),
    (f"attn_heads={HUGE}", "attn_embed_dim=128 must be a multiple of attn_heads"),
    ("rnn_hidden_dim=0", "rnn_hidden_dim=0"),
    ("hypernet_embed=0", "hypernet_embed=0"),
    ("hypernet_embed=130", "hypernet_embed=130 must be a multiple"),
    ("mixing_embed_dim=0", "mixing_embed_dim=0"),
    ("head_layers=3", "head_layers=3 (command line): must be from 1 to 2"),
    ("coach_embed_dim=30", "coach_embed_dim=30 must be a multiple of attn_heads=4"),
    ("coach_embed_dim=-4", "coach_embed_dim=-4"),
    ("strategy_dim=0", "strategy_dim=0"),
    ("target_values=pair", "the nearest is 'pairs'"),
    (f"{RESCUE} target_values=pairs", "target_values=pairs: no action of env=rescue points at an entity"),
    # --- learning ----------------------------------------------------------------------------------------------------
    ("learner=rfil", "learner='rfil'"),
    ("gamma=1.5", "gamma=1.5 (command line): must be from 0 to 1"),
    ("gamma=high", "gamma='high' (command line): must be a finite number"),
    ("lr=0", "lr=0.0 (command line): must be above 0"),
    ("lr=nan", "lr='nan' (command line): must be a finite number"),
    ("lr=-1e-4", "lr=-0.0001"),
    ("lr=1e999", "must be a finite number"),
    (f"lr={LONG}", "must be a finite number"),
    ("lr=[[" + "[" * 5000, "lr='[[["),
    ("lr=1,2", "lr=(1, 2)"),
    ("lr=b'1'", "lr=b'1'"),
    ("lr_decay=cosine", "lr_decay='cosine' (command line): must be one of none, linear"),
    ("optimiser=sgd", "optimiser='sgd'"),
    ("optim_alpha=2", "optim_alpha=2"),
    ("optim_eps=0", "optim_eps=0"),
    ("grad_norm_clip=0", "grad_norm_clip=0"),
    ("double_q=2", "double_q=2 (command line): must be true or false"),
    ("td_lambda=1.1", "td_lambda=1.1"),
    ("target_update_interval=0", "target_update_interval=0"),
    ("target_update_unit=steps", "target_update_unit='steps'"),
    ("--config=refil mixer=none", "learner=refil needs a mixer, got mixer=none"),
    ("--config=copa controller=entity", "learner=copa needs controller=coach, got controller=entity"),
    ("--config=refil controller=coach", "learner=refil needs controller=entity"),
    ("--config=collaq controller=entity", "learner=collaq needs controller=collaq"),
    ("--config=mipi learner=q", "learner=q needs controller=entity or flat or coach or collaq or "),
    # --- what belongs to some algorithms -----------------------------------------------------------------------------
    ("gae_lambda=-1", "gae_lambda=-1"),
    ("clip_range=0", "clip_range=0"),
    ("ppo_epochs=0", "ppo_epochs=0"),
    ("num_mini_batch=0", "num_mini_batch=0"),
    ("norm=batch", "norm='batch'"),
    ("mongo_db=a.b", "mongo_db='a.b' (command line): must be the name of a database"),
    ("mongo_url=http://localhost", "mongo_url (command line): must be an address that begins with mongodb://"),
    (f"{MAPPO} num_mini_batch=33", "num_mini_batch=33 is more than a round has episodes: 32"),
    (f"{MAPPO} num_mini_batch=2 runner=episode", "num_mini_batch=2 is more than a round has episodes: 1"),
    (f"{MAPPO} batch_size_run=1 num_mini_batch=2", "num_mini_batch=2 is more than"),
    (f"{MAPPO} buffer_size=100", "buffer_size=100 (command line): learner=mappo has no use for it, it learns"),
    (f"{MAPPO} td_lambda=0.5", "td_lambda=0.5 (command line): learner=mappo"),
    (f"{MAPPO} save_replay_buffer=True", "save_replay_buffer=True"),
    (f"{MAPPO} epsilon_start=0.5", "epsilon_start=0.5 (command line): learner=mappo"),
    (f"{MAPPO} action_selector=epsilon_greedy", "action_selector='epsilon_greedy'"),
    (f"{MAPPO} mixer=vdn", "learner=mappo mixes no values of agents: it needs mixer=none"),
    (f"{MAPPO} controller=coach", "learner=mappo needs controller=entity"),
    ("learner=mappo", "epsilon_start=1.0 (default.yaml)"),
    ("entropy_coef=-1", "entropy_coef=-1"),
    ("imagine_lambda=2", "imagine_lambda=2"),
    ("imagine_split=2", "imagine_split=2.0 (command line): must be uniform, or from 0 to 1"),
    ("imagine_split=even", "imagine_split='even'"),
    ("broadcast_interval=0", "broadcast_interval=0"),
    ("beta=-1", "beta=-1"),
    ("beta=inf", "beta='inf' (command line): must be a finite number"),
    ("lambda_variational=-1", "lambda_variational=-1"),
    ("lambda_entropy=-1", "lambda_entropy=-1"),
    ("alone_view=none", "alone_view='none' (command line): must be one of no_teammates, self"),
    ("mara_weight=-1", "mara_weight=-1"),
    ("alpha=-inf", "alpha='-inf' (command line): must be a number or inf"),
    ("alpha=-0.1", "alpha=-0.1 (command line): must be at least 0"),
    ("alpha=inf regulariser=entropy", "alpha=inf is a policy that sees only its own agent"),
    ("regulariser=entrpy", "the nearest is 'entropy'"),
    ("ba_iterations=0", "ba_iterations=0"),
    ("imagine_critic=2", "imagine_critic=2"),
    (("expert=a b",), "expert='a b' (command line): must be the name of a scripted team"),
    ("expert_path=/nowhere", "expert_path: there is no folder '/nowhere'"),
    ("weight_decay=-1", "weight_decay=-1.0 (command line): must be at least 0"),
    ("idle_weight=0", "idle_weight=0.0 (command line): must be above 0"),
    ("data_sets=mine", "data_sets='mine' (command line): must be one of shared, own"),
    ("messages=sender", "messages='sender' (command line): must be one of receivers, expert"),
    ("expert_steps=-1", "expert_steps=-1 (command line): must be at least 0"),
    ("--config=cesma expert_args.lr=0", "lr=0.0 (expert_args): must be above 0"),
    ("--config=cesma expert_args=5", "expert_args=5 (command line): must be a mapping"),
    ("critic=middle", "critic='middle' (command line): must be one of central, local"),
    ("target_tau=1.5", "target_tau=1.5 (command line): must be from 0 to 1"),
    ("--config=joint --env-config=navigation_teams", "6 agents with 5 actions each have 15,625 joint actions"),
    ("--config=joint --env-config=navigation view=full", "controller=joint knows all that there is"),
    ("--config=cesma mixer=vdn", "learner=cesma mixes no values of agents: it needs mixer=none"),
    # --- tests and teams ---------------------------------------------------------------------------------------------
    ("test_interval=0", "test_interval=0"),
    ("test_nepisode=0", "test_nepisode=0"),
    ("test_batch_size=0", "test_batch_size=0"),
    ("test_episodes=tests", "one of test, validation; the nearest is 'test'"),
    (f"test_batch_size={HUGE}", "must be from 1 to 10000000"),
    ("test_teams=3,,4", "test_teams='3,,4' (command line): must be a list of teams, such as 3-5,8"),
    ("test_teams=1.5", "test_teams=1.5"),
    ("test_teams=None", "test_teams=None"),
    ("test_teams=[[3]]", "test_teams=[[3]]"),
    ("test_teams=[3-5,8", "test_teams='[3-5,8'"),
    ("test_teams=3-5,8]", "test_teams='3-5,8]'"),
    ("test_teams=" + "[" * 5000, "must be a list of teams"),
    ("test_teams=3,3,3", "test_teams has the same team twice, '3' and '3'"),
    ("test_teams=03,3,+3", "test_teams has the same team twice, '03' and '3'"),
    ("test_teams=[4,+4]", "test_teams has the same team twice, '4' and '4'"),
    ("test_teams=3-3,3", "test_teams has the same team twice, '3-3' and '3'"),
    (f"{COLLECTION} test_teams=varying,5,varying", "the same team twice, 'varying' and 'varying'"),
    (f"{MATRIX} test_teams=BB,bb", "the same team twice, 'BB' and 'bb'"),
    (f"{RESCUE} test_teams=2-8,02-8", "the same team twice"),
    ("test_teams=5-3", "test_teams = '5-3' is not possible"),
    ("test_teams=33", "test_teams = '33' is not possible"),
    ("test_teams=8v33", "test_teams = '8v33': enemies = '33' is not possible"),
    ("test_teams=8v9,8v9", "test_teams has the same team twice"),
    ("env_args.enemy_team=more", "env_args.enemy_team = 'more' is not possible"),
    ("env_args.tags=3", "env_args.tags = 3 are too few for 5 units"),
    ("env_args.max_enemies=99", "env_args.max_enemies = 99 must be from 0 (derived) to 32"),
    ("test_teams=three", "test_teams = 'three' is not possible"),
    ("--env-config=sc2_3m test_teams=4", "test_teams = '4' is not possible in scenario '3m'"),
    (f"{COLLECTION} test_teams=vary", "nor is it 'varying'"),
    (f"{MATRIX} test_teams=AC", "test_teams = 'AC' is not possible: there are AB, BA, BB"),
    ("evaluate=True", "evaluate=True needs checkpoint_path=FOLDER"),
    ("evaluate=2", "evaluate=2 (command line): must be true or false"),
    # --- environments ------------------------------------------------------------------------------------------------
    ("env_args.scenario=zs", "env_args.scenario = 'zs' is not one of"),
    ("env_args.backend=sc3", "env_args.backend = 'sc3' is not one of"),
    ("env_args.train_team=0", "env_args.train_team = '0' is not possible"),
    ("env_args.train_team=3-", "env_args.train_team = '3-' is not possible"),
    ("env_args.train_team=[3]", "env_args.train_team=[3] (command line): must be text"),
    ("env_args.max_team=2", "env_args.max_team = 2 is not possible"),
    (f"env_args.max_team={HUGE}", "env_args.max_team"),
    ("env_args.episode_limit=0", "env_args.episode_limit = 0 must be at least 1"),
    ("env_args.episode_limit=1.5", "env_args.episode_limit=1.5 (command line): must be a whole number"),
    ("env_args.episode_limit=[1]", "env_args.episode_limit=[1] (command line): must be a whole number"),
    (f"env_args.episode_limit={LONG}", "must be a whole number below 2**63"),
    (f"{COLLECTION} env_args.variant=fixed", "env_args.variant = 'fixed' is not one of"),
    (f"{COLLECTION} env_args.sight=-1", "env_args.sight = -1.0 must be at least 0"),
    (f"{COLLECTION} env_args.sight=far", "env_args.sight='far' (command line): must be a finite number"),
    (f"{COLLECTION} env_args.varying=3", "env_args.varying = '3' is not possible"),
    (f"{COLLECTION} env_args.scenarios=0", "env_args.scenarios = 0 must be from 1 to"),
    (f"{COLLECTION} env_args.scenarios={LONG}", "must be from 1 to 999999999, or the path of a file"),
    (f"{COLLECTION} env_args.scenarios=nonesuch.npy", "there is no such file"),
    (f"{COLLECTION} env_args.scenarios=file", "cannot be read"),
    (f"{COLLECTION} env_args.scenarios=~nosuchuser/x", "env_args.scenarios='~nosuchuser/x' cannot be a path"),
    (f"{COLLECTION} env_args.scenarios={'x' * 300}", "cannot be a path: File name too long"),
    (f"{RESCUE} env_args.ignition_rate=2", "env_args.ignition_rate = 2.0 must be a probability"),
    (f"{RESCUE} env_args.sight=0.5", "env_args.sight=0.5 (command line): must be a whole number"),
    (f"{RESCUE} env_args.sight=-1", "env_args.sight = -1 must be at least 0"),
    (f"{RESCUE} env_args.train_team=17", "env_args.train_team = '17' is not possible"),
    (f"{MATRIX} env_args.train_team=AB,BA", "env_args.train_team = 'AB,BA' is not possible"),
    # --- scripted teams and films ------------------------------------------------------------------------------------
    ("--config=scripted", "controller=scripted learns nothing: add evaluate=True"),
    ("--config=scripted policy=greedy evaluate=True", "policy='greedy': env=starcraft has"),
    (f"--config=scripted {RESCUE} policy=focus_fire evaluate=True", "policy='focus_fire': env=rescue has"),
    (f"--config=scripted {TESTED}", "controller=scripted plays by its rules and loads nothing"),
    ("record=2", "record=2 records tests: add evaluate=True"),
    ("record=-1", "record=-1 (command line): must be at least 0"),
    (f"{TESTED} record=20 test_nepisode=10", "record=20 is more than test_nepisode=10"),
    ("save_video=film.gif", "save_video='film.gif' films tests: add evaluate=True"),
    (f"{TESTED} save_video=film.avi", "the name must end in .gif or .mp4"),
    (f"{TESTED} save_video=nonesuch/film.gif", "there is no folder"),
    (f"{TESTED} save_video=~nosuchuser/film.gif", "save_video='~nosuchuser/film.gif' cannot be a path"),
    (f"{TESTED} save_video={'x' * 300}.gif", "cannot be a path: File name too long"),
    (f"{MATRIX} {TESTED} save_video=film.gif", "env=matrix_game draws no pictures"),
    # --- records and paths -------------------------------------------------------------------------------------------
    ("log_interval=0", "log_interval=0"),
    ("save_model=often", "save_model='often'"),
    ("save_model_interval=0", "save_model_interval=0"),
    ("save_replay_buffer=3", "save_replay_buffer=3"),
    ("load_step=-1", "load_step=-1"),
    ("load_step=3", "load_step=3 needs checkpoint_path"),
    ("checkpoint_path=models/7 load_step=99", "load_step=99:"),
    ("checkpoint_path=nonesuch", "there is no folder"),
    ("checkpoint_path=file", "there is no folder"),
    ("checkpoint_path=file/x", "there is no folder"),
    ("checkpoint_path=models/empty", "holds no checkpoint"),
    ("checkpoint_path=~nosuchuser/x", "checkpoint_path='~nosuchuser/x' cannot be a path"),
    (f"checkpoint_path={'x' * 300}", "cannot be a path: File name too long"),
    ("checkpoint_path=a\0b", "checkpoint_path='a\\x00b' cannot be a path"),
    ("local_results_path=", "local_results_path='' (command line): must be a folder"),
    ("local_results_path=~nosuchuser/x", "local_results_path='~nosuchuser/x' cannot be a path"),
    (f"local_results_path={'x' * 300}", "cannot be a path: File name too long"),
    (f"local_results_path={'x/' * 3000}", "cannot be a path: File name too long"),
    ("local_results_path=/dev/null", "local_results_path=/dev/null: /dev/null/sacred cannot be written to"),
    # --- quotes ------------------------------------------------------------------------------------------------------
    ("name='abc", "must be closed by the quote that it begins with"),
    ("name=\"abc'", "must be closed by the quote that it begins with"),
    ("lr='0.1", "must be closed by the quote that it begins with"),
    ("test_teams='3,4", "must be closed by the quote that it begins with"),
    ("test_teams=3,4'", "must be a list of teams"),
    (("test_teams=['3-5, 8]",), "must be a list of teams"),
    # --- memory ------------------------------------------------------------------------------------------------------
    (f"buffer_size={HUGE}", f"buffer_size={HUGE}: this run needs"),
    (f"batch_size_run={HUGE}", f"batch_size_run={HUGE}: this run needs"),
    (f"{MAPPO} batch_size_run={HUGE}", f"batch_size_run={HUGE}: this run needs"),
    ("runner=parallel batch_size_run=100000000", "its environments alone"),
    (f"sequence_length={HUGE}", f"sequence_length={HUGE}: this run needs"),
    (f"env_args.episode_limit={HUGE}", f"env_args.episode_limit={HUGE}: this run needs"),
    ("batch_size=1000000000 buffer_size=1000000000", "batch_size=1000000000: this run needs"),
    (f"attn_embed_dim={HUGE}", f"attn_embed_dim={HUGE}: this run needs"),
    (f"{MAPPO} attn_embed_dim=100000000", "its networks alone"),
    (f"rnn_hidden_dim={HUGE}", f"rnn_hidden_dim={HUGE}: this run needs"),
    (f"hypernet_embed={HUGE}", f"hypernet_embed={HUGE}: this run needs"),
    (f"mixing_embed_dim={HUGE}", f"mixing_embed_dim={HUGE}: this run needs"),
    (f"--config=copa coach_embed_dim={HUGE}", f"coach_embed_dim={HUGE}: this run needs"),
    (f"--config=copa strategy_dim={HUGE}", f"strategy_dim={HUGE}: this run needs"),
    (
        f"--config=scripted evaluate=True test_batch_size=10000000 test_nepisode={HUGE}",
        "test_batch_size=10000000: this",
    ),
]

#: the same for words of study.py
STUDY_FAULTS = [
    ("copa_tabel1", "there is no study 'copa_tabel1'; the nearest is 'copa_table1'"),
    ("copa_table1 --seed 1", "--help explains the words"),
    ("copa_table1 --seeds", "argument --seeds"),
    ("copa_table1 --seeds one", "invalid int value: 'one'"),
    ("copa_table1 --seeds 1 1", "--seeds 1 1: each seed once"),
    ("copa_table1 --seeds -1", "--seeds"),
    ("copa_table1 --seeds 4294967296", "each seed once, from 0 to 4294967295"),
    ("copa_table1 --tasks sc2", "--tasks sc2: copa_table1 has"),
    ("copa_table1 --t-max 0", "--t-max 0: must be at least 1"),
    (f"copa_table1 --t-max {LONG}", "must be at least 1, and below 2**63"),
    ("copa_table1 --t-max " + "9" * 5000, "argument --t-max: invalid int value"),
    ("copa_table1 --t-max 10 --evaluate-only .", "--evaluate-only trains nothing"),
    ("copa_table1 --evaluate-only nonesuch", "there is no such folder"),
    ("copa_table1 --evaluate-only ~nosuchuser/x", "--evaluate-only='~nosuchuser/x' cannot be a path"),
    ("copa_table1 --results ~nosuchuser/x", "--results='~nosuchuser/x' cannot be a path"),
    (f"copa_table1 --results {'x' * 300}", "cannot be a path: File name too long"),
    ("copa_table1 with seed=1", "seed cannot be set after `with`: use --seeds"),
    ("copa_table1 with --config=copa", "after `with` stand settings alone"),
    ("copa_table1 with lr", "cannot read 'lr'"),
    ("copa_table1 with gama=1", "unknown key gama=1"),
    ("copa_table1 with lr=0", "lr=0.0 (command line): must be above 0"),
    (f"copa_table1 with buffer_size={HUGE}", f"buffer_size={HUGE}: this run needs"),
]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """The current folder: a file, a run with a checkpoint (in name) and one without."""

    def started(*anything):
        raise AssertionError("a run was started")

    monkeypatch.setattr(run, "run", started)  # what should have been refused must not train for days
    (tmp_path / "file").write_text("no numbers")
    (tmp_path / "models" / "7" / "100").mkdir(parents=True)
    (tmp_path / "models" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(place: Path, capsys, program, words: str | tuple[str, ...], *first: str) -> str:
    """The one line with which `program` refuses the words; `first` stand before those."""
    before = sorted(place.rglob("*"))
    assert program([*first, *(words.split(" ") if isinstance(words, str) else words)]) == 2
    out, err = capsys.readouterr()
    assert sorted(place.rglob("*")) == before
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(("words", "line"), FAULTS, ids=lambda value: str(value)[:60])
def test_a_configuration_that_cannot_be_ends_in_one_line(words, line, place, capsys):
    assert line in refused(place, capsys, main.main, words, "device=cpu", "local_results_path=written")


@pytest.mark.parametrize(("words", "line"), STUDY_FAULTS, ids=lambda value: str(value)[:60])
def test_so_does_a_study(words, line, place, capsys):
    assert line in refused(place, capsys, study.main, words)


def test_the_table_has_every_key_that_is_checked():
    tried = {word.partition("=")[0] for words, _ in FAULTS if isinstance(words, str) for word in words.split()}
    tried |= {word.partition("=")[0] for words, _ in FAULTS if isinstance(words, tuple) for word in words}
    assert set(CHECKS) <= tried


# --- anything at all --------------------------------------------------------------------------------------------------

#: derandomised, so that everybody sees the same examples; machines differ in speed, so there is no deadline
ANYTHING = settings(derandomize=True, deadline=None, max_examples=60, database=None)
KEYS = sorted(yaml.safe_load((CONFIG_DIR / "default.yaml").read_text(encoding="utf-8")))
ENV_ARGS = [
    "scenario",
    "train_team",
    "max_team",
    "backend",
    "episode_limit",
    "sight",
    "scenarios",
    "varying",
    "variant",
]
#: text, text made of what means something to a parser, and what is too long or too large
SIGNS = st.text("0123456789-+.,[]{}()'\"\\:=~/ \0\n_eExXinfab&*!<#|>%@`", max_size=20)
TEXTS = st.text(max_size=40) | SIGNS | st.sampled_from([LONG, HUGE, "0x" + "f" * 5000, "[" * 300, "~x/y", "x" * 300])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.integers(), inner, max_size=3),
    max_leaves=5,
)


def starts_or_tells(words: list[str]) -> None:
    """The words give a configuration that would start, or an error that is told in a line: any other one passes."""
    with suppress(UserError):
        run.check(load_config(["device=cpu", *words]))


@given(st.sampled_from(KEYS + [f"env_args.{key}" for key in ENV_ARGS]), TEXTS | VALUES.map(repr))
@ANYTHING
def test_any_text_as_the_value_of_any_key(key, text):
    starts_or_tells([f"{key}={text}"])


@given(st.sampled_from(["rescue", "resource_collection", "matrix_game"]), st.sampled_from(ENV_ARGS), TEXTS)
@ANYTHING
def test_any_text_as_a_setting_of_any_environment(task, key, text):
    starts_or_tells([f"--env-config={task}", f"env_args.{key}={text}"])


@given(st.lists(TEXTS, max_size=4))
@ANYTHING
def test_any_words(words):
    starts_or_tells([word for word in words if word not in ("-h", "--help", "help")])


@pytest.fixture(scope="module")
def folder():
    """A config folder with the real defaults, no task, and one algorithm, `any`, that a test writes."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        (Path(name) / "algs").mkdir()
        (Path(name) / "default.yaml").write_text((CONFIG_DIR / "default.yaml").read_text(encoding="utf-8"))
        patch.setattr(command_line, "CONFIG_DIR", Path(name))
        patch.setattr(config, "CONFIG_DIR", Path(name))
        yield Path(name)


@given(TEXTS | st.dictionaries(st.sampled_from(KEYS) | TEXTS, VALUES, max_size=3).map(yaml.safe_dump))
@ANYTHING
def test_any_yaml_file(folder, text):
    (folder / "algs" / "any.yaml").write_text(text, encoding="utf-8", newline="")
    starts_or_tells(["--config=any"])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("lr: 0.1\nlr: 0.2", "the key 'lr' stands twice"),
        ("lr: 0.1\n'lr': 0.2", "the key 'lr' stands twice"),
        ("env_args:\n  train_team: 3\n  train_team: 4", "the key 'train_team' stands twice"),
        ("env_args: {a: {b: 1, b: 2}}", "the key 'b' stands twice"),
        ("lr: 0.1\0", "is no valid YAML"),
        ("test_teams: " + "[" * 5000, "is no valid YAML: it is nested too deeply"),
        ("test_teams: " + "[" * 1000 + "]" * 1000, "is no valid YAML: it is nested too deeply"),
        ("t_max: " + "9" * 5000, "is no valid YAML"),
        ("t_max: 0x" + "f" * 5000, "t_max=a very long int"),
        ("name: 2026-13-01", "is no valid YAML"),
        ("lr: !!int ''", "is no valid YAML"),
        ("lr: !!bool maybe", "is no valid YAML"),
        ("lr: !!timestamp soon", "is no valid YAML"),
        ("lr: &a [*a]", "lr=[[...]]"),
        ("? [1, 2]\n: 3", "is no valid YAML"),
        ("1: 2", "must hold KEY: VALUE lines"),
        ("<<: 3", "is no valid YAML"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_yaml_file_that_cannot_be_ends_in_one_line(folder, text, part):
    (folder / "algs" / "any.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_config(["--config=any"])
    assert part in " ".join(str(caught.value).split())


def test_a_merged_key_may_be_replaced(folder):
    (folder / "algs" / "any.yaml").write_text("env_args:\n  <<: {train_team: 3, max_team: 6}\n  train_team: '4'\n")
    args = load_config(["--config=any"]).env_args
    assert (args.train_team, args.max_team) == ("4", 6)
