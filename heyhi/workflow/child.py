"""The batch as a child of Snakemake's main process sees it: from files that the main process wrote.

Snakemake starts itself again for a `run:` rule, and on the node under its own Slurm executor. A child never
captures the script, nor composes: it reads the commands of the runs from that file, by their folders.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heyhi import files
from heyhi.errors import UsageError
from heyhi.files import write_whole
from heyhi.project import Project
from heyhi.runs import Run
from heyhi.texts import from_json

__all__ = ["Child", "tell_children"]

_VARIABLE = "HEYHI_CHILDREN"


def tell_children(path: Path, batch: str, told: Mapping[str, Mapping[str, str]]) -> None:
    """Write down, in the main process, what its children will read: run folder -> id, task, command.

    Raises OSError.
    """
    write_whole(path, json.dumps({"batch": batch, "runs": told}), mode=0o600)
    os.environ[_VARIABLE] = str(path)


class Child:
    """The workflow as a child's rules see it: nothing to do but the jobs that it is given."""

    freeze_chunks: list[Any] = []  # noqa: RUF012  (never changed)
    summary_file = ""  # the driver's
    page = "report.html"  # the same

    def __init__(self, project: Project) -> None:
        """Raises UsageError if nothing was written down for it."""
        self.project = project
        path = os.environ.get(_VARIABLE, "")
        try:
            content = from_json(files.read_text(path, "surrogateescape"))
        except (OSError, ValueError) as problem:
            raise UsageError(
                f"{_VARIABLE}={path}: what the driver of this job wrote is gone: {problem}"
            ) from None
        self.batch_name: str = content["batch"]
        self._told: dict[str, dict[str, str]] = content["runs"]

    def begin(self) -> None:
        """Do nothing: the main process did it."""

    end = begin

    def targets(self, _: Any = None) -> list[str]:
        """Return no files: the job depends only on its arguments."""
        return []

    launch_inputs = page_inputs = report_items = targets

    def results(self, task: str) -> list[str]:
        """The results of all runs of a task, for rules of the user's."""
        return [str(Run("", Path(folder)).result) for folder, it in self._told.items() if it["task"] == task]

    def launch_command(self, wildcards: Any) -> str:
        """The shell command that carries a run out."""
        return self._told[wildcards.run]["command"]

    def name(self, wildcards: Any) -> str:
        """The id of a run."""
        return self._told[wildcards.run]["id"]

    reason = name

    def threads(self, _: Any) -> int:
        """The number of cores."""
        return 1

    def gpus(self, _: Any) -> int:
        """None: the driver sees to them."""
        return 0

    local_runs = gpus
