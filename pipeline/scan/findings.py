"""A finding, as `scan` and `inspect` report it, and the catalogue of all that a scan can find.

Reports and docs follow the catalogue's order, in which the worst come first.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from signprep.pipeline.runtime.language import translated

ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")
"""An error costs clips, or training refuses it; a warning may spoil results, and a person should look; a note is worth
knowing. `scan --strict` fails on the first two."""

SEVERITY_STYLES = {ERROR: "bold red", WARNING: "bold yellow", NOTE: "bold cyan"}
"""Styles of a terminal."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something in a data set or a cache that a person should know."""

    kind: str
    """A short name, the same for the same kind of finding in all data."""
    severity: str
    """One of `SEVERITIES`."""
    title: str
    """The finding in one line."""
    meaning: str
    """The consequence, in whole sentences."""
    cure: str = ""
    """The remedy, in whole sentences; empty where there is none."""

    @property
    def explanation(self) -> str:
        """Return the consequence and the remedy together."""
        return f"{self.meaning} {self.cure}".rstrip()


AnyFinding = TypeVar("AnyFinding", bound=Finding)


def worst_first(findings: Iterable[AnyFinding]) -> list[AnyFinding]:
    """Return findings by severity, those of one severity in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def print_finding(finding: Finding, title: str, console: Console) -> None:
    """Print a finding under this title, which may say how many there are, with what follows and what to do."""
    line = Text(f"{translated(finding.severity).upper()}  ", style=SEVERITY_STYLES[finding.severity])
    line.append(translated(title), style="default bold")
    line.append(f"  [{finding.kind}]", style="not bold dim")
    console.print()
    console.print(line, soft_wrap=True)
    told = " ".join(translated(part) for part in (finding.meaning, finding.cure) if part)
    console.print(Padding(Text(told), (0, 0, 0, 2)))


def _catalogue(severity: str, text: str) -> Iterator[Finding]:
    """Read findings of three lines each: kind and title, then the meaning, then the cure."""
    lines = [line.strip() for line in text.strip().splitlines()]
    for head, meaning, cure in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        kind, title = head.split(": ", 1)
        yield Finding(kind=kind, severity=severity, title=title, meaning=meaning, cure=cure)


_ERRORS = """
unreadable: Folders, archives or files that cannot be read
    Nothing in them is used.
    Check permissions; download damaged archives again; unpack encrypted ones and those of Deflate64.
label-without-video: Labels without a video
    No video has the label's base name, or the name in its metaData. Often a download is incomplete.
    Download the missing videos, or fix the names.
video-without-label: Videos without a label
    No label file has the video's base name. Often the archive with the labels was not downloaded.
    Download the missing labels, or fix the names.
label-unreadable: Labels that cannot be read
    Not of AIHub's form, or of ELAN's or subtitles', or with several tiers: none of its segments is used.
    Download the file again, or correct it in an editor. --tier chooses a tier.
label-incomplete: Labels of which a part cannot be read
    A time, a gloss or a value of metaData means nothing: its segment or value is left out, the rest is used.
    Correct the file in an editor.
label-empty: Labels without a segment
    The file is well formed, but its list of segments is empty.
    Annotate the video, or leave it out.
row-unusable: Table rows that make no segment
    A value is missing or impossible, or the row's video is not there.
    Correct the rows.
video-unreadable: Videos that do not open
    No video container that FFmpeg knows, or no video stream in it.
    Download the file again.
video-truncated: Videos that are cut off
    The file ends before the frames that its index lists, or before the index itself.
    Download the file again.
video-damaged: Videos that do not decode to their end
    Found by --deep: clips at or behind the damage cannot be made.
    Download the file again.
video-without-rate: Folders of pictures without a frame rate
    Pictures have none of their own: the segments of such a video are not used.
    Give --fps.
video-missing-pictures: Videos of pictures with missing numbers
    Clips that would show a missing picture cannot be made. Often a download or an extraction was broken off.
    Extract or download the pictures again.
segment-inverted: Segments that end before they start, or start before 0
    They have no frames.
    Correct the times in the label.
segment-empty: Segments that end where they start
    They have no frames.
    Correct the times in the label.
