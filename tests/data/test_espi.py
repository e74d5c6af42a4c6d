"""Green Button downloads, made up."""

from io import BytesIO

import numpy as np
import pytest

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import atom, espi
from neurogrid.data.readings import UnusableFileError
from tests.data.mutated import mutations, never_stumbles, read

START = 1_740_787_200
USER = "/espi/1_1/resource/RetailCustomer/1"


def entry(kind: str, content: str, own: str = "", up: str = "", related: tuple[str, ...] = ()) -> str:
    links = [("self", own), ("up", up), *(("related", href) for href in related)]
    text = "".join(f'<link rel="{rel}" href="{href}"/>' for rel, href in links if href)
    return f'<entry>{text}<title/><content><{kind} xmlns="http://naesb.org/espi">{content}</{kind}></content></entry>\n'


def feed(*entries: str) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
    return f"{head}{''.join(entries)}</feed>".encode()


def reading_type(number: str = "1", **said: object) -> str:
    leaves = {"accumulationBehaviour": 4, "commodity": 1, "flowDirection": 1, "intervalLength": 3600, "uom": 72}
    text = "".join(f"<{name}>{value}</{name}>" for name, value in {**leaves, "powerOfTenMultiplier": 0, **said}.items())
    return entry("ReadingType", text, f"/espi/1_1/resource/ReadingType/{number}")


def point(name: str = "99", service: int = 0) -> str:
    own, content = f"{USER}/UsagePoint/{name}", f"<ServiceCategory><kind>{service}</kind></ServiceCategory>"
    return entry("UsagePoint", content, own, f"{USER}/UsagePoint", (f"{own}/MeterReading",))


def meter(name: str = "99", number: str = "1", kind: str = "1") -> str:
    own = f"{USER}/UsagePoint/{name}/MeterReading/{number}"
    related = (f"{own}/IntervalBlock", f"/espi/1_1/resource/ReadingType/{kind}")
    return entry("MeterReading", "", own, own.rpartition("/")[0], related)


def reading(n: int, value: object, seconds: int = 3600, quality: str = "", start: int = START) -> str:
    said = f"<ReadingQuality><quality>{quality}</quality></ReadingQuality>" if quality else ""
    period = f"<timePeriod><duration>{seconds}</duration><start>{start + n * seconds}</start></timePeriod>"
    return f"<IntervalReading>{said}{period}<value>{value}</value></IntervalReading>\n"


def block(readings: str, name: str = "99", number: str = "1") -> str:
    up = f"{USER}/UsagePoint/{name}/MeterReading/{number}/IntervalBlock"
    return entry("IntervalBlock", f"<interval><duration>86400</duration></interval>\n{readings}", f"{up}/1", up)


def hours(*values: object, **said: object) -> str:
    return "".join(reading(n, value, **said) for n, value in enumerate(values))


SAMPLE = feed(
    point(), meter(), reading_type(), block(hours(500, 700, 900)),
    block(hours(1, 2, quality="8", start=START + 86_400)),
    meter(number="2", kind="2"), reading_type("2", flowDirection=19), block(hours(5, 6), number="2"),
    meter(number="3", kind="3"), reading_type("3", uom=38), block(hours(5, 6), number="3"),
)  # fmt: skip


def test_watt_hours_from_the_start_on_become_kilowatt_hours():
    table, faults = read(espi, feed(point(), meter(), reading_type(), block(hours(500, 1500))))
    assert table["label"].to_pylist() == [START * 10**6, (START + 3600) * 10**6]
    assert table["value"].to_pylist() == [0.5, 1.5]
    assert table["household"].to_pylist() == ["99", "99"]
    assert table["minutes"].to_pylist() == [60, 60]
    assert np.isnan(table["export"].to_numpy()).all()
    assert not faults.counts


@pytest.mark.parametrize(("power", "kwh"), [(-3, 0.0005), (0, 0.5), (3, 500.0), ("+1", 5.0)])
def test_the_power_of_ten_is_applied(power, kwh):
    table, _ = read(espi, feed(point(), meter(), reading_type(powerOfTenMultiplier=power), block(hours(500))))
    assert table["value"].to_pylist() == [kwh]


