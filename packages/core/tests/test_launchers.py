"""Processes that Slurm or MPI started."""

from __future__ import annotations

import pytest

from vidcore.errors import UserError
from vidcore.launchers import launched_by

SLURM = {"SLURM_PROCID": "9", "SLURM_NTASKS": "16", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "123456"}
MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("node[07-09,12],login1", "node07"), ("a-1,a-2", "a-1"), ("host3", "host3"), ("n[1,5].example", "n1.example")],
)
def test_processes_of_slurm(hosts: str, first: str) -> None:
    environment = {**SLURM, "SLURM_STEP_NODELIST": hosts}
    launched_by("slurm", environment)
    found = {name: environment[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    assert found == {
        "RANK": "9",
        "WORLD_SIZE": "16",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": first,
        "MASTER_PORT": str(20000 + 123456 % 20000),
    }


def test_a_process_that_sees_only_its_own_gpu() -> None:
    environment = {**SLURM, "SLURM_NODELIST": "host", "CUDA_VISIBLE_DEVICES": "3"}
    launched_by("slurm", environment)
    assert environment["LOCAL_RANK"] == "0"


def test_processes_of_mpi() -> None:
    environment = {**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
    launched_by("mpi", environment)
    assert (environment["RANK"], environment["WORLD_SIZE"], environment["MASTER_ADDR"]) == ("1", "4", "127.0.0.1")
    several_machines = {**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    with pytest.raises(UserError, match="MASTER_ADDR is not set; pass the first machine"):
        launched_by("mpi", several_machines)
    launched_by("mpi", several_machines | {"MASTER_ADDR": "host1"})


def test_a_process_that_nobody_launched() -> None:
    with pytest.raises(UserError, match="--launcher slurm: did not start this process: SLURM_PROCID, SLURM_NTASKS"):
        launched_by("slurm", {})
