"""The layouts that need no declaration of the user's: data sets that are published, and formats of files.

What is known of each data set, and from where, stands with it.
"""

from dataclasses import replace

from neurogrid.data.layouts.declaration import Declaration, HouseholdList
from neurogrid.data.layouts.formats import FORMATS
from neurogrid.data.layouts.registry import ABOUT

HEAPO = Declaration(
    name="heapo",
    about=ABOUT["heapo"],
    folder="smart_meter_data/15min",
    separator=";",
    household="Household_ID",
    time=("Timestamp",),
    energy=("kWh_received_Total",),
    timezone="Europe/Zurich",
    cadence_minutes=15,
    households=HouseholdList(
        "meta_data/households.csv", "Household_ID", "Weather_ID", "SmartMeterData_Available_15min"
    ),
    weather_folder="weather_data/hourly",
)
"""doi:10.5281/zenodo.15056919. Two orders of columns occur. Timestamps are UTC and name the start of the slot."""

SGSC = Declaration(
    name="sgsc",
    about=f"{ABOUT['sgsc']}, a file for each household",
    separator=",",
    household="customer_id",
    time=("reading_datetime",),
    energy=("general_supply_kwh",),
    optional_energy=("controlled_load_kwh",),
    ends=True,
    zone="+10:00",
    copied_hour="Australia/Sydney",
    timezone="Australia/Sydney",
    cadence_minutes=30,
)
"""Half-hourly households of Newcastle and Sydney, without weather.

A label is local standard time (UTC+10 all year) and is taken as the END of its half hour: a publication says so, and
the data neither proves nor contradicts it. Where clocks went forward, the hour after the change carries the labels of
the hour before once more: the second copy belongs an hour later (the published calendar_key counts on through both).
Consumption is general supply plus controlled load, where an empty controlled load is none.
"""

SGSC_TRIAL = replace(SGSC, about=f"{ABOUT['sgsc']} as published, one file of all", shape="long")

LCL = Declaration(
    name="lcl",
    about=ABOUT["lcl"],
    shape="long",
    household="LCLid",
    time=("DateTime",),
    energy=("KWH/hh (per half hour)",),
    ends=True,
    zone="UTC",
    timezone="Europe/London",
    cadence_minutes=30,
)
"""5,567 households of London, 2011 to 2014, from the London Datastore: one file of 10 GB, or the same cut in 168.

Labels are taken as UTC, as OpenSynth of LF Energy says of them: 48 on each day of the year. Nobody was found to say
what a label names; a copy of the data set with renamed columns describes a row's energy as that of the past half hour,
so it is taken as the end. Rows between the half hours occur, with `Null` for a value.
"""

UCI = Declaration(
    name="uci",
    about=ABOUT["uci"],
    shape="wide",
    separator=";",
    decimal=",",
    time=("",),
    names_like=r"MT_\d{3}",
    unit="kW",
    ends=True,
    zone="Europe/Lisbon",
    repeated="summed",
    timezone="Europe/Lisbon",
    cadence_minutes=15,
    leading_zeros="missing",
)
"""370 clients in Portugal, 2011 to 2014, from the UCI Machine Learning Repository (data set 321, CC BY 4.0).

Its page says: values are the kW of each 15 minutes; labels are Portuguese time and every day has 96; the skipped hour
of March is zero for all, the repeated hour of October holds the sum of both; a client that came later is zero until
then. The first label is 00:15 of the first day and the last is midnight, so a label is taken as an end.
"""

_ENDINGS = (".csv", ".txt", ".xml", ".log", ".dat", ".nem12")

BUILT_IN: tuple[Declaration, ...] = (
    HEAPO,
    SGSC,
    SGSC_TRIAL,
    LCL,
    UCI,
    *(
        Declaration(
            name=name,
            about=ABOUT[name],
            format=name,
            endings=_ENDINGS,
            shape="long",
            register=module.REGISTER,
            ends=module.ENDS,
            zone="UTC" if module.LABELS == "utc" else module.LABELS,
            cadence_minutes=module.MINUTES,
        )
        for name, module in FORMATS.items()
    ),
)
"""Every layout that `source.kind: auto` looks for."""
