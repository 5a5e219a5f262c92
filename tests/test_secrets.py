"""Secrets of a script reach its runs, and are in no file: a canary is looked for in all places."""

import hashlib
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.batches import CARROT, folder, snakemake, start_snakemake, write_batch
from tests.conftest import Done, Garden, wait_until

IN_MEMORY = Path("/dev/shm")


class Vault(NamedTuple):
    """A garden whose scripts read their secrets from files elsewhere: a script is a file, too."""

    garden: Garden
    place: Path

    def secret(self, name: str) -> str:
        """The value of a secret."""
        path = self.place / name
        if not path.exists():
            path.write_text(f"canary-{os.urandom(8).hex()}-{name}")
        return path.read_text()

    def read(self, name: str) -> str:
        """The words by which a script reads it."""
        self.secret(name)
        return f"$(cat {self.place / name})"

    def finds(self) -> list[str]:
        """The files that hold the beginning of a secret, wherever HeyHi may have left one."""
        values = [path.read_bytes() for path in self.place.iterdir()]
        places = [self.garden.root, self.garden.home, *IN_MEMORY.glob("heyhi-captured-*")]
        files = [
            os.path.join(top, name) for place in places for top, _, names in os.walk(place) for name in names
        ]
        assert len(files) > 10
        return [path for path in files if any(value in content_of(path) for value in values)]

    def heyhi(self, *words: str, **env: str) -> Done:
        """The heyhi command."""
        return self.garden.python("-m", "heyhi.commands", *words, env=env)


def content_of(path: str) -> bytes:
    """What is in a file; nothing, if it goes meanwhile, as those of other tests' captures do."""
    try:
        return Path(path).read_bytes() if os.path.isfile(path) else b""
    except OSError:
        return b""


@pytest.fixture
def vault(garden: Garden, tmp_path: Path) -> Iterator[Vault]:
    """A garden with its own TMPDIR, and a place for secrets that is not looked through."""
    place, temporary = tmp_path / "vault", garden.home / "tmp"
    place.mkdir()
    temporary.mkdir()
    (garden.home / "alone").mkdir()
    programs = Path(sys.executable).parent
    garden.more.update(TMPDIR=str(temporary), PATH=f"{programs}:{os.environ['PATH']}")
    yield Vault(garden, place)
    shutil.rmtree(place)


def hash_of(path: Path) -> str:
    return (path / "hash.txt").read_text()


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def environment_of(path: Path) -> object:
    return json.loads((path / "heyhi.json").read_text()).get("environment")


def write_vault_batch(vault: Vault) -> None:
    """Two values, one on a line of its own, and a run that has none."""
    line = f"python run.py {' '.join(CARROT)} fail=hash"
    write_batch(
        vault.garden,
        "seed=0 fail=hash",
        f"!export HF_TOKEN={vault.read('one')}",
        "seed=1 fail=hash",
        f"!OMP_NUM_THREADS=1 HF_TOKEN={vault.read('two')} {line} seed=2",
        f"!env HF_TOKEN={vault.read('three')} {line} seed=3",
        "!unset HF_TOKEN",
        "seed=4 fail=hash",
    )


SEEDS = {0: "", 1: "one", 2: "two", 3: "three", 4: ""}


def check_vault_batch(vault: Vault) -> None:
    for seed, name in SEEDS.items():
        path = folder(vault.garden, f"seed={seed} fail=hash")
        assert hash_of(path) == sha(vault.secret(name) if name else "")
        assert environment_of(path) == (
            None
            if not name
            else {"HF_TOKEN": True, "OMP_NUM_THREADS": "1"}
            if name == "two"
            else {"HF_TOKEN": True}
        )
    assert vault.finds() == []


def test_the_runs_of_a_batch_have_their_secrets_and_no_file_has_them(vault: Vault) -> None:
    write_vault_batch(vault)
    done = snakemake(vault.garden)
    assert done.status == 0, done.err
    check_vault_batch(vault)


def test_a_copy_of_a_secret_whose_name_has_gone_is_one(vault: Vault) -> None:
    vault.garden.more["HF_TOKEN"] = vault.secret("outer")
    write_batch(
        vault.garden,
        "!export OUTER=$HF_TOKEN",
        f"!export HF_TOKEN={vault.read('one')}",
        "!export COPY=$HF_TOKEN",
        "seed=1 fail=hash",
        f"!export HF_TOKEN={vault.read('two')}",
        "seed=2 fail=hash",
    )
    done = snakemake(vault.garden)
    assert done.status == 0, done.err
    for seed, name in ((1, "one"), (2, "two")):
        path = folder(vault.garden, f"seed={seed} fail=hash")
        assert hash_of(path) == sha(vault.secret(name))
        assert environment_of(path) == {"OUTER": True, "HF_TOKEN": True, "COPY": True}
    assert vault.finds() == []


