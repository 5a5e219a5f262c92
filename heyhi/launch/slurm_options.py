"""Turn a config's `launcher.slurm` into the options of sbatch for one job. Starts no process.

    num_gpus: 16  gpus_per_node: 8   --nodes=2 --gres=gpu:8     nodes x GPUs on each
                                     --ntasks-per-node=8        a task a GPU; or single_task_per_node
    cpus_per_gpu: 10                 --cpus-per-task=10         a task gets it for each of its GPUs
    mem_per_gpu: 62                  --mem=496G                 a node gets it for each of its GPUs
    hours: 72                        --time=72:00:00

A CPU job (no GPUs) is one task on each node, which gets the per-GPU figures once. The message may be of
any project's schema: a field that it lacks is a field that is not set. What cannot be is a ConfigError
that names the field.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from heyhi.errors import told_at
from heyhi.texts import cut

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["DEFAULT", "Resources", "read_resources", "resources_from_defaults"]

_PLACE = "launcher.slurm"
_MOST = 65_533  # of nodes, tasks, CPUs, ...: what Slurm counts with 16 bits, less its reserved values
_GPUS_PER_NODE = 8
_SIGNAL_DELAY = 90  # seconds

_T = TypeVar("_T")


class Resources(NamedTuple):
    """The resources of one job; None: the partition's default. Runs with equal ones form a job array."""

    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int | None = None
    gpus_per_node: int = 0
    mem_mb_per_node: int | None = None
    minutes: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    comment: str | None = None
    requeue: bool = True
    signal_delay_s: int | None = _SIGNAL_DELAY
    extra: tuple[str, ...] = ()

    @property
    def gpus(self) -> int:
        """GPUs on all nodes."""
        return self.nodes * self.gpus_per_node

    @property
    def gpu_hours(self) -> int | None:
        """GPUs times hours, begun ones counted; None if the hours are not limited."""
        if not self.gpus:
            return 0
        return None if self.minutes is None else math.ceil(self.gpus * self.minutes / 60)

    def options(self) -> list[str]:
        """The long options of sbatch, each with its value as one argument; to be run without a shell."""
        values = {
            "nodes": self.nodes,
            "ntasks-per-node": self.tasks_per_node,
            "cpus-per-task": self.cpus_per_task,
            "gres": f"gpu:{self.gpus_per_node}" if self.gpus_per_node else None,
            "mem": _memory_text(self.mem_mb_per_node),
            "time": _time_text(self.minutes),
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "comment": self.comment,
            "signal": None if self.signal_delay_s is None else f"USR1@{self.signal_delay_s}",
        }
        options = [f"--{name}={value}" for name, value in values.items() if value is not None]
        return [*options, "--requeue" if self.requeue else "--no-requeue", *self.extra]

    def __str__(self) -> str:
        gpus = f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else ""
        return ", ".join(part for part in (gpus, _hours_text(self.minutes), self.partition) if part)


# A job whose config has no launcher, where the cluster's profile says nothing either.
DEFAULT = Resources()


def _memory_text(megabytes: int | None) -> str | None:
    if megabytes is None:
        return None
    return f"{megabytes}M" if megabytes % 1024 else f"{megabytes // 1024}G"


def _time_text(minutes: int | None) -> str | None:
    return None if minutes is None else f"{minutes // 60}:{minutes % 60:02}:00"


def _hours_text(minutes: int | None) -> str:
    if minutes is None:
        return ""
    return f"{minutes} min" if minutes % 60 else f"{minutes // 60} h"


# ---- From a launcher ----------------------------------------------------------------------------


