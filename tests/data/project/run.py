"""The tasks of the garden. Each execution leaves a line in executions.txt beside the run folders."""

import fcntl
import hashlib
import json
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import heyhi


def grow(cfg):
    with _alone():
        return _grow(cfg)


def _grow(cfg):
    """What happens is told by `fail`: a key of MISHAPS, or one of the words below."""
    is_first = not Path("mine.txt").exists()
    Path("mine.txt").write_text("a file of the task\n")
    _count("start")
    print("growing", cfg.note)
    if cfg.seconds:
        time.sleep(cfg.seconds)
    _wait_for(os.environ.get("GARDEN_GO"))
    if cfg.fail == "once" and is_first:
        raise ValueError("too dry")
    if cfg.fail in MISHAPS:
        MISHAPS[cfg.fail](cfg)
    _count("end")
    result = {"lr": cfg.lr, "note": cfg.note, "depth": cfg.soil.depth, "season": cfg.season}
    if size := os.environ.get("GARDEN_RESULT_KB"):
        result["ballast"] = "x" * 1024 * int(size)
    return result


def _sleep(_):
    if "GARDEN_FAST" not in os.environ:
        time.sleep(60)


def _raise(_):
    raise ValueError("too dry")


def _write_result_and_raise(_):
    Path("result.json").write_text("mine")
    raise ValueError("too dry")


def _raise_surrogate(_):
    raise ValueError("\ud800 is no text")


def _spawn(_):
    import subprocess

    child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    Path("child.txt").write_text(str(child.pid))
    time.sleep(60)


