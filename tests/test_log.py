import logging
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from heyhi.log import (
    Losses,
    also_log_to_file,
    copy_output_to,
    prepare_streams,
    says_what_is_lost,
    send_output_to,
    setup_logging,
)


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, without handlers; put back afterwards."""
    root = logging.getLogger()
    old = root.level, list(root.handlers)
    root.handlers = []
    yield root
    for handler in root.handlers:
        handler.close()
    root.level, root.handlers = old
    for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        logging.addLevelName(getattr(logging, name), name)


LINES = {
    None: "",
    "worker": "worker ",
    "100% {odd} %(levelname)s {": "100% {odd} %(levelname)s { ",
}


@pytest.mark.parametrize(("label", "shown"), LINES.items())
@pytest.mark.parametrize(("level", "letter"), [(10, "D"), (20, "I"), (30, "W"), (40, "E"), (50, "C")])
def test_a_line_of_the_log(
    root_logger: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    label: str | None,
    shown: str,
    level: int,
    letter: str,
) -> None:
    setup_logging(console_level="DEBUG", label=label)
    root_logger.log(level, "it is %d %%", 5)
    when = r"\d{4} \d\d:\d\d:\d\d"
    line = rf"{letter}{when} \[{re.escape(shown)}test_log:\d+\] it is 5 %\n"
    assert re.fullmatch(line, capsys.readouterr().err)


@pytest.mark.parametrize("level", ["WARN", "WARNING", logging.WARNING])
def test_the_console_shows_its_level_and_the_file_has_its_own(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str], tmp_path: Path, level: int | str
) -> None:
    setup_logging(console_level=level, fpath=tmp_path / "log", file_level="INFO")
    for name in ("debug", "info", "warning"):
        getattr(root_logger, name)(f"{name} é")
    assert [line.split()[-2] for line in capsys.readouterr().err.splitlines()] == ["warning"]
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["info é", "warning é"]


def test_an_unknown_level_is_an_error(root_logger: logging.Logger) -> None:
    with pytest.raises(ValueError, match="LOUD"):
        setup_logging(console_level="LOUD")


def test_set_up_twice_logs_once(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    setup_logging()
    root_logger.info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_one_more_file_is_appended_to(root_logger: logging.Logger, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("old\n")
    also_log_to_file(tmp_path / "log", label="L", file_level="INFO")
    root_logger.info("new")
    root_logger.debug("not")
    assert re.fullmatch(r"old\nI.* \[L test_log:\d+\] new\n", (tmp_path / "log").read_text())


# ---- The copy of what is printed ----------------------------------------------------------------


def test_both_streams_are_copied_and_the_file_is_appended_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "run.log"
    log.write_text("before\n")
    with copy_output_to(log):
        print("out é \udc80".encode("utf-8", "replace").decode())
        print("err", file=sys.stderr)
        sys.stdout.writelines(["a\n", "b\n"])
    print("after")
    assert log.read_text(encoding="utf-8") == "before\nout é ?\nerr\na\nb\n"
    assert capsys.readouterr() == ("out é ?\na\nb\nafter\n", "err\n")


def test_logging_set_up_before_the_copy_is_copied(
    root_logger: logging.Logger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging()
    with copy_output_to(tmp_path / "run.log"):
        root_logger.info("hello")
    assert "hello" in (tmp_path / "run.log").read_text()
    assert "hello" in capsys.readouterr().err


def test_streams_are_given_back_when_the_task_fails(tmp_path: Path) -> None:
    old = sys.stdout, sys.stderr
    with pytest.raises(RuntimeError), copy_output_to(tmp_path / "run.log"):
        raise RuntimeError
    assert (sys.stdout, sys.stderr) == old


def test_what_threads_print_is_copied(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    with copy_output_to(log):
        threads = [threading.Thread(target=sys.stdout.write, args=(f"{n}\n",)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(map(int, log.read_text().split())) == list(range(20))


def test_a_full_disk_does_not_end_a_task(
    small_disk: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    log = small_disk(64) / "run.log"
    with copy_output_to(log):
        for _ in range(300):
            print("x" * 1000)
        sys.stdout.flush()
    assert len(capsys.readouterr().out) == 300 * 1001
    assert 0 < log.stat().st_size <= 64 * 1024


PROGRAM = """
import os, pathlib, subprocess, sys
from heyhi.log import copy_output_to

