"""A new project: a copy of template/, which is a whole project called my_project.

the name of its folder   ─▶  its own name: of its protobuf package, of its folder of results
where this heyhi is from ─▶  the line of requirements.txt that installs it there too
"""

import json
import os
import re
import shutil
import unicodedata
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from heyhi.errors import LaunchError, UsageError
from heyhi.texts import some_of

__all__ = ["make_project", "name_for", "requirement", "requirement_for"]

_TEMPLATE = Path(__file__).parent.with_name("template")
_NAME = "my_project"
_REQUIREMENT = "heyhi\n"  # its line in requirements.txt
# What running or installing the template leaves in it.
_MADE = re.compile(r"__pycache__|.*_(pb2|cfgs)\.pyi?|\..*_cache|\.heyhi_protos.*|\.snakemake|\.venv")
_MOST = 5  # names of what is in the way, in an error


def make_project(folder: Path, requirement: str) -> str:
    """Write a new project to a folder that is not there, or empty but for `.git`. Returns its name.

    Raises UsageError if there is anything else, LaunchError if it cannot be written; either way nothing is
    left of it.
    """
    folder = Path(os.path.abspath(folder))
    try:
        is_new = not os.path.lexists(folder)
        if not is_new:
            _refuse_what_is_there(folder)
        name = name_for(folder.name)
        folder.parent.mkdir(parents=True, exist_ok=True)  # here, so that an error names what was asked for
        # Beside its place, and so on one file system with it, whatever of them is mounted.
        partial = (folder.parent if is_new else folder) / f".heyhi-init.{os.urandom(4).hex()}.partial"
        try:
            partial.mkdir()  # not one that is there: in /tmp it may be somebody else's
        except OSError as problem:
            raise OSError(problem.errno, problem.strerror, str(folder)) from None
        try:
            _fill(partial, name, requirement)
            _move(partial, folder, is_new=is_new)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as problem:
        raise LaunchError(f"{problem.filename or folder}: {problem.strerror or problem}") from None
    return name


def _refuse_what_is_there(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder}: it is there, and no folder")
    names = sorted(set(os.listdir(folder)) - {".git"})
    if names:
        raise UsageError(
            f"{folder}: not empty: {some_of(names, _MOST)}; a new project needs a folder of its own"
        )


def _fill(partial: Path, name: str, requirement: str) -> None:
    for source in _files(_TEMPLATE):
        target = partial / source.relative_to(_TEMPLATE)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8").replace(_NAME, name)
        if source.name == "requirements.txt":
            text = text.replace(f"\n{_REQUIREMENT}", f"\n{requirement}\n")
        mode = 0o777 if source.suffix == ".sh" else 0o666  # less what the umask says
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


def _files(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.iterdir()):
        if not _MADE.fullmatch(path.name):
            found += _files(path) if path.is_dir() else [path]
    return found


def _move(partial: Path, folder: Path, *, is_new: bool) -> None:
    """Into its place: at once if that is new, else one by one, all of them or none."""
    if is_new:
        os.rename(partial, folder)
        return
    moved: list[Path] = []
    try:
        for path in sorted(partial.iterdir()):
            target = folder / path.name
            if os.path.lexists(target):
                raise UsageError(f"{target}: somebody else has just made it")
            os.rename(path, target)
            moved.append(target)
    except BaseException:
        for path in moved:
            os.rename(path, partial / path.name)
        raise


# ---- Its name -----------------------------------------------------------------------------------


def name_for(folder_name: str) -> str:
    """The name of a project in a folder of that name: lower-case ASCII letters, digits and `_`."""
    plain = unicodedata.normalize("NFKD", folder_name).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    if not name:
        return "project"
    return f"project_{name}" if name[0].isdigit() else name


# ---- Its HeyHi ----------------------------------------------------------------------------------


def requirement() -> str:
    """The line of a requirements file that installs this very heyhi."""
    try:
        found = metadata.distribution("heyhi")
    except metadata.PackageNotFoundError:  # on the PYTHONPATH
        return f"heyhi @ {_TEMPLATE.parent.parent.as_uri()}"
    origin = found.read_text("direct_url.json")
    return requirement_for(json.loads(origin) if origin else None, found.version)


def requirement_for(origin: Mapping[str, Any] | None, version: str) -> str:
    """The line for what was installed from `origin`, in the form of direct_url.json; None: from an index."""
    if origin is None:
        return f"heyhi=={version}"
    url = origin["url"]
    if source := origin.get("vcs_info"):
        url = f"{source['vcs']}+{url}@{source['commit_id']}"
    part = f"#subdirectory={origin['subdirectory']}" if "subdirectory" in origin else ""
    return f"heyhi @ {url}{part}"
