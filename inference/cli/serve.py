"""The command `serve`."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from signprep.inference.cli.infer import recognizer_of
from signprep.inference.options import ModelOptions, TimelineOptions
from signprep.inference.serve.options import ServeOptions
from signprep.pipeline.cli.options import command, echo
from signprep.pipeline.options import machine_option
from signprep.pipeline.runtime.installation import require_extra


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """The model that answers."""

    model: ModelOptions
    precision: str = machine_option("32", "Compute with this precision.", choices=("32", "16-mixed", "bf16-mixed"))


@command("serve", "Answer for videos over HTTP, with a page for them.", config=True)
def serve(source: ServedModel, options: ServeOptions, timeline: TimelineOptions) -> None:
    """Answer for videos that programs send over HTTP, and that people drop on a page.

    It listens on this machine's own address; others need --host and a token. Videos are decoded, answered and
    forgotten. Options of a timeline hold for the page, and where a request says nothing. docs/serving.md has the rest.

    \b
    Examples:
      signprep serve --checkpoint best.ckpt
      signprep serve --checkpoint best.ckpt --port 8080 --workers 4 --queue 100
      signprep serve --checkpoint best.ckpt --idle-gloss rest --min-confidence 0.5
      SIGNPREP_TOKEN=$(openssl rand -hex 16) signprep serve --checkpoint best.ckpt --host 0.0.0.0
      curl -T test.mp4 -X POST 'http://127.0.0.1:8000/v1/predict?mode=timeline'
    """
    require_extra("train", "torch", "lightning", "pytorchvideo")
    require_extra("serve", "starlette", "uvicorn", "httptools")
    from signprep.inference.serve.http.run import listening, run_server

    with listening(options.host, options.port) as socket:
        # By a thread that ends, and its set of torch's threads with it: where there are two sets, more threads than
        # cores, none waits awake at all, and each operation has to wake them.
        with ThreadPoolExecutor(1) as opening:
            recognizer = opening.submit(recognizer_of, source.model, source.precision).result()
        run_server(recognizer, options, timeline, socket, lambda address: echo(f"{address} (Ctrl-C ends it)", err=True))
