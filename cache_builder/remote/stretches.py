"""Which stretches of bytes to ask for, to get some clips of a file: few requests, few bytes in vain."""

from collections.abc import Iterator, Sequence

MAX_GAP_BYTES = 2**18
"""Between two chosen clips, that are fetched rather than asked for in two requests."""


def stretches(bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Yield stretches of bytes to fetch, each with the ranges of the clips inside it; all in order.

    >>> list(stretches([(0, 10), (20, 30), (600_000, 600_010)]))
    [(0, 30, [(0, 10), (20, 30)]), (600000, 600010, [(600000, 600010)])]
    """
    inside: list[tuple[int, int]] = []
    for start, end in bounds:
        if inside and start - inside[-1][1] > MAX_GAP_BYTES:
            yield inside[0][0], inside[-1][1], inside
            inside = []
        inside.append((start, end))
    if inside:
        yield inside[0][0], inside[-1][1], inside
