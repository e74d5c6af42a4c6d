"""The `neurogrid` command: reads the config, wires the parts together, talks to the person. Nothing imports it."""

from neurogrid.cli.app import main

__all__ = ["main"]
