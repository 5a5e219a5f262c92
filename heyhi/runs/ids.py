"""Ids: of a run, which is the path of its folder below the experiment root, and of the job that computes it.

p/<config folder>/<config name>/<overrides tag>_<8 hex>       make_id
local:<host>:<pid>   62   62_3   submitting:<name>   sge:62           JobId
"""

import hashlib
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from heyhi.errors import UsageError
from heyhi.project import Project
from heyhi.runs.processes import this_host

__all__ = [
    "EXP_ID_PATTERN",
    "SUBMITTING",
    "JobId",
    "make_id",
    "real_path",
    "relative_to_root",
    "this_process",
]

EXP_ID_PATTERN = "%(prefix)s/%(cfg_folder)s/%(cfg)s/%(redefines)s_%(redefines_hash)s"

_UNSAFE = re.compile(r"[^A-Za-z0-9@._+=-]")
# How a value inside the experiment root starts in a canonical override, whatever the root is called.
_ROOT_WORD = "{{EXP_DIR}}"

#: Before the name of a job that is being handed to Slurm, in place of an id that is not known yet.
SUBMITTING = "submitting:"


_OF_SLURM = ("submitting", "local")  # the original wrote `local` for a job that nothing is known of


class JobId(NamedTuple):
    """The job that computes a run: a process of a host, or a job of a scheduler.

    Slurm's ids are bare; those of another scheduler begin with its name (`sge:62`). `submitting:<name of the
    job>` is a Slurm job without a recorded id; it may never have got one.
    """

    text: str

    @property
    def local(self) -> tuple[str, int] | None:
        """Host and pid of a local job; None for one of a scheduler."""
        match = re.fullmatch(r"local:(.+):(\d+)", self.text)
        return (match[1], int(match[2])) if match else None

    @property
    def scheduler(self) -> str | None:
        """The name of the scheduler whose job it is, known here or not; None for a local job."""
        if self.local is not None:
            return None
        prefix = re.match(r"([a-z]+):", self.text)
        return "Slurm" if prefix is None or prefix[1] in _OF_SLURM else prefix[1].upper()


def this_process() -> JobId:
    """The job id of this very process."""
    return JobId(f"local:{this_host()}:{os.getpid()}")


# ---- The id -------------------------------------------------------------------------------------


def make_id(
    base: Path,
    overrides: Sequence[str],
    project: Project,
    *,
    is_adhoc: bool = False,
    date: str = "",
    pattern: str | None = None,
) -> str:
    """The id of a run of these canonical overrides: a path below the experiment root.

    `pattern` replaces the default; it may use %(prefix)s, %(date)s, %(cfg_folder)s, %(cfg)s,
    %(redefines)s and %(redefines_hash)s. Raises UsageError if it uses another.
    """
    tags = {
        "prefix": f"adhoc/{date}" if is_adhoc else "p",
        "date": date,
        "cfg_folder": _safe(_config_folder(base, project)),
        "cfg": _safe(base.name.rpartition(".")[0] or base.name),
        "redefines": _tag(overrides),
        "redefines_hash": _md5(repr(list(overrides))),
    }
    try:
        return (pattern or EXP_ID_PATTERN) % tags
    except (KeyError, ValueError, TypeError) as problem:
        raise UsageError(
            f"bad pattern {pattern!r} for the run folder ({problem}); it may use "
            f"{', '.join(f'%({tag})s' for tag in tags)}, and %% for a percent sign"
        ) from None


def relative_to_root(text: str, root: Path) -> str:
    """A canonical override whose value, if it lies in the experiment root, is relative to it.

    So ids are the same on a laptop and on a cluster.
    """
    key, _, value = text.partition("=")
    for start in (str(root), real_path(root)):
        if value == start or value.startswith(start + "/"):
            return f"{key}={_ROOT_WORD}{value[len(start) :]}"
    if value.lstrip("\\").startswith(_ROOT_WORD):
        return f"{key}=\\{value}"  # a text that reads like it is another text
    return text


@cache
def real_path(path: str | Path) -> str:
    """`os.path.realpath`, asked once: of the few folders that all the runs of a batch lie in."""
    try:
        return os.path.realpath(path)
    except ValueError:  # a name that no file can have, of a heyhi.json that somebody has written
        return str(path)


@cache
def _config_folder(base: Path, project: Project) -> str:
    folder, conf = real_path(base.parent), real_path(project.conf)
    if folder == conf:
        return "root"
    if folder.startswith(conf + "/"):
        return folder[len(conf) + 1 :].replace("/", "_")
    return _md5(folder)


def _md5(text: str) -> str:
    digest = hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False)
    return digest.hexdigest()[:8]


def _tag(overrides: Sequence[str]) -> str:
    """A readable tag of the overrides, cut to 100 characters."""
    parts = []
    for override in overrides:
        key, _, value = override.partition("=")
        if len(key) > 5:
            key = ".".join(part[:3] for part in key.split("."))
        parts.append(f"{key}@{'_'.join(value.split('/')[-2:])}")
    return _safe("@".join(parts)[:100]) or "default"


def _safe(text: str) -> str:
    """Without characters that paths, shells or Snakemake's wildcards give a meaning."""
    return _UNSAFE.sub("_", text)