def test_both_directions_of_a_usage_point_are_one_row_each_time():
    content = feed(
        point(), meter(), reading_type(), block(hours(500, 700)),
        meter(number="2", kind="2"), reading_type("2", flowDirection=19), block(hours(100, 200, 300), number="2"),
    )  # fmt: skip
    table, _ = read(espi, content)
    np.testing.assert_array_equal(table["value"].to_numpy(), [0.5, 0.7, np.nan])
    np.testing.assert_array_equal(table["export"].to_numpy(), [0.1, 0.2, 0.3])


def test_what_is_no_energy_in_differences_is_passed_over_and_counted():
    others = [{"uom": 38}, {"accumulationBehaviour": 3}, {"commodity": 7}, {"flowDirection": 2}]
    parts = [part for n, said in enumerate(others, 2) for part in (
        meter(number=str(n), kind=str(n)), reading_type(str(n), **said), block(hours(7, 7), number=str(n)),
    )]  # fmt: skip
    table, faults = read(espi, feed(point(), meter(), reading_type(), block(hours(500)), *parts))
    assert table["value"].to_pylist() == [0.5]
    assert faults.counts == {Fault.PASSED_OVER: 8}
    assert {note.text for note in faults.notes} >= {"99: uom 38", "99: accumulationBehaviour 3"}


def test_quality_is_the_readings_own_or_else_its_types():
    readings = reading(0, 1, quality="8") + reading(1, 1, quality="17") + reading(2, 1)
    for default, estimated in (("", [True, False, False]), ("9", [True, False, True])):
        table, _ = read(espi, feed(point(), meter(), reading_type(defaultQuality=default), block(readings)))
        assert table["estimated"].to_pylist() == estimated


def test_the_order_of_entries_does_not_matter():
    parts = [point(), meter(), reading_type(), block(hours(500, 700)), point("98"), meter("98"), block(hours(5), "98")]
    one, other = (read(espi, feed(*order))[0].drop(["line", "export"]) for order in (parts, parts[::-1]))
    assert one.equals(other)
    assert one.num_rows == 3


def test_a_file_without_links_is_one_household_named_as_the_file():
    plain = feed(entry("UsagePoint", ""), entry("ReadingType", "<uom>72</uom>"), entry("IntervalBlock", hours(500)))
    table, faults = read(espi, plain, "flat/home 7.xml.gz")
    assert table["household"].to_pylist() == ["home 7"]
    assert table["value"].to_pylist() == [0.5]
    assert faults.counts == {Fault.ASSUMED: 1}  # the direction


def test_the_same_energy_in_longer_intervals_is_not_taken_twice():
    content = feed(
        point(), meter(), reading_type(), block(hours(500, 700)),
        meter(number="2", kind="2"), reading_type("2"), block(reading(0, 1200, 86400), number="2"),
    )  # fmt: skip
    table, faults = read(espi, content)
    assert table["value"].to_pylist() == [0.5, 0.7]
    assert faults.counts == {Fault.PASSED_OVER: 1}


def test_energy_fed_in_over_another_time_is_not_put_beside_energy_drawn():
    content = feed(
        point(), meter(), reading_type(), block(hours(500, 700)),
        meter(number="2", kind="2"), reading_type("2", flowDirection=19), block(reading(0, 50, 1800), number="2"),
    )  # fmt: skip
    table, faults = read(espi, content)
    assert np.isnan(table["export"].to_numpy()).all()
    assert table["minutes"].to_pylist() == [60, 60]
    assert faults.counts == {Fault.PASSED_OVER: 1}


def test_of_a_start_that_occurs_twice_the_first_reading_is_kept():
    table, faults = read(espi, feed(point(), meter(), reading_type(), block(hours(500, 700)), block(hours(900))))
    assert table["value"].to_pylist() == [0.5, 0.7]
    assert faults.counts == {Fault.DUPLICATE: 1}


def test_net_energy_keeps_its_sign_and_drawn_energy_none():
    table, _ = read(espi, feed(point(), meter(), reading_type(flowDirection=4), block(hours(500, -700))))
    assert table["value"].to_pylist() == [0.5, -0.7]
    table, faults = read(espi, feed(point(), meter(), reading_type(), block(hours(500, -700, "x", ""))))
    np.testing.assert_array_equal(table["value"].to_numpy(), [0.5, np.nan, np.nan, np.nan])
    assert faults.counts == dict.fromkeys((Fault.NEGATIVE, Fault.BAD_NUMBER, Fault.NULL_VALUE), 1)


