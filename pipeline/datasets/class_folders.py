"""Class folders: `GLOSS/clip.mp4`, each video a whole segment of its folder's gloss."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from signprep.pipeline.datasets.annotations import (
    VIDEO_SUFFIXES,
    Problem,
    Report,
    SourceOptions,
    normal_gloss,
    parse_name,
)
from signprep.pipeline.datasets.files import walk_files
from signprep.pipeline.datasets.segment import WHOLE_VIDEO_END, Segment
from signprep.pipeline.errors import AnnotationError


def class_folder_segments(root: Path, options: SourceOptions, report: Report) -> Iterator[Segment]:
    """Yield a segment for each video below a folder named by its gloss.

    Raises:
        AnnotationError: there is no such video.
    """

    def unreadable(path: str, message: str) -> None:
        report(Problem(kind="unreadable", path=path, message=message))

    empty = True
    for file in walk_files(root, unreadable, wanted=lambda name: Path(name).suffix.lower() in VIDEO_SUFFIXES):
        name = PurePosixPath(file.name)
        if len(name.parts) < 2:
            message = f"{root / file.name}: lies in no class folder"
            report(Problem(kind="video-without-label", path=file.name, message=message))
            continue
        empty = False
        base_name = Path(file.file_name).stem
        parts = parse_name(base_name, options.pattern)
        folder = re.sub(r"\.zip!$", "", name.parts[-2], flags=re.IGNORECASE)
        # Two folders may hold files of one name: the whole path makes ids and takes unique.
        path = unicodedata.normalize("NFC", name.with_suffix("").as_posix())
        take = parts.take if parts.signer else path
        yield Segment(
            segment_id=f"{path}#0",
            video=file.name,
            start_seconds=0.0,
            end_seconds=WHOLE_VIDEO_END,
            gloss=normal_gloss(folder),
            item=parts.item,
            source=parts.source,
            signer=parts.signer,
            view=parts.view,
            take=take,
        )
    if empty:
        raise AnnotationError(f"{root}: holds no video in a class folder; expected GLOSS/clip.mp4")
