"""What all dashboards share: their frame, their variables, the way from one to another."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from panels import SOURCE
from queries import HERE, RELEASE

TAG = "neurogrid"
ALERTS = 'ALERTS{alertname=~"NeuroGrid.*", alertstate="firing", namespace=~"$namespace"}'
KEPT = "${datasource:queryparam}&${namespace:queryparam}&${release:queryparam}&${__url_time_range}"
RUN_OF_A_ROW = f"/d/neurogrid-run?{KEPT}&var-run=${{__data.fields.run}}"
RUN_OF_A_LINE = f"/d/neurogrid-run?{KEPT}&var-run=${{__field.labels.run}}"


def board(uid: str, title: str, description: str, *, variables: list[Builder], since: str = "now-6h") -> Builder:
    """An empty dashboard with the data source, its variables, the way to the others, and firing alerts as marks."""
    built = dashboard.Dashboard(title).uid(uid).description(description).tags([TAG]).timezone("browser")
    built = built.time(since, "now").refresh("30s").tooltip(model.DashboardCursorSync.CROSSHAIR).readonly()
    link = dashboard.DashboardLink("NeuroGrid").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    built = built.link(link.as_dropdown(True).keep_time(True).include_vars(True))
    built = built.with_variable(dashboard.DatasourceVariable("datasource").label("data source").type("prometheus"))
    for variable in (NAMESPACE, OF_RELEASE, *variables):
        built = built.with_variable(variable)
    marks = dashboard.AnnotationQuery().name("alerts").datasource(SOURCE).enable(True).icon_color("red")
    return built.annotation(marks.expr(ALERTS))


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
OF_RELEASE = every("release", "release", f"label_values(neurogrid_build_info{{{HERE.partition(',')[0]}}}, {RELEASE})")
