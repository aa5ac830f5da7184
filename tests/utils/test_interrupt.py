"""The first signal asks, the second one insists."""

import os
import signal

import pytest

from utils.interrupt import Interrupted, StopSignal


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_two_signals(signum, code):
    before = signal.getsignal(signum)
    with StopSignal() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signum)
        assert stop.requested
        assert stop.exit_code == code
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signum)
        os.kill(os.getpid(), signum)  # the record of the run is being closed: no third exception
    assert signal.getsignal(signum) is before


def test_an_interrupted_run_is_not_an_error():
    assert issubclass(Interrupted, KeyboardInterrupt)
    assert not issubclass(Interrupted, Exception)


def test_the_first_signal_decides_the_exit_code():
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
    assert stop.exit_code == 143
