"""What each rank of a training has of its settings: sizes of rounds, batches and replay are those of all ranks."""

import torch

import builders
import learners
from utils import ranks
from utils.config import Config
from utils.errors import UserError


def settings_of_rank(config: Config) -> Config:
    """The settings of this rank.

    Raises:
        UserError: names the setting that several ranks cannot have, and what would do.
    """
    if not ranks.several():
        return config
    count = ranks.count()
    if config.evaluate:
        raise UserError(f"evaluate=True: a test is played by one process, not by {count}: leave torchrun out")
    if config.runner == "episode":
        raise UserError(f"runner=episode plays one episode at a time, {count} ranks do not: use vector or parallel")
    divided = ["batch_size_run"]
    if not learners.REGISTRY[config.learner].ON_POLICY:
        divided += ["batch_size", "buffer_size"]
    for key in divided:
        if config[key] % count:
            more = -(-config[key] // count) * count
            raise UserError(f"{key}={config[key]} cannot be shared by {count} ranks: take a multiple, such as {more}")
    own = {key: config[key] // count for key in divided}
    if learners.REGISTRY[config.learner].ON_POLICY and own["batch_size_run"] < config.num_mini_batch:
        raise UserError(
            f"num_mini_batch={config.num_mini_batch} is more than each of {count} ranks has environments, "
            f"{own['batch_size_run']} of batch_size_run={config.batch_size_run}: lower it"
        )
    return Config({**config, **own, "device": _device(config)}, config.command)


def _device(config: Config) -> str:
    """The device of this rank: of GPUs each has one of its own."""
    if ":" in config.device:
        raise UserError(f"device={config.device}: each of {ranks.count()} ranks has a GPU of its own: use device=cuda")
    if builders.build_device(config).type == "cpu":
        return "cpu"
    gpus, here = torch.cuda.device_count(), ranks.local_count()
    if here > gpus:
        raise UserError(
            f"{here} ranks need as many GPUs, and torch sees {gpus}: start as many ranks as there are "
            f"(--nproc-per-node={gpus}), or say device=cpu"
        )
    return f"cuda:{ranks.local_number()}"
