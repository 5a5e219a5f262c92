import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heyhi.batch.capture import Captured, Limits, capture
from heyhi.errors import UsageError
from heyhi.project import Project
from tests.conftest import Garden, wait_until

CFG = "-c conf/beds/carrot.prototxt"
PYTHON = sys.executable

Capture = Callable[..., Captured]


@pytest.fixture
def capture_text(garden: Garden, monkeypatch: pytest.MonkeyPatch) -> Capture:
    """capture_text("python run.py -c it"): what is captured of a script of this text, in the garden."""
    monkeypatch.chdir(garden.root)
    monkeypatch.setenv("HH_EXP_DIR", str(garden.exp))
    monkeypatch.setenv("PATH", f"{Path(PYTHON).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("BASH_ENV", raising=False)

    def do(text: str | bytes, limits: Limits | None = None) -> Captured:
        script = garden.root / "sweep.sh"
        script.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
        return capture(Path("sweep.sh"), Project(garden.root), limits)

    return do


def _told(captured: Captured) -> list[str]:
    """Each line as `its number: its arguments`, the config left out."""
    return [f"{line.where.removeprefix('sweep.sh:')}: {' '.join(line.argv[2:])}" for line in captured.lines]


# What a script says -> the lines that it would run.
SCRIPTS = {
    "one line": (f"python run.py {CFG} lr=1", ["1: lr=1"]),
    "names of Python": (
        f"python3 run.py {CFG} lr=1\npython3.{sys.version_info[1]} ./run.py {CFG} lr=2",
        ["1: lr=1", "2: lr=2"],
    ),
    "an absolute interpreter": (f"{PYTHON} run.py {CFG} lr=1", ["1: lr=1"]),
    "an absolute run.py": (f'python "$PWD/run.py" {CFG} lr=1', ["1: lr=1"]),
    "a variable for it": (f'PY={PYTHON}\n"$PY" run.py {CFG} lr=1', ["2: lr=1"]),
    "found by command -v": (f'PY=$(command -v python)\n"$PY" run.py {CFG}', ["2: "]),
    "flags of Python": (f"python -u -OO run.py {CFG} lr=1", ["1: lr=1"]),
    "a loop": (f"for lr in 1 2; do\n  python run.py {CFG} lr=$lr\ndone", ["2: lr=1", "2: lr=2"]),
    "a while loop": (
        f"while read -r lr; do\n  python run.py {CFG} lr=$lr\ndone <<< $'1\\n2'",
        ["2: lr=1", "2: lr=2"],
    ),
    "a function": (f'go() {{\n  python run.py {CFG} "$@"\n}}\ngo lr=1 seed=2', ["2: lr=1 seed=2"]),
    "arrays": (f"args=({CFG} 'note=a b')\npython run.py \"${{args[@]}}\" lr=1", ["2: note=a b lr=1"]),
    "continued lines": (f"\npython run.py \\\n  {CFG} \\\n  lr=1", ["2: lr=1"]),
    "strict bash": (f"set -euCo pipefail\nset -f\npython run.py {CFG} tags.-1=*\necho $-", ["3: tags.-1=*"]),
    "set -x": (f"set -x\npython run.py {CFG} lr=1\nset +x\npython run.py {CFG} lr=2", ["2: lr=1", "4: lr=2"]),
    "another IFS": (f"a='{CFG}'\nIFS=,:/-\npython run.py -c x lr=1\nset -- $a", ["3: lr=1"]),
    "local -": (
        f"go() {{ local -; set -e; python run.py {CFG} lr=$1; }}\ngo 1\nfalse\ngo 2",
        ["1: lr=1", "1: lr=2"],
    ),
    "a subshell": (f"(\n  python run.py {CFG} lr=1\n)", ["2: lr=1"]),
    "a pipe": (f"python run.py {CFG} lr=1 2>&1 | cat", ["1: lr=1"]),
    "redirects": (f"python run.py {CFG} lr=1 > out.txt 2>&1 < /dev/null", ["1: lr=1"]),
    "a heredoc": (
        f"python run.py {CFG} lr=1 <<X\nhello\nX\npython run.py {CFG} lr=2",
        ["1: lr=1", "4: lr=2"],
    ),
    "quotes": (
        f"python run.py {CFG} 'note=$(touch x) \"`' \"tags.-1=it's\" tags.-1=\\;\\ a",
        ["1: note=$(touch x) \"` tags.-1=it's tags.-1=; a"],
    ),
    "a newline in a value": (f"python run.py {CFG} $'note=a\\nb' lr=1", ["1: note=a\nb lr=1"]),
    "an empty value": (f"python run.py {CFG} note= ''", ["1: note= "]),
    "any bytes": (f"python run.py {CFG} $'note=\\xff'", ["1: note=\udcff"]),
    "Unicode": (f"python run.py {CFG} note=é☃", ["1: note=é☃"]),
    "Unicode, in the plainest locale": (f"export LC_ALL=C\npython run.py {CFG} note=é☃", ["2: note=é☃"]),
    "a long value": (f"python run.py {CFG} note={'x' * 3000}", [f"1: note={'x' * 3000}"]),
    "source": (
        f"echo 'python run.py {CFG} lr=1' > lib.sh\nsource lib.sh\n. ./lib.sh",
        ["lib.sh:1: lr=1", "lib.sh:1: lr=1"],
    ),
    "another script": (f"echo 'python run.py {CFG} lr=1' > lib.sh\nbash lib.sh", ["lib.sh:1: lr=1"]),
    "bash -c": (f"true\nbash -c 'python run.py {CFG} lr=1'", ["2: lr=1"]),
    "sh": (f"true\nsh -c 'python run.py {CFG} lr=1'", ["2: lr=1"]),
    "env": (f"true\nenv A=1 python run.py {CFG} lr=1", ["2: lr=1"]),
    "command": (f"true\ncommand python run.py {CFG} lr=1", ["2: lr=1"]),
    "exec": (f"true\nexec python run.py {CFG} lr=1", ["2: lr=1"]),
    "nohup": (f"nohup python run.py {CFG} lr=1 > log &", ["1: lr=1"]),
    "time": (f"time python run.py {CFG} lr=1", ["1: lr=1"]),
    "xargs": (
        f"true\nprintf '1\\n2\\n' | xargs -I@ python run.py {CFG} lr=@\ntrue",
        ["2: lr=1", "2: lr=2"],
    ),
    "xargs, with all the words": (
        f"true\nprintf '%s\\n' '{CFG} lr=1' '{CFG} lr=2' | xargs -L1 python run.py\ntrue",
        ["2: lr=1", "2: lr=2"],
    ),
    "a program between": (
        f"python - <<X\nimport subprocess\nsubprocess.run('python run.py {CFG} lr=1', shell=True)\nX",
        ["1: lr=1"],
    ),
    "an environment that tells nothing": (
        f'e="env -i PATH=$PATH"\n$e python run.py {CFG} lr=1\n$e sh -c "python run.py {CFG} lr=2"',
        ["2: lr=1", "3: lr=2"],
    ),
    "traps": (f"trap 'true' EXIT DEBUG RETURN ERR\nset -ET\npython run.py {CFG} lr=1", ["3: lr=1"]),
    "a locale with a comma": (
        f"export LC_NUMERIC=de_DE.UTF-8\npython run.py {CFG} lr=1\nenv python run.py {CFG} lr=2",
        ["2: lr=1", "3: lr=2"],
    ),
    "what only shows": (
        f"T=$(python run.py {CFG} lr=1 --print-out-dir)\nT=${{T%_*}}\npython run.py {CFG} note=${{T##*/}}",
        ["3: note=lr@1.0"],
    ),
    "what looks as if it shows": (f"python run.py {CFG} 'note=a --print b'", ["1: note=a --print b"]),
    "another run.py": (
        f"mkdir other\necho 'print(1)' > other/run.py\npython other/run.py\npython run.py {CFG} lr=1",
        ["4: lr=1"],
    ),
    "other Python": (f"python -c 'print(1)'\npython --version\npython run.py {CFG} lr=1", ["3: lr=1"]),
    "a shebang with a comment": (f"#!/bin/bash -e\n# python run.py\npython run.py {CFG} lr=1", ["3: lr=1"]),
    "no line at all": ("echo hello", []),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_lines_of_a_script(name: str, capture_text: Capture) -> None:
    text, expected = SCRIPTS[name]
    assert _told(capture_text(text)) == expected


# Such lines run side by side: their order is as it comes.
BACKGROUND = {
    "with wait": (
        f"for i in 1 2 3; do\n  python run.py {CFG} seed=$i &\ndone\nwait",
        ["2: seed=1", "2: seed=2", "2: seed=3"],
    ),
    "without wait": (
        f"env python run.py {CFG} lr=1 &\npython run.py {CFG} lr=2",
        ["1: lr=1", "2: lr=2"],
    ),
    "of processes, and others later": (
        f"for i in 1 2; do\n  env python run.py {CFG} seed=$i &\ndone\nsleep 0.1\nwait\n"
        f"python run.py {CFG} lr=1",
        ["2: seed=1", "2: seed=2", "6: lr=1"],
    ),
    "with long values": (
        f"for i in 1 2 3 4; do\n  python run.py {CFG} seed=$i note={'x' * 5000} &\ndone",
        [f"2: seed={i} note={'x' * 5000}" for i in range(1, 5)],
    ),
    "at once, by xargs": (
        f"seq 4 | xargs -P4 -I@ python run.py {CFG} seed=@",
        [f"1: seed={i}" for i in range(1, 5)],
    ),
}


@pytest.mark.parametrize("name", BACKGROUND)
def test_lines_in_the_background(name: str, capture_text: Capture) -> None:
    text, expected = BACKGROUND[name]
    assert sorted(_told(capture_text(text))) == expected


def test_nothing_is_launched(capture_text: Capture, garden: Garden) -> None:
    captured = capture_text(
        f"python run.py {CFG} lr=1\nenv python run.py {CFG} lr=2\nsh -c 'python run.py {CFG}'"
    )
    assert len(captured.lines) == 3
    assert garden.executions() == 0
    assert not garden.exp.exists()


def test_a_decimal_comma_does_not_stir_the_order(capture_text: Capture) -> None:
    # Locales with a comma are rarely installed: here bash writes what it would write in one.
    clock = "unset EPOCHREALTIME; EPOCHREALTIME={}"
    first, second = clock.format("3,5"), clock.format("20,5")
    text = f"{first}\npython run.py {CFG} seed=1\n{second}\npython run.py {CFG} seed=2"
    assert _told(capture_text(text)) == ["2: seed=1", "4: seed=2"]


def test_10000_lines_are_all_captured_in_their_order(capture_text: Capture) -> None:
    lines = [f"python run.py {CFG} seed={number}" for number in range(10_000)]
    captured = capture_text("\n".join(lines))
    assert _told(captured) == [f"{number + 1}: seed={number}" for number in range(10_000)]


# ---- Folder and environment ---------------------------------------------------------------------


def test_each_line_keeps_its_folder(capture_text: Capture, garden: Garden) -> None:
    captured = capture_text(f"cd conf\npython ../run.py {CFG}\n(cd beds; env python ../../run.py {CFG})")
    assert [line.cwd for line in captured.lines] == [garden.root / "conf", garden.root / "conf" / "beds"]
    assert {os.path.realpath(line.run_py) for line in captured.lines} == {str(garden.root / "run.py")}


# Before `python run.py` -> what the run's environment has besides.
ENVIRONMENTS = {
    "": {},
    "A=1 ": {"A": "1"},
    "true; A=1 ": {"A": "1"},
    "if true; then A=1 B='x y' ": {"A": "1", "B": "x y"},
    "env A=1 ": {"A": "1"},
    "A=1; ": {},
    "export A=1; ": {"A": "1"},
    "declare -x A=1; ": {"A": "1"},
    "set -a; A=1; ": {"A": "1"},
    "KNOWN=2; ": {"KNOWN": "2"},
    "for KNOWN in 3; do ": {"KNOWN": "3"},
    "unset KNOWN; ": {"KNOWN": None},
    "env -u KNOWN ": {"KNOWN": None},
    "echo 'export A=5' > e.sh; . ./e.sh; ": {"A": "5"},
    "export A=$'a\\nb\\e\\t' B='\"$`\\' ; ": {"A": "a\nb\x1b\t", "B": '"$`\\'},
    "export A=$'\\xff' B=é☃; ": {"A": "\udcff", "B": "é☃"},
    "export LC_ALL=C A=é☃; ": {"A": "é☃", "LC_ALL": "C"},
    "cd conf; cd ..; ": {},
}


@pytest.mark.parametrize("before", ENVIRONMENTS)
def test_each_line_keeps_its_environment(
    before: str, capture_text: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNOWN", "1")
    monkeypatch.delenv("LC_ALL", raising=False)
    for name in "AB":
        monkeypatch.delenv(name, raising=False)
    ends = {"if": "; fi", "for": "; done"}
    after = ends.get(before.split(maxsplit=1)[0], "") if before else ""
    (line,) = capture_text(f"{before}python run.py {CFG}{after}").lines
    assert line.environment == ENVIRONMENTS[before]


def test_an_environment_ends_with_its_line(capture_text: Capture) -> None:
    captured = capture_text(
        f"A=1 python run.py {CFG} lr=1\npython run.py {CFG} lr=2\n(export A=2; python run.py {CFG})"
    )
    assert [line.environment for line in captured.lines] == [{"A": "1"}, {}, {"A": "2"}]


def test_the_users_own_bash_env_is_kept(
    capture_text: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my env.sh").write_text("module() { export LOADED=$1; }\n")
    monkeypatch.setenv("WHERE", str(tmp_path))
    monkeypatch.setenv("BASH_ENV", "$WHERE/my env.sh")
    (line,) = capture_text(f"module load\npython run.py {CFG}").lines
    assert line.environment == {"LOADED": "load"}


def test_it_runs_in_the_project_from_wherever_it_is_called(
    garden: Garden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "it.sh"
    script.write_text(f"python run.py {CFG}\n")
    monkeypatch.chdir(tmp_path)
    assert [line.cwd for line in capture(script, Project(garden.root)).lines] == [garden.root]
    monkeypatch.chdir(garden.root / "conf")
    script.write_text(f"python ../run.py {CFG}\n")
    assert [line.cwd for line in capture(script, Project(garden.root)).lines] == [garden.root / "conf"]


# ---- What is said of it -------------------------------------------------------------------------

# A line -> a word of what is said of it; none: nothing is.
REMARKS = {
    f"python run.py {CFG}": "",
    f"if python run.py {CFG}; then true; fi": "exit status",
    f"while ! python run.py {CFG}; do false; done": "exit status",
    f"! python run.py {CFG}; true": "exit status",
    f"python run.py {CFG} && true": "--after",
    f"python run.py {CFG} || exit 1": "--after",
    f"python run.py {CFG} || true": "",
    f"true && python run.py {CFG}": "",
    f"python run.py {CFG} 'note=a && b'": "",
    f"python run.py {CFG}; echo $?": "exit status",
    f"python run.py {CFG}\necho $?": "exit status",
    f"python run.py {CFG} | cat\necho ${{PIPESTATUS[0]}}": "exit status",
    f"score=$(python run.py {CFG})": "output",
    f"score=$(python run.py {CFG} --print-out-dir)": "",
    f'python run.py {CFG} note="$(python run.py {CFG} lr=2 --print-out-dir)/model"': "",
    f"python run.py {CFG} > log.txt": "run.log",
    f"python run.py {CFG} 2>&1 | tee log.txt": "run.log",
    f"python run.py {CFG} > /dev/null 2>&1": "",
    f"python run.py \\\n  {CFG} \\\n  && true": "--after",
    f"python run.py {CFG}  # if && || $?": "",
    "trap 'echo failed' ERR": "trap",
    "trap 'echo ended' EXIT": "",
    "[ -e $HH_EXP_DIR/p/x/result.json ] || true": "`[`",
    "[[ -e $HH_EXP_DIR/p/x/result.json ]] || true": "`[[`",
    "ls $HH_EXP_DIR/p/x 2> /dev/null || true": "`ls`",
    "echo $HH_EXP_DIR/p/x": "",
    "x=$HH_EXP_DIR/p/x": "",
}


@pytest.mark.parametrize("line", REMARKS)
def test_what_cannot_be_honoured_is_said_with_its_line(line: str, capture_text: Capture) -> None:
    remarks = capture_text(f"true\n{line}").remarks
    if REMARKS[line]:
        assert [remark.where for remark in remarks] == ["sweep.sh:2"]
        assert REMARKS[line] in remarks[0].problem
    else:
        assert remarks == ()


def test_programs_that_the_script_runs_itself_are_named(capture_text: Capture) -> None:
    text = (
        f"for i in $(seq 2); do python run.py {CFG} seed=$i; done\necho hello\nx=1\nf() {{ ls; }}\nf | cat\n"
    )
    assert set(capture_text(text).commands) == {"seq", "ls", "cat"}


def test_what_a_script_prints_goes_to_stderr(
    capture_text: Capture, capfd: pytest.CaptureFixture[str]
) -> None:
    capture_text("echo hello")
    assert capfd.readouterr() == ("", "hello\n")


# ---- Bad scripts --------------------------------------------------------------------------------

# A script -> what is said, all of it.
BAD = {
    "exit 3": "sweep.sh: failed with status 3; nothing was started; its last command: sweep.sh:1: exit 3",
    "set -e\ntrue\nls /none 2> /dev/null\ntrue": "sweep.sh: failed with status 2; nothing was started; "
    "its last command: sweep.sh:3: ls /none",
    "set -e\ntrap 'rm -f x' EXIT\ngrep -q a /dev/null || true\nls /none 2> /dev/null\ntrue": (
        "sweep.sh: failed with status 2; nothing was started; its last command: sweep.sh:4: ls /none"
    ),
    "#!/usr/bin/env python\nprint(1)": "sweep.sh: is not a bash script (#!/usr/bin/env python)",
    "#!/bin/zsh\ntrue": "sweep.sh: is not a bash script (#!/bin/zsh)",
    "for x in 1; do\necho $x": "sweep.sh: is not a bash script: line 3: syntax error: unexpected end of file",
    "echo \0": "sweep.sh: is not a bash script, but binary",
    "#!/bin/bash\r\npython run.py\r\n": (
        "sweep.sh: has Windows line endings, which bash cannot read; remove them with sed -i 's/\\r$//'"
    ),
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_script_is_one_clear_line(text: str, capture_text: Capture) -> None:
    with pytest.raises(UsageError) as caught:
        capture_text(text)
    assert str(caught.value) == BAD[text]


def test_a_script_that_is_not_there(garden: Garden) -> None:
    for path, said in [("none.sh", "No such file"), ("conf", "is a folder")]:
        with pytest.raises(UsageError, match=said):
            capture(garden.root / path, Project(garden.root))


def test_endless_runs_come_to_a_limit(capture_text: Capture) -> None:
    with pytest.raises(UsageError, match=r"more than 50 runs; .*HEYHI_CAPTURE_RUNS"):
        capture_text(f"while true; do python run.py {CFG}; done", Limits(runs=50))
    assert len(capture_text(f"for i in {{1..50}}; do python run.py {CFG}; done", Limits(runs=50)).lines) == 50


def test_an_endless_loop_comes_to_a_limit_and_is_ended(capture_text: Capture, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    text = f"sleep 60 & echo $! >> {pids}\necho $$ >> {pids}\nwhile true; do sleep 0.05; done"
    with pytest.raises(UsageError, match=r"has not ended after 0.3 s; .*sweep.sh:3: sleep 0.05"):
        capture_text(text, Limits(seconds=0.3))
    _assert_all_end(pids)


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEYHI_CAPTURE_RUNS", "3")
    monkeypatch.setenv("HEYHI_CAPTURE_SECONDS", "0.5")
    assert Limits.of_environment() == (3, 0.5)
    monkeypatch.setenv("HEYHI_CAPTURE_SECONDS", "long")
    with pytest.raises(UsageError, match="HEYHI_CAPTURE_SECONDS"):
        Limits.of_environment()


# ---- The end ------------------------------------------------------------------------------------


def test_no_temporary_files_are_left(
    capture_text: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    capture_text(f"A=1 python run.py {CFG}\nenv python run.py {CFG}")
    with pytest.raises(UsageError):
        capture_text("exit 1")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_who_ends_the_capture_ends_the_script(number: signal.Signals, garden: Garden, tmp_path: Path) -> None:
    pids, temporary = tmp_path / "pids", tmp_path / "tmp"
    temporary.mkdir()
    script = tmp_path / "it.sh"
    script.write_text(f"sleep 60 & echo $! >> {pids}\necho $$ >> {pids}\necho >> {pids}\nwait")
    process = subprocess.Popen(
        [PYTHON, "-m", "heyhi.commands", "plan", str(script)],
        cwd=garden.root,
        env=garden.environment(TMPDIR=str(temporary)),
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: pids.exists() and pids.read_text().endswith("\n\n"))
    process.send_signal(number)
    assert process.wait(timeout=10) == (130 if number is signal.SIGINT else -number)
    _assert_all_end(pids)
    wait_until(lambda: not list(temporary.iterdir()))


# Ended once the script runs, before Popen has told who that is.
ENDED = """
import os, subprocess, sys, time
real = subprocess.Popen
def popen(words, **options):
    process = real(words, **options)
    if words[0] == "bash" and options.get("start_new_session"):
        while not os.path.exists(sys.argv[1]):
            time.sleep(0.01)
        {}
    return process
subprocess.Popen = popen
from heyhi.cli.commands import main
sys.exit(main(["plan", sys.argv[2]]))
"""


@pytest.mark.parametrize("how", ["raise KeyboardInterrupt", "os.kill(os.getpid(), 9)"])
def test_an_end_while_the_script_is_started_ends_it(how: str, garden: Garden, tmp_path: Path) -> None:
    pids, script = tmp_path / "pids", tmp_path / "it.sh"
    script.write_text(f"sleep 60 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait")
    subprocess.run(
        [PYTHON, "-c", ENDED.format(how), str(pids), str(script)],
        cwd=garden.root,
        env=garden.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    _assert_all_end(pids)


def _assert_all_end(pids: Path) -> None:
    for pid in map(int, pids.read_text().split()):
        wait_until(lambda pid=pid: not _lives(pid), 30)  # type: ignore[misc]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_stays_in_the_background_is_not_waited_for_long(
    capture_text: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("heyhi.batch.capture._PATIENCE", 0.2)
    started = time.monotonic()
    captured = capture_text(f"sleep 60 & echo $! > {tmp_path}/pid\npython run.py {CFG}")
    assert len(captured.lines) == 1
    assert time.monotonic() - started < 5
    pid = int((tmp_path / "pid").read_text())
    assert _lives(pid)  # it is the user's: a server, say
    os.kill(pid, signal.SIGKILL)
