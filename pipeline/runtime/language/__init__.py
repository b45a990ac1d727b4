"""The language in which people read what commands print: Korean where the environment asks for it, else English.

The code writes plain English, and so do files, JSON and the messages of exceptions: programs and other people read
them. Where a text goes to a person's eyes, `translated` looks it up among the sentences of `ko/*.po`. Nothing of that
is imported or read for English.
"""

import os
import sys
from collections.abc import Mapping
from functools import cache

_KOREAN_ON_WINDOWS = 0x12
"""The primary language of LANG_KOREAN."""


def translated(text: str, *, may_be_name: bool = False) -> str:
    """Return a text of whole lines in the reader's language; what is not known stays as it is.

    A text that may be a name from the data is translated only if it is more than a word.
    """
    if not is_korean():
        return text
    from signprep.pipeline.runtime.language.catalogue import korean  # which reads the sentences

    return korean(text, with_words=not may_be_name)


def is_korean() -> bool:
    """Return whether people read Korean here: the environment asks for it, and stdout and stderr have its letters."""
    return asks_for_korean(os.environ) and all(
        _has_hangul(getattr(stream, "encoding", None) or "utf-8") for stream in (sys.stdout, sys.stderr)
    )


@cache
def _has_hangul(encoding: str) -> bool:
    try:
        return bool("한".encode(encoding))
    except (UnicodeEncodeError, LookupError):
        return False


def asks_for_korean(environment: Mapping[str, str]) -> bool:
    """Return whether Korean is asked for, by the variables that POSIX and GNU gettext look at.

    `LC_ALL` counts before `LC_MESSAGES`, and that before `LANG`. Of a list of languages in `LANGUAGE` the first that
    is known counts, unless the others say `C`. Where nothing is said, Windows has a language of its own.

    >>> asks_for_korean({"LANG": "ko_KR.UTF-8"}), asks_for_korean({"LANG": "ko_KR.UTF-8", "LC_ALL": "C"})
    (True, False)
    """
    locale = next((found for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (found := environment.get(name))), "")
    if locale.partition(".")[0] in ("C", "POSIX"):
        return False
    languages = environment.get("LANGUAGE") or locale
    if not languages:
        return _is_korean_windows()
    known = [language for language in languages.split(":") if language[:2] in ("ko", "en")]
    return bool(known) and known[0].partition("_")[0].partition(".")[0] == "ko"


def _is_korean_windows() -> bool:
    if sys.platform != "win32":
        return False
    import ctypes

    return bool(ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF == _KOREAN_ON_WINDOWS)
