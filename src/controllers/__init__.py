"""Controllers: which network acts on what information."""

from controllers.base import Controller
from controllers.coach import CoachController
from controllers.collaq import CollaqController
from controllers.entity import EntityController
from controllers.flat import FlatController
from controllers.mipi import MipiController
from controllers.scripted import ScriptedController
from controllers.team import JointController, OneAtATimeController

REGISTRY: dict[str, type[Controller]] = {
    "entity": EntityController,
    "flat": FlatController,
    "joint": JointController,
    "one_at_a_time": OneAtATimeController,
    "coach": CoachController,
    "collaq": CollaqController,
    "mipi": MipiController,
    "scripted": ScriptedController,
}
