import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from heyhi.errors import RefusedError
from heyhi.launch import here
from heyhi.launch.job import claimed
from heyhi.runs import deaths
from heyhi.runs.folder import Run
from heyhi.runs.ids import this_process
from heyhi.runs.status import read_state
from tests.conftest import Done, Garden, wait_until

HERE = Path(__file__).resolve().parent.parent.parent


def heyhi(project: Garden, *words: str, cwd: Path | None = None) -> Done:
    return project.python("-m", "heyhi.commands", *words, cwd=cwd)


def write(project: Garden, name: str, text: str) -> None:
    path = project.root / "conf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# ---- The command itself -------------------------------------------------------------------------


@pytest.mark.processes
@pytest.mark.parametrize("words", [["--help"], ["-h"], ["pp", "--help"], ["validate", "-h"]])
def test_help_names_every_command(tmp_path: Path, words: list[str]) -> None:
    done = heyhi(Garden(tmp_path, tmp_path), *words)
    assert (done.status, done.err) == (0, "")
    for command in ("heyhi protos", "heyhi pp CFG [overrides]", "heyhi validate"):
        assert command in done.out


@pytest.mark.processes
def test_without_a_command_the_help_is_shown_with_status_2(tmp_path: Path) -> None:
    garden = Garden(tmp_path, tmp_path)
    assert heyhi(garden) == heyhi(garden, "--help")._replace(status=2)


WRONG = {
    "validat": "no command 'validat'; did you mean 'validate'?",
    "--complete": "no command '--complete'; did you mean 'completion'?",
    "qqqq": "no command 'qqqq'; see heyhi --help",
    "protos now": "heyhi protos takes no arguments, not 'now'",
    "validate conf": "heyhi validate takes no arguments, not 'conf'",
    "pp": "usage: heyhi pp CFG [overrides]",
    "pp --flat": "usage: heyhi pp CFG [overrides]",
    "pp nope": "'nope': no such config; configs here: conf/beds/carrot.prototxt",
    "pp conf/beds/carrot lr": "override 'lr': expected key=value",
    "pp conf/beds/carrot lr=x": "override 'lr=x': lr: expected a number (float), not 'x'",
}


@pytest.mark.parametrize(("words", "problem"), WRONG.items())
def test_a_wrong_command_is_one_line_and_exit_status_2(garden: Garden, words: str, problem: str) -> None:
    assert heyhi(garden, *words.split()) == Done(2, "", f"error: {problem}\n")


def test_what_the_system_refuses_is_one_line(garden: Garden) -> None:
    (garden.exp / ".heyhi").mkdir(parents=True)
    (garden.exp / ".heyhi" / "batches").write_text("in the way")
    done = heyhi(garden, "start", "-", cwd=garden.root)
    assert (done.status, done.err.count("\n")) == (1, 1), done.err
    assert done.err.startswith(f"error: {garden.exp}/.heyhi/batches")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", ["-m heyhi.commands status", "-m heyhi.commands --help", "run.py -c conf/beds/carrot --print"]
)
def test_a_full_stdout_is_named(garden: Garden, words: str, unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, *words.split()],
            cwd=garden.root,
            env={**garden.environment(), "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: stdout: No space left on device\n")


