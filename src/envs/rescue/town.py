"""What everything about the Rescue Game knows of the town. A building is a whole number: row * SIDE + column, row 0 in
the south, column 0 in the west.
"""

from torch import Tensor

#: Side of the square town, one building a cell.
SIDE = 10
BUILDINGS = SIDE * SIDE
#: Most buildings that burn at once.
FIRES = 10
#: Action 0: put out the fire here; where nothing burns it has no effect, so that it is also the way to wait.
PUT_OUT = 0
#: The actions from 1 on (north, south, east, west) as what they add to the building.
NORTH, SOUTH, EAST, WEST = 1, 2, 3, 4
MOVES = {NORTH: SIDE, SOUTH: -SIDE, EAST: 1, WEST: -1}


def column_row(building: Tensor) -> tuple[Tensor, Tensor]:
    """Where buildings (any shape, int64) are: column and row, 0 to SIDE - 1."""
    return building % SIDE, building // SIDE
