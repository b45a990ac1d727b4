"""Counts of the server since its start, and their text in the format that Prometheus reads (version 0.0.4)."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper ends of the durations that are counted together, in seconds."""
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counts that several threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: defaultdict[str, dict[_Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._durations: Counter[float] = Counter()
        self._total_seconds = 0.0
        self._gauges: dict[str, Callable[[], float]] = {}

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a count, one of `HELP`."""
        with self._lock:
            self._counts[name][tuple(sorted(labels.items()))] += amount

    def gauge(self, name: str, value: Callable[[], float]) -> None:
        """Let a value be asked for whenever the text is written."""
        self._gauges[name] = value

    def answered(self, seconds: float) -> None:
        """Note how long an answer took, from the request's first byte to the answer's last."""
        with self._lock:
            self._durations[next((end for end in BUCKETS if seconds <= end), float("inf"))] += 1
            self._total_seconds += seconds

    @property
    def mean_seconds(self) -> float:
        """How long an answer took on average, 1 before the first."""
        number = self._durations.total()
        return self._total_seconds / number if number else 1.0

    def text(self) -> str:
        """Return all counts, a line each."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        for name, told in HELP.items():
            yield f"# HELP signprep_{name} {told}"
            kind = "gauge" if name in self._gauges else "counter"
            yield f"# TYPE signprep_{name} {kind}"
            if name in self._gauges:
                yield f"signprep_{name} {_exact(self._gauges[name]())}"
            for labels, value in sorted(self._counts[name].items()) or ([((), 0.0)] if kind == "counter" else []):
                shown = ",".join(f'{label}="{text}"' for label, text in labels)
                yield f"signprep_{name}{{{shown}}} {_exact(value)}" if shown else f"signprep_{name} {_exact(value)}"
        yield "# HELP signprep_request_seconds How long requests took that were answered."
        yield "# TYPE signprep_request_seconds histogram"
        number = 0
        for end in (*BUCKETS, float("inf")):
            number += self._durations[end]
            yield f'signprep_request_seconds_bucket{{le="{"+Inf" if end == float("inf") else f"{end:g}"}"}} {number}'
        yield f"signprep_request_seconds_sum {_exact(self._total_seconds)}"
        yield f"signprep_request_seconds_count {number}"


def _exact(value: float) -> str:
    """Return a number with all its digits: what a count has grown by is a difference of large ones.

    >>> _exact(12_345_678.0), _exact(0.125)
    ('12345678', '0.125')
    """
    return str(int(value)) if value == int(value) else repr(value)


HELP = {
    "requests_total": "Requests for answers, by the status of the response; 499 where the client has gone.",
    "part_errors_total": "Clips, and files of forms, that were refused in the answers of requests with several.",
    "upload_bytes_total": "Bytes of uploads.",
    "windows_total": "Windows that have an answer.",
    "batches_total": "Calls of the model.",
    "model_seconds_total": "Seconds in which the model worked.",
    "decoders_ended_total": "Decoding processes that were ended or died, and were started anew.",
    "requests_active": "Requests for answers that are there now, waiting ones among them.",
    "requests_allowed": "How many may be there at a time.",
}
"""What each count is; names get the prefix signprep_."""
