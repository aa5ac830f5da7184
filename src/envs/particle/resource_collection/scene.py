"""How a world of Resource Collection looks."""

from envs.particle.resource_collection.scenarios import COLOURS, RESOURCES
from envs.particle.resource_collection.world import (
    AGENT_RADIUS,
    HALF_WIDTH,
    HOME_RADIUS,
    INVADER_RADIUS,
    RESOURCE_RADIUS,
    World,
)
from envs.scene import Arena, Body, Gauge, Look, Scene

#: Names of the colours, and shades that are told apart by their lightness, too.
NAMES, SHADES = ("red", "green", "blue"), ("#e8695f", "#8fd18a", "#3f74d9")
SQUARE = Arena(-HALF_WIDTH, -HALF_WIDTH, HALF_WIDTH, HALF_WIDTH, grid=0.18)
HOME = Look("home", "object", "ring", HOME_RADIUS, colour="#e2ddd0")
INVADER = Look("invader", "enemy", "star", INVADER_RADIUS)
GEMS = [
    Look(name, "object", "diamond", RESOURCE_RADIUS, name[0].upper(), shade)
    for name, shade in zip(NAMES, SHADES, strict=True)
]
SKILLS = tuple(Gauge(f"efficiency {name}", 1.0, "none") for name in NAMES)


def make_scene(world: World, index: int, sight: float) -> Scene:
    """World `index`, where agents see as far as `sight`."""
    present = world.present[:, index].tolist()
    x, y = world.position[:, :, index].tolist()
    traits, load = world.members[:, :, index].T.tolist(), world.load[:, :, index].T.tolist()
    looks = [HOME, *(GEMS[resource % COLOURS] for resource in range(RESOURCES)), INVADER]
    slots = len(traits)
    bodies = {slot: Body(look, x[slot], y[slot]) for slot, look in enumerate(looks, slots) if present[slot]}
    for slot, (*skills, speed) in enumerate(traits):
        if present[slot]:
            look = Look("agent", "team", "disc", AGENT_RADIUS, about=f"speed {speed:.2g}", gauges=SKILLS, sight=sight)
            carried = [name for name, amount in zip(NAMES, load[slot], strict=True) if amount]
            bodies[slot] = Body(look, x[slot], y[slot], tuple(skills), " ".join(carried))
    return Scene(SQUARE, bodies)
