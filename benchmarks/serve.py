"""Clips a second over HTTP beside the model alone, latency of a request, and many requests of which a tenth is broken.

`signprep serve` runs in a process of its own, with its defaults; clients on the same machine send clips as a cache
stores them, so that decoding is not what is measured, over loopback: one a request, and many a request. The model alone
is called in this process, with as many threads, for clips in memory, one at a time where one client sends one, else in
the server's batches; both take turns. Beside them stands a server with the same connections, which answers at once:
more requests than it answers nobody can. For the rest, videos, clips and broken requests, 10,000 with `--full`, come
mixed from 8 clients to a small model: what is lost and left over does not depend on it. Random weights, which are as
fast as trained ones. Clients take their part of the cores, which is told.
"""

import io
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import signprep.training.runtime.torchvision_operators  # noqa: F401  (before torchvision)

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._flood import empty_server, flood
from benchmarks._report import figure, print_line, print_machine, print_missing, print_table
from benchmarks._server import Answer, Request, Server, ask_all, serving
from benchmarks._signing import rendered
from benchmarks._size import Size
from benchmarks.live import untrained
from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.http.predict import CLIENT_LEFT, EVENTS
from signprep.inference.serve.http.uploads import CLIPS
from signprep.inference.serve.options import ServeOptions
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.options import SampleSpec
from signprep.training.model_spec import model_spec

CLIPS_A_REQUEST = 32
WAYS = ((1, 1), (1, 8), (1, 32), (CLIPS_A_REQUEST, 1), (CLIPS_A_REQUEST, 8))
"""Clips of a request, and clients."""
MIXED_CLIENTS = 8
SAME = 0.001
"""Numbers of an answer that differ by less are the same: the batches differ in which a clip goes through the model."""


def run(size: Size) -> None:
    print_machine(["torch", "starlette", "uvicorn"])
    print_line(f"{torch.get_num_threads()} threads of torch, batches of up to {ServeOptions.batch_size} clips")
    _, _, small = next(models(True))
    with tempfile.TemporaryDirectory() as folder:
        with serving(small, Path(folder)) as server:
            left = mixed(server, small, size)
        if left is not None:
            files_left([*left, *(str(path) for path in server.temporary.rglob("*"))])
    rows: list[tuple[str, ...]] = [
        ("", "clips/s", "the model alone", "ratio", "an empty server", "p50 ms", "p99 ms", "clips a batch", "clients")
    ]
    for goal, name, recognizer in models(size is Size.TOY):
        # A small model's round has to take long enough, too.
        num_clips = size.pick(
            *((32, 256, 512) if recognizer.metadata.clip_spec.landmarks is None else (32, 2048, 4096))
        )
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(recognizer, Path(folder)) as server,
            empty_server(Path(folder)) as empty,
        ):
            found = throughput(server, empty, recognizer, size.pick(1, 5, 5), num_clips)
        for (clips, clients), rounds in found.items():
            told = f"{clips} clip{'s' * (clips > 1)} a request, {clients} client{'s' * (clients > 1)}"
            rows.append((f"{name}: {told}", *rounds.row()))
        figure(goal, min(found[way].ratio for way in WAYS if way[0] == 1 < way[1]))
        figure(f"{goal}_many", min(found[way].ratio for way in WAYS if way[0] > 1))
    print_table(rows)
    print_line("an empty server: requests/s; p50 and p99 are those of a request; clients: part of a core")


def models(toy: bool) -> Iterator[tuple[str, str, Recognizer]]:
    """Yield the name of each model's goal, its own, and the model."""
    spec = model_spec("efficient_x3d_xs", num_frames=2 if toy else 4, crop_size=32 if toy else 112)
    clips = ClipSpec(num_frames=4, size=64 if toy else 128)
    yield "serve.pixels", f"{spec.name}, {spec.num_frames} x {spec.crop_size}", untrained(spec, clips)
    spec = model_spec("landmark_conv", num_frames=4 if toy else 16)
    clips = ClipSpec(num_frames=spec.num_frames, landmarks="mediapipe")
    yield "serve.landmarks", f"{spec.name}, {spec.num_frames} frames", untrained(spec, clips)


