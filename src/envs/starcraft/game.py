"""StarCraft II as a process: started through pysc2, asked for things, never left behind.

Whatever takes an answer of the game is a dialogue: a generator that stops where it would wait, so that several games
can be asked before the first answer is awaited (`together`).

The game ends with the thread that started it, in whatever way that ends. Everything that goes wrong with it - it does
not start, crashes, hangs, answers with an error - is a `GameFault`: whoever plays starts another one.
"""

import ctypes
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import util
from pathlib import Path
from typing import IO, Any, TypeVar

import websocket
from absl import flags
from absl import logging as absl_logging

from envs.starcraft.installation import MAP, PACKAGES, game_folder
from envs.starcraft.wire import Wire
from utils.errors import UserError, one_line

try:
    from google.protobuf.message import DecodeError
    from pysc2 import run_configs
    from pysc2.lib import protocol, remote_controller, sc_process
    from s2clientprotocol import debug_pb2, raw_pb2, sc2api_pb2
except TypeError as error:  # modules generated for protobuf 3
    raise UserError(f"s2clientprotocol is too old for this protobuf ({one_line(error)}): {PACKAGES}") from None

#: Seconds that a game gets to end after it was asked to.
FAREWELL = 2.0
#: Seconds between two attempts to reach a game that is starting.
KNOCKS = 0.1
#: What Linux calls "send this signal when the parent dies".
PR_SET_PDEATHSIG = 1
#: The map is uncovered for both sides; fog would make the unseen look dead.
OBSERVATION = sc2api_pb2.Request(observation=sc2api_pb2.RequestObservation(disable_fog=True))

FAULTS = (
    protocol.ConnectionError,
    protocol.ProtocolError,
    remote_controller.ConnectError,
    remote_controller.RequestError,
    sc_process.SC2LaunchError,
    websocket.WebSocketException,
    DecodeError,
    OSError,
)


class GameFault(Exception):
    """The game did not do what it was asked to. What it has played since the last reset counts for nothing."""


Answer = TypeVar("Answer")
#: Yields wherever it has asked the game for something and the answer is what it needs next.
Dialogue = Generator[None, None, Answer]


def together(dialogues: Iterable[Dialogue[None]]) -> dict[int, GameFault]:
    """Hold all dialogues at once, each until its end; returns the faults of those that did not get there, by their
    numbers in the order given.
    """
    going, faults = dict(enumerate(dialogues)), {}
    while going:
        for i, dialogue in list(going.items()):
            try:
                next(dialogue)
            except StopIteration:
                del going[i]
            except GameFault as fault:
                faults[i] = fault
                del going[i]
    return faults


