"""Ctrl-C while a program of HeyHi still imports: no traceback, status 130."""

import os
import signal
import subprocess
import sys

import pytest

from tests.batches import CARROT, command, write_batch
from tests.conftest import Garden

# A program, and what it has just imported when Ctrl-C comes.
MOMENTS = {
    "run.py, at first": (["run.py", *CARROT], "heyhi.interrupts"),
    "run.py, protobuf": (["run.py", *CARROT], "google.protobuf.message"),
    "heyhi, at first": (["-m", "heyhi.commands", "status"], "heyhi.interrupts"),
    "heyhi, its modules": (["-m", "heyhi.commands", "status"], "heyhi.cli.shells"),
    "a driver, at first": (["-m", "heyhi.workflow.snakemake_main", "DRIVER"], "heyhi.interrupts"),
    "a driver, Snakemake": (["-m", "heyhi.workflow.snakemake_main", "DRIVER"], "snakemake.common"),
    "a driver, our plugin": (["-m", "heyhi.workflow.snakemake_main", "DRIVER"], "heyhi.workflow.local_jobs"),
}


@pytest.mark.parametrize(("words", "module"), MOMENTS.values(), ids=MOMENTS)
def test_ctrl_c_among_imports_is_a_line(garden: Garden, words: list[str], module: str) -> None:
    write_batch(garden, "seed=1")
    if words[-1] == "DRIVER":
        words = [*words[:-1], *command(garden)[3:]]
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *words],
        cwd=garden.root,
        env=garden.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.split("|")[-1].strip() == module:
            process.send_signal(signal.SIGINT)
            break
    rest = [line for line in process.stderr.read().splitlines() if not line.startswith("import time:")]
    assert (process.wait(), rest) == (130, ["interrupted"])
    process.stderr.close()


def test_other_programs_keep_their_own_answer(garden: Garden) -> None:
    code = "import sys, heyhi; print(sys.excepthook is sys.__excepthook__)"
    assert garden.python("-c", code).out == "True\n"


def test_a_driver_that_heyhi_becomes_hears_ctrl_c(garden: Garden) -> None:
    write_batch(garden, "seed=1 fail=slow")
    process = subprocess.Popen(
        [sys.executable, "-m", "heyhi.commands", "start", "batch.sh"],
        cwd=garden.root,
        env=garden.environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    process.stderr.readline()  # the profile that is used: it is Snakemake
    os.killpg(process.pid, signal.SIGINT)
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), "Traceback" in said) == (130, False), said
