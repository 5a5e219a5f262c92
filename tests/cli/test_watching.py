"""The commands that look at runs as they are now, on real runs of a project of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from heyhi.cli import watching
from heyhi.look.status import Overview, Row
from tests.batches import CARROT, folder, needing, read_until, start_snakemake, write_batch
from tests.conftest import Done, Garden, wait_until


def heyhi(garden: Garden, *words: str) -> Done:
    return garden.python("-m", "heyhi.commands", *words)


def start(garden: Garden, *words: str) -> "subprocess.Popen[str]":
    """Start a command, and go on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "heyhi.commands", *words],
        cwd=garden.root,
        env=garden.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    garden.started.append(process)
    return process


def terminal(garden: Garden, *words: str) -> "pexpect.spawn[str]":
    return pexpect.spawn(
        sys.executable,
        ["-m", "heyhi.commands", *words],
        cwd=str(garden.root),
        env=garden.environment(TERM="xterm", NO_COLOR=""),
        encoding="utf-8",
        timeout=60,
        dimensions=(24, 120),
    )


def hold(garden: Garden, *words: str, **env: str) -> "tuple[subprocess.Popen[str], Path]":
    """A run that goes on until a file is there."""
    go = garden.home / "go"
    count = garden.executions()
    process = garden.popen(*CARROT, *words, env={"GARDEN_GO": str(go), **env})
    wait_until(lambda: garden.executions() > count)
    return process, go


# ---- status -------------------------------------------------------------------------------------


def test_status_tells_what_lives_what_died_and_how_to_go_on(garden: Garden) -> None:
    write_batch(garden, "seed=1", "fail=raise", "seed=4")
    go = garden.home / "go"
    garden(*CARROT, "fail=raise")
    garden(*CARROT, "seed=4")
    driver = start_snakemake(garden, GARDEN_GO=str(go))
    try:
        wait_until(lambda: garden.executions() == 3)
        done = heyhi(garden, "status", "batch.sh")
        counts, told, head, running, dead, hint, _ = done.out.splitlines()
    finally:
        go.touch()
        driver.communicate(timeout=60)
    assert counts == "runs 3: 1 DONE, 1 RUNNING, 1 DEAD"
    assert re.fullmatch(r"driver batch\.sh since 2\S+ process \d+ on \S+; heyhi stop ends it", told)
    assert head.split() == ["STATUS", "ID", "SINCE", "SIGN", "JOB", "WHAT"]
    assert re.fullmatch(r"RUNNING  p/beds/carrot/seed@1_\S+ +2\S+ +\d+ +local:\S+ +growing carrot", running)
    assert re.fullmatch(r"DEAD +p/beds/carrot/fail@raise_\S+ .*ValueError: too dry", dead)
    assert hint == "to go on with what is DEAD: heyhi start batch.sh --mode start_continue"
    assert "\x1b" not in done.out


def test_what_a_driver_has_yet_to_start_waits_and_needs_no_command(garden: Garden) -> None:
    write_batch(garden, "seed=1", needing("seed=1"), '"note=$T/x"')
    go = garden.home / "go"
    driver = start_snakemake(garden, GARDEN_GO=str(go))
    try:
        wait_until(lambda: garden.executions() == 1)
        last = heyhi(garden, "status", "batch.sh").out.splitlines()[-1]
    finally:
        go.touch()
        driver.communicate(timeout=60)
    assert re.search(r"^NOT_STARTED .*waits for p/beds/carrot/seed@1_\w+ \(RUNNING\)$", last)
    write_batch(garden, "seed=1", "seed=5")
    heyhi(garden, "plan", "batch.sh")
    hint = heyhi(garden, "status", "batch.sh").out.splitlines()[-1]
    assert hint == "to start the rest: heyhi start batch.sh"


def test_the_command_that_it_tells_goes_on(garden: Garden) -> None:
    garden(*CARROT, "fail=once")
    done = heyhi(garden, "status")
    (hint,) = [line for line in done.out.splitlines() if line.startswith("to go on")]
    environment = garden.environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    command = hint.partition(": ")[2]
    subprocess.run(["bash", "-c", command], cwd=garden.root, env=environment, check=True, capture_output=True)
    assert heyhi(garden, "status").out == "runs 1: 1 DONE\n"


def test_in_a_pipe_a_watch_tells_each_change_and_ends_with_the_last_run(garden: Garden) -> None:
    process, go = hold(garden)
    watch = start(garden, "status", "--watch")
    said = read_until(watch, "RUNNING  ")
    go.touch()
    process.communicate()
    rest, problems = watch.communicate(timeout=60)
    assert (watch.returncode, problems) == (0, "")
    assert said.startswith("runs 1: 1 RUNNING\n")
    assert rest == "\nruns 1: 1 DONE\n"


