"""Every mistake is one line, and nothing that comes from elsewhere reaches a terminal as it is."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Done, Garden

CARROT = ("-c", "conf/beds/carrot.prototxt")
EVIL = "\x1b]0;x\x07\x1b[31m\x9b31m\r\b\u202e"
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


def heyhi(garden: Garden, *words: str, stdin: str = "") -> Done:
    return garden.python("-m", "heyhi.commands", *words, stdin=stdin)


# ---- Nothing raw --------------------------------------------------------------------------------

RUN, FOLDER, DEAD = "RUN", f"odd/{EVIL}", "DEAD"  # stand for runs below
# What is typed: run.py's words, or those of `heyhi`.
LINES: dict[str, list[str]] = {
    "a value": ["run.py", *CARROT, f"lr={EVIL}"],
    "a key": ["run.py", *CARROT, f"{EVIL}=1"],
    "a word": ["run.py", *CARROT, EVIL],
    "a flag": ["run.py", *CARROT, f"--{EVIL}"],
    "a config": ["run.py", "-c", EVIL],
    "a mode": ["run.py", *CARROT, "--mode", EVIL],
    "an include": ["run.py", *CARROT, f"Isoil={EVIL}"],
    "a mount": ["run.py", *CARROT, f"I{EVIL}=deep"],
    "a table": ["run.py", *CARROT, "--table", EVIL],
    "a pattern": ["run.py", *CARROT, "--help-cfg", EVIL],
    "a key to explain": ["run.py", *CARROT, "--explain", EVIL],
    "print": ["run.py", *CARROT, f"note={EVIL}", "--print-flat"],
    "explain": ["run.py", *CARROT, f"note={EVIL}", "--explain", "note"],
    "a run": ["run.py", *CARROT, "seed=1", "--out", FOLDER],
    "a dead run": ["run.py", *CARROT, "fail=complain", f"note={EVIL}"],
    "a refusal": ["run.py", *CARROT, "seed=1", "--out", FOLDER, "--mode", "restart"],
    "status": ["status"],
    "status of a run": ["status", FOLDER],
    "status of nothing": ["status", EVIL],
    "status of a batch": ["status", "batch.sh"],
    "summary": ["summary"],
    "summary where": ["summary", "--where", EVIL],
    "summary sort": ["summary", f"--sort={EVIL}"],
    "plan": ["plan", "batch.sh", "--all"],
    "plan of nothing": ["plan", EVIL],
    "start": ["start", "batch.sh"],
    "start with a profile": ["start", "batch.sh", "--profile", EVIL],
    "logs": ["logs", FOLDER],
    "logs of a dead one": ["logs", DEAD],
    "logs followed": ["logs", "-f", FOLDER],
    "logs of nothing": ["logs", EVIL],
    "diff": ["diff", FOLDER, DEAD],
    "diff of code": ["diff", "--code", FOLDER, DEAD],
    "kill": ["kill", FOLDER],
    "kill nothing": ["kill", EVIL],
    "migrate": ["migrate", "--check"],
    "a command": [EVIL],
    "validate": ["validate"],
    "init": ["init", f"new/{EVIL}"],
}


@pytest.fixture(scope="module")
def evil(processes: None, tmp_path_factory: pytest.TempPathFactory, garden_template: Path) -> Garden:
    """A garden with runs, logs, errors, a batch and a config that hold control characters."""
    import shutil

    place = tmp_path_factory.mktemp("evil")
    shutil.copytree(garden_template, place / "garden")
    (place / "home").mkdir()
    garden = Garden(place / "garden", place / "home")
    garden(*CARROT, "seed=1", "--out", FOLDER)
    garden(*CARROT, "fail=complain", f"note={EVIL}")
    with (garden.exp / FOLDER / "run.log").open("a") as log:
        log.write(f"{EVIL} a line {EVIL}\nanother \x1b[2K without {EVIL} an end")
    lines = [[*CARROT, "seed=1", "--out", FOLDER], [*CARROT, "fail=complain", f"note={EVIL}"]]
    script = "\n".join(shlex.join(["python", "run.py", *line]) for line in lines)
    (garden.root / "batch.sh").write_text(f"{script}\n")
    (garden.root / "conf" / "beds" / f"{EVIL}.prototxt").write_text("grow { nothing: 1 }")
    return garden


@pytest.mark.parametrize("name", LINES)
def test_no_control_character_reaches_a_terminal(evil: Garden, name: str) -> None:
    dead = next(path.parent for path in evil.exp.glob("p/*/*/*/error.txt"))
    words = [{DEAD: str(dead)}.get(word, word) for word in LINES[name]]
    done = evil(*words[1:]) if words[0] == "run.py" else heyhi(evil, *words)
    assert "Traceback" not in done.err or name == "a dead run"
    told = done.out + ("" if name == "a dead run" else done.err)  # of a task's own traceback all is its own
    assert not _CONTROL.findall(told), repr(told)
    assert done.out + done.err


def test_a_line_that_is_drawn_in_place_is_clean(evil: Garden) -> None:
    import pexpect

    log = evil.exp / FOLDER / "run.log"
    command = [sys.executable, "-m", "heyhi.commands", "logs", "-f", f"odd/{EVIL}"]
    assert log.exists()
    terminal = pexpect.spawn(
        command[0],
        command[1:],
        cwd=evil.root,
        env=evil.environment(TERM="xterm"),
        timeout=60,
        encoding="utf-8",
    )
    terminal.expect(pexpect.EOF)
    said = str(terminal.before).replace("\r\x1b[K", "").replace("\r\n", "\n")
    assert "an end" in said
    assert not _CONTROL.findall(said), repr(said)
    terminal.close()


# ---- Nothing endless ----------------------------------------------------------------------------

LONG = "x" * 5_000
TYPED: dict[str, list[str]] = {
    "a value": ["run.py", *CARROT, f"lr={LONG}"],
    "an enum": ["run.py", *CARROT, f"season={LONG}"],
    "a key": ["run.py", *CARROT, f"{LONG}=1"],
    "a key of many parts": ["run.py", *CARROT, f"soil.{LONG}.depth=1"],
    "a word": ["run.py", *CARROT, LONG],
    "a flag": ["run.py", *CARROT, f"--{LONG}"],
    "a config": ["run.py", "-c", LONG],
    "a mode": ["run.py", *CARROT, "--mode", LONG],
    "an include": ["run.py", *CARROT, f"Isoil={LONG}"],
    "a mount": ["run.py", *CARROT, f"I{LONG}=deep"],
    "a folder": ["run.py", *CARROT, "--out", LONG],
    "a table": ["run.py", *CARROT, "--table", LONG],
    "a pattern": ["run.py", *CARROT, "--help-cfg", LONG],
    "a key to explain": ["run.py", *CARROT, "--explain", LONG],
    "a place": ["run.py", *CARROT, "seed=1", "--checkpoint", LONG],
    "a batch": ["plan", LONG],
    "a batch to start": ["start", LONG],
    "a profile": ["start", "batch.sh", "--profile", LONG],
    "a run": ["logs", LONG],
    "a run to kill": ["kill", LONG],
    "runs": ["status", LONG],
    "a command": [LONG],
}


@pytest.mark.parametrize("name", TYPED)
def test_what_was_typed_is_not_echoed_whole(garden: Garden, name: str) -> None:
    words = TYPED[name]
    done = garden(*words[1:]) if words[0] == "run.py" else heyhi(garden, *words)
    assert (done.status in (1, 2), "Traceback" in done.err) == (True, False), done
    assert done.err.splitlines()[-1].startswith("error: ")
    assert len(done.err) < 1_500


# ---- Files of a project that cannot be read -----------------------------------------------------


def _put(data: bytes) -> Callable[[Path], object]:
    def put(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    return put


def _folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


CONF, TOML, NOT_UTF8 = "conf/conf.proto", "pyproject.toml", "not UTF-8 text; save it as UTF-8"
FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a schema in latin-1": (CONF, _put(b"\n// \xf6\n"), f"{CONF}:2: {NOT_UTF8}"),
    "a schema that is a folder": ("conf/a.proto", _folder, "conf/a.proto: cannot be read: is a folder"),
    "a schema that is a fifo": ("conf/a.proto", _fifo, "conf/a.proto: cannot be read: is a fifo"),
    "a schema of an odd name": ("conf/\udcf6.proto", _put(b""), "a schema's name must be one that Python"),
    "a config in latin-1": (CARROT[1], _put(b"\xf6"), f"{CARROT[1]}:1: {NOT_UTF8}"),
    "a config in UTF-16": (CARROT[1], _put(b"\xff\xfeg\0"), f"{CARROT[1]}:1: {NOT_UTF8}"),
    "settings in latin-1": (TOML, _put(b"\n# \xf6"), f"{TOML}:2: {NOT_UTF8}"),
    "settings that are a folder": (TOML, _folder, f"{TOML}: cannot be read: is a folder"),
    "settings that are a fifo": (TOML, _fifo, f"{TOML}: cannot be read: is a fifo"),
    "deep settings": (TOML, _put(b"a=" + b"[" * 100_000), f"{TOML}: cannot be read: it is nested too deeply"),
    "an impossible name": (TOML, _put(b'[tool.heyhi]\nproject="a\\u0000"'), "needs project ="),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_is_a_line(garden: Garden, name: str) -> None:
    file, change, told = FILES[name]
    change(garden.root / file)
    garden.more["HH_EXP_DIR"] = ""
    done = garden(*CARROT)
    (said,) = done.err.splitlines()
    assert (done.status, said[:7], told in said) == (2, "error: ", True), done


def test_settings_with_a_byte_order_mark_are_read(garden: Garden) -> None:
    (garden.root / TOML).write_bytes(b'\xef\xbb\xbf[tool.heyhi]\nproject = "mine"\n')
    garden.more["HH_EXP_DIR"] = ""
    assert garden.folder(*CARROT).is_relative_to(garden.home / "results" / "mine")


def test_a_snakefile_that_is_no_utf_8_is_a_line(garden: Garden) -> None:
    (garden.root / "Snakefile").write_bytes(b"# \xf6\n")
    (garden.root / "batch.sh").write_text(f"python run.py {shlex.join(CARROT)}\n")
    done = heyhi(garden, "start", "batch.sh")
    assert (done.status, done.err) == (
        2,
        f"error: {garden.root}/Snakefile:1: not UTF-8 text; save it as UTF-8\n",
    )


def test_lines_on_stdin_with_a_nul_are_a_mistake_of_theirs(garden: Garden) -> None:
    done = heyhi(garden, "plan", "-", stdin=f"{shlex.join(CARROT)} note=a\0b\n")
    assert (done.status, "stdin:1: a NUL byte, which no command line can hold" in done.err) == (2, True)


def test_the_folder_of_a_run_is_printed_byte_by_byte(garden: Garden) -> None:
    done = subprocess.run(
        garden.command(*CARROT, "--out", "caf\udce9\x1b", "--print-out-dir"),
        cwd=garden.root,
        env=garden.environment(),
        capture_output=True,
        check=True,
    )
    assert done.stdout == os.fsencode(garden.exp / "caf\udce9\x1b") + b"\n"
