"""Every error a user can cause or meet, in one tree.

    SignprepError
    ├── AnnotationError
    ├── DecodeError
    ├── CacheError
    │   ├── CacheVersionError
    │   ├── CacheIncompleteError
    │   └── CacheCorruptError
    ├── TrainingError
    ├── StoppedError
    └── CheckpointError

A message says which file, what was found, what was expected and what to do. The command line turns these into
one line; any other exception is a bug and keeps its traceback.
"""


class SignprepError(Exception):
    """Base of all errors that signprep raises on purpose."""


class AnnotationError(SignprepError):
    """A label file, table or data root cannot be used."""


class DecodeError(SignprepError):
    """A video does not open, or does not give the frames asked of it."""


class CacheError(SignprepError):
    """A cache cannot be written or read."""


class CacheVersionError(CacheError):
    """The path holds no signprep cache, or one of a newer format."""


class CacheIncompleteError(CacheError):
    """The build of this cache has not ended."""


class CacheCorruptError(CacheError):
    """Stored bytes are missing or are not those that were written."""


class StoppedError(SignprepError):
    """Ctrl-C, or a signal like it: what was done is kept, and the message says how to go on."""


class TrainingError(SignprepError):
    """A training run cannot start, or cannot go on."""


class CheckpointError(SignprepError):
    """The file is no signprep checkpoint, or does not fit its use."""
