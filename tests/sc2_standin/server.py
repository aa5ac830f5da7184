"""The stand-in as a program: takes the words that StarCraft II takes, and answers one client's requests.

The field and its engine come into being when the first units appear.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, TextIO

from s2clientprotocol import debug_pb2 as debug
from s2clientprotocol import sc2api_pb2 as api

from sc2_standin.engines import open_field
from sc2_standin.faults import LAST_WORDS, Plan
from sc2_standin.numbers import ATTACK, ENEMY, ERROR, HEAL, KINDS, MOVE, PASSIVE, STOP, TYPES
from sc2_standin.websocket import Gone, Websocket

#: Side of the map.
SIZE = 32


class Refused(Exception):
    """A request that cannot be carried out; the game answers with this text."""


class Game:
    """Answers requests, whatever they come through."""

    def __init__(self) -> None:
        self.status = api.launched
        self._field: Any = None
        #: what was seen of it in the last step
        self._loop, self._units = 0, list[Any]()
        self._map = ""
        #: whether the client may command the enemy: `control_enemy` switches it on, and off again
        self._controls_enemy = False
        self._setup: api.RequestCreateGame | None = None

    def answer(self, request: api.Request, fault: str) -> api.Response:
        name = request.WhichOneof("request")
        response = api.Response(id=request.id)
        try:
            if fault == "error":
                raise Refused("the stand-in was told to fail here")
            method = getattr(self, f"_{name}", None)
            if method is None:
                raise Refused(f"the stand-in knows no {name}")
            method(getattr(request, name), getattr(response, name), fault)
            getattr(response, name).SetInParent()
        except (Refused, NotImplementedError) as reason:
            response.ClearField(name)
            response.error.append(str(reason))
        response.status = self.status
        return response

    def _need(self, *statuses: int) -> None:
        if self.status not in statuses:
            raise Refused(f"not possible while {api.Status.Name(self.status)}")

    def _ping(self, request: Any, response: Any, fault: str) -> None:
        response.game_version = "4.10.0.75689"
        response.data_version = "B89B5D6FA7CBF6452E721311BFBC6CB2"
        response.data_build = response.base_build = 75689

    def _create_game(self, request: Any, response: Any, fault: str) -> None:
        self._need(api.launched, api.in_game, api.ended)
        if fault == "refuse" or not request.local_map.map_data:
            response.error = api.ResponseCreateGame.InvalidMapData
            response.error_details = "no map"
            return
        if [setup.type for setup in request.player_setup] != [api.Participant, api.Computer]:
            response.error = api.ResponseCreateGame.InvalidPlayerSetup
            return
        self._setup, self._map = request, Path(request.local_map.map_path).stem
        self.status = api.init_game

    def _join_game(self, request: Any, response: Any, fault: str) -> None:
        self._need(api.init_game)
        if fault == "refuse" or not request.options.raw:
            response.error = api.ResponseJoinGame.MissingOptions
            return
        response.player_id = 1
        self._begin()

    def _restart_game(self, request: Any, response: Any, fault: str) -> None:
        self._need(api.in_game, api.ended)
        response.need_hard_reset = False
        self._begin()

    def _begin(self) -> None:
        self._field, self._controls_enemy, self.status = None, False, api.in_game
        self._loop, self._units = 0, []
        if self._map != "empty_passive":
            self._play(1)

    def _leave_game(self, request: Any, response: Any, fault: str) -> None:
        self._need(api.in_game, api.ended)
        self._field, self.status = None, api.launched

    @property
    def field(self) -> Any:
        if self._field is None:
            self._field = open_field(self._map)
        return self._field

    def _game_info(self, request: Any, response: Any, fault: str) -> None:
        self._need(api.in_game)
        response.map_name = self._map
        for player, kind in enumerate((api.Participant, api.Computer), 1):
            response.player_info.add(player_id=player, type=kind)
        raw = response.start_raw
        raw.map_size.x = raw.map_size.y = raw.playable_area.p1.x = raw.playable_area.p1.y = SIZE
        raw.playable_area.p0.x = raw.playable_area.p0.y = 0
        for grid, bits, data in (
            (raw.pathing_grid, 1, b"\xff" * (SIZE * SIZE // 8)),
            (raw.placement_grid, 1, b"\xff" * (SIZE * SIZE // 8)),
            (raw.terrain_height, 8, b"\x7f" * (SIZE * SIZE)),
        ):
            grid.bits_per_pixel, grid.data = bits, data
            grid.size.x = grid.size.y = SIZE
        response.options.raw = True

    def _data(self, request: Any, response: Any, fault: str) -> None:
        self._need(api.in_game)
        if request.unit_type_id:
            for kind, name in {**TYPES, **PASSIVE}.items():
                response.units.add(unit_id=kind, name=name.capitalize() + "_RL" * (kind in PASSIVE), available=True)
        if request.ability_id:
            for ability, name in ((MOVE, "move"), (ATTACK, "attack"), (STOP, "stop"), (HEAL, "heal")):
                response.abilities.add(ability_id=ability, link_name=name, available=True)

    def _observation(self, request: Any, response: Any, fault: str) -> None:
        self._need(api.in_game, api.ended)
        seen = response.observation
        seen.game_loop = self._loop
        seen.player_common.player_id = 1
        seen.raw_data.SetInParent()
        for unit in self._units:
            figures = vars(unit).copy()
            x, y = figures.pop("x"), figures.pop("y")
            alliance = 4 if unit.owner == ENEMY else 1
            shown = seen.raw_data.units.add(**figures, alliance=alliance, display_type=1, build_progress=1.0)
            shown.pos.x, shown.pos.y, shown.pos.z = x, y, 10.0

    def _step(self, request: Any, response: Any, fault: str) -> None:
        self._need(api.in_game)
        self._play(max(request.count, 1))
        response.simulation_loop = self._loop

    def _play(self, loops: int) -> None:
        """Nothing happens on a field on which nothing was placed yet."""
        if self._field is None and self._map == "empty_passive":
            self._loop += loops
        else:
            self._loop, self._units = self.field.step(loops)

    def _debug(self, request: Any, response: Any, fault: str) -> None:
        self._need(api.in_game)
        for command in request.debug:
            if command.game_state == debug.control_enemy:
                self._controls_enemy = not self._controls_enemy
            elif fault == "ignore":
                continue
            elif command.HasField("create_unit"):
                new = command.create_unit

                if new.unit_type not in KINDS:
                    raise Refused(f"the stand-in knows no unit type {new.unit_type}")
                self.field.create(new.unit_type, new.owner, new.pos.x, new.pos.y, new.quantity)
            elif command.HasField("kill_unit"):
                self.field.kill(list(command.kill_unit.tag))
            else:
                raise Refused("the stand-in knows this debug command not")

    def _action(self, request: Any, response: Any, fault: str) -> None:
        self._need(api.in_game)
        for action in request.actions:
            response.result.append(ERROR if fault == "refuse" else self._order(action.action_raw.unit_command))

    def _order(self, command: Any) -> int:
        """Give one order; returns what the game says of it."""
        owners = {unit.tag: unit.owner for unit in self._units}
        if not command.unit_tags or not all(tag in owners for tag in command.unit_tags):
            return ERROR
        if not self._controls_enemy and any(owners[tag] == ENEMY for tag in command.unit_tags):
            return ERROR
        where = command.target_world_space_pos if command.HasField("target_world_space_pos") else None
        point = (where.x, where.y) if where else None
        results = {
            self.field.order(command.ability_id, tag, point, command.target_unit_tag) for tag in command.unit_tags
        }
        return max(results)

    def _save_replay(self, request: Any, response: Any, fault: str) -> None:
        self._need(api.in_game, api.ended)
        response.data = b"a replay of the stand-in"

    def _quit(self, request: Any, response: Any, fault: str) -> None:
        self.status = api.quit


def serve(client: Websocket, plan: Plan, log: TextIO) -> None:
    """Answer requests until the client is gone or says quit."""
    game = Game()
    while game.status != api.quit:
        request = api.Request.FromString(client.receive())
        name = request.WhichOneof("request")
        log.write(f"{name}\n")
        fault = plan.at(name)
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "exit":
            sys.exit(LAST_WORDS)
        elif fault == "hang":
            while True:
                client.receive()
        client.send(game.answer(request, fault).SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-listen", default="127.0.0.1")
    parser.add_argument("-port", type=int, required=True)
    parser.add_argument("-dataDir", type=Path, required=True)
    words, _ = parser.parse_known_args()
    folder, parent = words.dataDir, os.getppid()
    launch = 1
    # linked when it is written: whoever finds the file finds the number in it
    written = folder / "launches" / f"{os.getpid()}.writing"
    written.write_text(str(os.getpid()))
    while True:
        with contextlib.suppress(FileExistsError):
            os.link(written, folder / "launches" / f"{launch}.pid")
            break
        launch += 1
    written.unlink()
    with socket.create_server((words.listen, words.port)) as server, contextlib.suppress(Gone):
        server.settimeout(0.5)
        while os.getppid() == parent:
            with contextlib.suppress(TimeoutError):
                connection, _ = server.accept()
                connection.settimeout(None)
                plan = Plan(folder, launch)
                while plan.deaf and connection.recv(4096):
                    pass
                with (folder / "launches" / str(launch)).open("w", buffering=1) as log:
                    serve(Websocket(connection, "/sc2api"), plan, log)
                return


if __name__ == "__main__":
    main()
