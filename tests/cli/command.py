"""The command line as its entry point runs it, in this process."""

from neurogrid.cli import main


def main_code() -> int:
    """The exit code of what sys.argv says."""
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
