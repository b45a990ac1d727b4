"""Which process of a run this one is, as those tell it who start the processes: torchrun, srun or Lightning itself.

Light, since the command line asks before it imports torch.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_NO_JOBS = ("bash", "interactive")
"""Names of SLURM's jobs in which people type commands; Lightning takes them for none, too."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The place of this process among those of its run."""

    by: str | None = None
    """torchrun or srun, which start all processes at once; None where Lightning starts the others of a machine."""
    rank: int = 0
    """Number among all processes; where Lightning starts them, only 0 means one process alone."""
    local_rank: int = 0
    """Number among the processes of this machine."""
    per_node: int = 1
    """Processes on each machine, if `by` says who starts them."""
    num_nodes: int = 1
    """Machines, if `by` says who starts the processes."""

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return what the environment variables of a process tell."""

        def number(name: str, default: int = 0) -> int:
            return int(environment.get(name, default))

        if "TORCHELASTIC_RUN_ID" in environment:
            per_node = number("LOCAL_WORLD_SIZE", 1)
            num_nodes = number("WORLD_SIZE", per_node) // per_node
            ranks = {"rank": number("RANK"), "local_rank": number("LOCAL_RANK")}
            return cls(by="torchrun", **ranks, per_node=per_node, num_nodes=num_nodes)
        if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in _NO_JOBS:
            num_nodes = number("SLURM_NNODES", 1)
            per_node = number("SLURM_NTASKS_PER_NODE", number("SLURM_NTASKS") // num_nodes)
            ranks = {"rank": number("SLURM_PROCID"), "local_rank": number("SLURM_LOCALID")}
            return cls(by="srun", **ranks, per_node=per_node, num_nodes=num_nodes)
        local = number("LOCAL_RANK")
        return cls(rank=max(local, number("NODE_RANK")), local_rank=local)

    @property
    def is_first(self) -> bool:
        """True for the one process that speaks and exports."""
        return self.rank == 0