class Rounds:
    """What the rounds of a way to ask have found."""

    def __init__(self) -> None:
        self.served: list[float] = []
        """Clips a second of each round."""
        self.alone: list[float] = []
        self.empty: list[float] = []
        """Requests a second."""
        self.seconds: list[float] = []
        """Of each request."""
        self.clients: list[float] = []
        """Of a core, what the clients took of it."""
        self.clips, self.batches = 0.0, 0.0

    @property
    def ratio(self) -> float:
        return statistics.median(ours / model for ours, model in zip(self.served, self.alone, strict=True))

    def row(self) -> tuple[str, ...]:
        half, most = np.quantile(self.seconds, [0.5, 0.99])
        served, alone, empty, clients = map(statistics.median, (self.served, self.alone, self.empty, self.clients))
        batch = f"{self.clips / self.batches:.1f}"
        latency = (f"{1e3 * half:.1f}", f"{1e3 * most:.1f}")
        return (f"{served:.1f}", f"{alone:.1f}", f"{self.ratio:.2f}", f"{empty:.0f}", *latency, batch, f"{clients:.2f}")


def throughput(
    server: Server, empty: str, recognizer: Recognizer, num_rounds: int, num_clips: int
) -> dict[tuple[int, int], Rounds]:
    """Return what was found for each way to ask; before the rounds that count there is one that does not."""
    clips = random_clips(recognizer.metadata.clip_spec, CLIPS_A_REQUEST)
    found = {way: Rounds() for way in WAYS}
    for way in WAYS:  # the first calls of a model take longer
        one_round(server, empty, recognizer, clips, CLIPS_A_REQUEST, way, Rounds())
    for _ in range(num_rounds):
        for way, rounds in found.items():
            one_round(server, empty, recognizer, clips, num_clips, way, rounds)
    return found


