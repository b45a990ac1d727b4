"""What a folder could be that was read as something else, or as nothing: a published set, a table, or class folders."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from signprep.pipeline.datasets.annotations import AIHUB_NAME, decoded
from signprep.pipeline.datasets.files.names import is_read_archive, is_video, whole_name
from signprep.pipeline.datasets.presets.listing import ends_as
from signprep.pipeline.datasets.presets.rows import tail_pattern
from signprep.pipeline.datasets.presets.spec import TABLE, VIDEOS, Preset, Source, builtin_presets, read_preset
from signprep.pipeline.datasets.tables.options import REQUIRED
from signprep.pipeline.datasets.tables.segments import TABLE_SUFFIXES
from signprep.pipeline.runtime.text import first_of, printable

_LISTED, _HEADER_BYTES, _SHOWN_TABLES = 4000, 2**14, 3


def suggestions(root: Path, *, has_labels: bool = False) -> list[str]:
    """Return what else a folder could be read as, each as words with the options to say so; few files are looked at.

    Folders named by their gloss have no labels: where some were read, they are not proposed, and nothing is where all
    files are AIHub's.
    """
    if not root.is_dir():
        return []
    names = list(_first_names(root, _LISTED))
    if has_labels and all(map(_is_of_aihub, names)):
        return []  # without reading what presets are like
    presets = [read_preset(path) for path in builtin_presets().values()]
    found = [preset for preset in presets if _is_like(preset, root, names)]
    # Names of videos alone tell less than files of labels.
    found = [preset for preset in found if any(source.form != VIDEOS for source in preset.sources)] or found
    told = [f"--preset {preset.name} reads {preset.about.partition(':')[0]}" for preset in found]
    tables = [name for name in names if PurePosixPath(name).suffix.lower() in TABLE_SUFFIXES]
    if tables and not found:
        path = str(root / tables[0])
        typed = path if path.split() == [path] else shlex.quote(path)
        told.append(f"a table in it is read by --data-root {typed}" + _columns(root / tables[0]))
        if len(tables) > 1:
            told[-1] += f"; others are {first_of(tables[1:], _SHOWN_TABLES)}"
    folders = {PurePosixPath(name).parent.name for name in names if is_video(name) and "/" in name}
    if len(folders) > 1 and not (found or tables or has_labels):
        told.append(f"--layout classes takes its folders' names for glosses: {first_of(sorted(folders), 3)}")
    return [printable(line) for line in told]


def _first_names(root: Path, limit: int) -> Iterator[str]:
    """Yield the first files of a folder, those of its first folders before those that lie deeper, and not in zips."""
    folders = [root]
    while folders and limit > 0:
        folder, *folders = folders
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        for path in entries[:limit]:
            limit -= 1
            if path.is_dir():
                folders.append(path)
            else:
                yield path.relative_to(root).as_posix()


def _is_of_aihub(name: str) -> bool:
    """Return True for a file that is read as AIHub's, and nothing else: a video, a label, or an archive of them."""
    name = name.rpartition("/")[2]
    named = AIHUB_NAME.match(name) is not None and (is_video(name) or name.endswith(".json"))
    return named or is_read_archive(whole_name(name) or name)


def _is_like(preset: Preset, root: Path, names: list[str]) -> bool:
    """Return True if all that a preset needs is there, with the columns that it names."""
    needed = [source for source in preset.sources if not source.optional]
    needed += [join.source for join in preset.joins if join.required]
    videos = [name for name in names if is_video(name)]
    return all(_has(source, preset, root, names, videos) for source in needed)


def _has(source: Source, preset: Preset, root: Path, names: list[str], videos: list[str]) -> bool:
    if source.form == VIDEOS:
        pattern = tail_pattern(source)
        num_matching = sum(pattern.fullmatch(name) is not None for name in videos)
        return num_matching > 0 and num_matching >= 0.5 * len(videos)
    found = next((name for pattern in source.files for name in names if ends_as(name, pattern)), None)
    if found is None or source.form != TABLE or source.columns is not None or source not in preset.sources:
        return found is not None
    header = _first_line(root / found)
    fields = [template.fields for key in ("video", "gloss") for template in preset.templates[key][-1:]]
    given = {name for extract in (*preset.extracts, *source.extracts) for name in extract.fields}
    return all(name in header for names in fields for name in names if name not in given)


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return next(iter(decoded(file.read(_HEADER_BYTES)).splitlines()), "")
    except OSError:
        return ""


def _columns(path: Path) -> str:
    if path.suffix.lower() == ".parquet":
        return ", with --columns video=NAME,gloss=NAME if they are called otherwise"
    header = _first_line(path)
    if set(REQUIRED) <= set(re.split(r"\W+", header)):
        return ""
    return f", with --columns video=NAME,gloss=NAME for its columns {header[:120]}"


def hint_at_folder(path: Path) -> str:
    """Return how a file is read that is no table: by a preset, or with the folder that it lies in."""
    presets = (read_preset(found) for found in builtin_presets().values())
    names = [preset.name for preset in presets if any(_is_of(source, path.name) for source in preset.sources)]
    return f"--preset {names[0]} reads it" if names else "give the folder that it lies in"


def _is_of(source: Source, name: str) -> bool:
    return any(ends_as(name, pattern.rpartition("/")[2]) for pattern in source.files if "*" not in pattern)
