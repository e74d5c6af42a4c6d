"""The ways in which our panels ask: PromQL for a figure, a counter's growth, a mean, a quantile.

Figures of runs and applications are taken by their namespace and name, all others by namespace and release: the same name
in two namespaces is two things, and two exporters of one warehouse (a new pod beside the old one) are one. Times of phases
and shares are means over `$window`, from counters that grow by rounds; figures of the last round are gauges.
"""

RELEASE = "app_kubernetes_io_instance"
"""The pods' label, as a scrape with the chart's monitors or by annotations (docs/monitoring.md) names it."""
HERE = f'namespace=~"$namespace", {RELEASE}=~"$release"'
RUN = f'{HERE}, run=~"$run"'
APP = f'{HERE}, application=~"$application"'
PODS = 'namespace=~"$namespace", pod=~"$release(-.*)?", pod=~"$application.*"'
"""Pods, for whoever measures them from outside and does not see their labels."""
BEGUN, RUNNING, ENDED = (f'state="{state}"' for state in ("begun", "running", "ended"))
GOES_ON = 'state=~"begun|running"'


def keys(by: str, where: str) -> str:
    """Labels that a figure is taken by."""
    own = ("namespace",) if where in (RUN, APP) else ("namespace", RELEASE)
    return ", ".join((*own, *([by] if by else [])))


def of(metric: str, by: str = "", more: str = "", where: str = RUN) -> str:
    """The metric by its labels, whoever scraped it."""
    return f"max by ({keys(by, where)}) (neurogrid_{metric}{{{where}{', ' if more else ''}{more}}})"


def grown(metric: str, by: str, more: str = "", where: str = RUN) -> str:
    """By how much a counter grew within the window."""
    return f"max by ({keys(by, where)}) (increase(neurogrid_{metric}{{{where}{', ' if more else ''}{more}}}[$window]))"


def a_round(metric: str, by: str, more: str = "") -> str:
    """A counter's growth a round."""
    rounds = f"max by (namespace, run) (increase(neurogrid_round_duration_seconds_count{{{RUN}}}[$window]))"
    return f"{grown(metric, by, more)} / on (namespace, run) group_left () ({rounds} > 0)"


def mean(histogram: str, by: str) -> str:
    """Of what a histogram saw within the window."""
    return f"{grown(histogram + '_sum', by)} / ({grown(histogram + '_count', by)} > 0)"


def quantile(share: float, histogram: str) -> str:
    """Of what a histogram saw within the window."""
    buckets = f"max by (namespace, run, le) (increase(neurogrid_{histogram}_bucket{{{RUN}}}[$window]))"
    return f"histogram_quantile({share}, {buckets})"
