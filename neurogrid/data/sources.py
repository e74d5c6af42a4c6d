"""Meter data as its declaration says it is: which files there are, and each household's rows with labels in UTC.

`open_source` looks at the folder on the driver and refuses a wrong one; the source it returns travels to the tasks,
which call `read` for one household each. What a layout is stands in layouts/builtin.py, or in the user's config.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from neurogrid.data.energies import Labelled
from neurogrid.data.faults import NO_ROWS, Fault, FaultLog
from neurogrid.data.folder import NO_WEATHER, Listing, MeterFile, household_of, list_files
from neurogrid.data.household import unusable_name
from neurogrid.data.layouts.buckets import read_household
from neurogrid.data.layouts.declaration import Declaration
from neurogrid.data.layouts.households import read_households
from neurogrid.data.layouts.labels import labelled
from neurogrid.data.layouts.pieces import Piece
from neurogrid.data.layouts.recognise import refuse_unlike, where_is
from neurogrid.data.layouts.table import Rows, read_piece
from neurogrid.data.readings import UnusableFileError
from neurogrid.errors import InputError
from neurogrid.plural import plural
from neurogrid.storage import Place

__all__ = ["NO_WEATHER", "Source", "open_source"]
BLOCK_BYTES = 8 << 20
"""Of a household's file that are read at once: all of most files, so that none is copied."""


@dataclass(frozen=True)
class Source:
    """A data set in a folder.

    Attributes:
        root: its folder.
        declaration: what its files are.
        exclude: patterns of file or household names to leave out.
        limit: use only so many households, the first by name; None for all.
        net_meters: which energy is taken where the file tells import and export apart; see Treatment.
    """

    root: Place
    declaration: Declaration
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    net_meters: str = "refuse"

    @property
    def kind(self) -> str:
        """Name of the layout."""
        return self.declaration.name

    @property
    def timezone(self) -> str:
        """IANA name of the households' local time."""
        return self.declaration.timezone

    @property
    def cadence_minutes(self) -> int:
        """Length of a slot as published."""
        return self.declaration.cadence_minutes

    @property
    def folder(self) -> Place:
        """Where its files lie."""
        return self.root / self.declaration.folder if self.declaration.folder else self.root

    def refuse_unlike(self) -> None:
        """Raises InputError where each file that is looked at lacks a column of the layout."""
        refuse_unlike(self.folder, self.declaration, self.exclude)

    def listing(self, listed_per_kind: int) -> Listing:
        """The files, each of one household unless the layout is staged; reads names and the list of households.

        Raises:
            InputError: no file is left, or the list cannot be used.
        """
        found = list_files(self.folder, self.declaration, self.exclude, self.limit, listed_per_kind)
        return found if self.declaration.staged else self.with_stations(found, listed_per_kind)

    def with_stations(self, found: Listing, listed_per_kind: int) -> Listing:
        """A listing of households with the station of each, by the list of households, whose own faults it has.

        Raises:
            InputError: the list cannot be used.
        """
        declared = self.declaration.households
        if declared is None:
            return found
        list_faults = FaultLog(listed_per_kind)
        listed = read_households(self.root, declared, self.declaration.separator, list_faults)
        faults = dict(found.faults)
        files = []
        for file in found.files:
            if file.household_id not in listed:
                _note(faults, file.household_id, Fault.NOT_LISTED, file.place.name, listed_per_kind)
                files.append(file)
            elif reason := unusable_name(station := listed[file.household_id].weather_id):
                _note(faults, file.household_id, Fault.NO_WEATHER_STATION, reason, listed_per_kind)
                files.append(file)
            else:
                files.append(replace(file, weather_id=station))
        missing = {name for name, row in listed.items() if row.promised} - {file.household_id for file in files}
        left_out = {household_of(name, self.declaration.endings) or name for name in found.excluded}
        for household in sorted(missing - left_out) if self.limit is None else ():
            _note(faults, household, Fault.NO_FILE, f"{self.declaration.folder}/{household}.csv", listed_per_kind)
        all_faults = {**found.list_faults, declared.path: list_faults}
        return replace(found, files=tuple(files), faults=faults, list_faults=all_faults)

    def read(self, file: MeterFile, faults: FaultLog) -> Labelled:
        """One household's rows that have a label; others are logged.

        Raises:
            UnusableFileError: the file gives no table at all.
        """
        found = (
            self._rows(file, faults)
            if file.bucket is None
            else [read_household(file.bucket, file.household_id, faults)]
        )
        return labelled(found, self.declaration, self.net_meters, faults)

    def _rows(self, file: MeterFile, faults: FaultLog) -> Iterator[Rows]:
        count = 0
        for part in read_piece(Piece(file.place), None, self.declaration, file.household_id, faults, BLOCK_BYTES):
            count += part.file_rows
            yield part
        if count == sum(faults.counts[kind] for kind in NO_ROWS):
            text = f"a header and {plural(count, 'row')} that cannot be used: {faults.cause()}" if count else "no rows"
            raise UnusableFileError(Fault.EMPTY_FILE, text)

    def weather_folder(self) -> Place | None:
        """Where all stations' files lie, if there are any."""
        return self.root / self.declaration.weather_folder if self.declaration.weather_folder else None

    def weather_file(self, weather_id: str) -> Place | None:
        """Where a station's hourly readings lie, if anywhere."""
        if weather_id == NO_WEATHER or not self.declaration.weather_folder:
            return None
        file = self.root / f"{self.declaration.weather_folder}/{weather_id}.csv"
        return file if file.exists() else None


def _note(faults: dict[str, FaultLog], household: str, kind: Fault, text: str, listed_per_kind: int) -> None:
    faults.setdefault(household, FaultLog(listed_per_kind)).add(kind, text)


def open_source(
    kind: str,
    root: Place,
    exclude: Sequence[str],
    limit: int | None,
    *,
    generic: Declaration | None = None,
    timezone: str = "",
    net_meters: str = "refuse",
) -> Source:
    """Finds the data under a folder (or one folder below it).

    Args:
        kind: name of a layout, `generic` for that of `generic`, or `auto` for whichever is there.
        root: the data set's folder, or its parent.
        exclude: patterns of file names to leave out, e.g. `1408.csv` or `10*`.
        limit: use only so many households, the first by name.
        generic: the user's own declaration.
        timezone: IANA name of the households' local time, instead of the layout's own.
        net_meters: see Source.

    Raises:
        InputError: the folder is not there or holds no such data, or the kind is unknown.
    """
    if limit is not None and limit < 1:
        raise InputError("etl: the limit of households must be 1 or more", found=str(limit), fix="leave it out for all")
    folder, declaration = where_is(kind, root, tuple(exclude), generic)
    if timezone:
        declaration = replace(declaration, timezone=timezone)
    if declaration.zone == "local":
        if not timezone:
            raise InputError(
                f"etl: times in {declaration.name} files are local, without an offset",
                found="no source.timezone",
                fix="say where the households are, e.g. --set source.timezone=Europe/Amsterdam",
            )
        declaration = replace(declaration, zone=timezone)
    return Source(folder, declaration, tuple(exclude), limit, net_meters)
