"""The ways in which our panels ask: PromQL for a figure, a counter's growth, a mean, a quantile.

Times of phases and shares are means over `$window`, from counters that grow by rounds; figures of the last round are gauges.
"""

HERE = 'namespace=~"$namespace"'
RUN = f'{HERE}, run=~"$run"'
APP = f'{HERE}, application=~"$application"'
BEGUN, RUNNING, ENDED = (f'state="{state}"' for state in ("begun", "running", "ended"))
GOES_ON = 'state=~"begun|running"'


def of(metric: str, by: str, more: str = "", where: str = RUN) -> str:
    """The metric by its labels, whoever scraped it."""
    return f"max by ({by}) (neurogrid_{metric}{{{where}{', ' if more else ''}{more}}})"


def grown(metric: str, by: str, more: str = "", where: str = RUN) -> str:
    """By how much a counter grew within the window."""
    return f"max by ({by}) (increase(neurogrid_{metric}{{{where}{', ' if more else ''}{more}}}[$window]))"


def a_round(metric: str, by: str, more: str = "") -> str:
    """A counter's growth a round."""
    rounds = f"max by (run) (increase(neurogrid_round_duration_seconds_count{{{RUN}}}[$window]))"
    return f"{grown(metric, by, more)} / on (run) group_left () ({rounds} > 0)"


def mean(histogram: str, by: str) -> str:
    """Of what a histogram saw within the window."""
    return f"{grown(histogram + '_sum', by)} / ({grown(histogram + '_count', by)} > 0)"


def quantile(share: float, histogram: str) -> str:
    """Of what a histogram saw within the window."""
    return f"histogram_quantile({share}, max by (run, le) (increase(neurogrid_{histogram}_bucket{{{RUN}}}[$window])))"
