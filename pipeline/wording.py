"""Numbers in sentences for people."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where there are several.

    >>> counted(1, "clip"), counted(2_500, "clip")
    ('1 clip', '2,500 clips')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
