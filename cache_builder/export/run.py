"""A cache written for another library: a folder with a data-set card, there as a whole or not at all."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from signprep.cache_builder import as_cache
from signprep.cache_builder.export.card import SUMMARY, card, summary
from signprep.cache_builder.export.clips import Export
from signprep.cache_builder.export.lerobot import write_lerobot
from signprep.cache_builder.export.video_folder import write_video_folder
from signprep.cache_builder.export.web_dataset import write_web_dataset
from signprep.cache_builder.options import LEROBOT, VIDEO_FOLDER, WEBDATASET, DatasetExportOptions
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.pictures import has_h264
from signprep.pipeline.errors import CacheError, SignprepError
from signprep.pipeline.runtime.atomic_files import atomic_folder, write_json
from signprep.pipeline.runtime.installation import install_packages
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import byte_size, counted

_WRITERS: dict[str, Callable[[Export, Path, Callable[[int], None]], None]] = {
    LEROBOT: write_lerobot,
    WEBDATASET: write_web_dataset,
    VIDEO_FOLDER: write_video_folder,
}


@dataclass(frozen=True, kw_only=True)
class ExportedDataset:
    """What was written."""

    path: Path
    num_clips: int
    num_files: int
    num_bytes: int
    quality: str
    """How near the pixels are to the cache's, in words."""

    def __str__(self) -> str:
        files = f"{counted(self.num_files, 'file')}, {byte_size(self.num_bytes)}"
        return f"{self.path}: {counted(self.num_clips, 'clip')} in {files}; {self.quality}"


def export_dataset(
    cache: Cache | StrPath, out: StrPath, options: DatasetExportOptions, *, overwrite: bool = False
) -> ExportedDataset:
    """Write the clips of a cache into a folder in the form of another library, with a card, README.md.

    Args:
        cache: open, or its path or URL.
        out: the folder; it must not be there, unless it is empty.
        options: the form, and what is written in it.
        overwrite: replace a data set that this function wrote to the folder before, once the new one is whole.

    Raises:
        SignprepError: the folder cannot be written or holds something else, or this PyAV writes no H.264.
        CacheError: the form is not for what the cache stores, or there are no clips in a split that is asked for.
        CacheCorruptError: a clip is damaged. Nothing is left of what was written.
    """
    cache, out = as_cache(cache), as_path(out)
    _require_free(out, overwrite=overwrite)
    if out.resolve().is_relative_to(cache.path.resolve()):
        raise SignprepError(f"{out}: lies in the cache itself; choose a folder beside it")
    if cache.clip_spec.content != "pixels" and (options.to == VIDEO_FOLDER or options.clips == "mp4"):
        raise CacheError(
            f"{cache}: stores landmarks, which are no videos; export it --to webdataset, where they are arrays, or "
            "--to lerobot"
        )
    export = Export(cache, options)
    if export.is_video and not has_h264():
        again = install_packages("--force-reinstall", "av")
        raise SignprepError(f"this PyAV was built without x264, which writes H.264; its own wheels have it: {again}")
    with atomic_folder(out) as folder:
        with progress_bar("Exporting", len(export.positions), "clips") as progress:
            _WRITERS[options.to](export, folder, progress)
        document = summary(export)
        (folder / "README.md").write_text(card(export, document), encoding="utf-8")
        write_json(folder / SUMMARY, document)
        files = [path for path in folder.rglob("*") if path.is_file()]
        num_bytes = sum(path.stat().st_size for path in files)
    return ExportedDataset(
        path=out,
        num_clips=len(export.positions),
        num_files=len(files),
        num_bytes=num_bytes,
        quality=document["quality"],
    )


def _require_free(out: Path, *, overwrite: bool) -> None:
    """Raise SignprepError if something is at a path that must not be replaced."""
    if not out.parent.is_dir():
        raise SignprepError(f"{out}: cannot be written: there is no folder {out.parent}; create it first")
    if out.exists() and not out.is_dir():
        raise SignprepError(f"{out}: is a file; a data set is a folder: give another name")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not _is_export(out):
        raise SignprepError(f"{out}: holds files that export-dataset has not written; choose another folder")
    if not overwrite:
        raise SignprepError(f"{out}: a data set was exported there before; --overwrite replaces it")


def _is_export(folder: Path) -> bool:
    try:
        return "signprep_export" in json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
