"""An order: all that a start will write into the run folder, as text. Any process can carry it out.

    Draft ──make_order──▶ Order ──write_orders──▶ orders.jsonl ──read_order──▶ launch, in a job

A composed config becomes text here, once; a start, later or elsewhere, never composes.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heyhi.files import open_regular, write_whole
from heyhi.runs.folder import Run

if TYPE_CHECKING:
    from heyhi.runs.secret_names import Kept

__all__ = ["Order", "read_order", "write_orders"]


class Order(NamedTuple):
    """A run ready to be started.

    `provenance` is what heyhi.json will say, as far as it is known now. `snapshot_place` is where a copy of
    the code is to be made at the start; None: none is, or `provenance` says where it is. `environment` is
    what the job's environment has besides the usual. None: the variable is not set; True: a secret, which is
    in no file: the process that starts the job passes it on. `gpus` is the number of GPUs of this machine
    that the job has to itself; on a cluster the scheduler assigns them.
    """

    id: str
    folder: str
    project_root: str
    experiment_root: str
    config: str
    config_meta: str
    provenance: dict[str, Any]
    snapshot_place: str | None = None
    log_level: str = "INFO"
    environment: "dict[str, Kept]" = {}  # noqa: RUF012  (never changed)
    gpus: int = 0

    @property
    def run(self) -> Run:
        """The run that it starts."""
        return Run(self.id, Path(self.folder))


# Where each order begins, in a text of this width: one order of many is found with two reads.
_WIDTH = 16


def write_orders(path: Path, orders: Iterable[Order]) -> None:
    """Write orders to a file, whole, for this user alone; `read_order` finds each by its number."""
    lines = [
        os.fsencode(json.dumps(order._asdict(), ensure_ascii=False, default=str)) + b"\n" for order in orders
    ]
    position = _WIDTH * len(lines)
    starts = []
    for line in lines:
        starts.append(b"%*d\n" % (_WIDTH - 1, position))
        position += len(line)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, b"".join(starts + lines), mode=0o600)


def read_order(path: Path, number: int) -> Order:
    """Read an order from a file of orders; the first has number 0. Raises OSError, ValueError."""
    with open(open_regular(path), "rb") as file:
        file.seek(_WIDTH * number)
        file.seek(int(file.read(_WIDTH)))
        return Order(**json.loads(os.fsdecode(file.readline())))