class Game:
    """A running StarCraft II with one game on the empty map, in which debug commands place the units."""

    def __init__(self, timeout: float) -> None:
        """Start the program; `begin` is next.

        Args:
            timeout: seconds within which the game has to be reachable, and then to answer each request.

        Raises:
            GameFault: it cannot be started.
        """
        os.environ["SC2PATH"] = str(game_folder())
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        # what pysc2 tells of a fault is told by ours
        absl_logging.set_verbosity(absl_logging.FATAL)
        self.words = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the game
        self._timeout = timeout
        self._process: _Process | None = None
        try:
            with self._asking("launch"):
                self._config = config = run_configs.get()
                # a marked folder in workers, which the next run clears away if this one is killed
                config.tmp_dir = util.get_temp_dir()
                program = Path(config.data_dir) / f"Versions/Base{config.version.build_version:05d}/SC2_x64"
                self._process = _Process(config, str(program), config.version, connect=False, words=self.words)
        except BaseException:
            self.close(kill=True)
            raise

    def begin(self, race: Any, seed: int) -> Dialogue[Any]:
        """Begin the one game that this program plays; returns the sizes of the map (`StartRaw`).

        Args:
            race: of both sides, as the protocol counts them.
            seed: of the game's own chance.
        """
        yield  # others may start their programs while this one gets ready
        process = self._process
        assert process is not None
        with self._asking("launch"):
            self._controller = process._controller = _Controller(process.host, process.port, process, self._timeout)
            self._wire = Wire(self._controller._client._sock.sock)
            map_data = self._config.map_data(MAP)
        create = sc2api_pb2.RequestCreateGame(realtime=False, random_seed=seed)
        create.local_map.map_path, create.local_map.map_data = MAP, map_data
        create.player_setup.add(type=sc2api_pb2.Participant)
        create.player_setup.add(type=sc2api_pb2.Computer, race=race, difficulty=sc2api_pb2.VeryHard)
        (created,) = yield from self._ask("launch", sc2api_pb2.Request(create_game=create))
        _refuse("launch", created.create_game)
        join = sc2api_pb2.RequestJoinGame(race=race, options=sc2api_pb2.InterfaceOptions(raw=True, score=False))
        (joined,) = yield from self._ask("launch", sc2api_pb2.Request(join_game=join))
        _refuse("launch", joined.join_game)
        (told,) = yield from self._ask("game_info", sc2api_pb2.Request(game_info=sc2api_pb2.RequestGameInfo()))
        return told.game_info.start_raw

    @property
    def pid(self) -> int | None:
        """The game's process id, None once it has ended."""
        return self._process.pid if self._process is not None else None

    def unit_types(self) -> Dialogue[set[int]]:
        """The numbers of the unit types that the game knows on this map."""
        (told,) = yield from self._ask("data", sc2api_pb2.Request(data=sc2api_pb2.RequestData(unit_type_id=True)))
        return {unit.unit_id for unit in told.data.units}

    def units(self) -> Dialogue[Sequence[Any]]:
        """All units on the map, as the protocol has them."""
        (seen,) = yield from self._play("observation", OBSERVATION)
        return _units(seen)

    def debug(self, commands: Sequence[debug_pb2.DebugCommand]) -> Dialogue[None]:
        """Carry out debug commands, in the next game loop."""
        yield from self._play("debug", sc2api_pb2.Request(debug=sc2api_pb2.RequestDebug(debug=commands)))

    def act(self, commands: Sequence[raw_pb2.ActionRawUnitCommand]) -> Dialogue[Sequence[int]]:
        """Give orders to units; what the game says of each, an `ActionResult`."""
        (acted,) = yield from self._play("action", _actions(commands))
        return _results(acted)

    def step(self, loops: int) -> Dialogue[None]:
        """Play so many game loops."""
        yield from self._play("step", _loops(loops))

    def play(
        self, commands: Sequence[raw_pb2.ActionRawUnitCommand], loops: int
    ) -> Dialogue[tuple[Sequence[int], Sequence[Any]]]:
        """`act`, `step` and `units` in one: the game gets all three requests before it is waited for, as its protocol
        advises.
        """
        requests = _actions(commands), _loops(loops), OBSERVATION
        acted, _, seen = yield from self._play("action, step, observation", *requests)
        return _results(acted), _units(seen)

    def _play(self, what: str, *requests: sc2api_pb2.Request) -> Dialogue[Sequence[Any]]:
        """The answers to requests that are possible while the game goes on, which on the empty map it always does."""
        answers = yield from self._ask(what, *requests)
        if self._status != protocol.Status.in_game:
            raise GameFault("the game has ended")
        return answers

    def _ask(self, what: str, *requests: sc2api_pb2.Request) -> Dialogue[Sequence[Any]]:
        with self._asking(what):
            self._wire.send(request.SerializeToString() for request in requests)
        yield
        with self._asking(what):
            return [self._read() for _ in requests]

    def _read(self) -> Any:
        """An answer, which keeps pysc2's client informed of the game's status."""
        answer = sc2api_pb2.Response.FromString(self._wire.receive())
        if answer.error or not answer.HasField("status"):
            raise protocol.ProtocolError("; ".join(answer.error) or "an answer without a status")
        self._controller._client._status = self._status = protocol.Status(answer.status)
        return answer

    def save_replay(self) -> bytes:
        """The game so far, in the game's own format."""
        with self._asking("save_replay"):
            data: bytes = self._controller.save_replay()
            return data

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            raise GameFault(f"{what}: {self._reason(error)}") from error

    def _reason(self, error: BaseException) -> str:
        """What became of the game, with its own last words."""
        process = self._process._proc if self._process is not None else None
        reason = one_line(error) if isinstance(error, Exception) else ""
        if process is not None and not isinstance(error, protocol.ProtocolError | remote_controller.RequestError):
            with suppress(subprocess.TimeoutExpired):  # its connection closes a moment before its exit code is known
                process.wait(FAREWELL)
            if process.returncode is not None:
                reason = f"it ended with exit code {process.returncode}"
        words = self.last_words()
        return f"{reason}; its last words: {words}" if words else reason

    def last_words(self) -> str:
        """The last line that the game printed, "" if it printed none."""
        if self.words.closed:
            return ""
        size = self.words.seek(0, os.SEEK_END)
        self.words.seek(max(size - 4096, 0))
        lines = self.words.read().decode(errors="replace").split("\n")
        return next((" ".join(line.split())[:200] for line in reversed(lines) if line.strip()), "")

    def close(self, kill: bool = False) -> None:
        """End the game; `kill`: without asking it. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            if kill:
                process.kill()
            try:
                process.close()
            except FAULTS:  # it could not be asked: then without
                process._controller = None
                process.close()
        self.words.close()


class _Process(sc_process.StarcraftProcess):
    """pysc2's process of the game; ours ends with this program, and says what it says to a file."""

    _proc: Any

    def _launch(self, run_config: Any, args: Sequence[str], words: IO[bytes] | None = None, **kwargs: Any) -> Any:
        return subprocess.Popen(
            args,
            cwd=run_config.cwd,
            env=run_config.env,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # no Ctrl-C of a terminal reaches it
            preexec_fn=_end_with_parent(),
        )

    def kill(self) -> None:
        if self._proc is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._proc.pid, signal.SIGKILL)

    def _shutdown(self) -> None:
        if self._proc is not None:
            with suppress(subprocess.TimeoutExpired):
                self._proc.wait(FAREWELL)
            self.kill()
            self._proc.wait()
            self._proc = None


