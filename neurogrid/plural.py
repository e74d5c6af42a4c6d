"""A count and its noun, as people read them: `1 agent`, `3 agents`. Used wherever a count stands before a noun."""


def plural(count: int, one: str, many: str = "") -> str:
    """`1 agent`, `1,000 agents`; `many` is the plural where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
