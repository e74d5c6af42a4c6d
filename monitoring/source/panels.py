"""How our panels look: every one has a unit, words for no data, and a description. What they ask stands beside.

`$namespace`, `$run` and the like are Grafana's variables.
"""

from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as values
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as query_model

NO_DATA = "no data yet"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24


@dataclass(frozen=True)
class Query:
    """PromQL, how its series are called in the legend, and whether rounds' traces are marked on it.

    Exemplars are those of the series that the query itself names, so of a histogram's buckets.
    """

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True)
class Unit:
    """Grafana's name of a unit, the words on the axis, and what of a line its legend says."""

    name: str
    words: str
    least: float | None = None
    most: float | None = None
    decimals: int | None = None
    calcs: tuple[str, ...] = ("max", "lastNotNull")


SECONDS = Unit("s", "seconds", 0, calcs=("mean", "max"))
SHARE = Unit("percentunit", "share", 0, 1, calcs=("mean", "min", "lastNotNull"))
BYTES = Unit("bytes", "bytes", 0)
BYTES_A_SECOND = Unit("Bps", "bytes a second", 0, calcs=("mean", "max"))
LOSS = Unit("none", "loss", decimals=4, calcs=("min", "lastNotNull"))
NORM = Unit("none", "L2 norm", 0)
RATIO = Unit("percentunit", "of the weights' length", 0)
ENERGY = Unit("joule", "energy", 0)
CORES = Unit("none", "cores", 0, decimals=2, calcs=("mean", "max"))
AGE = Unit("s", "age", 0, calcs=("lastNotNull",))
YES_NO = {"1": ("yes", "green"), "0": ("NO", "red")}
SINCE = Unit("dateTimeFromNow", "since")


def count(words: str) -> Unit:
    """A number of things."""
    return Unit("short", words, 0, decimals=0)


def properties(**given: Any) -> list[model.DynamicConfigValue]:
    """Of an override; `__` stands for the point in names."""
    return [model.DynamicConfigValue(id_val=name.replace("__", "."), value=value) for name, value in given.items()]


def _query(number: int, query: Query, *, instant: bool, as_table: bool) -> Builder:
    built = prometheus.Dataquery().ref_id(chr(ord("A") + number)).expr(query.expr).legend_format(query.legend)
    built = built.instant() if instant else built.range()
    if query.exemplars:
        built = built.exemplar(True)
    shape = query_model.PromQueryFormat.TABLE if as_table else query_model.PromQueryFormat.TIME_SERIES
    return built.format(shape)


def _dressed(panel, title, description, unit, queries, *, width, height, instant=False, as_table=False):
    panel = panel.title(title).description(description).unit(unit.name).no_value(NO_DATA).datasource(SOURCE)
    panel = panel.span(width).height(height)
    if unit.least is not None:
        panel = panel.min(unit.least)
    if unit.most is not None:
        panel = panel.max(unit.most)
    if unit.decimals is not None:
        panel = panel.decimals(unit.decimals)
    for number, query in enumerate(queries):
        panel = panel.with_target(_query(number, query, instant=instant, as_table=as_table))
    return panel


def _coloured(panel: Builder, colours: dict[str, str] | None) -> Builder:
    """Series by the colours of their names, all others by Grafana's palette."""
    panel = panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
    for name, colour in (colours or {}).items():
        panel = panel.override_by_regexp(name, properties(color={"mode": "fixed", "fixedColor": colour}))
    return panel


def _steps(*steps: tuple[float | None, str]) -> Builder:
    made = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def graph(
    title: str,
    unit: Unit,
    description: str,
    *queries: Query,
    width: int = 8,
    stacked: bool = False,
    colours: dict[str, str] | None = None,
    dashed: str = "",
    link: str = "",
    limit: float | None = None,
) -> Builder:
    """Lines over time.

    Args:
        title: of the panel.
        unit: of its axis, and what the legend says of each line.
        description: one sentence or two.
        queries: what is drawn.
        width: of Grafana's 24 columns.
        stacked: one upon another.
        colours: of series, by a regular expression over their names.
        dashed: a regular expression over names of lines that are dashed, and never stacked.
        link: where a click on a line leads.
        limit: a red line at this value.
    """
    panel = _dressed(timeseries.Panel(), title, description, unit, queries, width=width, height=8)
    legend = common.VizLegendOptions().show_legend(True).display_mode(values.LegendDisplayMode.TABLE)
    legend = legend.placement(values.LegendPlacement.BOTTOM).calcs(list(unit.calcs))
    tooltip = common.VizTooltipOptions().mode(values.TooltipDisplayMode.MULTI).sort(values.SortOrder.DESCENDING)
    panel = panel.axis_label(unit.words).legend(legend).tooltip(tooltip).line_width(2).span_nulls(True)
    # A run of two rounds is two points: without marks there would be nothing to see.
    panel = panel.show_points(values.VisibilityMode.AUTO).fill_opacity(40 if stacked else 5)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(values.StackingMode.NORMAL).group("A"))
    panel = _coloured(panel, colours)
    if dashed:
        line = {"fill": "dash", "dash": [8, 6]}
        apart = {"mode": "none", "group": "A"}
        panel = panel.override_by_regexp(
            dashed, properties(custom__lineStyle=line, custom__stacking=apart, custom__fillOpacity=0)
        )
    if link:
        panel = panel.override_by_regexp(".*", properties(links=[{"title": "Look at it", "url": link}]))
    if limit is not None:
        panel = panel.thresholds(_steps((None, "transparent"), (limit, "red")))
        panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(values.GraphTresholdsStyleMode.DASHED))
    return panel


