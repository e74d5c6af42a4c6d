"""The kinds of sources by name. The config's choices are made of this, so it imports no reader of files.

Others register kinds of their own as entry points of the group `neurogrid.sources`, each a `SourceSpec`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from neurogrid.registry import Registry

if TYPE_CHECKING:
    from neurogrid.data.layouts.declaration import Declaration


@dataclass(frozen=True)
class SourceSpec:
    """A kind of source.

    Attributes:
        name: in the config, and in warehouses that are made of it.
        words: what it is.
        load: gives its declarations: of one layout, or of several in which the same readings are published.
    """

    name: str
    words: str
    load: "Callable[[], tuple[Declaration, ...]]"


def _built_in(name: str) -> "tuple[Declaration, ...]":
    from neurogrid.data.layouts.builtin import BUILT_IN  # noqa: PLC0415 - readers of files only where files are read

    return tuple(declaration for declaration in BUILT_IN if declaration.name == name)


def _usable(loaded: Any) -> bool:
    from neurogrid.data.layouts.declaration import Declaration  # noqa: PLC0415 - as above
    from neurogrid.data.layouts.formats import FORMATS  # noqa: PLC0415 - as above

    formats = {"csv", *FORMATS}
    if not isinstance(loaded, tuple) or not loaded:
        return False
    return all(isinstance(each, Declaration) and each.format in formats for each in loaded)


ABOUT = {
    "heapo": "HEAPO, 15-minute heat-pump households of Canton Zurich with weather stations",
    "sgsc": "Smart-Grid Smart-City customer trial",
    "lcl": "Low Carbon London, half-hourly households",
    "uci": "UCI ElectricityLoadDiagrams20112014, a column for each client",
    "nem12": "NEM12 interval data of Australian meters",
    "espi": "Green Button (ESPI) XML",
    "p1": "telegrams of Dutch and Belgian P1 ports",
    "homewizard": "export of a HomeWizard P1 meter",
    "dsmr_reader": "export of DSMR-reader",
    "homeassistant": "Home Assistant's history of energy sensors",
    "ha_statistics": "Home Assistant's long-term statistics",
    "citylearn": "buildings of CityLearn",
    "simbench": "load profiles of SimBench",
}
"""Those that are built in, in the order in which `source.kind: auto` looks for them."""
SOURCES = Registry(
    "source",
    "neurogrid.sources",
    SourceSpec,
    {name: SourceSpec(name, about, partial(_built_in, name)) for name, about in ABOUT.items()},
    _usable,
)