def read_resources(slurm: "Message", where: str) -> Resources:
    """The resources that a `launcher.slurm` asks for. Raises ConfigError at `where`, naming the field."""
    with told_at(where):
        fields = _Fields(slurm)
        fields.refuse_unknown()
        nodes, gpus = _read_layout(fields)
        tasks = 1 if fields.flag("single_task_per_node", False) else max(1, gpus)
        minutes = _read_minutes(fields)
        constraint = _read_constraint(fields)
        return Resources(
            nodes=nodes,
            tasks_per_node=tasks,
            cpus_per_task=_read_cpus(fields, max(1, gpus) // tasks),
            gpus_per_node=gpus,
            mem_mb_per_node=_read_memory(fields, max(1, gpus)),
            minutes=minutes,
            partition=fields.text("partition"),
            account=fields.text("account"),
            qos=fields.text("qos"),
            constraint=constraint,
            comment=fields.text("comment"),
            requeue=fields.flag("requeue", True),
            signal_delay_s=_read_signal_delay(fields, minutes),
            extra=_read_extra(fields, free=() if constraint else ("constraint",)),
        )


def _read_layout(fields: "_Fields") -> tuple[int, int]:
    """The number of nodes, and of GPUs on each."""
    gpus = fields.count("num_gpus", default=0)
    most = fields.count("gpus_per_node", default=_GPUS_PER_NODE, least=1)
    nodes = fields.count("nodes", default=None, least=1)
    if not gpus:
        return nodes or 1, 0
    if nodes:
        _refuse_uneven(gpus, nodes, most)
        return nodes, gpus // nodes
    if gpus <= most:
        return 1, gpus
    if gpus % most:
        raise _problem("num_gpus", _no_multiple(gpus, most))
    return gpus // most, most


def _refuse_uneven(gpus: int, nodes: int, most: int) -> None:
    if gpus % nodes:
        raise _problem(
            "num_gpus",
            f"{gpus} GPUs cannot be spread evenly over {nodes} nodes (nodes: {nodes}); "
            f"ask for a multiple of {nodes}",
        )
    if gpus // nodes > most:
        raise _problem(
            "num_gpus",
            f"{gpus} GPUs on {nodes} node{'s' if nodes > 1 else ''} (nodes: {nodes}) are {gpus // nodes} "
            f"on each, and a node has {most} (gpus_per_node: {most}); ask for at most {nodes * most}",
        )


def _no_multiple(gpus: int, most: int) -> str:
    below = gpus // most * most
    nodes = below // most + 1
    spread = f", or for nodes: {nodes}, with {gpus // nodes} on each" if gpus % nodes == 0 else ""
    return (
        f"{gpus} GPUs are more than a node has (gpus_per_node: {most}) and no multiple of it; "
        f"ask for {below} or {below + most}{spread}"
    )


def _read_cpus(fields: "_Fields", gpus: int) -> int | None:
    each = fields.count("cpus_per_gpu", default=0)
    if each * gpus > _MOST:
        raise _problem("cpus_per_gpu", f"{each} for each of {gpus} GPUs are more than Slurm counts, {_MOST}")
    return each * gpus or None


def _read_memory(fields: "_Fields", gpus: int) -> int | None:
    gigabytes = fields.number("mem_per_gpu")
    if not gigabytes:
        return None  # --mem=0 would be all that the node has
    if not 0 < gigabytes <= _MOST:
        raise _out_of_range("mem_per_gpu", gigabytes, f"0 to {_MOST} GB")
    return _rounded_up(gigabytes * 1024 * gpus)


def _read_minutes(fields: "_Fields") -> int | None:
    hours = fields.number("hours")
    if hours is None:
        return None
    if not 0 < hours <= _MOST:  # --time=0 would be no limit
        raise _out_of_range(
            "hours", hours, f"more than 0, at most {_MOST}; not set, it is the partition's limit"
        )
    return _rounded_up(hours * 60)


def _rounded_up(number: float) -> int:
    """At least 1: to Slurm, 0 is all there is. What a float adds in its last digits does not count."""
    return max(1, math.ceil(round(number, 3)))


def _read_signal_delay(fields: "_Fields", minutes: int | None) -> int | None:
    seconds = fields.count("signal_delay_s", default=_SIGNAL_DELAY)
    if minutes is not None and seconds >= minutes * 60:
        raise _problem(
            "signal_delay_s",
            f"{seconds} seconds before the end is before the start: the time limit is {minutes * 60} seconds "
            "(hours); 0 sends no signal",
        )
    return seconds or None


# A volta32 is a volta: the narrower of the two holds.
_CONSTRAINTS = {"volta32": "volta32gb", "volta": "volta", "pascal": "pascal"}


def _read_constraint(fields: "_Fields") -> str | None:
    wanted = [name for name in _CONSTRAINTS if fields.flag(name, False)]
    if "pascal" in wanted and len(wanted) > 1:
        raise _problem("pascal", f"no GPU is both this and {wanted[0]} (also set); keep one of them")
    return _CONSTRAINTS[wanted[0]] if wanted else None


# ---- Further options ----------------------------------------------------------------------------

# Options of sbatch that `extra` may not have: the field that is for it, or what is amiss with it.
_LAYOUT = ("nodes", "ntasks", "ntasks-per-node", "tasks-per-node", "ntasks-per-gpu")
_GPUS = ("gres", "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket")
_SILENT = ("help", "usage", "version", "test-only")
_TAKEN = {
    **dict.fromkeys(_LAYOUT, "use the fields num_gpus, nodes and single_task_per_node"),
    **dict.fromkeys(_GPUS, "use the field num_gpus"),
    **dict.fromkeys(("cpus-per-task", "cpus-per-gpu"), "use the field cpus_per_gpu"),
    **dict.fromkeys(("mem", "mem-per-cpu", "mem-per-gpu"), "use the field mem_per_gpu"),
    "time": "use the field hours",
    **{name: f"use the field {name}" for name in ("partition", "account", "qos", "comment")},
    "constraint": "one of the fields volta, volta32 and pascal is set, and sets it",
    **dict.fromkeys(("requeue", "no-requeue"), "use the field requeue"),
    "signal": "use the field signal_delay_s",
    **dict.fromkeys(("output", "error"), "HeyHi puts the logs into the run folder"),
    "chdir": "HeyHi starts a job in its run folder",
    "job-name": "HeyHi names the job after the run; use the field comment",
    **dict.fromkeys(("array", "wrap", "parsable", "input"), "HeyHi sets what is submitted"),
    "wait": "it is run.py that waits, with --wait",
    "clusters": "HeyHi asks one cluster for its jobs; use the login node of the other",
    **dict.fromkeys(_SILENT, "it submits nothing"),
}
# The short options: those that `extra` may not have, and all that take no value.
_SHORT = {
    "N": "nodes", "n": "ntasks", "G": "gpus", "c": "cpus-per-task", "t": "time", "p": "partition",
    "A": "account", "q": "qos", "C": "constraint", "o": "output", "e": "error", "D": "chdir",
    "J": "job-name", "a": "array", "i": "input", "W": "wait", "M": "clusters", "h": "help", "V": "version",
}  # fmt: skip
_WITHOUT_VALUE = "hHIOQuvVW"  # what follows them in one word are options too: -HW
_LONG_FORM = re.compile(r"--([a-z][a-z-]*)(=.*)?", re.DOTALL)
_SHORT_FORM = re.compile(r"-([A-Za-z][^\s=].*|[A-Za-z])", re.DOTALL)


def _read_extra(fields: "_Fields", free: tuple[str, ...]) -> tuple[str, ...]:
    """The options, of which none may set what has a field or is HeyHi's, but for those that are free."""
    options = fields.texts("extra")
    for option in options:
        for name in _names(option):
            if name in _TAKEN and name not in free:
                raise _problem("extra", f"'{cut(option)}' is not for extra: {_TAKEN[name]}")
    return options


def _names(option: str) -> Iterator[str]:
    """The long names of what an option may set; a ValueError says how an option is written."""
    if long := _LONG_FORM.fullmatch(option):
        # sbatch takes a name's beginning for the name.
        yield from (name for name in _TAKEN if name.startswith(long[1]))
    elif short := _SHORT_FORM.fullmatch(option):
        yield from _short_names(short[1])
    else:
        raise _problem("extra", f"'{cut(option)}' is not one option of sbatch; write --name=value or --name")


def _short_names(letters: str) -> Iterator[str]:
    for letter in letters:
        if letter in _SHORT:
            yield _SHORT[letter]
        if letter not in _WITHOUT_VALUE:
            return  # the rest is its value


# ---- Fields by name -----------------------------------------------------------------------------


class _Fields:
    """The fields of a `launcher.slurm` by name, whatever its schema; None or a default if not set."""

    def __init__(self, message: "Message") -> None:
        self._known = message.DESCRIPTOR.fields_by_name
        self._set = {field.name: value for field, value in message.ListFields()}

    def refuse_unknown(self) -> None:
        """Raise ValueError for a field that is set and would change nothing."""
        for name in self._set:
            if name not in _TYPES:
                raise _problem(
                    name, "HeyHi asks Slurm for nothing by this field; use extra: '--option=value'"
                )

    def count(self, name: str, default: _T, least: int = 0) -> int | _T:
        """A whole number from `least` to the most that Slurm counts."""
        value = self._get(name)
        if value is None:
            return default
        if not least <= value <= _MOST:
            raise _out_of_range(name, value, f"{least} to {_MOST}")
        return int(value)

    def number(self, name: str) -> float | None:
        """A number, whole or not."""
        value: float | None = self._get(name)
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or False."""
        value = self._get(name)
        return default if value is None else bool(value)

    def text(self, name: str) -> str | None:
        """A text on one line; None if it is empty."""
        value = self._get(name)
        return _one_line(f"{_PLACE}.{name}", value) if value else None

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts of a list, each on one line."""
        values = self._set.get(name, ())
        if isinstance(values, str) or not all(isinstance(value, str) for value in values):
            raise _wrong_type(name)
        return tuple(_one_line(f"{_PLACE}.{name}", value) for value in values)

    def _get(self, name: str) -> Any:
        """The value set, or the schema's default; None if there is neither."""
        field = self._known.get(name)
        if field is None or (name not in self._set and not field.has_default_value):
            return None
        value = self._set.get(name, field.default_value)
        if type(value) not in _TYPES[name]:
            raise _wrong_type(name)
        return value


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("num_gpus", "gpus_per_node", "nodes", "cpus_per_gpu", "signal_delay_s"), (int,)),
    **dict.fromkeys(("mem_per_gpu", "hours"), (int, float)),
    **dict.fromkeys(("single_task_per_node", "volta32", "volta", "pascal", "requeue"), (bool,)),
    **dict.fromkeys(("partition", "account", "qos", "comment"), (str,)),
    "extra": (list,),
}
_KINDS = {int: "a whole number", float: "a float", bool: "a bool", str: "a string", list: "repeated strings"}


