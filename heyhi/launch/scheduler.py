"""What HeyHi asks of a scheduler. A module that has all of it is one: `launch.slurm`.

`launch.schedulers` lists them, a row each. A job is known by the text in heyhi.jobid: Slurm's are bare
(`62_3`), those of another scheduler begin with its name in small letters (`sge:62`). A member gives and takes
such texts.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from heyhi.launch.slurm_options import Resources
    from heyhi.runs import Queue, Run, RunState

__all__ = ["Allocation", "JobSpec", "Scheduler"]


class JobSpec(NamedTuple):
    """One job to be submitted: an array with a task for each of `numbers`, or a single one if that is None.

    A task goes to `code` and calls `run.py --on-slurm FOLDER` on each rank. `variables` are secrets, to
    be handed on by the environment and never in a file. The descriptors in `held` must stay open for as long
    as the scheduler's program may submit.
    """

    name: str
    folders: Sequence[str]
    numbers: Sequence[int] | None
    code: str
    resources: "Resources"
    held: Sequence[int] = ()
    variables: Mapping[str, str] = {}


class Allocation(NamedTuple):
    """The job that this process is in. `rank` is None outside of a step, as in an interactive shell."""

    job: str
    submitted: str  # what heyhi.jobid says until the job's id is recorded
    rank: int | None
    total: int
    restarts: str


class Scheduler(Protocol):
    """What a module provides to be a scheduler."""

    def refuse_if_missing(self) -> None:
        """Raise UsageError if jobs cannot be submitted from this machine."""

    def read_resources(self, slurm: "Message", where: str) -> "Resources":
        """Return what its message in a launcher asks for. Raises ConfigError at `where`, naming the field."""

    def max_array_size(self) -> int:
        """Return how many tasks an array may have. Raises NoAnswerError."""

    def submit(self, spec: JobSpec) -> str:
        """Submit a job, and return its id.

        Raises LaunchError if the scheduler refuses, QueueFullError if the user has too many jobs there, and
        NoAnswerError if it is unknown what became of it.
        """

    def ask_queue(self) -> "Queue | None":
        """Return the jobs of all users, by id and by `submitting:NAME`; None if there is no answer.

        States have Slurm's names: `runs.status` lists those of a job that lives.
        """

    def ends_of(self, states: "Mapping[Run, RunState]", queue: "Queue") -> "dict[Run, str]":
        """Return why jobs ended that could not record it, without those of which it may say more later."""

    def cancel(self, *jobs: str) -> None:
        """Cancel jobs. Raises LaunchError if it refuses, or if a text is no id of a job."""

    def allocation(self) -> Allocation | None:
        """Return the job that this process is in; None outside of its jobs."""

    def requeue(self, job: str) -> None:
        """Have the job that this process is in started again. Raises CalledProcessError if it is refused."""
