"""Processes that Slurm or MPI started, instead of torchrun."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping

from vidcore.errors import UserError

__all__ = ["LAUNCHERS", "launched_by"]

LAUNCHERS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "slurm": (("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),),
    "mpi": (
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),  # Open MPI
        ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),  # MPICH, Intel MPI
    ),
}
"""Variables with rank, number of processes and rank on the machine, by launcher."""


def launched_by(launcher: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables of torchrun (``RANK``, ``WORLD_SIZE``, ...) from those of another launcher.

    Call it before training. ``MASTER_ADDR`` and ``MASTER_PORT`` are kept if they are set.

    Args:
        launcher: ``slurm`` (srun) or ``mpi`` (mpirun).
        environment: to read and change.

    Raises:
        UserError: that launcher did not start this process, or the address of the first machine is unknown.
    """
    names = next((names for names in LAUNCHERS[launcher] if all(name in environment for name in names)), None)
    if names is None:
        needed = " or ".join(", ".join(names) for names in LAUNCHERS[launcher])
        raise UserError(f"--launcher {launcher}: did not start this process: {needed} are not set")
    rank, size, local = (environment[name] for name in names)
    if "," not in environment.get("CUDA_VISIBLE_DEVICES", ","):  # each process sees one GPU, its own
        local = "0"
    if "MASTER_ADDR" not in environment:
        environment["MASTER_ADDR"] = _first_host(environment)
    # jobs on one machine need ports of their own
    environment.setdefault("MASTER_PORT", str(20000 + int(environment.get("SLURM_JOB_ID", "9500")) % 20000))
    environment.update(RANK=rank, WORLD_SIZE=size, LOCAL_RANK=local)


def _first_host(environment: Mapping[str, str]) -> str:
    """Return the first host of a list like ``node[07-09,12],login1``."""
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST")
    if hosts:
        found = re.match(r"([^,\[]+)(?:\[(\w+)[^]]*\]([^,]*))?", hosts)
        assert found is not None
        return "".join(part or "" for part in found.groups())
    if environment.get("OMPI_COMM_WORLD_LOCAL_SIZE") == environment.get("OMPI_COMM_WORLD_SIZE", ""):
        return "127.0.0.1"
    raise UserError("--launcher mpi: MASTER_ADDR is not set; pass the first machine, as in mpirun -x MASTER_ADDR=host1")
