"""Colours by meaning: what is good is green, what waits is yellow, what is lost or refused is orange to red.

Each is a regular expression over a series' name in the legend, with Grafana's name of a colour.
"""

GOOD, AT_WORK, WAITS, WORSE, BAD, PLAIN = "green", "blue", "yellow", "orange", "red", "#8e8e8e"

STATES = {
    "new": PLAIN,
    "submitted": "super-light-blue",
    "begun": WAITS,
    "running": AT_WORK,
    "succeeding": "light-green",
    "completed": GOOD,
    "ended": GOOD,
    "failing": WORSE,
    "failed": BAD,
    "submission_failed": "dark-red",
    "pending": WAITS,
    "pending_rerun": "purple",
    "invalidating": "dark-purple",
    "suspending": "light-yellow",
    "suspended": WAITS,
    "resuming": "light-blue",
    "unknown": PLAIN,
}
"""Of runs, applications, executors and jobs."""
SEVERITIES = {"critical": BAD, "warning": WORSE, "info": AT_WORK}


def whole(colours: dict[str, str]) -> dict[str, str]:
    """The same for names that are nothing but these words."""
    return {f"^{word}$": colour for word, colour in colours.items()}


OUTCOMES = whole(
    {
        "asked": PLAIN,
        "answered": AT_WORK,
        "accepted": GOOD,
        "late": WAITS,
        "lost": "purple",
        "refused": WORSE,
        "filtered": "light-red",
        "not_finite": "dark-red",
        "suspected": BAD,
        "f": "dark-red",
    }
)
"""Of agents in a round."""
REJECTED = {"^none: ": WORSE, "^(?!none: ).*: ": BAD}
"""By who was rejected: an honest agent is a loss, an attacker the rule's work."""
PHASES = whole(
    {
        "send": "super-light-blue",
        "train": AT_WORK,
        "collect": "purple",
        "aggregate": WORSE,
        "evaluate": GOOD,
        "persist": PLAIN,
    }
)
FILES = whole({"used": GOOD, "unusable": BAD, "excluded": PLAIN})
TIERS = {": observed$": GOOD}
