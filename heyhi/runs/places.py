"""Folders that other users could prepare: of one user, in memory, and in an experiment root.

/var/tmp/heyhi-<uid>-<host>/       GPU locks; `gpu_locks = "/a/folder"`: in /a/folder/heyhi-<uid>-<host>
/var/tmp/heyhi-<uid>-<host>/kept/  results that no other folder takes (`elsewhere`)

    ~/.config/heyhi/config.toml    where the user says so; the home is that of the password database
    /etc/heyhi/config.toml         where the machine does; the user's file wins

Two sessions of a user must see one place of GPU locks, whatever TMPDIR, HOME or XDG_... say in each: so it
depends on no variable and no project. Sessions share /var/tmp more often than any other folder: /run/user
comes and goes with logins, and where job containers are on, Slurm gives each job its own /tmp and /dev/shm.

Others can write to /var/tmp as well, and make a folder or a link of that name first: so the place is made by
mkdir, checked without following links, and used only if it is this user's alone. An experiment root that
others can write to may hold a `.heyhi` of theirs, from which jobs would take their orders.
"""

import errno
import os
import pwd
import stat
from pathlib import Path
from typing import Any

from heyhi import files
from heyhi.errors import LaunchError, UsageError

__all__ = [
    "gpu_locks",
    "in_memory",
    "is_ours",
    "name_of_user",
    "of_the_version_before",
    "of_user",
    "refuse_foreign",
]

_SETTING = "gpu_locks"
_USERS, _MACHINES = Path(".config/heyhi/config.toml"), Path("/etc/heyhi/config.toml")
# The second where there is no first, as in a small container. Both are looked at before they are used.
_USUAL = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108
_MEMORY = Path("/dev/shm")  # noqa: S108
_ROOM = 1 << 30  # bytes that must be free in memory; a container has 64 MB there by default


def gpu_locks() -> Path:
    """The folder of this user's GPU locks on this host; it is made if it is not there.

    Raises LaunchError if it is not this user's alone, or cannot be made; UsageError for a wrong setting.
    """
    try:
        return of_user(_parent())
    except OSError as problem:
        raise LaunchError(
            f"{problem.filename}: {problem.strerror}; GPU locks need a folder that is yours alone: "
            f'{_SETTING} = "/another/folder" in {" or ".join(map(str, _settings_files()))} moves them'
        ) from None


def of_user(parent: Path) -> Path:
    """This user's folder in one that others can write to; it is made if it is not there.

    Raises OSError if it is not this user's alone, or cannot be made.
    """
    place = parent / name_of_user()
    try:
        try:
            place.mkdir(mode=0o700)
        except FileExistsError:
            pass  # the caller checks who made it
        problem = _why_not_ours(place) or _why_unsafe(parent)
    except OSError as failure:
        raise OSError(failure.errno, f"cannot be made: {failure.strerror}", str(place)) from None
    if problem:
        raise OSError(errno.EPERM, problem, str(place))
    return place


def of_the_version_before() -> list[Path]:
    """The folders where the previous version has this user's GPU locks; its running jobs may hold some."""
    import tempfile  # here and below: on the way of each run.py they would take longer than all else here

    places = dict.fromkeys(Path(folder, name_of_user()) for folder in (tempfile.gettempdir(), _USUAL[-1]))
    return [place for place in places if _is_ours(place)]


def in_memory() -> Path | None:
    """A folder of which no file is on a disk, for files that hold secrets; None if it has no room."""
    try:
        known = os.statvfs(_MEMORY)
        is_in_memory = os.path.ismount(_MEMORY) and not _why_unsafe(_MEMORY)
    except OSError:
        return None
    has_room = known.f_bavail * known.f_frsize >= _ROOM and known.f_favail > 0
    return _MEMORY if is_in_memory and has_room and os.access(_MEMORY, os.W_OK | os.X_OK) else None


def name_of_user() -> str:
    """The name of this user's folder for this host, inside a folder that others can write to."""
    return f"heyhi-{os.getuid()}-{os.uname().nodename}"


