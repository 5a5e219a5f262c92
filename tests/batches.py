"""What the tests of batches share: a batch of carrots, Snakemake on it, and what became of its runs."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from heyhi.runs.folder import Run
from heyhi.runs.status import Status, read_state
from tests import warm
from tests.conftest import Done, Garden

CARROT = ("-c", "conf/beds/carrot.prototxt")


def write_batch(garden: Garden, *lines: str, name: str = "batch.sh") -> Path:
    """A script with a carrot for each text of overrides; other lines begin with an exclamation mark."""
    path = garden.root / name
    told = [line[1:] if line[:1] == "!" else f"python run.py {shlex.join(CARROT)} {line}" for line in lines]
    path.write_text("\n".join(["set -e", f"cd {shlex.quote(str(garden.root))}", *told, ""]))
    return path


def needing(overrides: str) -> str:
    """A line that sets T to the folder of another one."""
    return f"!T=$(python run.py {shlex.join(CARROT)} {overrides} --print-out-dir)"


def command(garden: Garden, *words: str, batch: Path | str = "batch.sh", profile: str = "local") -> list[str]:
    """The command line of Snakemake; words with a = and no dash belong to --config."""
    config = [word for word in words if "=" in word and word[:1] not in "-/"]
    others = [word for word in words if word not in config]
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(garden.root / "Snakefile")),
        *("--profile", str(garden.root / "profiles" / profile), "--cores", "4", *others),
        *("--config", f"batch={garden.root / batch}", *config),
    ]


def snakemake(
    garden: Garden,
    *words: str,
    batch: Path | str = "batch.sh",
    profile: str = "local",
    cwd: Path | None = None,
    **env: str,
) -> Done:
    """Run Snakemake on a batch to its end."""
    _, *command_words = command(garden, *words, batch=batch, profile=profile)
    environment = garden.environment(**env)
    if not warm.is_like_here(environment):
        return garden.python(*command_words, cwd=cwd, env=env)
    done = warm.run(command_words[2:], cwd or garden.root, environment)
    return Done(done.returncode, done.stdout, done.stderr)


def start_snakemake(
    garden: Garden,
    *words: str,
    batch: Path | str = "batch.sh",
    profile: str = "local",
    cwd: Path | None = None,
    **env: str,
) -> "subprocess.Popen[str]":
    """Start it, and go on."""
    return subprocess.Popen(
        command(garden, *words, batch=batch, profile=profile),
        cwd=cwd or garden.root,
        env=garden.environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def read_until(driver: "subprocess.Popen[str]", words: str) -> str:
    """What a driver says, to the end of the line that has the words."""
    assert driver.stdout is not None
    said = ""
    for line in driver.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it never said {words!r}: {said}")


def folder(garden: Garden, overrides: str) -> Path:
    """The folder of a run of a batch."""
    return garden.folder(*CARROT, *shlex.split(overrides))


def run_of(garden: Garden, path: Path) -> Run:
    """A run by its folder."""
    return Run(str(path.relative_to(garden.exp)), path)


def statuses(garden: Garden) -> dict[str, Status]:
    """The status of every run there is, by the name of its folder."""
    folders = {path.parent for path in garden.exp.glob("p/*/*/*/config.prototxt")}
    return {path.name: read_state(run_of(garden, path)).status for path in sorted(folders)}


def all_files(*places: Path) -> dict[str, Any]:
    """Every file and folder, with its size and the time of its last change."""
    found = {}
    for place in places:
        for path in [place, *place.rglob("*")]:
            known = path.lstat()
            found[str(path)] = (known.st_mtime_ns, known.st_size, known.st_ino)
    return found


def starts(path: Path) -> int:
    """How often a run was started, as its provenance has it."""
    content = json.loads((path / "heyhi.json").read_text())
    return len(content["starts"])


def told_about(done: Done, name: str) -> list[str]:
    """The lines that name a run."""
    return [line for line in done.err.splitlines() if name in line]


def without_times(text: str) -> str:
    """Without what differs between calls."""
    return re.sub(r"\d{4}-\d\d-\d\dT[\d.]+", "TIME", text)


def processes_of(garden: Garden) -> list[int]:
    """The jobs of the garden that live."""
    import psutil

    wanted = str(garden.exp)
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "run.py" in words and any(wanted in word for word in words) and process.pid != os.getpid():
            found.append(process.pid)
    return found
