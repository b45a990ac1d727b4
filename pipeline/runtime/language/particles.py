"""Korean particles, whose form depends on the last sound of the word before them.

In: a word or a whole text, and a particle such as 을. Out: the text with that particle in the form that fits: 영상을,
캐시를. Numbers are read in Korean; of Latin letters the sound is guessed by the spelling, as people borrow such words.
"""

import re

FORMS = {
    "이": ("이", "가"),
    "을": ("을", "를"),
    "은": ("은", "는"),
    "과": ("과", "와"),
    "로": ("으로", "로"),
    "이나": ("이나", "나"),
    "이라": ("이라", "라"),
    "이며": ("이며", "며"),
    "이어야": ("이어야", "여야"),
}
"""Each particle behind a consonant, and behind a vowel; 로 also follows ㄹ."""
_FIRST_SYLLABLE, _LAST_SYLLABLE, _NUM_FINALS = 0xAC00, 0xD7A3, 28
_RIEUL = 8
"""The number of the final ㄹ."""
_FINALS_OF_DIGITS = {"0": 21, "1": _RIEUL, "3": 16, "6": 1, "7": _RIEUL, "8": _RIEUL}
"""영, 일, 삼, 육, 칠, 팔; the others end with a vowel."""
_FINALS_OF_LETTERS = {"l": _RIEUL, "r": _RIEUL, "m": 16, "n": 4}
"""엘, 알, 엠, 엔."""
_WORD_ENDS = re.compile(r"(?:[aeiouy](?P<stop>[bckpt])|(?P<nasal>[mn]e?|ng)|(?P<rieul>le?))$")


def with_particle(text: str, particle: str) -> str:
    """Return a text with a particle that fits its last sound.

    >>> [with_particle(word, "을") for word in ("영상", "캐시", "3", "a.mp4", "--crop", "file", "(쉼)")]
    ['영상을', '캐시를', '3을', 'a.mp4를', '--crop을', 'file을', '(쉼)을']
    >>> with_particle("서울", "로"), with_particle("집", "로"), with_particle("?", "은")
    ('서울로', '집으로', '?은(는)')
    """
    behind_consonant, behind_vowel = FORMS[particle]
    final = _final(text)
    if final is None:
        return f"{text}{behind_consonant}({behind_vowel})"
    if not final or (particle == "로" and final == _RIEUL):
        return text + behind_vowel
    return text + behind_consonant


def _final(text: str) -> int | None:
    """Return the number of the final consonant of a text's last syllable, 0 for a vowel, None if it is not known."""
    word = re.sub(r"[^\w%]+$", "", text).rstrip("_")
    last = word[-1:].lower()
    if not last:
        return None
    if _FIRST_SYLLABLE <= ord(last) <= _LAST_SYLLABLE:
        return (ord(last) - _FIRST_SYLLABLE) % _NUM_FINALS
    if last.isdecimal():
        return _FINALS_OF_DIGITS.get(last, 0)
    if last == "%":
        return 0  # 퍼센트
    if not ("a" <= last <= "z"):
        return None
    letters = re.findall(r"[A-Za-z]+$", word)[0]
    if letters.isupper() or not re.search("[aeiouy]", letters.lower()):  # read letter by letter
        return _FINALS_OF_LETTERS.get(last, 0)
    found = _WORD_ENDS.search(letters.lower())
    if found is None:
        return 0
    return _RIEUL if found["rieul"] else 1
