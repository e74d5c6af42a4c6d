"""Why Spark failed, in a line: what a task's Python raised or what Java said, without the stacks of two languages."""

import re

# The last line of a Python traceback, and beneath it what one of our own errors found and advises.
_IN_PYTHON = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)+(\S.*(?:\n {2}\S.*)*)")
# The Java exception behind py4j's own first line.
_IN_JAVA = re.compile(r"^: (.+)", re.MULTILINE)
_OURS = re.compile(r"^neurogrid\.errors\.\w+: ")
_MOST = 400


def reason(error: Exception) -> str:
    """What went wrong; of several exceptions that were raised one after another the last."""
    text = str(error).strip()
    python, java = _IN_PYTHON.findall(text), _IN_JAVA.search(text)
    if python:
        said = "; ".join(line.strip() for line in _OURS.sub("", python[-1]).splitlines())
    elif java:
        said = java[1]
    else:
        said = text.splitlines()[0] if text else type(error).__name__
    return said[:_MOST]
