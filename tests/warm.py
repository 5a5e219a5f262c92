"""Snakemake, as a fork of a process that has imported the large libraries that it imports.

`run` is `python -m snakemake WORDS` to its end, half a second quicker: pandas and sqlmodel are there, but
nothing of Snakemake or HeyHi. Tests that signal a driver, or look at it from outside, start a real one.
"""

import array
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

# What the process does, whose words are this code: a fork for each request, which falls out of the loop.
_SERVE = """
import array, json, os, runpy, socket, sys, tempfile
import pandas, sqlmodel
server = socket.socket(fileno=int(sys.argv[1]))
while True:
    request, ancillary, _, _ = server.recvmsg(1 << 20, socket.CMSG_LEN(3 * array.array("i").itemsize))
    if not request:
        raise SystemExit
    fds = array.array("i", ancillary[0][2])
    child = os.fork()
    if not child:
        break
    for fd in fds:
        os.close(fd)
    server.send(b"%d" % child)
    server.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
server.close()
for number, fd in enumerate(fds):
    os.dup2(fd, number)
    os.close(fd)
asked = json.loads(request)
os.environ.clear()
os.environ.update(asked["environment"])
os.chdir(asked["cwd"])
tempfile.tempdir = None
sys.path[0] = os.getcwd()
sys.argv = ["-m", *asked["words"]]
sys.orig_argv = [sys.executable, "-m", "snakemake", *asked["words"]]
runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
"""
_LOCK = threading.Lock()  # one at a time


def is_like_here(environment: Mapping[str, str]) -> bool:
    """True if a fork of a Python of these tests can stand for one with this environment."""
    names = {name for name in (*environment, *os.environ) if name.startswith(("PYTHON", "LANG", "LC_"))}
    return all(environment.get(name) == os.environ.get(name) for name in names)


def run(
    words: Sequence[str], cwd: Path, environment: Mapping[str, str], stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """`python -m snakemake WORDS`, to its end."""
    asked = {"words": words, "cwd": str(cwd), "environment": dict(environment)}
    ours, theirs = [], []
    for _ in range(3):
        reading, writing = os.pipe()
        ours.append(reading)
        theirs.append(writing)
    ours[0], theirs[0] = theirs[0], ours[0]
    said = ["", "", ""]

    def read(number: int) -> None:
        with os.fdopen(ours[number]) as file:
            said[number] = file.read()

    readers = [threading.Thread(target=read, args=[number]) for number in (1, 2)]
    with _LOCK:
        server, _ = _server()
        server.sendmsg(
            [json.dumps(asked).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", theirs))]
        )
        for fd in theirs:
            os.close(fd)
        pid = int(server.recv(100))
        for reader in readers:
            reader.start()
        with os.fdopen(ours[0], "w") as file:
            file.write(stdin)
        server.settimeout(240)
        try:
            status = int(server.recv(100))
        except TimeoutError:
            os.kill(pid, 9)
            server.recv(100)
            raise
        finally:
            for reader in readers:
                reader.join()
    return subprocess.CompletedProcess(["snakemake", *words], status, said[1], said[2])


@cache
def _server() -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-c", _SERVE, str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    theirs.close()
    return ours, process  # it ends with this process, whose end of the socket closes