segment-outside: Segments that start after their video's end
    They have no frames. Often the label belongs to another take.
    Check that label and video belong together.
keypoints-unreadable: Keypoints with frames that cannot be read
    A file is damaged, no JSON, or not of AIHub's form: clips that show the frame cannot be made.
    Download the file again.
segment-outside-keypoints: Segments that start after their keypoints
    They have no frames in a cache of landmarks. Often the times are those of another signer.
    Check that label and keypoints belong together.
landmarks-unreadable: Landmark files that cannot be read
    A file is damaged, cut off, or of another form than docs/landmarks.md tells: its clips cannot be made.
    Download or write the file again.
segment-outside-landmarks: Segments that start after their landmark file ends
    They have no frames in a cache of landmarks. Often the file is another take's.
    Check that label and file belong together.
"""

_WARNINGS = """
partial-download: Unfinished downloads
    Pieces that a download has left, or a zip of which pieces are missing; what they hold is not used.
    Download what is missing. Pieces of a zip (.zip.part0, .zip.part1, ...) are read where they lie: join nothing.
unread-archive: Archives that are not looked into
    Zips and uncompressed tars are read in place, and none inside another.
    Unpack them.
video-missing: Rows of a published set whose videos are not there
    They are left out. In WLASL and MS-ASL dead links are normal; elsewhere a part was not downloaded.
    Download what is missing, or go on without it.
box-unusable: Table rows whose box means nothing
    With --crop signer the row's clip shows what moves in it.
    Correct the box, or leave all four cells empty.
same-name: Files with the base name of another
    Pairing is by base name: the first file is taken, this one is not.
    Remove one of them, or rename both video and label.
shared-name: Labels of one video, or videos of a class folder that have one name
    All are taken, and their clips have different ids. Where one is a copy, a performance counts twice.
    Remove the one that is a copy, or correct the name in its metaData.
duplicate-video: Videos with the same content as another
    A performance counts twice, or was labelled under a wrong name. Splits keep such twins together.
    Find out which name is right, and remove the other, or build with --duplicates drop.
joined-recordings: Videos of which only the first part is read
    The clock starts again where two recordings were joined: clips behind that place cannot be made.
    Split the file there.
leak-take: Takes in more than one split
    The views of a take show one performance: validation would test what was trained.
    Move all views of a take to one split.
leak-content: Video contents in more than one split
    The same file validates and trains.
    Build with --duplicates drop (one of them is left out) or together (both are in one split).
leak-signer: Signers in more than one split
    Accuracy would say nothing about people whom the model has not seen.
    Split by signer.
missing-views: Takes without views that other takes have
    Expected are the views that at least half of the takes of the same kind and source have.
    Download the missing videos.
missing-words: Signers without words that other signers have
    Expected are the words that at least half of the signers of the same source and kind have.
    Download the missing archives: an incomplete set of signers costs much accuracy.
missing-signers: Signers with labels and without a video
    One archive of labels holds all signers, videos come in one or several for each: some of these are not there.
    Download the missing archives, or choose the others by --signer.
times-of-another-signer: Signers whose labels have the times of another signer
    To the millisecond, in half of their items or more: times were copied, and clips do not show their sign.
    Take the labels of each signer from the archive of labels, which holds those of all.
segment-past-end: Segments that end after their video
    The clip is made from the part that is there.
    Check that label and video belong together.
label-without-keypoints: Labels without keypoints
    No keypoints have the label's base name, or the name in its metaData: a cache of landmarks lacks its clips.
    Download the missing keypoints, or fix the names.
keypoints-without-label: Keypoints without a label
    No label file has their base name: they are in no cache.
    Download the missing labels, or fix the names.
keypoints-missing-frames: Keypoints with missing frames
    Numbers have a gap: the frame before it is shown instead. Often a download or an extraction was broken off.
    Extract or download the files again.
keypoints-empty: Keypoints with frames that show nobody
    All points are 0, or the list of people is empty: the landmarks of these frames are NaN.
    Look at the video; leave the clip out if it is so where somebody signs.