def test_a_reading_without_a_time_is_counted_with_its_line():
    table, faults = read(
        espi, feed(point(), meter(), reading_type(), block(hours(500) + reading(1, 5).replace("17", "x")))
    )
    assert table.num_rows == 1
    assert faults.counts == {Fault.BAD_TIMESTAMP: 1}
    assert faults.notes[0].line == table["line"][0].as_py() + 1


def test_a_file_that_is_cut_short_is_told():
    content = feed(point(), meter(), reading_type(), block(hours(500, 700)), block(hours(900, start=START + 86_400)))
    table, faults = read(espi, content[:-100])
    assert table["value"].to_pylist()[:2] == [0.5, 0.7]
    assert faults.counts[Fault.CUT_SHORT] == 1


def test_nothing_is_expanded_or_fetched():
    lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    for doctype in (f'<!DOCTYPE f [<!ENTITY l0 "lol">{lol}]>', '<!DOCTYPE f SYSTEM "file:///etc/passwd">'):
        with pytest.raises(UnusableFileError, match="document type declaration"):
            read(espi, f"{doctype}<feed>&l9;</feed>".encode())


class Endless(BytesIO):
    """A beginning, and then the same byte for ever; whoever reads more than 4 MiB of it reads too much."""

    def read(self, size: int = -1) -> bytes:
        assert self.tell() < 1 << 22
        self.write(super().read(size).ljust(size, b"x") if not self.tell() else b"x" * size)
        return self.getvalue()[-size:]


@pytest.mark.parametrize("beginning", [b"<feed a='", b"<!--", b"<feed><", b"<?xml "])
def test_xml_without_an_end_is_refused_before_it_is_read(beginning):
    with pytest.raises(UnusableFileError, match=r"longer than|no XML"):
        list(espi.rows(Endless(beginning), "a.xml", FaultLog(1)))


def test_elements_without_an_end_are_refused():
    with pytest.raises(UnusableFileError, match="deep"):
        read(espi, b"<a>" * 100)


def test_a_file_without_energy_is_refused_in_words():
    for content, words in (
        (b"Timestamp;kWh\n", "no XML"),
        (b"", "no XML"),
        (
            feed(point(), meter(), reading_type(uom=38), block(hours(1))),
            "wanted is a ReadingType with uom 72.*99: uom 38",
        ),
        (feed(point(service=1), meter(), reading_type(), block(hours(1))), "ServiceCategory 1"),
        (feed(point()), "found: UsagePoint"),
    ):
        with pytest.raises(UnusableFileError, match=words):
            read(espi, content)


def test_usage_points_are_given_away_before_the_file_ends(monkeypatch):
    monkeypatch.setattr(espi, "HELD_READINGS", 50)
    monkeypatch.setattr(espi, "_CHUNK", 4096)
    homes = [part for n in range(20) for part in (point(str(n)), meter(str(n)), block(hours(*range(30)), str(n)))]
    held = []
    take = atom.Feed.take
    monkeypatch.setattr(atom.Feed, "take", lambda feed, *said: (take(feed, *said), held.append(feed.held)))
    table, _ = read(espi, feed(reading_type(), *homes))
    assert table.num_rows == 600
    assert max(held) < 200


def test_usage_points_of_two_customers_with_the_same_number_stay_apart():
    one = "".join((point("01"), meter("01"), block(hours(500), "01")))
    table, faults = read(espi, feed(reading_type(), one, one.replace("RetailCustomer/1/", "RetailCustomer/2/")))
    other = "espi/1_1/resource/RetailCustomer/2/UsagePoint/01"
    assert table["household"].to_pylist() == ["01", other]
    assert not faults.counts


def test_a_usage_point_is_given_away_whole(monkeypatch):
    monkeypatch.setattr(espi, "HELD_READINGS", 50)
    monkeypatch.setattr(espi, "_CHUNK", 4096)
    back = [meter(number="2", kind="2"), reading_type("2", flowDirection=19), block(hours(*[1] * 200), number="2")]
    table, _ = read(espi, feed(point(), meter(), reading_type(), block(hours(*[2] * 200)), *back))
    assert (table["value"].to_pylist(), table["export"].to_pylist()) == ([0.002] * 200, [0.001] * 200)


def test_green_button_is_told_by_its_namespace():
    assert espi.is_it(SAMPLE[:4096], "a.xml")
    assert espi.is_it(b"<feed>", "a.xml") == espi.is_it(b"", "") == ""


def test_no_damage_makes_it_stumble():
    for content in mutations(SAMPLE):
        never_stumbles(espi, content)
