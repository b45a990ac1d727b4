"""What all parts of the benchmark of GPUs work on."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks._report import print_line
from signprep.cache_builder.reader import Cache
from signprep.training.config import Devices
from signprep.training.model_spec import ModelSpec, build_model, model_spec


@dataclass(frozen=True)
class Bench:
    """What all parts work on."""

    cache: Cache
    folder: Path
    device: torch.device
    toy: bool

    @property
    def devices(self) -> Devices:
        return Devices(gpus=1) if self.device.type == "cuda" else Devices()

    def spec(self, name: str) -> ModelSpec:
        """Return a model at its own size, or a tiny one."""
        if self.toy:
            return model_spec("efficient_x3d_xs", num_frames=2, crop_size=32, dropout_rate=0.0)
        return model_spec(name, dropout_rate=0.0)

    def model(self, name: str) -> tuple[nn.Module, ModelSpec]:
        torch.manual_seed(0)
        spec = self.spec(name)
        return build_model(spec, len(self.cache.vocabulary)).to(self.device), spec

    def clips(self, spec: ModelSpec, batch: int) -> Tensor:
        """Return random clips as a model takes them."""
        return torch.randn((batch, *spec.input_shape), generator=torch.Generator().manual_seed(0)).to(self.device)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def milliseconds(self, work: Callable[[], object]) -> float:
        """Return the median time of some work, waited for, after it was done twice."""
        seconds = []
        for number in range(3 if self.toy else 12):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            seconds.append(time.perf_counter() - started if number > 1 else float("nan"))
        return 1e3 * statistics.median(seconds[2:])


class NotRightError(Exception):
    """A GPU that does something else than it should."""


def require(condition: bool, what: str) -> None:
    print_line(f"{what}: {'yes' if condition else 'NO'}")
    if not condition:
        raise NotRightError(what)


@contextmanager
def nothing() -> Iterator[None]:
    yield
