"""Wording of messages."""


def counted(count: int, one: str, many: str) -> str:
    """A count and what is counted, in the form that goes with it: ``1 patch is``, ``1,000 patches are``."""
    return f"{count:,} {one if count == 1 else many}"
