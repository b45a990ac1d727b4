"""What a run trains on."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What a run trains on."""

    gpus: int = 0
    """On each machine; 0 trains on the CPU."""
    processes: int = 1
    """On each machine, without GPUs."""
    num_nodes: int = 1
    """Machines."""

    @property
    def per_node(self) -> int:
        """Ranks on each machine."""
        return self.gpus or self.processes

    @property
    def num_ranks(self) -> int:
        """Processes that train together."""
        return self.per_node * self.num_nodes

    def __str__(self) -> str:
        kind = f"{self.gpus} GPU{'s' if self.gpus != 1 else ''}" if self.gpus else "CPU"
        processes = f", {self.processes} processes" if self.processes > 1 and not self.gpus else ""
        return kind + processes + (f", on each of {self.num_nodes} machines" if self.num_nodes > 1 else "")
