"""The first signal asks, the second one insists."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from utils import interrupt
from utils.interrupt import Interrupted, StopSignal, last_words


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


def test_the_last_stop_of_a_program_leaves_nobody_to_cut_in():
    """A late signal would end the program with another exit code than the run's."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        with StopSignal(final=True):
            pass
        assert signal.getsignal(signal.SIGTERM) is before
        with StopSignal(final=True):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        for signum in StopSignal.SIGNALS:
            signal.signal(signum, before if signum != signal.SIGINT else signal.default_int_handler)


def test_an_interrupted_run_is_not_an_error():
    assert issubclass(Interrupted, KeyboardInterrupt)
    assert not issubclass(Interrupted, Exception)


def test_the_first_signal_decides_the_exit_code():
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
    assert stop.exit_code == 143


def test_a_terminal_that_is_closed_asks_once_however_many_signals_it_sends():
    with StopSignal() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.requested
        assert stop.exit_code == 129
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


DEAF = """
import sys, time
sys.path.insert(0, sys.argv[1])
from utils.interrupt import end_with
end_with(0, 0.1, [lambda: print("please", flush=True), lambda: print("now", flush=True)])
print("busy", flush=True)
time.sleep(3600)
"""


def test_a_process_that_hears_nobody_ends_with_its_parents_pipe():
    words = [sys.executable, "-c", DEAF, str(Path(interrupt.__file__).parents[1])]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "busy\n"
        process.stdin.write("what is written there does not matter")
        process.stdin.flush()
        assert process.poll() is None
        process.stdin.close()
        assert process.stdout.read() == "please\nnow\n"
    assert process.returncode == 1


def test_last_words_that_nobody_reads(monkeypatch):
    for name in ("stdout", "stderr"):
        reader, writer = os.pipe()
        os.close(reader)
        monkeypatch.setattr(sys, name, os.fdopen(writer, "w"))
    sys.stdout.write("still in the buffer")
    last_words("stopped")
    for stream in (sys.stdout, sys.stderr):
        stream.write("more")
        stream.close()  # as the interpreter does at its end