@pytest.mark.parametrize("words", [("status", "--watch"), ("logs", "seed@1", "-f")])
def test_what_watches_ends_with_its_reader(garden: Garden, words: tuple[str, ...]) -> None:
    process, go = hold(garden, "seed=1")
    watch = start(garden, *words)
    assert watch.stdout is not None
    assert watch.stderr is not None
    watch.stdout.readline()
    watch.stdout.close()
    assert watch.wait(timeout=20) == 0, "though nothing has changed"
    assert watch.stderr.read() == ""
    go.touch()
    process.communicate()


def test_in_a_pipe_a_watch_is_silent_as_long_as_no_status_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def seen(status: str, sign: float, what: str) -> Overview:
        row = Row(status, "p/it", None, sign, "", what)
        return Overview({status: 1}, (), (row,), (), lives=status == "RUNNING", asks_slurm=False)

    looks = iter([seen("RUNNING", 1, "epoch 1"), seen("RUNNING", 2, "epoch 2"), seen("DEAD", 3, "too dry")])
    monkeypatch.setenv("HH_EXP_DIR", str(tmp_path))
    monkeypatch.setattr(watching, "Look", lambda *_: lambda: next(looks))
    monkeypatch.setattr(watching, "_PAUSE", 0.0)
    assert watching.status(["--watch"]) == 0
    said = capsys.readouterr().out
    assert re.findall("runs.*|epoch.*|too dry", said) == [
        "runs 1: 1 RUNNING",
        "epoch 1",
        "runs 1: 1 DEAD",
        "too dry",
    ]


def test_a_watch_on_a_terminal_is_drawn_anew_and_ends_with_the_last_run(garden: Garden) -> None:
    process, go = hold(garden)
    child = terminal(garden, "status", "--watch")
    child.expect("RUNNING")
    child.expect("\x1b\\[\\d*A")  # up again
    go.touch()
    process.communicate()
    child.expect("runs 1: 1 DONE")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_watch_is_left_by_ctrl_c(garden: Garden) -> None:
    process, go = hold(garden)
    child = terminal(garden, "status", "--watch")
    child.expect("RUNNING")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "Traceback" not in str(child.before)
    assert "\x1b[?25h" in str(child.before), "the cursor is seen again"
    assert process.poll() is None, "it goes on"
    go.touch()


def test_status_of_nothing_makes_nothing(garden: Garden) -> None:
    assert heyhi(garden, "status").out == "no runs\n"
    assert not garden.exp.exists()


def test_runs_of_a_project_whose_schema_is_gone_are_told(garden: Garden) -> None:
    garden(*CARROT, "fail=raise")
    (garden.root / "conf").rename(garden.root / "gone")
    done = heyhi(garden, "status")
    assert (done.status, done.out.splitlines()[0]) == (0, "runs 1: 1 DEAD")
    done = heyhi(garden, "diff", "fail", "fail")
    assert (done.status, done.out.splitlines()[-1]) == (0, "no difference")


# ---- logs ---------------------------------------------------------------------------------------


def test_logs_of_a_run_that_is_done_and_of_one_that_is_dead(garden: Garden) -> None:
    garden(*CARROT, "seed=1", "fail=talk")
    done = heyhi(garden, "logs", "seed@1", "-n", "2")
    assert (done.status, done.out, done.err) == (0, "line 9998\nline 9999\n", "")
    assert heyhi(garden, "logs", "seed@1").out.splitlines()[:2] == ["growing carrot", "line 0"]
    garden(*CARROT, "fail=raise")
    done = heyhi(garden, "logs", "raise")
    assert (done.status, done.out.splitlines()[-1]) == (1, "ValueError: too dry")
    error = folder(garden, "fail=raise") / "error.txt"
    assert done.err.splitlines()[0].endswith(": DEAD: ValueError: too dry")
    assert done.err.splitlines()[1] == f"  all of it: {error}"
    error.with_name("run.log").unlink()
    assert "run.log: there is none yet; DEAD" in heyhi(garden, "logs", "raise").err


ENDS = {"done": ("seed=9", 0, "DONE"), "dead": ("fail=raise", 1, "DEAD: ValueError: too dry")}


@pytest.mark.parametrize(("word", "status", "said"), ENDS.values(), ids=ENDS)
def test_logs_are_followed_to_the_end(garden: Garden, word: str, status: int, said: str) -> None:
    process, go = hold(garden, word)
    follow = start(garden, "logs", str(folder(garden, word)), "-f")
    assert read_until(follow, "growing") == "growing carrot\n"
    go.touch()
    process.communicate()
    _, problems = follow.communicate(timeout=60)
    assert follow.returncode == status
    assert f": {said}\n" in problems


