"""The options of `serve`, and those of one request, which are read from its address as the command line reads them."""

import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import click

from signprep.inference.options import AnswerOptions, InferOptions, TimelineOptions, WindowArguments
from signprep.pipeline.cli.options import command, given_parameters, reject_unused
from signprep.pipeline.options import Options, machine_option, option

TOKEN_VARIABLE = "SIGNPREP_TOKEN"
HEAD_SECONDS = 10.0
"""Time for the head of a request, from when the connection is there, or the answer before has been given; and for what
a client still sends though it has been refused."""
SINGLE, WINDOWS, TIMELINE = "single", "windows", "timeline"
SHORTEST_TOKEN = 16
LONGEST_NAME = 200
"""Characters of what a video is called."""
MAX_ANSWERS = 20_000
"""Windows of one request."""
MAX_PROBABILITIES = 2_000_000
"""Numbers that one request may get back, where it asks for the probabilities of more glosses than one."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions(Options, group="Run"):
    """Choose where `serve` listens, and what it refuses."""

    host: str = option("127.0.0.1", "Listen on this address; any but this machine's own needs a token.", group="Run")
    port: int = option(8000, "Listen on this port; 0 takes a free one.", minimum=0, maximum=65535)
    token: str | None = option(
        None,
        "Answer only those who send this token; better told by the environment, as SIGNPREP_TOKEN, where other users "
        "of the machine cannot see it.",
        metavar="TEXT",
    )
    max_megabytes: int = option(200, "Refuse uploads that are larger.", minimum=1)
    max_video_seconds: float = option(600.0, "Refuse videos that are longer.", above=0)
    timeout_seconds: float = option(
        120.0, "Give up an upload, and then its answer, after so many seconds each.", above=0
    )
    queue: int = option(32, "Let so many requests wait; refuse others until there is room.", minimum=1)
    batch_size: int = machine_option(8, "Send this many clips of all requests through the model together.", minimum=1)
    num_workers: int = machine_option(
        2, "Decode so many videos at the same time, each in a process.", name="--workers", minimum=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token is None and (found := os.environ.get(TOKEN_VARIABLE)):
            object.__setattr__(self, "token", found)
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise ValueError(
                f"token has {len(self.token)} characters; it must have at least {SHORTEST_TOKEN}, as of: "
                "openssl rand -hex 16"
            )
        if self.token is None and not self.is_local:
            raise ValueError(
                f"host is {self.host}, where others can reach it; it needs a --token, or SIGNPREP_TOKEN in the "
                "environment"
            )

    @property
    def is_local(self) -> bool:
        """Return whether only programs of this machine reach the address."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def max_bytes(self) -> int:
        """The largest upload."""
        return self.max_megabytes * 1_000_000


@dataclass(frozen=True, kw_only=True)
class PredictOptions(AnswerOptions, group="Output"):
    """Choose what a request gets, beside the options of `infer`."""

    mode: str = option(
        SINGLE,
        "Answer for one window, for windows over the whole video, or with the signs that are made one after the other.",
        choices=(SINGLE, WINDOWS, TIMELINE),
    )
    name: str = option("video", "Call the video so in the answer and in errors.")


@dataclass(frozen=True, kw_only=True)
class Query:
    """What a request asks for."""

    mode: str
    name: str
    options: InferOptions
    gives_windows: bool
    """True if it chooses windows, which a clip does not have."""
    of_timeline: frozenset[str] = frozenset()
    """Fields of TimelineOptions that it chooses; the others are those of the server."""


@command("predict", "Say which signs a video shows.")
def query_command(predict: PredictOptions, windows: WindowArguments, timeline: TimelineOptions) -> Query:
    """Say which sign a video shows, or which signs one after the other."""
    with_timeline, several = predict.mode == TIMELINE, predict.mode == WINDOWS
    if not with_timeline:
        reject_unused(TimelineOptions, "--mode timeline")
    if predict.mode == SINGLE:
        reject_unused(["stride"], "--mode windows or timeline")
    return Query(
        mode=predict.mode,
        name=predict.name,
        options=InferOptions(
            windows=windows.windows(several=several, timeline=with_timeline),
            top_k=predict.top_k,
            with_probabilities=predict.with_probabilities,
            timeline=timeline if with_timeline else None,
        ),
        gives_windows=with_timeline or several or windows != WindowArguments(),
        of_timeline=frozenset(found.name or "" for found in given_parameters(TimelineOptions)),
    )


query_command.add_help_option = False


def read_query(parameters: Iterable[tuple[str, str]], timeline: TimelineOptions = TimelineOptions()) -> Query:
    """Return what the parameters of an address ask for; their names are those of the options, without the hyphens.

    A switch is turned on by `true`, `1` or nothing, and off by `false` or `0`. An empty idle gloss is none.

    Args:
        parameters: names and values.
        timeline: holds where a request for a timeline says nothing.

    Raises UsageError as the command line does, and for a parameter that comes twice.
    """
    given = tuple(parameters)
    names = [value for key, value in given if key == "name"]
    if len(names) != 1 or names[0].startswith("~"):
        query = _read_query(given)
    else:  # each request may have another name, and the same options
        query = replace(_read_query(tuple(pair for pair in given if pair[0] != "name")), name=names[0])
    if (asked := query.options.timeline) is None:
        return query
    chosen = {name: getattr(asked, name) for name in query.of_timeline}
    if chosen.get("idle_gloss") == "":
        chosen["idle_gloss"] = None
    return replace(query, options=replace(query.options, timeline=replace(timeline, **chosen)))


@lru_cache(maxsize=256)
def _read_query(parameters: tuple[tuple[str, str], ...]) -> Query:
    known = {name: found for found in query_command.params for name in found.opts if isinstance(found, click.Option)}
    arguments: list[str] = []
    for given, value in parameters:
        name = f"--{given.replace('_', '-')}"
        if any(argument.partition("=")[0] == name for argument in arguments):
            raise click.UsageError(f"'{name}' is given twice")
        if value.startswith("~"):  # which the command line takes for somebody's home
            raise click.UsageError(f"Invalid value for '{name}': it begins with ~")
        is_switch = name in known and getattr(known[name], "is_flag", False)
        arguments += _switch(name, value) if is_switch else [f"{name}={value}"]
    with query_command.make_context("predict", arguments) as context:
        found: Query = query_command.invoke(context)
    return found


def _switch(name: str, value: str) -> Sequence[str]:
    if value.lower() not in ("true", "1", "", "false", "0"):
        raise click.UsageError(f"Invalid value for '{name}': {value!r} is neither true nor false.")
    return [name] if value.lower() in ("true", "1", "") else []