def one_round(
    server: Server,
    empty: str,
    recognizer: Recognizer,
    clips: NDArray[Any],
    num_clips: int,
    way: tuple[int, int],
    rounds: Rounds,
) -> None:
    a_request, num_clients = way
    kinds = [clip_request(clips)] if a_request > 1 else [clip_request(clip) for clip in clips]
    requests = [kinds[number % len(kinds)] for number in range(num_clips // a_request)]
    before = server.counts()
    flooded = flood(server.address, requests, num_clients)
    after = server.counts()
    rounds.served.append(num_clips / flooded.seconds)
    rounds.seconds += flooded.latencies
    rounds.clients.append(flooded.client_seconds / flooded.seconds)
    rounds.clips += after["windows_total"] - before["windows_total"]
    rounds.batches += after["batches_total"] - before["batches_total"]
    batch_size = 1 if way == (1, 1) else ServeOptions.batch_size
    started = time.perf_counter()
    for first in range(0, num_clips, batch_size):
        place = first % len(clips)
        recognizer.window_probabilities([[clip] for clip in clips[place : place + batch_size]])
    rounds.alone.append(num_clips / (time.perf_counter() - started))
    rounds.empty.append(len(requests) / flood(empty, requests, num_clients).seconds)


def random_clips(spec: ClipSpec, number: int) -> NDArray[Any]:
    """Return clips of noise, [number, T, ...]."""
    values = np.random.default_rng(0).random((number, *spec.clip_shape))
    return (255 * values if spec.landmarks is None else values).astype(spec.dtype)


def clip_request(clip: NDArray[Any], status: int = 200) -> Request:
    file = io.BytesIO()
    np.save(file, clip)
    kind = f"clips {list(clip.shape)}"
    return Request(kind=kind, body=file.getvalue(), status=status, headers=(("Content-Type", CLIPS),))


def good_requests(videos: list[bytes], clips: NDArray[Any]) -> list[Request]:
    """Return requests in every way to ask."""
    ways = [
        ("one window", "mode=single&return-probabilities", ()),
        ("windows", "mode=windows&clip-duration=0.8&stride=0.4", ()),
        ("a timeline", "mode=timeline&clip-duration=0.8&stride=0.2", ()),
        ("events", "mode=windows&clip-duration=0.8&stride=0.8", (("Accept", EVENTS),)),
    ]
    asked = [
        Request(kind=kind, body=video, status=200, query=query, headers=headers)
        for video in videos
        for kind, query, headers in ways
    ]
    return [*asked, *(clip_request(clip) for clip in clips), clip_request(clips[:3])]


def broken_requests(video: bytes) -> list[Request]:
    """Return requests that are refused, each for another reason, and one whose client goes."""
    return [
        Request(kind="half a video", body=video[: len(video) // 2], status=422),
        Request(kind="text", body=b"no video\n" * 1000, status=422),
        Request(kind="nothing", body=b"", status=422),
        Request(kind="noise", body=np.random.default_rng(0).bytes(50_000), status=422),
        Request(kind="a header alone", body=video[:32], status=422),
        Request(kind="an option without a meaning", body=video, status=400, query="stride=-1"),
        Request(kind="2 GB", body=b"", status=413, declared_bytes=2_000_000_000),
        Request(kind="a client that goes", body=video, status=None),
        clip_request(np.zeros((1, 2, 3), np.uint8), status=422),
    ]


def mixed(server: Server, recognizer: Recognizer, size: Size) -> list[str] | None:
    """Send videos and clips in every way, and a tenth broken ones; return the files that are left over.

    None where the system does not tell of other processes.
    """
    if not Path("/proc/self/statm").exists():
        print_missing("what mixed requests leave over", "this system has no /proc")
        return None
    small = SampleSpec(words=2, signers=size.pick(1, 2, 2), frame_size=(160, 96))
    videos = [path.read_bytes() for path in sorted(rendered(small).rglob("*.mp4"))]
    good = good_requests(videos, random_clips(recognizer.metadata.clip_spec, size.pick(3, 48, 48)))
    broken = broken_requests(videos[0])
    choose = {True: cycle(broken), False: cycle(good)}
    order = np.random.default_rng(0).permutation(size.pick(30, 300, 10_000))
    requests = [next(choose[bool(place % 10 == 0)]) for place in order]
    before, resident = server.counts_at_rest(), list[tuple[float, float]]()
    alone = ask_all(server, [*good, *broken], 1)
    answers = ask_all(server, requests, MIXED_CLIENTS, lambda: resident.append(server.resident_mib()))
    after = server.counts_at_rest()
    answered(alone, answers, {name: after[name] - before.get(name, 0) for name in after})
    tenth = len(resident) // 10
    begun, ended = (statistics.median(memory for memory, _ in part) for part in (resident[:tenth], resident[-tenth:]))
    decoding = max(memory for _, memory in resident)
    print_line(
        f"resident memory, first tenth of requests {begun:.0f} MiB, last tenth {ended:.0f} MiB; of the processes that "
        f"decode together at most {decoding:.0f} MiB"
    )
    figure("serve.memory", ended / begun)
    return server.files_left()


def files_left(names: list[str]) -> None:
    print_line(f"files left over: {len(names)}" + "".join(f"; {name}" for name in names[:5]))
    figure("serve.files", len(names))


def answered(alone: list[Answer], beside: list[Answer], counted: dict[str, float]) -> None:
    """Print what became of requests.

    Args:
        alone: what each got while no other was there.
        beside: what they got while others were there.
        counted: what the server has counted meanwhile.
    """
    first = {answer.request: answer.document for answer in alone}
    answers = [*alone, *beside]
    wrong = Counter(f"{answer.request.kind}: {answer.status}" for answer in answers if not is_right(answer, first))
    sent = Counter(CLIENT_LEFT if answer.status is None else answer.status for answer in answers)
    uncounted = sum(
        abs(counted.get(f'requests_total{{status="{status}"}}', 0) - number) for status, number in sent.items()
    )
    half, most = np.quantile([answer.seconds for answer in beside if answer.status == 200], [0.5, 0.99])
    statuses = ", ".join(f"{number:,} x {status}" for status, number in sorted(sent.items()))
    print_line(
        f"{len(alone):,} requests one by one, {len(beside):,} mixed ones of {MIXED_CLIENTS} clients: {statuses}; "
        f"of the mixed ones that were good p50 {1e3 * half:.0f} ms, p99 {1e3 * most:.0f} ms"
    )
    print_line(f"wrong or lost: {wrong.total()}" + "".join(f"; {number} x {what}" for what, number in wrong.items()))
    print_line(
        f"the server itself counted {uncounted:g} otherwise, and started {counted['decoders_ended_total']:g} decoding "
        "processes anew"
    )
    figure("serve.wrong", wrong.total() + uncounted)


def is_right(answer: Answer, first: dict[Request, Any]) -> bool:
    """Return whether an answer has the right status, and says what the request's first one said."""
    if answer.status != answer.request.status:
        return False
    found, expected = (list(numbers(document)) for document in (answer.document, first[answer.request]))
    return len(found) == len(expected) and bool(np.allclose(found, expected, rtol=0, atol=SAME))


def numbers(document: Any) -> Iterator[float]:
    """Yield all numbers of a document."""
    if isinstance(document, int | float):
        yield document
    elif isinstance(document, dict | list):
        for part in document.values() if isinstance(document, dict) else document:
            yield from numbers(part)
