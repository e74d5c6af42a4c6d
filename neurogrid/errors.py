"""What can go wrong, as a tree. The command line turns each into one message and an exit code.

    NeuroGridError            anything we can explain
    ├── UsageError            exit code 2: a wrong command, config or file, found before the work starts
    │   ├── ConfigError       a key or value of the YAML config or of --set
    │   └── InputError        an input file or folder that cannot be used at all
    └── RunError              exit code 1: the work started and could not be finished

A message has up to three parts, one line each: what was wrong, what was found and where, what to do.
"""


class NeuroGridError(Exception):
    """An error whose message is written for the person who ran the command.

    Args:
        what: what was required and is not so, with the place (file, row, key).
        found: what was found instead.
        fix: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, found: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.found, self.fix = what, found, fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.found:
            lines.append(f"  found: {self.found}")
        if self.fix:
            lines.append(f"  {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (a Spark task raises, the driver reports): keep the parts.
        return _rebuild, (type(self), self.what, self.found, self.fix)


def _rebuild(kind: type[NeuroGridError], what: str, found: str, fix: str) -> NeuroGridError:
    return kind(what, found=found, fix=fix)


class UsageError(NeuroGridError):
    """A wrong command, config or input, found before the work starts."""

    exit_code = 2


class ConfigError(UsageError):
    """A key or value of the config that cannot be used."""


class InputError(UsageError):
    """An input file or folder that cannot be used at all."""


class RunError(NeuroGridError):
    """The work started and could not be finished."""
