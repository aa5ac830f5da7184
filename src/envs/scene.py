"""How an environment looks at a moment, in shapes that any viewer can draw: what stands where, and what it shows."""

from collections.abc import Mapping
from typing import NamedTuple

SHAPES = ("disc", "square", "diamond", "triangle", "hexagon", "cross", "star", "ring", "flame")


class Gauge(NamedTuple):
    """Something of a body that has a level."""

    name: str
    #: the level that is full; above 0
    full: float
    #: bar (above the body) | arc (around it) | fill (of the body, from below) | none (told in words alone)
    form: str = "bar"


class Look(NamedTuple):
    """What of a body seldom changes; bodies that look alike share one."""

    #: in a word: "stalker", "landmark"
    kind: str
    #: team | enemy | object
    side: str
    #: one of `SHAPES`
    shape: str
    #: in units of the plane
    radius: float
    #: a letter or two that stand in it
    label: str = ""
    #: "#rrggbb"; "" is that of its side
    colour: str = ""
    #: what else there is to know of it, in words
    about: str = ""
    gauges: tuple[Gauge, ...] = ()
    #: how far it sees, in units of the plane; 0: that is no matter of a distance
    sight: float = 0.0


class Body(NamedTuple):
    """What stands somewhere."""

    look: Look
    x: float
    #: upwards
    y: float
    #: of the look's gauges, in their order
    levels: tuple[float, ...] = ()
    #: what it carries or says, in a word or two
    note: str = ""


class Arena(NamedTuple):
    """The part of the plane that is shown."""

    left: float
    bottom: float
    right: float
    top: float
    #: between two lines of a grid; 0: there is none
    grid: float = 0.0
    #: whether nobody gets out of it
    walls: bool = True


class Scene(NamedTuple):
    """A moment."""

    arena: Arena
    #: entity slot -> body. Who is present and has none lies dead where it was last
    bodies: Mapping[int, Body]
    #: slot -> slot: whom those that are no agents were after in the step before; what agents do, actions tell
    aims: Mapping[int, int] = {}
