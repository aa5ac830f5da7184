"""Worker processes that hang or die: the run notices, names them, and leaves no process behind."""

import os
import signal
import time

import pytest
from test_cli import Program

from faults.campaign import (
    ENDLESS,
    all_end,
    descendants,
    drawn,
    goes_on,
    is_one_line,
    look_at,
    runs,
    status,
    tries,
    workers,
)


@pytest.mark.parametrize("signum", [signal.SIGSTOP, signal.SIGKILL])
@tries("a worker process hangs or is killed", 3)
def test_a_worker(results, signum, seed):
    draw = drawn(f"worker {signum}", seed)
    with Program(*ENDLESS, "runner=parallel", "worker_step_timeout=5", results=results) as program:
        program.wait_for("checkpoint")
        time.sleep(draw.uniform(0.0, 0.5))
        started = list(descendants(program.process.pid))
        worker = draw.choice(workers(program))
        os.kill(worker, signum)
        code, err = program.finish()
    assert code == 1
    assert is_one_line(err)
    assert f"pid {worker}" in err
    all_end(started)
    assert status(runs(results)[0]) == "FAILED"
    look_at(results)
    goes_on(results, "runner=parallel")
