"""The `neurogrid` command: reads the config, wires the parts together, talks to the person. Nothing imports it."""

import sys


def main() -> None:
    """Runs the command line."""
    try:
        from neurogrid.cli import app  # noqa: PLC0415 - Ctrl-C may come while it is loaded
    except KeyboardInterrupt:
        sys.exit(130)
    app.main()


__all__ = ["main"]