def _wrong_type(name: str) -> ValueError:
    expected = " or ".join(_KINDS[kind] for kind in _TYPES[name])
    return _problem(name, f"the schema has it with another type; HeyHi expects {expected}")


def _one_line(place: str, text: str) -> str:
    if any(sign in text for sign in "\n\r\0"):
        raise ValueError(f"{place}: {cut(text)!r} has a line break or a NUL in it; Slurm takes one line")
    return text


def _out_of_range(name: str, value: float, span: str) -> ValueError:
    return _problem(name, f"{value} is out of range: {span}")


def _problem(name: str, problem: str) -> ValueError:
    return ValueError(f"{_PLACE}.{name}: {problem}")


# ---- From a profile's defaults ------------------------------------------------------------------


def resources_from_defaults(defaults: Mapping[str, object]) -> Resources:
    """The resources of a job without a launcher: Snakemake's mem_mb, cpus_per_task, runtime (in minutes),
    slurm_partition and slurm_account; other names are not for Slurm. Raises ConfigError.
    """
    with told_at("default-resources"):
        return DEFAULT._replace(
            mem_mb_per_node=_whole_default(defaults, "mem_mb"),
            cpus_per_task=_whole_default(defaults, "cpus_per_task"),
            minutes=_whole_default(defaults, "runtime"),
            partition=_text_default(defaults, "slurm_partition"),
            account=_text_default(defaults, "slurm_account"),
        )


def _whole_default(defaults: Mapping[str, object], name: str) -> int | None:
    value = defaults.get(name)
    if value is None:
        return None
    if not re.fullmatch("[0-9]{1,9}", str(value)) or int(str(value)) == 0:
        raise ValueError(f"{name}: expected a whole number, 1 or more, not {cut(repr(value))}")
    return int(str(value))


def _text_default(defaults: Mapping[str, object], name: str) -> str | None:
    value = defaults.get(name)
    return _one_line(name, str(value)) if value else None