class _Controller(remote_controller.RemoteController):
    """pysc2's controller, which reaches the game as soon as it can be reached, and never through a proxy."""

    def _connect(self, host: str, port: int, proc: _Process, timeout_seconds: float) -> Any:
        # attempts are counted, not the clock: a run that was stopped by Ctrl-Z has knocked nowhere in the meantime
        for _ in range(math.ceil(timeout_seconds / KNOCKS)):
            if not proc.running:
                break
            try:
                return _knock(host, port, timeout_seconds)
            except (TimeoutError, websocket.WebSocketTimeoutException):  # somebody is there, who says nothing
                break
            except (OSError, websocket.WebSocketException):
                time.sleep(KNOCKS)
        raise remote_controller.ConnectError(f"it could not be reached within {timeout_seconds:g} s")


def _knock(host: str, port: int, timeout: float) -> Any:
    """Connect to the game, by a socket of ours: websocket's would go through a proxy that the environment names."""
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((host, port), timeout))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = websocket.create_connection(f"ws://{host}:{port}/sc2api", timeout=timeout, socket=connection)
        stack.pop_all()
        return client


def _actions(commands: Sequence[raw_pb2.ActionRawUnitCommand]) -> sc2api_pb2.Request:
    request = sc2api_pb2.Request()
    request.action.SetInParent()
    for command in commands:
        request.action.actions.add().action_raw.unit_command.CopyFrom(command)
    return request


def _loops(count: int) -> sc2api_pb2.Request:
    return sc2api_pb2.Request(step=sc2api_pb2.RequestStep(count=count))


def _results(answer: Any) -> Sequence[int]:
    results: Sequence[int] = answer.action.result
    return results


def _units(answer: Any) -> Sequence[Any]:
    units: Sequence[Any] = answer.observation.observation.raw_data.units
    return units


def _refuse(what: str, answer: Any) -> None:
    """
    Raises:
        GameFault: the game says why it does not do what it was asked to.
    """
    if answer.HasField("error"):
        reason = type(answer).Error.Name(answer.error)
        raise GameFault(f"{what}: {reason} {answer.error_details}".rstrip())


def _end_with_parent() -> Any:
    """What the game's process does before it becomes the game: ask the kernel to be killed when its parent dies."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died before it could be asked for
            os._exit(1)

    return ask