def test_a_detached_driver_has_them_too(vault: Vault) -> None:
    write_vault_batch(vault)
    done = vault.heyhi("start", "batch.sh", "--detach")
    assert done.status == 0, done.err
    last = folder(vault.garden, "seed=4 fail=hash")
    wait_until(lambda: vault.heyhi("status").out.count("DONE") > 0 and (last / "result.json").exists())
    wait_until(lambda: "no drivers" in vault.heyhi("status").out or not any_driver(vault.garden))
    check_vault_batch(vault)


def any_driver(garden: Garden) -> bool:
    return bool(list((garden.exp / ".heyhi" / "orders").glob("*.lock")))


def test_a_driver_that_is_killed_leaves_none_and_the_next_one_has_them(vault: Vault) -> None:
    go = vault.garden.home / "go"
    write_batch(vault.garden, f"!export HF_TOKEN={vault.read('one')}", "seed=1 fail=hash", "seed=2 fail=hash")
    driver = start_snakemake(vault.garden, "--cores", "1", GARDEN_GO=str(go))
    wait_until(lambda: vault.garden.executions() == 1)
    orders = [path for path in (vault.garden.exp / ".heyhi" / "orders").iterdir() if not path.is_symlink()]
    for path in orders:
        if path.suffix in (".jsonl", ".children"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {".jsonl", ".children"} <= {path.suffix for path in orders}
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert vault.finds() == []
    go.touch()
    done = snakemake(vault.garden)
    assert done.status == 0, done.err
    for seed in (1, 2):
        assert hash_of(folder(vault.garden, f"seed={seed} fail=hash")) == sha(vault.secret("one"))
    assert vault.finds() == []


def test_orders_of_a_killed_driver_go_once_no_job_may_read_them(vault: Vault) -> None:
    go = vault.garden.home / "go"
    write_batch(vault.garden, "seed=1")
    driver = start_snakemake(vault.garden, GARDEN_GO=str(go))
    wait_until(lambda: vault.garden.executions() == 1)
    driver.kill()
    driver.communicate()
    (old,) = (vault.garden.exp / ".heyhi" / "orders").glob("*.jsonl")
    write_batch(vault.garden, "seed=2", name="other.sh")
    # Its job lives, and might not have read them yet.
    assert snakemake(vault.garden, batch="other.sh", GARDEN_GO=str(driver)).status == 0
    assert old.exists()
    go.touch()
    wait_until(lambda: vault.garden.executions("end") == 2)
    wait_until(lambda: not any(old.name in words for words in command_lines()))
    write_batch(vault.garden, "seed=3", name="other.sh")
    assert snakemake(vault.garden, batch="other.sh").status == 0
    assert not list(old.parent.iterdir())


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(errors="replace"))
        except OSError:
            pass
    return found


# ---- Snakemake's own executors ------------------------------------------------------------------


def test_snakemakes_own_executor_hands_on_what_all_runs_have(vault: Vault) -> None:
    write_batch(vault.garden, f"!export HF_TOKEN={vault.read('one')}", "seed=1 fail=hash", "seed=2 fail=hash")
    done = snakemake(vault.garden, "--executor", "local")
    assert done.status == 0, done.err
    assert hash_of(folder(vault.garden, "seed=2 fail=hash")) == sha(vault.secret("one"))
    assert vault.finds() == []


def test_a_run_whose_secret_it_cannot_hand_on_is_not_started(vault: Vault) -> None:
    write_batch(vault.garden, "seed=1", f"!export HF_TOKEN={vault.read('one')}", "seed=2 fail=hash")
    done = snakemake(vault.garden, "--executor", "local")
    assert done.status == 1
    assert "error: HF_TOKEN: not set here, and as a secret in no file" in done.err
    assert vault.garden.executions() == 1
    assert vault.finds() == []


# ---- Replay -------------------------------------------------------------------------------------