def _ignore_sigterm(_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path("deaf.txt").touch()
    time.sleep(60)


def _talk(_):
    for number in range(10_000):
        print("line", number)


def _debug(cfg):
    breakpoint()  # noqa: T100


def _use_pools(_):
    import multiprocessing

    context = multiprocessing.get_context("fork")
    for _ in range(30):
        with context.Pool(3) as pool:
            pool.map(abs, range(10))


def _empty_folder(_):
    import shutil

    for path in Path.cwd().iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _leave_thread(_):
    threading.Thread(target=_write_late).start()


def _write_late():
    time.sleep(3)
    Path("late.txt").write_text("still here\n")


def _tell_place(_):
    """Where each rank is, one file for each."""
    env = heyhi.get_job_env()
    place = {
        "global_rank": env.global_rank,
        "local_rank": env.local_rank,
        "node": env.node,
        "num_tasks": env.num_tasks,
        "num_nodes": env.num_nodes,
        "job": env.job_id,
        "is_master": heyhi.is_master(),
        "master": heyhi.get_slurm_master(),
    }
    Path(f"place.{env.global_rank}.json").write_text(json.dumps(place))


# How a rank ends that is not to.
DEATHS = {
    "exit": lambda: sys.exit(0),
    "raise": lambda: _raise(None),
    "quit": lambda: os._exit(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def _lose_a_rank(cfg):
    """GARDEN_DEATH=2-raise-late: rank 2 dies so once the master is over; early: while it is at work."""
    number, death, moment = os.environ["GARDEN_DEATH"].split("-")
    rank = heyhi.get_job_env().global_rank
    if rank == int(number):
        if moment == "late":
            _wait_for("master-is-over")
        DEATHS[death]()
    if heyhi.is_master():
        if moment == "early":
            time.sleep(60)
        Path("master-is-over").touch()


def _count_up(_):
    """Count to 100, a step in a while, and be saved when the job is to be requeued."""
    saved = Path("counted.txt")
    at = int(saved.read_text()) if saved.exists() else 0

    def save():
        with Path("callback.txt").open("a") as file:
            file.write(f"{heyhi.get_job_env().global_rank} at {at}\n")
        saved.write_text(str(at))

    heyhi.maybe_init_requeue_handler(save)
    Path(f"ready.{os.environ.get('SLURM_PROCID')}").touch()
    while at < 100:
        at += 1
        _wait_for("go-on" if at == 50 else None)
    Path("end.txt").write_text(str(at))


def _write_metrics(cfg):
    with Path("metrics.jsonl").open("w") as file:
        for epoch in range(1, 21):
            file.write(
                json.dumps({"epoch": epoch, "loss": cfg.lr / epoch, cfg.note or "height": epoch}) + "\n"
            )


def _complain(cfg):
    raise ValueError(cfg.note)


def _hash_of_secret():
    """What can be written of a secret, so that a test knows that the task had it."""
    return hashlib.sha256(os.environ.get("HF_TOKEN", "").encode()).hexdigest()


def _fill_disk(_):
    with Path("filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def _fill_disk_as_master(cfg):
    """Once all of two ranks are at work; the other one ends on the full disk."""
    if heyhi.is_master():
        _wait_for("here.1")
        _fill_disk(cfg)
    else:
        Path("here.1").touch()
        _wait_for("filler")
        time.sleep(1)


def _empty_folder_and_fill_disk(_):
    _empty_folder(None)
    here = os.getcwd()
    os.chdir(os.environ["HH_EXP_DIR"])
    _fill_disk(None)
    os.chdir(here)


def _print_on_full_disk(_):
    """Prints a line, and then 100 for which there is no room."""
    print("before", flush=True)
    _fill_disk(None)
    # What is left of the log's last block.
    with Path("run.log").open("ab", buffering=0) as file:
        try:
            while True:
                file.write(b"x")
        except OSError:
            pass
    for number in range(50):
        print("line", number)
        print("line", number, file=sys.stderr, flush=True)
    import logging

    logging.getLogger().error("a line of logging")


def _raise_on_full_disk(_):
    _fill_disk(None)
    raise ValueError("too dry")


MISHAPS = {
    "slow": _sleep,
    "raise": _raise,
    "exit": lambda _: sys.exit(0),
    "surrogate": _raise_surrogate,
    "own_result": _write_result_and_raise,
    "spawn": _spawn,
    "deaf": _ignore_sigterm,
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "talk": _talk,
    "fork": lambda _: os.fork(),
    "debug": _debug,
    "pools": _use_pools,
    "empty": _empty_folder,
    "thread": _leave_thread,
    "fill": _fill_disk,
    "print": _print_on_full_disk,
    "empty_fill": _empty_folder_and_fill_disk,
    "fill_master": _fill_disk_as_master,
    "fill_raise": _raise_on_full_disk,
    "metrics": _write_metrics,
    "complain": _complain,
    "place": _tell_place,
    "rank": _lose_a_rank,
    "count": _count_up,
    "tell": lambda _: Path("environment.json").write_text(json.dumps(dict(os.environ))),
    "hash": lambda _: Path("hash.txt").write_text(_hash_of_secret()),
    "modules": lambda _: Path("modules.json").write_text(json.dumps(sorted(sys.modules))),
}


def _wait_for(path):
    """Go on once a file is there: a test decides when."""
    end = time.monotonic() + 60
    while path and not Path(path).exists() and time.monotonic() < end:
        time.sleep(0.01)


def pick(cfg):
    return {"picked": cfg.what}


def _count(word):
    """One short line, appended at once: how often a task ran can be counted from outside."""
    path = os.environ.get("GARDEN_COUNT")
    if path:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, os.fsencode(f"{word} {os.getpid()} {time.time_ns()} {_folder()}\n"))
        os.close(descriptor)


def _folder():
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "deleted"


def _who():
    """Ranks of one job are no meeting."""
    return os.fsencode(os.getcwd() + os.environ.get("SLURM_PROCID", "0"))


@contextmanager
def _alone():
    """Count it, if two executions of one run ever meet. The lock is not in the folder, which may be wiped."""
    place = Path(os.environ.get("GARDEN_COUNT", "nowhere")).parent / "alone"
    if not place.is_dir():
        yield
        return
    with (place / hashlib.md5(_who()).hexdigest()).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _count("meeting")
            raise
        yield


def _die_at(function, environment, matches):
    """A kill -9 at one call of a function of `os`: what a machine that fails does."""
    name = os.environ.get(environment)
    original = getattr(os, function)
    calls = []

    def dying(*args, **kwargs):
        calls.append(args)
        if matches(name, calls):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    if name:
        setattr(os, function, dying)


_die_at("replace", "GARDEN_KILL_BEFORE", lambda name, calls: Path(calls[-1][1]).name == name)
_die_at("unlink", "GARDEN_KILL_AT_UNLINK", lambda count, calls: len(calls) == int(count))


def main(cfg, task, log_level):
    heyhi.setup_logging(console_level=log_level)
    return {"grow": grow, "pick": pick}[task](cfg)


if __name__ == "__main__":
    heyhi.parse_args_and_maybe_launch(main)
