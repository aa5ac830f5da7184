"""What a worker of the evidence queue does with its entries; tests/test_evidence.py starts, stops and kills some."""

import contextlib

from conftest import tiny_overrides
from toy_study import SINGLE

import main
from studies.declaration import Entry
from studies.worker import work
from utils.interrupt import StopSignal
from utils.locks import locked


def test_what_another_process_is_at_is_done_after_all_the_rest(results, monkeypatch):
    words = [word for word in tiny_overrides() if not word.startswith("t_max")]
    queue = [Entry(SINGLE, (seed,), 20, words) for seed in (0, 1)]
    whole, done = main.main, []
    with contextlib.ExitStack() as other:
        other.enter_context(locked(results / "sc2_3m" / "aqmix" / "seed0"))

        def freeing(words):
            other.close()
            done.extend(word for word in words if word.startswith("seed="))
            return whole(words)

        monkeypatch.setattr(main, "main", freeing)
        work(queue, results, StopSignal())
    assert done == ["seed=1", "seed=1", "seed=0", "seed=0"]  # each is trained and tested
