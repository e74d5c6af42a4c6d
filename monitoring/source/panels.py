"""How our panels look: every one has a unit, words for no data, and a description. What they ask stands beside.

`$namespace`, `$run` and the like are Grafana's variables. Counters and gauges are taken by `max by`, so that two
exporters of one warehouse (while a new pod takes over from an old one) count once.
"""

from dataclasses import dataclass

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as values
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as query_model

NO_DATA = "no data yet"
TAG = "neurogrid"
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
    """Grafana's name of a unit, and the words on the axis."""

    name: str
    words: str
    least: float | None = None
    most: float | None = None
    decimals: int | None = None


SECONDS = Unit("s", "seconds", 0)
SHARE = Unit("percentunit", "share", 0, 1)
BYTES = Unit("bytes", "bytes", 0)
BYTES_A_SECOND = Unit("Bps", "bytes a second", 0)
LOSS = Unit("none", "loss", decimals=4)
NORM = Unit("none", "L2 norm", 0)
RATIO = Unit("percentunit", "of the weights' length", 0)
ENERGY = Unit("joule", "energy", 0)
CORES = Unit("none", "cores", 0, decimals=2)
AGE = Unit("s", "age", 0)
YES_NO = {"1": "yes", "0": "NO"}
SINCE = Unit("dateTimeFromNow", "since")


def count(words: str) -> Unit:
    """A number of things."""
    return Unit("short", words, 0, decimals=0)


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


def graph(title: str, unit: Unit, description: str, *queries: Query, width: int = 8, stacked: bool = False) -> Builder:
    """Lines over time, the least and the last value of each in the legend."""
    panel = _dressed(timeseries.Panel(), title, description, unit, queries, width=width, height=8)
    legend = common.VizLegendOptions().show_legend(True).display_mode(values.LegendDisplayMode.TABLE)
    legend = legend.placement(values.LegendPlacement.BOTTOM).calcs(["min", "lastNotNull"])
    tooltip = common.VizTooltipOptions().mode(values.TooltipDisplayMode.MULTI).sort(values.SortOrder.DESCENDING)
    panel = panel.axis_label(unit.words).legend(legend).tooltip(tooltip).line_width(2).span_nulls(True)
    # A run of two rounds is two points: without marks there would be nothing to see.
    panel = panel.show_points(values.VisibilityMode.AUTO).fill_opacity(40 if stacked else 5)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(values.StackingMode.NORMAL).group("A"))
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
    words: dict[str, str] | None = None,
) -> Builder:
    """One number, large; red beyond the limit where it has one."""
    panel = _dressed(stat.Panel(), title, description, unit, [Query(expr)], width=width, height=4, instant=True)
    reduce = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    panel = panel.reduce_options(reduce).graph_mode(values.BigValueGraphMode.NONE)
    if words:
        mapped = {key: model.ValueMappingResult(text=said) for key, said in words.items()}
        panel = panel.mappings([model.ValueMap(options=mapped)])
    if bad_above is None and bad_below is None:
        return panel.color_mode(values.BigValueColorMode.NONE)
    good, bad = ("green", "red") if bad_above is not None else ("red", "green")
    limit = bad_above if bad_above is not None else bad_below
    steps = [model.Threshold(value=None, color=good), model.Threshold(value=limit, color=bad)]
    return panel.thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))


def bars(title: str, unit: Unit, description: str, *queries: Query, width: int = 8, none: str = NO_DATA) -> Builder:
    """What is so now, one bar a series; `none` is what it says where there is none."""
    panel = _dressed(bargauge.Panel(), title, description, unit, queries, width=width, height=8, instant=True)
    reduce = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    panel = panel.reduce_options(reduce).orientation(values.VizOrientation.HORIZONTAL)
    return panel.display_mode(values.BarGaugeDisplayMode.BASIC).no_value(none)


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
) -> Builder:
    """A table, one row a set of `labels` (label to title); the first label links to `link`."""
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
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=organize))
    for column in columns:
        if not column.title:
            continue
        properties = [model.DynamicConfigValue(id_val="unit", value=column.unit.name)]
        if column.unit.decimals is not None:
            properties.append(model.DynamicConfigValue(id_val="decimals", value=column.unit.decimals))
        panel = panel.override_by_name(column.title, properties)
    panel = panel.no_value(none)
    if link:
        target = [{"title": "Look at it", "url": link}]
        first = next(iter(labels.values()))
        panel = panel.override_by_name(first, [model.DynamicConfigValue(id_val="links", value=target)])
    return panel


def board(uid: str, title: str, description: str, *, variables: list[Builder], since: str = "now-6h") -> Builder:
    """An empty dashboard with the data source, its variables, the way to the others, and firing alerts as marks."""
    built = dashboard.Dashboard(title).uid(uid).description(description).tags([TAG]).timezone("browser")
    built = built.time(since, "now").refresh("30s").tooltip(model.DashboardCursorSync.CROSSHAIR).readonly()
    link = dashboard.DashboardLink("NeuroGrid").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    built = built.link(link.as_dropdown(True).keep_time(True).include_vars(True))
    built = built.with_variable(dashboard.DatasourceVariable("datasource").label("data source").type("prometheus"))
    for variable in variables:
        built = built.with_variable(variable)
    marks = dashboard.AnnotationQuery().name("alerts").datasource(SOURCE).enable(True).icon_color("red")
    return built.annotation(marks.expr('ALERTS{alertname=~"NeuroGrid.*", alertstate="firing"}'))


def every(name: str, label: str, query: str) -> Builder:
    """A variable that begins as all. `.*` also matches where the label is not there, as on a laptop."""
    chosen = model.VariableOption(text="All", value="$__all", selected=True)
    built = dashboard.QueryVariable(name).label(label).query(query).datasource(SOURCE)
    built = built.include_all(True).all_value(".*").multi(False).current(chosen)
    return built.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)


def one(name: str, label: str, query: str, regex: str) -> Builder:
    """A variable with one value, the query's first."""
    built = dashboard.QueryVariable(name).label(label).query(query).regex(regex).datasource(SOURCE)
    return built.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.DISABLED)


def window() -> Builder:
    """Over which time means and quantiles are taken: longer than a few rounds."""
    chosen = model.VariableOption(text="10m", value="10m", selected=True)
    return dashboard.CustomVariable("window").label("averaged over").values("1m,5m,10m,30m,2h,6h").current(chosen)


NAMESPACE = every("namespace", "namespace", "label_values(neurogrid_build_info, namespace)")
