"""The commands that look at runs, on real runs of a project of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from heyhi import look
from heyhi.cli import looking
from heyhi.config.schema import _sources_hash, _with_header
from heyhi.look.status import Overview, Row
from heyhi.project import Project
from tests.batches import CARROT, folder, needing, read_until, start_snakemake, write_batch
from tests.conftest import Done, Garden, wait_until


def heyhi(garden: Garden, *words: str) -> Done:
    return garden.python("-m", "heyhi.commands", *words)


@pytest.fixture
def grown(garden: Garden) -> Garden:
    """With two runs that are done, and one that is dead."""
    for words in (["seed=1"], ["seed=2"], ["seed=2", "lr=0.25", "fail=raise"]):
        garden(*CARROT, *words)
    return garden


def rows(done: Done) -> list[dict[str, object]]:
    assert done.status == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_summary_has_a_row_a_run_with_what_differs(grown: Garden) -> None:
    done = heyhi(grown, "summary")
    head, *lines = done.out.splitlines()
    assert (done.status, len(lines)) == (0, 3)
    assert head.split()[:8] == ["id", "status", "seed", "lr", "fail", "result.lr", "result.note", "depth"]
    dead = next(line for line in lines if "DEAD" in line)
    assert "ValueError: too dry" in dead
    assert "soil.depth" in heyhi(grown, "summary", "--all").out.splitlines()[0].split()


def test_a_summary_where_nothing_has_changed_imports_nothing_heavy(grown: Garden) -> None:
    code = (
        "import sys; from heyhi.commands import main; main(['summary']); print(*sys.modules, file=sys.stderr)"
    )
    loaded = [set(grown.python("-c", code).err.split()) for _ in range(2)]
    heavy = {
        "google.protobuf",
        "heyhi.runs.drift",
        "heyhi.batch.entries",
        "heyhi.batch.drivers",
        "pandas",
        "socket",
        "dataclasses",
    }
    assert ("google.protobuf" in loaded[0], loaded[1] & heavy) == (True, set())


def test_summary_selects_sorts_and_writes_every_form(grown: Garden) -> None:
    found = rows(heyhi(grown, "summary", "--sort", "-seed", "--json", "-", "--where", "status == 'DONE'"))
    assert [row["seed"] for row in found] == [2, 1]
    assert all("fail" not in row for row in found), "it does not differ among what is left"
    forms = [word for form in ("csv", "json", "html", "parquet") for word in (f"--{form}", f"x.{form}")]
    done = heyhi(grown, "summary", *forms)
    assert (done.status, done.out) == (0, "")
    assert done.err.splitlines() == [f"x.{form}: 3 rows" for form in ("csv", "json", "html", "parquet")]
    assert len((grown.root / "x.csv").read_text().splitlines()) == 4
    assert (grown.root / "x.parquet").read_bytes()[:4] == b"PAR1"


def test_summary_groups_over_a_field(grown: Garden) -> None:
    (row,) = rows(heyhi(grown, "summary", "--over", "seed", "--where", "fail.isna()", "--json", "-"))
    assert (row["runs"], row["depth.count"], row["depth.se"]) == (2, 2, 0.0)


PLACES = {
    "a folder": ["p/beds"],
    "a folder of the file system": ["../home of garden/exp"],
    "a run": ["seed@1"],
    "a batch": ["batch.sh"],
    "several, each once": ["p/beds", "batch.sh", "seed@1"],
}


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_a_place_is(grown: Garden, places: list[str]) -> None:
    write_batch(grown, "seed=1", "seed=3")
    heyhi(grown, "plan", "batch.sh")
    expected = {"a run": ["DONE"], "a batch": ["DONE", "NOT_STARTED"]}.get(
        next(name for name, words in PLACES.items() if words == places), ["DEAD", "DONE", "DONE"]
    )
    if len(places) == 3:
        expected = [*expected, "NOT_STARTED"]
    found = rows(heyhi(grown, "summary", *places, "--json", "-"))
    assert sorted(str(row["status"]) for row in found) == expected


WRONG = {
    "place": (["nope"], "error: no run 'nope'"),
    "batch": (["nope.sh"], "error: nope.sh: no such batch"),
    "column": (["--sort", "sed"], "error: --sort sed: no column 'sed'; did you mean 'seed', "),
    "field": (["--over", "sed"], "error: --over sed: no column 'sed'; did you mean 'seed'?"),
    "condition": (["--where", "sed < 1"], "error: --where 'sed < 1': no column 'sed'; did you mean 'seed', "),
    "file": (["--csv", "no/where.csv"], "error: --csv no/where.csv: cannot be written: No such file"),
    "flag": (["--cvs", "x"], "error: "),
}


@pytest.mark.parametrize(("words", "problem"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line(garden: Garden, words: list[str], problem: str) -> None:
    garden(*CARROT)
    garden(*CARROT, "seed=2")
    done = heyhi(garden, "summary", *words)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(problem)


def test_without_runs_and_without_a_project_it_says_so(garden: Garden, tmp_path: Path) -> None:
    assert heyhi(garden, "summary").out == "no runs\n"
    assert not garden.exp.exists(), "looking makes no folder"
    garden(*CARROT)
    elsewhere = garden.python("-m", "heyhi.commands", "summary", "--json", "-", cwd=tmp_path)
    (row,) = rows(elsewhere)
    assert (row["status"], row["drift"]) == ("DONE", f"not known: {tmp_path}/conf/conf.proto: no such file")


def test_the_table_is_a_data_frame_from_python_whatever_is_imported_first(grown: Garden) -> None:
    code = (
        "import heyhi.look.tables, heyhi.cli.looking, heyhi;"
        "table = heyhi.summary('p', where='seed == 2', every=True);"
        "print(type(table).__name__, sorted(table.status), table.seed.dtype, table['soil.depth'].dtype)"
    )
    done = grown.python("-c", code)
    assert done.out == "DataFrame ['DEAD', 'DONE'] Int64 float64\n", done.err


def test_a_batch_from_python_has_a_summary(grown: Garden) -> None:
    code = (
        "import heyhi; batch = heyhi.Batch(); cfg = 'conf/beds/carrot.prototxt'; batch.add(cfg, seed=1);"
        "batch.add(cfg, seed=9); table = batch.summary(); print(list(table.status), table.seed.tolist())"
    )
    done = grown.python("-c", code)
    assert done.out == "['DONE', 'NOT_STARTED'] [1, 9]\n", done.err


# ---- migrate ------------------------------------------------------------------------------------


def test_migrate_lists_what_a_change_of_the_schema_alters(grown: Garden) -> None:
    done = heyhi(grown, "migrate", "--check")
    assert (done.status, done.out) == (0, "3 runs, 0 would be others now\n")
    schema = grown.root / "conf/conf.proto"
    schema.write_text(schema.read_text().replace("optional string fail = 5", "optional string mishap = 5"))
    done = heyhi(grown, "migrate", "--check")
    line, count = done.out.splitlines()
    assert (done.status, count) == (1, "3 runs, 1 would be others now")
    assert 'frozen with what the schema has no more: grow.fail ("raise"); composes no more: ' in line
    assert heyhi(grown, "migrate", "--check", "p/nope").status == 2
    assert heyhi(grown, "migrate").err == (
        "error: heyhi migrate changes nothing yet: heyhi migrate --check [FOLDER]\n"
    )


def test_a_schema_that_lost_its_fields_leaves_the_summary_as_it_was(grown: Garden) -> None:
    before = rows(heyhi(grown, "summary", "--all", "--json", "-"))
    schema = grown.root / "conf/conf.proto"
    schema.write_text(schema.read_text().replace("optional string note = 3;", ""))
    after = rows(heyhi(grown, "summary", "--all", "--json", "-"))
    assert [{**row, "drift": None} for row in after] == before
    assert all(str(row["drift"]).startswith("not known: conf/beds/carrot.prototxt:4:3: ") for row in after)
    (grown.root / "conf").rename(grown.root / "gone")
    found = rows(heyhi(grown, "summary", "--all", "--json", "-"))
    assert [{**row, "drift": None} for row in found] == before


# ---- A report -----------------------------------------------------------------------------------


def test_a_report_goes_beside_the_runs_or_where_it_is_told(grown: Garden) -> None:
    write_batch(grown, "seed=1", "seed=3")
    heyhi(grown, "plan", "batch.sh")
    reports = grown.exp / ".heyhi" / "reports"
    told = {
        (): (reports / "garden.html", 3),
        ("batch.sh",): (reports / "batch.html", 2),
        ("p/beds", "seed@1"): (reports / "p_beds_seed_1.html", 3),
        ("p/beds", "-o", "x.html"): (Path("x.html"), 3),
    }
    for words, (place, count) in told.items():
        done = heyhi(grown, "report", *words)
        size = (grown.root / place).stat().st_size / 1e6
        assert (done.status, done.out) == (0, f"{place}: {count} runs, {size:.1f} MB\n"), done.err


@pytest.mark.parametrize("places", [["batch.sh", "p"], ["p", "batch.sh"]])
def test_a_report_of_a_batch_and_a_folder_has_what_the_batch_knows(grown: Garden, places: list[str]) -> None:
    needed = grown.folder(*CARROT, "seed=1")
    write_batch(grown, "seed=1", f"seed=2 --after '{needed}'")
    heyhi(grown, "plan", "batch.sh")
    done = heyhi(grown, "report", *places, "-o", "x.html")
    assert ("3 runs" in done.out, done.err) == (True, "")
    assert (grown.root / "x.html").read_text().count('class="edge"') == 1


# Root may read all; without these capabilities it is as anybody else.
AS_ANYBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def test_a_folder_that_cannot_be_read_is_a_row_and_harms_no_other(grown: Garden) -> None:
    folder = grown.folder(*CARROT, "seed=1")

    def told(*words: str) -> tuple[int, str]:
        command = [*AS_ANYBODY, sys.executable, "-m", "heyhi.commands", *words]
        done = subprocess.run(
            command, cwd=grown.root, env=grown.environment(), capture_output=True, text=True, check=False
        )
        return done.returncode, f"{done.stdout}{done.stderr}".replace(str(folder), "FOLDER")

    folder.chmod(0)
    try:
        rows_of = [json.loads(line) for line in told("summary", "--json", "-")[1].splitlines()]
        assert [row["problem"] for row in rows_of if row["status"] == "UNKNOWN"] == [
            "heyhi.json: Permission denied; result.json: Permission denied"
        ]
        status, lines = told("migrate", "--check")
        assert (status, lines.splitlines()[-1]) == (1, "3 runs, 1 would be others now")
        assert lines.startswith(f"{folder.relative_to(grown.exp)}: heyhi.json cannot be read\n")
        assert told("report", "-o", "x.html")[1].startswith("x.html: 3 runs, ")
    finally:
        folder.chmod(0o755)


NO_REPORTS = {
    "place": (["nope"], "error: no run 'nope'"),
    "folder": (
        ["-o", "nowhere/x.html"],
        "error: nowhere/x.html: cannot be written: No such file or directory",
    ),
    "a folder": (["-o", "conf"], "error: conf: cannot be written: Is a directory"),
    "flag": (["--no"], "error: "),
}


@pytest.mark.parametrize(("words", "expected"), NO_REPORTS.values(), ids=NO_REPORTS)
def test_no_report_is_one_line(words: list[str], expected: str, garden: Garden) -> None:
    done = heyhi(garden, "report", *words)
    assert (done.status, done.out, done.err.startswith(expected), done.err.count("\n")) == (2, "", True, 1), (
        done.err
    )


# ---- Looking executes nothing -------------------------------------------------------------------


class Trap:
    """A project in which every file that could be executed leaves a word in `executed`."""

    def __init__(self, garden: Garden) -> None:
        self.garden = garden
        self.executed = garden.home / "executed"
        write_batch(garden, "seed=1", "seed=2")
        for words in (["seed=1"], ["lr=0.25", "fail=raise"]):
            garden(*CARROT, *words)
        assert heyhi(garden, "plan", "batch.sh").status == 0
        copies = list((garden.exp / "checkpoints").glob("*/run.py"))
        root = garden.root
        project = Project(root)
        sources = _sources_hash(project)
        for path in [*root.glob("conf/*.py"), *(copy.parent / "conf/conf_pb2.py" for copy in copies)]:
            path.write_bytes(_with_header(path.name, self.python(path), sources))
        names = ["numpy", "pandas", "rich", "psutil", "shlex", "sitecustomize", "heyhi", "conf/__init__"]
        for path in [root / "run.py", *copies, *(root / f"{name}.py" for name in names)]:
            path.write_text(self.python(path))
        shell = f"#!/bin/sh\necho shell >> '{self.executed}'\n"
        for name in (".venv/bin/python", ".venv/bin/heyhi", "git", "squeue", "bash", "sh"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(shell)
            (root / name).chmod(0o755)
        (root / "batch.sh").write_text(f"{shell}python run.py -c conf/beds/carrot seed=1")
        (root / "notes.txt").write_text(shell)
        assert not self.executed.exists()

    def python(self, path: Path) -> str:
        return f"open({str(self.executed)!r}, 'a').write({str(path)!r} + '\\n')\n"

    def __call__(self, *words: str, stdin: str = "") -> Done:
        """Call `heyhi` as a user does, in the project."""
        command = [str(Path(sys.prefix, "bin", "heyhi")), *words]
        done = subprocess.run(
            command,
            cwd=self.garden.root,
            env=self.garden.environment(),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def trap(processes: None, tmp_path_factory: pytest.TempPathFactory, garden_template: Path) -> Trap:
    root = tmp_path_factory.mktemp("trap")
    shutil.copytree(garden_template, root / "garden")
    (root / "home").mkdir()
    return Trap(Garden(root / "garden", root / "home"))


ONE, DEAD = "seed@1", "lr@0.25"
LOOKING: dict[str, tuple[int, str]] = {
    "status": (0, "runs 2: 1 DONE, 1 DEAD"),
    "status batch.sh": (0, "runs 2: 1 DONE, 1 NOT_STARTED"),
    "status notes.txt": (2, ""),
    "status -": (0, "runs 1: 1 DONE"),
    "summary": (0, "id "),
    "summary batch.sh --where seed==2 --json -": (0, '{"id": "p/beds/carrot/seed@2'),
    "summary batch.sh --parquet x.parquet": (0, ""),
    "summary notes.txt": (2, ""),
    "report": (0, ""),
    "report batch.sh": (0, ""),
    "report notes.txt": (2, ""),
    f"logs {ONE}": (0, "growing carrot"),
    f"diff {ONE} {DEAD}": (0, "status"),
    f"diff {ONE} {DEAD} --code": (0, "status"),
    f"replay {ONE}": (0, "(cd "),
    f"replay {DEAD} --out x": (0, "(cd "),
    "migrate --check": (0, "2 runs, 0 would be others now"),
    "validate": (0, ""),
    "pp conf/beds/carrot.prototxt seed=3": (0, "seed: 3"),
    f"kill {ONE}": (0, "p/beds/carrot/seed@1"),
    "stop": (0, "no driver lives"),
    "--complete bash": (0, "seed="),
}


@pytest.mark.parametrize(("line", "expected"), LOOKING.items(), ids=LOOKING)
def test_looking_executes_nothing_of_a_project(trap: Trap, line: str, expected: tuple[int, str]) -> None:
    words = line.split()
    if words[0] == "--complete":
        words += ["python run.py -c conf/beds/carrot se", "se"]
    done = trap(*words, stdin="python run.py -c conf/beds/carrot seed=1\n" if "-" in words else "")
    executed = trap.executed.read_text() if trap.executed.exists() else ""
    trap.executed.unlink(missing_ok=True)
    assert executed == ""
    assert done.status == expected[0], done.err
    assert done.out.startswith(expected[1]) or f"\n{expected[1]}" in done.out
    if done.status == 2:
        assert done == Done(2, "", "error: notes.txt: is not a batch; this command runs no file\n")


@pytest.mark.parametrize("code", ["heyhi.summary()", "heyhi.summary('batch.sh', where='seed == 2')"])
def test_the_summary_for_python_executes_nothing_of_a_project(trap: Trap, code: str) -> None:
    told = f"import warnings; warnings.simplefilter('ignore'); import heyhi; print(len({code}))"
    done = trap.garden.python("-P", "-c", told)
    assert (done.status, done.out) == (0, "2\n" if code.endswith("summary()") else "1\n"), done.err
    assert not trap.executed.exists()


def test_a_warning_of_the_summary_for_python_names_the_line_that_asked(trap: Trap) -> None:
    path = trap.garden.root / "look.py"
    path.write_text("import heyhi\n\nheyhi.summary('batch.sh')\n")
    done = trap.garden.python("-P", str(path))
    assert done.status == 0, done.err
    assert done.err.startswith(f"{path}:3: UserWarning: "), done.err


def test_what_a_batch_was_is_told_and_that_it_has_changed_since(trap: Trap) -> None:
    for words in (["status"], ["summary"], ["report"]):
        done = trap(*words, "batch.sh")
        assert done.err.count("\n") == 1
        assert re.match(
            r"note: batch\.sh: as captured at 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d; since then ", done.err
        )


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
        return Overview({status: 1}, (), (row,), (), lives=status == "RUNNING", asks_scheduler=False)

    looks = iter([seen("RUNNING", 1, "epoch 1"), seen("RUNNING", 2, "epoch 2"), seen("DEAD", 3, "too dry")])
    monkeypatch.setenv("HH_EXP_DIR", str(tmp_path))
    monkeypatch.setattr(look, "Look", lambda *_: lambda: next(looks))
    monkeypatch.setattr(looking, "_PAUSE", 0.0)
    assert looking.status(["--watch"]) == 0
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


WRONG_WORDS = {
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


@pytest.mark.parametrize(("words", "problem"), WRONG_WORDS.items(), ids=WRONG_WORDS)
def test_a_mistake_in_words_is_one_line(garden: Garden, words: str, problem: str) -> None:
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


# ---- Empty arguments -----------------------------------------------------------------------------

EMPTY = ["status", "status --watch", "summary", "report", "logs", "kill", "replay --check", "migrate --check"]
EMPTY += ["plan", "start", "init", "completion --trust", "report -o", "summary --csv", "status p", "kill p"]


@pytest.mark.parametrize("command", EMPTY)
def test_an_empty_argument_is_one_line(garden: Garden, command: str) -> None:
    done = heyhi(garden, *command.split(), "")
    number = len(command.split())
    assert done == Done(
        2, "", f"error: heyhi {command.split()[0]}: argument {number} is empty; is a variable unset?\n"
    )


def test_an_empty_argument_is_one_line_also_among_others(garden: Garden) -> None:
    for words in (["diff", "", "x"], ["diff", "x", ""], ["status", "", "--watch"]):
        done = heyhi(garden, *words)
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert f"argument {words.index('')} is empty" in done.err


@pytest.mark.parametrize("words", ["summary --csv=", "summary --json=", "report --output="])
def test_a_file_needs_a_name(garden: Garden, words: str) -> None:
    done = heyhi(garden, *words.split())
    flag = words.split()[1].rstrip("=")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert flag in done.err
    assert "needs a file, not an empty text" in done.err
