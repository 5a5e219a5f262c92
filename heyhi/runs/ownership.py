"""Decide whether a folder is HeyHi's: HeyHi touches only folders that it made.

heyhi.json                                  HeyHi's: it is written before any other file
nothing; an unheld heyhi.lock               free: a start of the version before wrote its lock first
the two configs, as they are composed now   HeyHi's: frozen by the version before
regular files with names of others          free: they are noted in heyhi.json, and no wipe touches them
any other file with one of HeyHi's names    not HeyHi's: nothing is written there
"""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from heyhi import files
from heyhi.runs.folder import Run, is_own_name
from heyhi.runs.ids import real_path

__all__ = ["find_file_above", "find_link", "find_obstacle", "find_strangers", "noted_strangers"]

_LOCK = "heyhi.lock"
# What HeyHi writes into it, at once.
_OWNER = re.compile(rb"\s*|(local:.+:\d+|\d+(_\d+)?|submitting:\S+)\s*")
_CONFIGS = {"config.prototxt", "config_meta.prototxt"}


def find_obstacle(run: Run, config: str, config_meta: str, *, mode_wipes: bool = False) -> str | None:
    """The reason why a run must not start in its folder, which no job has used yet; None if it may.

    `config` and `config_meta` are the texts of the configs composed now. `mode_wipes`: the mode wipes the
    folder, which must not happen to files of others.
    """
    if not os.path.lexists(run.folder):
        return find_file_above(run.folder)
    if not run.folder.is_dir():
        return "it is no folder"
    if files.is_file(run.provenance):
        return None
    names = {name for name in os.listdir(run.folder) if not name.endswith(".partial")}
    if _LOCK in names and _is_lock(run.lock):
        names.remove(_LOCK)
    own = {name for name in names if is_own_name(name)}
    if own and not (own == _CONFIGS and names == own and _are_equal(run, config, config_meta)):
        return f"{min(own)} is in it, and HeyHi did not write it; name a folder that is new or empty"
    for name in sorted(names - own):
        if not _is_regular(run.folder / name):
            kind = files.kind_of(run.folder / name)
            return f"{name} is in it ({kind}), and it is no run; name a folder that is new or empty"
        if mode_wipes:
            return f"{name} is in it, and HeyHi did not write it; start it by a mode that does not wipe"
    return None


def find_file_above(folder: Path) -> str | None:
    """Why a folder that is not there cannot be made: a file lies where one above it should be."""
    above = next((path for path in folder.parents if os.path.lexists(path)), Path("/"))
    return None if os.path.isdir(above) else f"{above} is no folder"


def _is_lock(path: Path) -> bool:
    """True if a heyhi.lock is one that a start of HeyHi leaves: empty, or with its holder's line."""
    try:
        return _OWNER.fullmatch(files.read(path)[:1024].partition(b"\n")[0]) is not None
    except OSError:
        return False


def _are_equal(run: Run, config: str, config_meta: str) -> bool:
    try:
        found = [files.read(path) for path in (run.config, run.config_meta)]
    except OSError:
        return False
    return found == [text.encode("utf-8", "surrogateescape") for text in (config, config_meta)]


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return True  # deleted meanwhile


def find_strangers(folder: Path) -> list[str]:
    """The names of files in a folder that HeyHi does not write."""
    return sorted(name for name in os.listdir(folder) if not is_own_name(name))


def noted_strangers(provenance: dict[str, object]) -> Sequence[str]:
    """The names that a heyhi.json has noted of files that were in its folder before HeyHi."""
    found = provenance.get("found")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def find_link(folder: Path, root: Path) -> str | None:
    """The link by which a run folder is reached below the experiment root; None if there is none.

    A run folder outside the root is looked at itself.
    """
    real_root, path = real_path(root), os.path.abspath(folder)
    inner = os.path.relpath(path, root)
    if inner.startswith(".."):
        return path if os.path.islink(path) else None
    if os.path.realpath(path) == os.path.normpath(os.path.join(real_root, inner)):
        return None
    above = [Path(root, *Path(inner).parts[: count + 1]) for count in range(len(Path(inner).parts))]
    return next((str(place) for place in above if place.is_symlink()), path)