segment-past-keypoints: Segments that end after their keypoints
    The clip is made from the part that is there. Often the times are those of another signer.
    Check that label and keypoints belong together.
label-without-landmarks: Labels without a landmark file
    No landmark file has the label's base name, or the name in its metaData: a cache of landmarks lacks its clips.
    Make the missing files, or fix the names.
landmarks-without-label: Landmark files without a label
    No label file has their base name: they are in no cache.
    Download the missing labels, or fix the names.
landmarks-missing-frames: Landmark files with missing frames
    Times have a gap: the frame before it is shown instead. Often frames without a person were left out.
    Write a frame without landmarks for them, so that nobody is shown there, or find the landmarks again.
landmarks-empty: Landmark files with frames that show nobody
    All points are 0, NaN or without confidence: the landmarks of these frames are NaN.
    Look at the video; leave the clip out if it is so where somebody signs.
landmarks-outside-picture: Landmark files with many points outside the picture
    Such points are not seen. Often they are in pixels where parts of the picture are expected, or were normalised.
    Write x and y in the units that docs/landmarks.md tells, and the picture's true size.
landmarks-rate: Landmark files whose frame rate seems wrong
    Fewer than 5 or more than 240 frames/s, or a length over 0.5 s from that of video or label (1 s from a whole one).
    Correct the file's fps or seconds: clips would show other moments.
segment-past-landmarks: Segments that end after their landmark file
    The clip is made from the part that is there. Often the file is another take's, or its frame rate is wrong.
    Check that label and file belong together.
segment-overlap: Segments that overlap the one before
    Frames are in two clips, perhaps under two glosses.
    Correct the times in the label.
duration-mismatch: Labels that state another duration than their video has
    Over 0.5 s apart (1 s where the label rounds to whole seconds): label or video may be another take's.
    Check that label and video belong together.
too-few-frames: Segments with fewer frames than a clip
    Their clips repeat frames.
    Use fewer --num-frames or a --margin-seconds, or check the times.
gloss-spelling: Glosses that differ from another by spaces or Unicode form only
    Each spelling becomes a class of its own.
    Agree on one spelling.
"""

_NOTES = """
misjoined-archive: Zips whose pieces were joined in the order of their names
    part10 lies before part2 in them; they are read in the order of the numbers, and nothing is lost.
    Nothing to do in signprep. For other programs join the pieces again, by their numbers.
gloss-form: Glosses not in Unicode NFC, or with spaces around them
    signprep reads them in NFC without these spaces; other programs may see two classes.
    Nothing to do in signprep.
homonym: Glosses with several ids
    They are one class by default.
    --class-by item makes each id a class.
empty-annotations: ELAN files or subtitles with annotations without a text
    They are left out; the others are used.
    Write their glosses if signs are made there.
same-signs: ELAN files or subtitles with the signs of another file of their video
    Only the other one is read. Of .eaf, .vtt and .srt it is the first that is there.
    Correct that one: other corrections are not read, and scan warns of them.
row-of-error: Table rows that say why a video has no signs
    `infer --signs` writes such a row for a video that it could not read, or a part of one.
    Nothing to do in this table.
several-attributes: Segments with several glosses
    The first gloss is taken.
    --attributes all makes a clip for each.
variable-rate: Videos with a variable frame rate
    Frames are chosen by their timestamps: clips are right, but programs that count frames are not.
    Nothing to do in signprep.
rotation: Videos that are shown turned or mirrored
    Clips are turned as players do.
    Look at one clip to see that it is upright.
edit-list: Videos with an edit list or a late start
    Time 0 is the first frame that is shown; labels made with other programs may count otherwise.
    Compare one clip with its label.
declared-length: Videos that declare another length than they have
    Clips are cut from the frames that are there; other programs may show another length.
    Nothing to do in signprep.
unknown-name: Videos whose names tell no signer or item
    Each is a take of its own, and splits cannot keep signers apart.
    Give --name-pattern.
"""

FINDINGS = (*_catalogue(ERROR, _ERRORS), *_catalogue(WARNING, _WARNINGS), *_catalogue(NOTE, _NOTES))
"""Everything that a scan can find, worst first; a title is that of the list of files concerned."""
