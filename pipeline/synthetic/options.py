"""The options of a generated data set; light, for the command line."""

from dataclasses import dataclass

from signprep.pipeline.options import Options, option

VIEWS = "FUDLR"
MAX_WORDS, MAX_SIGNERS = 200, 18
MAX_ITEMS = 9999
"""Items have four digits."""


def _frame_size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"{text!r} is not WIDTHxHEIGHT, as in 1920x1080")
    return int(width), int(height)


@dataclass(frozen=True, kw_only=True)
class SampleSpec(Options, group="Data"):
    """What to render. Raises ValueError on values that cannot be rendered."""

    words: int = option(5, "Render this many different signs.", minimum=1, maximum=MAX_WORDS)
    signers: int = option(
        6,
        "Let this many signers sign; the last two are REAL17 and REAL18, AIHub's validation signers.",
        minimum=1,
        maximum=MAX_SIGNERS,
    )
    views: str = option("F", f"Film from these views, some of the letters {VIEWS}.")
    takes: int = option(1, "Perform each sign so often, each time under a word id of its own.", minimum=1)
    """Word ids of their own are what AIHub's homonyms have."""
    sentences: int = option(
        0, "Also render this many SEN videos of each signer, with several signs each.", minimum=0, maximum=MAX_ITEMS
    )
    frame_size: tuple[int, int] = option(
        (1920, 1080),
        "Render videos of this width and height in pixels.",
        name="--size",
        type=str,
        read=_frame_size,
        show=lambda size: f"{size[0]}x{size[1]}",
        metavar="WIDTHxHEIGHT",
    )
    """Even numbers of pixels, 64 to 4096."""
    seed: int = option(0, "Render the same videos for the same seed.", minimum=0, maximum=2**63 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.takes > MAX_ITEMS // self.words:
            raise ValueError(f"takes is {self.takes}; it must be between 1 and {MAX_ITEMS // self.words}")
        if not self.views or set(self.views) - set(VIEWS) or len(set(self.views)) < len(self.views):
            raise ValueError(f"views is {self.views!r}; it must be some of the letters {VIEWS}, each once")
        if len(self.frame_size) != 2 or any(side % 2 or not 64 <= side <= 4096 for side in self.frame_size):
            raise ValueError(f"frame_size is {self.frame_size}; it must be two even numbers of pixels, 64 to 4096")