def refuse_foreign(folder: Path, root: Path) -> None:
    """Raise LaunchError if somebody put a folder into an experiment root who may not change the root itself.

    It may belong to this user, to root, or to the owner of the experiment root; to any user in a root without
    a sticky bit that others can write to: they can replace each other's files there anyway.
    """
    above = os.stat(root)
    if above.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not above.st_mode & stat.S_ISVTX:
        return
    for path in (*reversed(folder.relative_to(root).parents[:-1]), folder.relative_to(root)):
        try:
            known = os.lstat(root / path)
        except FileNotFoundError:
            return
        if known.st_uid not in (0, above.st_uid) and not _is_own_number(known.st_uid, root):
            raise LaunchError(
                f"{root / path}: belongs to {_user(known.st_uid)}, and jobs would do what is written there; "
                "HH_EXP_DIR=... names another experiment root"
            )


def is_ours(folder: Path) -> bool:
    """True if a folder is real, and this user's or root's: no other user can have prepared what is in it."""
    known = os.lstat(folder)
    is_real = stat.S_ISDIR(known.st_mode)
    return is_real and (known.st_uid == 0 or _is_own_number(known.st_uid, folder.parent))


def _is_own_number(number: int, folder: Path) -> bool:
    """True for this user's number, or for what a file server turns it into, as root's, in new files there."""
    import tempfile

    if number == os.geteuid():
        return True
    try:
        made = tempfile.mkdtemp(prefix=".heyhi-", dir=folder)
    except OSError:
        return False
    try:
        return os.lstat(made).st_uid == number
    finally:
        os.rmdir(made)


# ---- Whose it is --------------------------------------------------------------------------------


def _is_ours(place: Path) -> bool:
    try:
        return not _why_not_ours(place)
    except OSError:
        return False


def _why_not_ours(place: Path) -> str:
    """The reason why a folder is not this user's alone; empty if it is."""
    known = os.lstat(place)
    owner = _user(known.st_uid)
    if stat.S_ISLNK(known.st_mode):
        return f"is a link of {owner}"
    if not stat.S_ISDIR(known.st_mode):
        return f"is no folder, but a file of {owner}"
    if known.st_uid != os.geteuid():
        return f"belongs to {owner}"
    if known.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"belongs to {owner}, but others can write to it (mode {stat.S_IMODE(known.st_mode):04o})"
    return ""


def _why_unsafe(folder: Path) -> str:
    """The reason why others can replace a folder in here with theirs; empty if they cannot."""
    known = os.stat(folder)
    if known.st_uid not in (0, os.geteuid()):
        return f"is in a folder of {_user(known.st_uid)}"
    if known.st_mode & stat.S_IWOTH and not known.st_mode & stat.S_ISVTX:
        return "is in a folder where all can replace it (no sticky bit)"
    return ""


def _user(number: int) -> str:
    try:
        return f"{pwd.getpwuid(number).pw_name} (user {number})"
    except KeyError:
        return f"user {number}"


# ---- The setting --------------------------------------------------------------------------------


def _parent() -> Path:
    """The folder that the place is in."""
    for path in _settings_files():
        value = _read(path).get(_SETTING)
        if value is None:
            continue
        if not isinstance(value, str) or not os.path.isabs(value):
            raise UsageError(f'{path}: {_SETTING}: expected "/an/absolute/folder", not {value!r}')
        return Path(value)
    return next((folder for folder in _USUAL if folder.is_dir()), _USUAL[-1])


def _settings_files() -> list[Path]:
    """The settings files; the first wins."""
    try:
        # Of the password database, as HOME may differ between two sessions.
        return [Path(pwd.getpwuid(os.geteuid()).pw_dir) / _USERS, _MACHINES]
    except KeyError:
        return [_MACHINES]  # a user of a container


def _read(path: Path) -> dict[str, Any]:
    """The settings in a file; none if it is not there, or not to be seen."""
    import tomllib

    try:
        settings = tomllib.loads(files.read_text(path))
        if os.stat(path).st_mode & stat.S_IWOTH:
            raise UsageError(f"{path}: all can write to it; chmod o-w {path}")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, ValueError) as problem:
        raise UsageError(f"{path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    return settings
