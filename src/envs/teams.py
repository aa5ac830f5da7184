"""Teams as text ("3-5", "8"), and the agent slots they need."""

from collections.abc import Callable, Hashable, Sequence

from utils.errors import UserError


def parse_team(team: str | int, low: int, high: int, key: str = "team", where: str = "") -> tuple[int, int]:
    """Read a team such as "3-5" or "8" as its smallest and largest size.

    Args:
        team: the text, or a size.
        low, high: the sizes that are possible.
        key: the setting that `team` comes from, for the message.
        where: what sets the bounds, for the message, such as " in scenario 'sz'".

    Raises:
        UserError: it is no such text, or a size is out of bounds.
    """
    parts = str(team).strip().split("-")
    try:
        sizes = [int(part) for part in parts]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or not low <= sizes[0] <= sizes[-1] <= high:
        allowed = f"{low}" if low == high else f"a size or a range within {low}-{high}"
        raise UserError(f"{key} = {str(team)!r} is not possible{where}; allowed: {allowed}")
    return sizes[0], sizes[-1]


def refuse_repeats(test_teams: Sequence[str], meaning: Callable[[str], Hashable]) -> None:
    """Refuse a team that is tested twice, in whatever spelling: `meaning(team)` is the same for both.

    Raises:
        UserError: names both.
    """
    found: dict[Hashable, str] = {}
    for team in test_teams:
        means = meaning(team)
        if means in found:
            raise UserError(f"test_teams has the same team twice, {found[means]!r} and {team!r}: name each team once")
        found[means] = team


def fit_slots(
    max_team: int,
    train_team: str,
    test_teams: Sequence[str],
    parse: Callable[[str, str], tuple[int, ...]],
    largest: int,
) -> int:
    """The agent slots for all teams: `max_team`, or where that is 0 as many as the largest team needs.

    Args:
        parse: `parse(team, key)` gives smallest and largest size, first of what a team is, and refuses what cannot be.
        largest: most slots that there may be.

    Raises:
        UserError: a team is impossible, does not fit, or is tested twice.
    """
    refuse_repeats(test_teams, lambda team: parse(team, "test_teams"))
    teams = [("env_args.train_team", train_team), *(("test_teams", team) for team in test_teams)]
    sizes = [(parse(team, key)[1], f"{key} = {str(team)!r}") for key, team in teams]
    needed, reason = max(sizes, key=lambda size: size[0])
    slots = max_team or needed
    if not needed <= slots <= largest:
        allowed = f"0 (derived) or {needed}-{largest}"
        raise UserError(f"env_args.max_team = {max_team} is not possible with {reason}; allowed: {allowed}")
    return slots