def test_logs_are_followed_through_a_restart(garden: Garden) -> None:
    first, _ = hold(garden, "seed=1")
    follow = start(garden, "logs", "seed@1", "-f")
    read_until(follow, "growing")
    again, go = hold(garden, "seed=1", "--mode", "restart", "--force")
    first.communicate()
    assert read_until(follow, "growing").endswith("growing carrot\n")
    go.touch()
    again.communicate()
    _, problems = follow.communicate(timeout=60)
    assert (follow.returncode, problems.count("\n")) == (0, 1), problems
    assert problems.endswith(": DONE\n")


def test_a_progress_bar_moves_on_a_terminal_and_ctrl_c_is_quiet(garden: Garden) -> None:
    process, go = hold(garden, "seed=1")
    log = folder(garden, "seed=1") / "run.log"
    child = terminal(garden, "logs", "seed@1", "-f")
    child.expect("growing carrot")
    for text in ("\r 10%", "\r 20%"):
        with log.open("a") as file:
            file.write(text)
        child.expect(text.strip())
    assert "\r\x1b[K" in str(child.before), "in place of the last one"
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert not re.search("Traceback|interrupted", str(child.before))
    go.touch()
    process.communicate()


def test_a_reader_that_leaves_is_no_error(garden: Garden) -> None:
    garden(*CARROT, "seed=1", "fail=talk")
    command = f"{sys.executable} -m heyhi.commands logs seed@1 | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=garden.root, env=garden.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "growing carrot\n", "")


# ---- diff, and mistakes -------------------------------------------------------------------------


def test_diff_tells_fields_code_and_results(garden: Garden) -> None:
    garden(*CARROT, "seed=1")
    (garden.root / "more.py").write_text("x = 1\n")
    garden(*CARROT, "seed=2", "lr=0.25")
    done = heyhi(garden, "diff", "seed@1", "seed@2", "--code")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "status: no difference",
        "config:",
        "  seed  1 -> 2",
        "  lr    0.5 -> 0.25",
        "code:",
        "  more.py  not there -> there",
        "--- a/more.py",
        "+++ b/more.py",
        "@@ -0,0 +1 @@",
        "+x = 1",
        "environment: no difference",
        "result:",
        "  lr  0.5 -> 0.25  -0.25, -50 %",
        "they differ in config, code, result",
    ]


WRONG = {
    "status nope": "error: no run 'nope'",
    "status --wach": "error: unrecognized arguments: --wach",
    "logs": "error: the following arguments are required: RUN",
    "logs nope": "error: no run 'nope'",
    "logs seed -n many": "error: argument -n/--lines: invalid int value: 'many'",
    "diff seed": "error: the following arguments are required: RUN",
    "diff seed nope": "error: no run 'nope'",
    "replay nope": "error: no run 'nope'",
    "replay seed --out=": "error: --out needs a folder",
}


@pytest.mark.parametrize(("words", "problem"), WRONG.items(), ids=WRONG)
def test_a_mistake_is_one_line(garden: Garden, words: str, problem: str) -> None:
    (garden.exp / "p/seed").mkdir(parents=True)
    (garden.exp / "p/seed/heyhi.jobid").touch()
    done = heyhi(garden, *words.split())
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert done.err.startswith(problem)


def test_a_stdout_that_cannot_show_it_all_gets_escapes_and_none_gets_nothing(garden: Garden) -> None:
    run = garden.exp / "p/seed"
    run.mkdir(parents=True)
    (run / "heyhi.jobid").write_text("local:elsewhere:1")
    (run / "run.log").write_text("süß 漢\n")
    for words, told in ((["logs", "seed"], "s\\xfc\\xdf \\u6f22"), (["status"], "runs 1: 1 UNKNOWN")):
        words = ["-m", "heyhi.commands", *words]
        done = garden.python(*words, env={"PYTHONIOENCODING": "ascii"})
        assert (done.status, done.out.splitlines()[0]) == (0, told), done.err
        shell = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, *words]
        closed = subprocess.run(shell, cwd=garden.root, env=garden.environment(), capture_output=True)
        assert (closed.returncode, closed.stdout, closed.stderr) == (0, b"", b"")


def test_what_is_terminated_ends(garden: Garden) -> None:
    process, go = hold(garden)
    watch = start(garden, "status", "--watch")
    read_until(watch, "RUNNING  ")
    watch.send_signal(signal.SIGTERM)
    assert watch.wait(timeout=60) == -signal.SIGTERM
    go.touch()
    process.communicate()