def test_a_replay_names_the_variables_that_have_to_be_set(vault: Vault) -> None:
    write_batch(vault.garden, f"!export A=1 HF_TOKEN={vault.read('one')}", "seed=1 fail=hash")
    assert snakemake(vault.garden).status == 0
    again_in = vault.garden.exp / "again"
    told = vault.heyhi("replay", "seed@1", "--out", str(again_in))
    assert told.status == 0, told.err
    assert "HF_TOKEN has to be set: its value is a secret, which no file has" in told.err
    assert "canary" not in told.out + told.err
    assert "A=1" in told.out
    again = run_in_bash(vault, told.out)
    assert again.returncode != 0
    assert "HF_TOKEN: is a secret, which no file has: set it" in again.stderr
    assert not again_in.exists()
    again = run_in_bash(vault, told.out, HF_TOKEN=vault.secret("one"))
    assert again.returncode == 0, again.stderr
    assert hash_of(again_in) == sha(vault.secret("one"))
    assert environment_of(again_in) == {"A": "1", "HF_TOKEN": True}
    assert vault.finds() == []


def run_in_bash(vault: Vault, command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    environment = vault.garden.environment(**env)
    return subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
    )


def test_what_the_version_before_kept_is_not_shown(vault: Vault) -> None:
    done = vault.garden(*CARROT, "seed=1")
    assert done.status == 0, done.err
    path = vault.garden.folder(*CARROT, "seed=1")
    content = json.loads((path / "heyhi.json").read_text())
    old = {"HF_TOKEN": "canary", "A": "1", "INDEX": "https://me:canary@host"}
    (path / "heyhi.json").write_text(json.dumps({**content, "environment": old}))
    done = vault.garden(*CARROT, "seed=2")
    for told in (vault.heyhi("replay", "seed@1"), vault.heyhi("diff", "seed@1", "seed@2")):
        assert told.status == 0, told.err
        assert "canary" not in told.out + told.err
        assert "HF_TOKEN" in told.out + told.err


# ---- Single runs, messages, what a capture leaves -----------------------------------------------


@pytest.mark.parametrize("names", ["HEYHI_EXPORTED", "HH_EXPORTED"])
def test_a_single_run_writes_none(vault: Vault, names: str) -> None:
    done = vault.garden(*CARROT, "fail=hash", env={"HF_TOKEN": vault.secret("one"), names: "HF_TOKEN"})
    assert done.status == 0, done.err
    path = folder(vault.garden, "fail=hash")
    assert hash_of(path) == sha(vault.secret("one"))
    assert environment_of(path) == {"HF_TOKEN": True}
    assert vault.finds() == []


def test_a_grid_writes_none(vault: Vault) -> None:
    done = vault.garden(*CARROT, "fail=hash", "--grid", "seed=1", env={"HF_TOKEN": vault.secret("one")})
    assert done.status == 0, done.err
    assert hash_of(folder(vault.garden, "seed=1 fail=hash")) == sha(vault.secret("one"))
    assert vault.finds() == []


FAILURES = {
    "assigned": "export HF_TOKEN={}; false",
    "prefixed": "HF_TOKEN={} false",
    "used": "export HF_TOKEN={}\ncurl -H \"Bearer $HF_TOKEN\" 'not a url' 2> /dev/null",
    "of the user": 'sh -c "exit 3" "$OWN_SECRET"',
}


@pytest.mark.parametrize("script", FAILURES.values(), ids=FAILURES)
def test_a_script_that_fails_is_told_without_them(script: str, vault: Vault) -> None:
    path = vault.garden.root / "it.sh"
    path.write_text("set -e\n" + script.format(vault.read("one")))
    done = vault.heyhi("plan", str(path), OWN_SECRET=vault.secret("one"))
    assert done.status == 2
    assert "its last command: " in done.err
    assert "canary" not in done.err


def test_a_secret_in_the_text_of_a_script_of_the_project_is_pointed_out(vault: Vault) -> None:
    for name, folder_of_it in (("inside.sh", vault.garden.root), ("outside.sh", vault.place)):
        path = folder_of_it / name
        path.write_text(
            f"export A=1\nHF_TOKEN=canary-42 python {vault.garden.root}/run.py {' '.join(CARROT)}\n"
        )
        done = vault.heyhi("plan", str(path))
        assert done.status == 0, done.err
        told = f"{name}:2: a secret is in this file, and the snapshot copies it"
        assert (told in done.out) == (name == "inside.sh")
        assert "canary" not in done.out + done.err


