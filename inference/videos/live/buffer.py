"""Frames between the thread that decodes them and the one that answers: few of them, and none that is late.

A camera does not wait. Where answers take longer than its frames, the oldest are dropped and counted, so that what is
said is never behind by more than `MOST_LATE_SECONDS`; a file and a pipe wait instead, and nothing is dropped.
"""

import threading
import time
from collections import deque
from typing import NamedTuple

from signprep.inference.videos.live.sources import LiveFrame, Source

MOST_LATE_SECONDS = 0.5
"""A frame that waits longer is dropped."""
MOST_FRAMES = 64
"""So many may wait, whatever their rate."""
_LEFT_SECONDS = 2.0


class Arrived(NamedTuple):
    """A frame and when it arrived, by `time.monotonic`."""

    shown: LiveFrame
    at: float


class FrameBuffer:
    """A source's frames, decoded by a thread of its own."""

    def __init__(self, source: Source, *, plays: bool, drops: bool) -> None:
        """Begin to decode.

        Args:
            source: gives the frames.
            plays: give each frame when its time has come, as a camera would.
            drops: drop frames that are late, instead of waiting with the next one.
        """
        self.dropped = 0
        """Frames that came too late."""
        self.error: Exception | None = None
        """Why there are no more frames, if the source has not simply ended."""
        self._source, self._plays, self._drops = source, plays, drops
        self._waiting: deque[Arrived] = deque()
        self._changed = threading.Condition()
        self._has_ended = self._is_closed = False
        self._thread = threading.Thread(target=self._decode, name="signprep-live", daemon=True)
        self._thread.start()

    def take(self, timeout_seconds: float) -> Arrived | None:
        """Return the next frame; None if none came in this time, or none comes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._has_ended, timeout_seconds)
            if not self._waiting:
                return None
            self._changed.notify_all()
            return self._waiting.popleft()

    @property
    def has_ended(self) -> bool:
        """Return whether no frame comes any more."""
        with self._changed:
            return self._has_ended and not self._waiting

    def close(self) -> None:
        """End the thread. One that waits for a camera or a pipe that gives nothing is left behind."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(None if self._source.windows is not None else _LEFT_SECONDS)

    def _decode(self) -> None:
        started = None
        try:
            for shown in self._source.frames:
                started = time.monotonic() - shown.seconds if started is None else started
                if not self._put(shown, started + shown.seconds if self._plays else 0.0):
                    return
        except Exception as error:  # the thread that answers has to tell it
            self.error = error
        finally:
            self._source.frames.close()
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def _put(self, shown: LiveFrame, due: float) -> bool:
        """Give a frame when it is due; return False if nobody wants more."""
        with self._changed:
            if (wait := due - time.monotonic()) > 0:
                self._changed.wait_for(lambda: self._is_closed, wait)
            now = time.monotonic()
            if self._drops:
                self._waiting.append(Arrived(shown, now))
                while len(self._waiting) > MOST_FRAMES or now - self._waiting[0].at > MOST_LATE_SECONDS:
                    self._waiting.popleft()
                    self.dropped += 1
            else:
                self._changed.wait_for(lambda: self._is_closed or len(self._waiting) < MOST_FRAMES)
                self._waiting.append(Arrived(shown, time.monotonic()))
            self._changed.notify_all()
            return not self._is_closed
