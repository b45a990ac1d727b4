"""Numbers and errors in sentences for people."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, in the plural where there are several: the noun with an s, unless it is given.

    >>> counted(1, "clip"), counted(2_500, "clip"), counted(2, "gloss", "glosses")
    ('1 clip', '2,500 clips', '2 glosses')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def byte_size(num_bytes: float) -> str:
    """Return a number of bytes in the unit that a person would take, of 1000 each.

    >>> byte_size(0), byte_size(12_300), byte_size(4_600_000), byte_size(2.5e12)
    ('0.0 kB', '12.3 kB', '4.6 MB', '2.5 TB')
    """
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:,.1f} {unit}"
    return f"{num_bytes / 1e3:,.1f} kB"


def time_span(seconds: float) -> str:
    """Return a time in the unit that fits.

    >>> time_span(0.31), time_span(59.4), time_span(7_000)
    ('0.3 s', '59 s', '1.9 h')
    """
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says: libraries add pages to it.

    >>> first_line(RuntimeError("no memory\\nat frame 1"))
    'no memory'
    """
    return str(error).strip().partition("\n")[0]
