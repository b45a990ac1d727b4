"""Pictures of a folder of a data root as the frames of one video.

In: where the folder lies. Out: an `ImageSequence`, whose pictures are read in place.
"""

from pathlib import Path

from signprep.pipeline.errors import AnnotationError, DecodeError
from signprep.pipeline.video.image_sequence import ImageSequence, in_order, required_fps


def open_pictures(folder: Path, fps: float | None) -> ImageSequence:
    """Return the pictures of a folder as a video. Raises AnnotationError if they are none, or no rate is given."""
    name = str(folder)
    try:
        return ImageSequence.of_folder(folder, required_fps(fps, name), name)
    except DecodeError as error:
        raise AnnotationError(str(error)) from None


def holds_pictures(folder: Path) -> bool:
    """Return True for a folder whose pictures may be the frames of a video."""
    try:
        return bool(in_order(path.name for path in folder.iterdir()))
    except (OSError, DecodeError):
        return False


def stamps_of_pictures(folder: Path) -> list[tuple[int, int]]:
    """Return size and time of change of each picture of a folder. Raises OSError or DecodeError if there are none."""
    files = [(folder / picture.name).stat() for picture in in_order(path.name for path in folder.iterdir())]
    return [(status.st_size, status.st_mtime_ns) for status in files]