def test_a_secret_in_a_file_that_a_script_sources_or_in_a_function_is_pointed_out(vault: Vault) -> None:
    garden = vault.garden
    (garden.root / "keys.sh").write_text("A=1\nexport HF_TOKEN=canary-42\n")
    (garden.root / "free.sh").write_text('export HF_TOKEN="$(cat FILE)" token=3\n')
    (garden.root / "it.sh").write_text(
        "source keys.sh\nsource free.sh 2> /dev/null\n"
        "fetch() {\n  API_KEY=canary-43 true\n  local SECRET=canary-44\n}\n"
        f"python run.py {' '.join(CARROT)}\n"
    )
    done = vault.heyhi("plan", "it.sh")
    assert done.status == 0, done.err
    told = "a secret is in this file, and the snapshot copies it; use $(cat FILE) instead"
    assert f"note: keys.sh:2: {told}\n" in done.out
    assert f"note: it.sh: {told} (on lines 4 and 5)\n" in done.out
    assert "free.sh" not in done.out
    assert "canary" not in done.out + done.err


NOT_WRITTEN = {
    "in a file that git ignores": ". ./ignored.sh\nRUN",
    "an override on a line of its own": "RUN \\\n  seed=1 note=a-key=canary-42 \\\n  lr=1",
    "a switch": "export USE_AUTH=false\nRUN note=false",
}


@pytest.mark.parametrize("script", NOT_WRITTEN.values(), ids=NOT_WRITTEN)
def test_what_is_no_secret_or_in_no_snapshot_is_not_pointed_out(vault: Vault, script: str) -> None:
    root = vault.garden.root
    (root / "it.sh").write_text(script.replace("RUN", f"python {root}/run.py {' '.join(CARROT)}"))
    (root / "ignored.sh").write_text("export HF_TOKEN=canary-42")
    (root / ".gitignore").write_text("ignored.sh\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    done = vault.heyhi("plan", "it.sh")
    assert done.status == 0, done.err
    assert "a secret is in this file" not in done.out


def test_a_secret_in_a_file_of_the_repository_beside_the_project_is_pointed_out(vault: Vault) -> None:
    top = vault.garden.root.parent
    subprocess.run(["git", "init", "-q"], cwd=top, check=True)
    (top / "it.sh").write_text(f"HF_TOKEN=canary-42 python {vault.garden.root}/run.py {' '.join(CARROT)}\n")
    done = vault.heyhi("plan", str(top / "it.sh"))
    assert done.status == 0, done.err
    assert "it.sh:1: a secret is in this file" in done.out


def test_lines_on_stdin_with_a_secret_are_refused_without_it(vault: Vault) -> None:
    line = f"HF_TOKEN={vault.secret('one')} python run.py {' '.join(CARROT)}\n"
    done = vault.garden.python("-m", "heyhi.commands", "start", "-", stdin=line)
    assert done.status == 2
    assert "stdin:1: 'HF_TOKEN=***'" in done.err
    assert vault.finds() == []


def test_what_a_capture_left_whose_guard_was_killed_too_is_removed_by_the_next_one(vault: Vault) -> None:
    script, pids = vault.garden.root / "it.sh", vault.garden.home / "pids"
    script.write_text(f"export HF_TOKEN={vault.read('one')}\necho $$ > {shlex.quote(str(pids))}; sleep 60")
    process = subprocess.Popen(
        [sys.executable, "-m", "heyhi.commands", "plan", str(script)],
        cwd=vault.garden.root,
        env=vault.garden.environment(),
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: pids.exists() and bool(pids.read_text().strip()))
    found = [path for path in vault.finds() if "heyhi-captured-" in path]
    assert found
    left = Path(found[0]).parent
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    guards = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if left.name in path.read_text(errors="replace") and int(path.parent.name) != os.getpid()
    ]
    for pid in (*guards, process.pid, int(pids.read_text())):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert left.exists()
    write_batch(vault.garden, "seed=1")
    assert vault.heyhi("plan", "batch.sh").status == 0
    assert left.exists()  # it might have been made just now
    os.utime(left, (1, 1))
    assert vault.heyhi("plan", "batch.sh").status == 0
    assert not left.exists()


def test_a_driver_asked_to_stop_leaves_none(vault: Vault) -> None:
    write_batch(vault.garden, f"!export HF_TOKEN={vault.read('one')}", "fail=slow")
    driver = start_snakemake(vault.garden)
    wait_until(lambda: vault.garden.executions() == 1)
    driver.send_signal(signal.SIGINT)
    said, _ = driver.communicate(timeout=60)
    assert "canary" not in said
    assert vault.finds() == []
