"""Studies: methods trained and tested side by side, beside a paper's numbers; `src/study.py` runs them."""

from collections.abc import Mapping

from studies.beyond_slots import BEYOND_SLOTS
from studies.cesma import CESMA
from studies.copa import COPA_INTERVAL, COPA_SENSITIVITY, COPA_TABLE1
from studies.declaration import Study
from studies.matrix_game import MIPI_FIGURE2
from studies.mipi import MIPI_RESOURCE_COLLECTION, MIPI_TABLE1, MIPI_TABLE2, MIPI_TABLE3
from studies.mixers import MIPI_CAUSES, MIXER_STARTS
from studies.recipes import FAST_BATTLES
from studies.rescue import RESCUE_TABLE2

#: Name on the command line -> study.
REGISTRY: Mapping[str, Study] = {
    study.name: study
    for study in (
        *CESMA,
        COPA_TABLE1,
        COPA_INTERVAL,
        COPA_SENSITIVITY,
        RESCUE_TABLE2,
        MIPI_FIGURE2,
        MIPI_TABLE1,
        MIPI_TABLE2,
        MIPI_TABLE3,
        MIPI_RESOURCE_COLLECTION,
        FAST_BATTLES,
        BEYOND_SLOTS,
        MIPI_CAUSES,
        MIXER_STARTS,
    )
}
