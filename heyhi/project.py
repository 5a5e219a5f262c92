"""The project: a folder with `conf/` (schemas and configs) and `run.py` (its tasks).

<root>/conf/conf.proto      where MetaCfg is
<root>/conf/common          where includes are looked up
<root>/pyproject.toml       [tool.heyhi] project = "name", secrets = [...], not_secrets = [...]
$HH_EXP_DIR                 the experiment root; default ~/results/<name>
$HEYHI_COPY_OF              the folder that <root> is a copy of: set by what `heyhi replay` prints
$HEYHI_EXPORTED             names of variables that heyhi.json keeps, as of a batch: set by the same
"""

import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from heyhi import files
from heyhi.errors import ProjectError
from heyhi.texts import NOT_UTF8, line_of

__all__ = ["ROOT_DIR", "Project", "display", "find_project", "moved", "running_programs", "variable"]

#: What stands in configs for the project's root, or for that of which it is a copy: `Project.origin`.
ROOT_DIR = re.compile(r"\{\{\s*ROOT_DIR\s*\}\}")


# Commands that `heyhi replay` of an earlier version printed have these names.
_FORMER = {"HEYHI_COPY_OF": "HH_COPY_OF", "HEYHI_EXPORTED": "HH_EXPORTED"}


def variable(name: str) -> str:
    """The value of an environment variable, under its own name or a former one; empty if neither is set."""
    return os.environ.get(name) or os.environ.get(_FORMER.get(name, name), "")


class Project(NamedTuple):
    """The folder of a project. Paths are absolute."""

    root: Path

    @property
    def conf(self) -> Path:
        """The folder of schemas and configs."""
        return self.root / "conf"

    @property
    def common(self) -> Path:
        """The folder of shared parts of configs, for includes."""
        return self.root / "conf" / "common"

    @property
    def origin(self) -> Path:
        """The value of `{{ROOT_DIR}}` in a config: the root, or the folder that this root is a copy of."""
        return Path(variable("HEYHI_COPY_OF") or self.root)

    @property
    def settings(self) -> dict[str, Any]:
        """`[tool.heyhi]` in pyproject.toml. Raises ProjectError if that cannot be read."""
        import tomllib

        path = self.root / "pyproject.toml"
        try:
            content = tomllib.loads(files.read(path).decode("utf-8-sig"))
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError as problem:
            raise ProjectError(f"{path}:{line_of(problem)}: {NOT_UTF8}") from None
        except (OSError, ValueError) as problem:
            raise ProjectError(f"{path}: cannot be read: {getattr(problem, 'strerror', problem)}") from None
        except RecursionError:
            raise ProjectError(f"{path}: cannot be read: it is nested too deeply") from None
        tool = content.get("tool", {})
        found = tool.get("heyhi", {}) if isinstance(tool, dict) else None
        if not isinstance(found, dict):
            raise ProjectError(f'{path}: [tool.heyhi] needs project = "a name", not None')
        return found

    @property
    def name(self) -> str:
        """`project` of `[tool.heyhi]` in pyproject.toml; by default the folder's name."""
        folder = Path(os.path.realpath(self.origin)).name  # the same one through a link
        name = self.settings.get("project", folder)
        if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
            path = self.root / "pyproject.toml"
            raise ProjectError(f'{path}: [tool.heyhi] needs project = "a name", not {name!r}')
        return name

    @property
    def experiment_root(self) -> Path:
        """The root of run folders: `$HH_EXP_DIR`, or `~/results/<name>`."""
        chosen = os.environ.get("HH_EXP_DIR")
        if chosen:
            return Path(os.path.abspath(os.path.expanduser(chosen)))
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            raise ProjectError("no home folder: set HH_EXP_DIR to where results shall be")
        return Path(home) / "results" / self.name

    def put_on_path(self) -> None:
        """Make `import conf...` and `import run` find this project, whatever else is installed."""
        root = str(self.root)
        if root not in sys.path:
            sys.path.insert(0, root)
        package = sys.modules.get("conf")
        if package is None:
            # A folder without __init__.py loses against any installed package of that name.
            package = sys.modules["conf"] = ModuleType("conf")
            package.__path__ = [str(self.conf)]
        elif str(self.conf) not in (found := list(getattr(package, "__path__", [package]))):
            raise ProjectError(
                f"{self.conf}: another conf is already imported ({found[0]}); "
                "use one process for each project"
            )


def find_project(script: str | None = None) -> Project:
    """The project of the running `run.py`, or of `$HEYHI_PROJECT`, or the nearest one above the cwd.

    `script` is the path of that run.py; without it, the running program is tried. Raises ProjectError if
    there is none.
    """
    if script is None:
        of_program = next(filter(None, map(_project_of_script, running_programs())), None)
        return of_program or _project_of_environment() or _project_above_cwd()
    found = _project_of_script(script)
    if found is None:
        folder = os.path.dirname(os.path.abspath(script))
        raise ProjectError(f"{folder}: no conf/conf.proto here; a project keeps its schemas in conf/")
    return found


def running_programs() -> list[str]:
    """The paths that the running program may have: of the main module, and the first word of its command.

    They differ under `python -m cProfile run.py`, whose main module is the profiler.
    """
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    typed = sys.argv[0] if sys.argv and os.path.isfile(sys.argv[0]) else None
    return [path for path in (main, typed) if path]


def _project_of_script(script: str) -> Project | None:
    # As Python does for its imports, a link to a script counts as the script; but where it lies first.
    for path in (os.path.abspath(script), os.path.realpath(script)):
        folder = Path(path).parent
        if _is_project(folder):
            return Project(folder)
    return None


def _is_project(folder: Path) -> bool:
    return os.path.isfile(folder / "conf" / "conf.proto")  # false, too, where one may not look


def _project_of_environment() -> Project | None:
    chosen = os.environ.get("HEYHI_PROJECT")
    if not chosen:
        return None
    root = Path(os.path.abspath(os.path.expanduser(chosen)))
    if not _is_project(root):
        raise ProjectError(f"HEYHI_PROJECT={chosen}: no conf/conf.proto there")
    return Project(root)


def _project_above_cwd() -> Project:
    try:
        cwd = Path.cwd()
    except FileNotFoundError:
        raise ProjectError("the current folder is gone; go to a project, or set HEYHI_PROJECT") from None
    for folder in (cwd, *cwd.parents):
        if _is_project(folder):
            return Project(folder)
    raise ProjectError(f"{cwd}: no conf/conf.proto here or above; go to a project, or set HEYHI_PROJECT")


def moved(path: str, old: str, new: str) -> str:
    """A path below the folder `old` as it is below `new`; any other text as it is."""
    return new + path[len(old) :] if path == old or path.startswith(f"{old}/") else path


def display(path: str | Path) -> str:
    """A path as a person near it would write it: relative to the cwd where it is below it."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):  # the cwd is gone, or the path is empty
        return str(path)
    return str(path) if relative.startswith("..") else relative