with copy_output_to(pathlib.Path(sys.argv[1])):
"""


def _program(text: str, log: Path) -> list[str]:
    lines = "".join(f"    {line}\n" for line in text.splitlines())
    return [sys.executable, "-c", PROGRAM + lines, str(log)]


@pytest.mark.processes
def test_what_a_forked_process_prints_is_copied_once(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    text = (
        'print("parent", flush=True)\n'
        'if os.fork() == 0:\n    print("child", flush=True)\n    os._exit(0)\n'
        "os.wait()"
    )
    subprocess.run(_program(text, log), check=True, stdout=subprocess.DEVNULL)
    assert log.read_text() == "parent\nchild\n"


@pytest.mark.processes
def test_output_that_goes_to_the_log_already_is_written_once(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    text = (
        'print("mine", flush=True)\nsubprocess.run(["echo", "of a program"])\nprint("err", file=sys.stderr)'
    )
    with log.open("a") as file:
        subprocess.run(_program(text, log), check=True, stdout=file, stderr=file)
    assert log.read_text() == "mine\nof a program\nerr\n"


@pytest.mark.processes
def test_a_program_without_output_still_has_a_log(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *_program('print("hello")', log)]
    subprocess.run(command, check=True)
    assert log.read_text() == "hello\n"


@pytest.mark.processes
def test_a_debugger_meets_a_terminal(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    text = (
        "streams = (sys.stdout, sys.stderr)\n"
        "print([(s.isatty(), s.fileno(), s.encoding) for s in streams])\n"
        'answer = "of the task"\n'
        "breakpoint()\n"
        'print("went on")'
    )
    out = _in_a_terminal(_program(text, log), typed=b"p answer.upper()\nc\n")
    assert "[(True, 1, 'utf-8'), (True, 2, 'utf-8')]" in out
    assert "'OF THE TASK'" in out
    assert log.read_text().endswith("went on\n")


def _in_a_terminal(command: list[str], typed: bytes) -> str:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        os.write(ours, typed)
        out = b""
        try:
            while part := os.read(ours, 4096):
                out += part
        except OSError:
            pass  # so a terminal says that its program has ended
    os.close(ours)
    assert process.returncode == 0, out
    return out.decode()


# ---- A full disk --------------------------------------------------------------------------------


def fill(path: Path) -> None:
    """Until not one more byte can be appended."""
    with path.open("ab", buffering=0) as file:
        for block in (bytes(4096), b"."):
            try:
                while True:
                    file.write(block)
            except OSError:
                pass


@pytest.fixture
def full_log(small_disk: Callable[[int], Path]) -> Path:
    """A log on a full disk, of which a file `filler` can be removed."""
    disk = small_disk(64)
    (disk / "filler").write_bytes(bytes(16384))
    (disk / "run.log").write_text("old\n")
    fill(disk / "run.log")
    return disk / "run.log"


@pytest.mark.parametrize("send", [copy_output_to, send_output_to])
def test_lines_that_a_log_loses_are_counted_and_said_once_there_is_room(
    send: Callable[[Path], AbstractContextManager[Losses]],
    full_log: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = full_log.stat().st_size
    with send(full_log) as losses:
        print("one")
        print("two\nthree", file=sys.stderr)
        sys.stdout.write("half a ")
        sys.stdout.write("line\n")
        sys.stdout.flush()
        assert losses.lines == 4
        (full_log.parent / "filler").unlink()
        print("four")
    with full_log.open("rb") as file:
        file.seek(before)
        said = file.read().decode()
    assert said == "heyhi: 4 lines of this log were lost: No space left on device\nfour\n"
    assert f"{full_log}: 4 lines of this log were lost: No space left on device\n" in capfd.readouterr().err


@pytest.mark.parametrize("send", [copy_output_to, send_output_to])
def test_what_is_lost_at_the_end_is_said_on_stderr(
    send: Callable[[Path], AbstractContextManager[Losses]],
    full_log: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with send(full_log):
        sys.stdout.buffer.write(b"bytes\n")
        print("a line")
        sys.stderr.write("no end")
    told = capfd.readouterr().err.splitlines()[-1]
    lines = 2 if send is send_output_to else 1  # bytes that pass the text stream by are not copied
    assert says_what_is_lost(told)
    assert re.search(rf"{lines + 1} lines? of this log were lost", told)


def test_a_line_that_is_cut_gets_its_end(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(64)
    (disk / "filler").write_bytes(bytes(16384))
    log = disk / "run.log"
    with copy_output_to(log) as losses:
        while not losses.lines:
            print("x" * 1000)
        (disk / "filler").unlink()
        print("after")
    cut, told, after = log.read_text().splitlines()[-3:]
    assert 0 < len(cut) <= 1000
    assert told == "heyhi: 1 line of this log was lost: No space left on device"
    assert after == "after"


def test_logging_on_a_full_disk_prints_no_traceback(
    root_logger: logging.Logger, full_log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    setup_logging(fpath=full_log)
    with send_output_to(full_log) as losses:
        root_logger.error("to both")
        assert losses.lines == 1
    setup_logging()  # which closes what was there
    assert "Traceback" not in capfd.readouterr().err


def test_a_stream_of_a_batch_is_like_any_other(tmp_path: Path) -> None:
    with send_output_to(tmp_path / "run.log"):
        found = sys.stdout.isatty(), sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.encoding
        name, writable = sys.stdout.name, sys.stdout.writable()
        sys.stdout.reconfigure(line_buffering=False)  # type: ignore[union-attr]
        print("all of it \ud800", end="")
    assert (found, name, writable) == ((False, 1, 2, "utf-8"), "<stdout>", True)
    assert (tmp_path / "run.log").read_text() == "all of it \\ud800"


# ---- stdout and stderr of a command -------------------------------------------------------------

# Of a locale -> what is shown of a text that has half a character, and a byte of a file's name.
SHOWN = {
    "ascii": "\\xfc \\ud800 \\udcff\n",
    "utf-8": "ü \\ud800 \\udcff\n",
    "utf-8:surrogateescape": "ü \\ud800 \\udcff\n",
}


@pytest.mark.processes
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(("encoding", "shown"), SHOWN.items(), ids=SHOWN)
def test_a_command_can_print_any_text(encoding: str, shown: str, number: int) -> None:
    text = (
        f"import sys, {prepare_streams.__module__} as log; log.prepare_streams();"
        f" print('ü \\ud800 \\udcff', file={'sys.stdout' if number == 1 else 'sys.stderr'})"
    )
    command = [sys.executable, "-c", text]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert [done.stdout, done.stderr][number - 1].decode() == shown
    shell = ["sh", "-c", f'exec "$@" {number}>&-', "sh", *command]
    closed = subprocess.run(shell, env=environment, capture_output=True, check=True)
    assert (closed.stdout, closed.stderr) == (b"", b"")
