"""Numbers and errors in sentences for people."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, in the plural where there are several: the noun with an s, unless it is given.

    >>> counted(1, "clip"), counted(2_500, "clip"), counted(2, "gloss", "glosses")
    ('1 clip', '2,500 clips', '2 glosses')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says: libraries add pages to it.

    >>> first_line(RuntimeError("no memory\\nat frame 1"))
    'no memory'
    """
    return str(error).strip().partition("\n")[0]