def test_a_place_that_is_read_only_is_named_by_what_was_to_be_written(
    garden: Garden, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(64)
    (disk / ".bashrc").touch()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    home = {"HOME": str(disk), "SHELL": "/bin/bash"}
    for words, path in {
        ("completion", "--install"): disk / ".bashrc",
        ("init", str(disk / "new")): disk / "new",
        ("summary", "--csv", str(disk / "it.csv")): disk / "it.csv",
    }.items():
        done = garden.python("-m", "heyhi.commands", *words, env=home)
        assert f"error: {path}: " in done.err.replace("--csv ", ""), done.err
        assert "partial" not in done.err


@pytest.mark.processes
def test_outside_a_project_it_says_so(tmp_path: Path) -> None:
    assert heyhi(Garden(tmp_path, tmp_path), "validate") == Done(
        2, "", f"error: {tmp_path}: no conf/conf.proto here or above; go to a project, or set HEYHI_PROJECT\n"
    )


# ---- protos -------------------------------------------------------------------------------------


def test_protos_says_whether_anything_was_stale(garden: Garden) -> None:
    conf = garden.root / "conf"
    assert heyhi(garden, "protos") == Done(0, f"{conf}: nothing to do\n", "")
    (conf / "conf_pb2.py").unlink()
    done = heyhi(garden, "protos", cwd=conf / "beds")
    assert done == Done(0, f"{conf}: generated modules written\n", "")
    assert (conf / "conf_pb2.py").exists()


# ---- pp -----------------------------------------------------------------------------------------


def test_pp_shows_the_composed_config(garden: Garden) -> None:
    shown = garden("-c", "conf/beds/carrot.prototxt", "Isoil=deep", "lr=.5", "--print")
    assert heyhi(garden, "pp", "conf/beds/carrot.prototxt", "Isoil=deep", "--lr=.5") == shown
    assert shown.status == 0
    assert "depth" in shown.out


def test_a_reader_who_leaves_early_is_no_error(garden: Garden) -> None:
    command = [sys.executable, "-m", "heyhi.commands", "pp", "conf/beds/carrot"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command,
        cwd=garden.root,
        env=garden.environment(PYTHONUNBUFFERED=""),
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


# A project's own bin/pp.py is executed with whatever python3 is first on the PATH.
@pytest.mark.parametrize("python", ["with heyhi", "without heyhi"])
def test_bin_pp_works_from_anywhere(garden: Garden, tmp_path: Path, python: str) -> None:
    (garden.root / "bin").mkdir()
    shutil.copy(HERE / "bin" / "pp.py", garden.root / "bin")
    # A bare interpreter, as a system's: none of our packages.
    bare = Path(os.path.realpath(sys.executable))
    (garden.root / ".venv" / "bin").mkdir(parents=True)
    (garden.root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", garden.root / ".venv")
    (garden.root / ".venv" / "lib").symlink_to(Path(sys.prefix) / "lib")
    (tmp_path / "path").mkdir()
    found = Path(sys.executable) if python == "with heyhi" else bare
    (tmp_path / "path" / "python3").write_text(f'#!/bin/sh\nexec {found} "$@"\n')
    (tmp_path / "path" / "python3").chmod(0o755)
    env = garden.environment(PATH=f"{tmp_path}/path:/usr/bin:/bin")
    link = tmp_path / "pp"
    link.symlink_to(garden.root / "bin" / "pp.py")
    for command in (garden.root / "bin" / "pp.py", link):
        done = subprocess.run(
            [command, "conf/beds/carrot", "lr=3"],
            cwd="/",
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.stderr) == (garden("-c", "conf/beds/carrot", "lr=3", "--print").out, "")
    done = subprocess.run([link], cwd="/", env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: bin/pp.py CFG [overrides]\n")


# ---- validate -----------------------------------------------------------------------------------


def test_validate_is_content_with_right_configs_and_chunks(demo_project: Garden) -> None:
    write(demo_project, "a/base.prototxt", 'includes { path: "h1" mount: "helper" } grow {}')
    write(demo_project, "a/beside.prototxt", "depth: 3  # a chunk beside those that include it")
    write(demo_project, "common/h1.prototxt", 'name: "a" next { includes { path: "h2" } }')
    write(demo_project, "common/h2.prototxt", "soil { depth: 2 }")
    write(demo_project, "common/empty.prototxt", "# nothing\n")
    write(
        demo_project, "common/no_what.prototxt", "soil { depth: 2 }  # `what` comes from whoever includes it"
    )
    assert heyhi(demo_project, "validate") == Done(0, "6 configs, 0 with errors\n", "")


def test_validate_says_all_that_is_wrong_at_once(demo_project: Garden) -> None:
    texts = {
        "a/1_typo.prototxt": "grow {\n  sed: 3\n}",
        "a/2_required.prototxt": "pick {}",
        "a/3_no_task.prototxt": 'includes { path: "soil" }',
        "a/4_include.prototxt": 'includes { path: "sail" mount: "soil" }\ngrow {}',
        "a/5_uses_bad.prototxt": 'includes { path: "bad" mount: "soil" }\ngrow {}',
        "a/6_uses_bad.prototxt": 'includes { path: "bad" mount: "soil" }\ngrow {}',
        "a/7_fine.prototxt": "grow {}",
        "common/bad.prototxt": "kind: 'loam'\ndepth: 'x'",
        "common/loop.prototxt": 'includes { path: "loop" }',
        "common/soil.prototxt": "depth: 1",
    }
    for name, text in texts.items():
        write(demo_project, name, text)
    done = heyhi(demo_project, "validate")
    assert (done.status, done.out) == (2, "10 configs, 8 with errors\n")
    places = [line.removeprefix("error: conf/").partition(": ")[0] for line in done.err.splitlines()]
    assert places == [
        "a/1_typo.prototxt:2:3",
        "a/2_required.prototxt",
        "a/3_no_task.prototxt",
        "a/4_include.prototxt:1:10",
        "common/bad.prototxt:2:8",  # once, though three fail for it
        "common/loop.prototxt",
    ]


def test_kill_ends_the_jobs_of_runs_by_id_or_folder(garden: Garden) -> None:
    folders = []
    for seed in ("seed=1", "seed=2"):
        words = ("-c", "conf/beds/carrot.prototxt", "fail=slow", seed)
        garden.popen(*words)
        folders.append(garden.folder(*words))
    wait_until(lambda: garden.executions() == 2)
    run_id = str(folders[0].relative_to(garden.exp))
    done = heyhi(garden, "kill", run_id, str(folders[1]))
    assert (done.status, done.err) == (0, "")
    assert [line.split(": ended: ")[0] for line in done.out.splitlines()] == [
        run_id,
        str(folders[1].relative_to(garden.exp)),
    ]
    assert {(folder / "error.txt").read_text().partition("\n")[0] for folder in folders} == {
        "stopped by heyhi kill"
    }
    again = heyhi(garden, "kill", run_id)
    assert (again.status, again.out) == (0, f"{run_id}: DEAD: no job to end\n")
    assert heyhi(garden, "status", run_id).out.count("stopped by heyhi kill") == 1
    assert heyhi(garden, "kill", "p/no/such").err.startswith("error: no run 'p/no/such'")
    assert heyhi(garden, "kill").status == 2


def test_a_job_that_does_not_listen_is_killed_and_was_stopped_by_the_user(garden: Garden) -> None:
    words = ("-c", "conf/beds/carrot.prototxt", "fail=deaf")
    process = garden.popen(*words)
    folder = garden.folder(*words)
    wait_until((folder / "deaf.txt").exists)
    assert heyhi(garden, "kill", str(folder)).status == 0
    assert process.wait(20) == -signal.SIGKILL
    assert not (folder / "error.txt").exists()
    assert heyhi(garden, "logs", str(folder)).err.endswith(": DEAD: stopped by heyhi kill\n")
    assert "last error: stopped by heyhi kill\n" in garden(*words).err


def test_a_job_that_is_not_ours_to_kill_was_not_stopped_by_us(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    psutil = pytest.importorskip("psutil")

    def refuse(_: object) -> None:
        raise psutil.AccessDenied

    run.jobid.write_text(this_process().text)
    with claimed(run):
        monkeypatch.setattr(psutil.Process, "terminate", refuse)
        with pytest.raises(RefusedError, match="another user's"):
            here.kill(run, read_state(run), deaths.KILL)
    assert deaths.cause(run) == ""
    assert not list(run.folder.glob("ended.*"))