def figure(
    title: str,
    unit: Unit,
    description: str,
    expr: str,
    *,
    width: int = 4,
    bad_above: float | None = None,
    bad_below: float | None = None,
    words: dict[str, tuple[str, str]] | None = None,
) -> Builder:
    """One number, large; red beyond the limit where it has one; `words` and colours instead of numbers."""
    panel = _dressed(stat.Panel(), title, description, unit, [Query(expr)], width=width, height=4, instant=True)
    reduce = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    panel = panel.reduce_options(reduce).graph_mode(values.BigValueGraphMode.NONE)
    if words:
        mapped = {key: model.ValueMappingResult(text=said, color=colour) for key, (said, colour) in words.items()}
        panel = panel.mappings([model.ValueMap(options=mapped)])
    if bad_above is not None:
        panel = panel.thresholds(_steps((None, "green"), (bad_above, "red")))
    elif bad_below is not None:
        panel = panel.thresholds(_steps((None, "red"), (bad_below, "green")))
    elif not words:
        return panel.color_mode(values.BigValueColorMode.NONE)
    return panel


def bars(
    title: str,
    unit: Unit,
    description: str,
    *queries: Query,
    width: int = 8,
    none: str = NO_DATA,
    colours: dict[str, str] | None = None,
) -> Builder:
    """What is so now, one bar a series; `none` is what it says where there is none."""
    panel = _dressed(bargauge.Panel(), title, description, unit, queries, width=width, height=8, instant=True)
    reduce = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    panel = panel.reduce_options(reduce).orientation(values.VizOrientation.HORIZONTAL)
    return _coloured(panel.display_mode(values.BarGaugeDisplayMode.BASIC).no_value(none), colours)


@dataclass(frozen=True)
class Column:
    """A column of a table, from one query; without a title only its labels are shown."""

    title: str
    unit: Unit
    expr: str


def rows(
    title: str,
    description: str,
    *columns: Column,
    labels: dict[str, str],
    link: str = "",
    width: int = WIDTH,
    none: str = NO_DATA,
    colours: dict[str, dict[str, str]] | None = None,
) -> Builder:
    """A table, one row a set of `labels` (label to title); the first label links to `link`; `colours` of words by title."""
    queries = [Query(column.expr) for column in columns]
    panel = _dressed(
        table.Panel(), title, description, Unit("none", ""), queries, width=width, height=8, instant=True, as_table=True
    )
    # Grafana calls the column of a table's only query "Value", those of several "Value #A" and so on.
    own = ["Value"] if len(columns) == 1 else [f"Value #{chr(ord('A') + i)}" for i in range(len(columns))]
    titles = {name: column.title for name, column in zip(own, columns, strict=True) if column.title}
    hidden = {"Time": True} | {name: True for name in own if name not in titles}
    order = {name: place for place, name in enumerate([*labels, *titles])}
    organize = {"excludeByName": hidden, "indexByName": order, "renameByName": labels | titles}
    panel = panel.show_header(True)
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=organize))
    for column in columns:
        if column.title:
            decimals = {} if column.unit.decimals is None else {"decimals": column.unit.decimals}
            panel = panel.override_by_name(column.title, properties(unit=column.unit.name, **decimals))
    for column_title, words in (colours or {}).items():
        mapped = {word: {"color": colour, "index": place} for place, (word, colour) in enumerate(words.items())}
        mapping = [{"type": "value", "options": mapped}]
        cell = {"type": "color-text"}
        panel = panel.override_by_name(column_title, properties(mappings=mapping, custom__cellOptions=cell))
    if link:
        first = next(iter(labels.values()))
        panel = panel.override_by_name(first, properties(links=[{"title": "Look at it", "url": link}]))
    return panel.no_value(none)
