"""A real Slurm cluster on this machine, for tests: no systemd, nothing under /etc, loopback only.

    python -m tests.cluster up [--accounting] [--set MaxArraySize=20] [--dir DIR]
    python -m tests.cluster down [--dir DIR]
    eval "$(python -m tests.cluster env)"     squeue, sbatch, ... of this shell speak to it
    python -m tests.cluster why-not           prints why it cannot run here, or nothing

All of a cluster is in its folder, and all its daemons know the folder by SLURM_CONF, by which they are
found again: what does not have it is somebody else's and never touched.

    slurm.conf gres.conf      slurmdbd.conf database/      munge.key munge.socket
    state/ spool/node01/      log/slurmctld.log            run/slurmctld.pid
"""

import argparse
import contextlib
import fcntl
import os
import pwd
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

# What each node pretends to be. Two nodes at least have each feature.
FEATURES = {
    "node01": "volta",
    "node02": "volta",
    "node03": "volta,volta32gb",
    "node04": "volta,volta32gb",
    "node05": "pascal",
    "node06": "pascal",
}
NODES = tuple(FEATURES)
CLUSTER, ACCOUNT, SMALL_QOS = "heyhi", "main", "tiny"

# A job in learnaccel makes way for one in urgent: signals come, GraceTime seconds later it is requeued.
PARTITIONS = {
    "debug": "Default=YES MaxTime=1-00:00:00 PreemptMode=OFF",
    "learnaccel": "PreemptMode=REQUEUE GraceTime=5",
    "Diplomacy": "PreemptMode=OFF",
    "urgent": "PriorityTier=10 PreemptMode=OFF",
}

SLURM_CONF = """\
# Written by tests.cluster
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A requeued job waits until its old credential has expired: 2 minutes by default.
AuthInfo=socket={dir}/munge.socket,cred_expire=10

StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool/%n
SlurmctldPidFile={dir}/run/slurmctld.pid
SlurmdPidFile={dir}/run/%n.pid
SlurmctldLogFile={dir}/log/slurmctld.log
SlurmdLogFile={dir}/log/%n.log

# The nodes claim more than the machine has.
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
# A job that does not say would take all memory of its node.
DefMemPerCPU=1000

SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
KillWait=3
SlurmdTimeout=10
ReturnToService=2
# squeue alone must tell the end of a job to who asks late.
MinJobAge=600
"""

ACCOUNTING_CONF = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[1]}
AccountingStoragePass={dir}/munge.socket
AccountingStorageEnforce=associations,limits,qos
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={dir}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={ports[1]}
SlurmUser={user}
LogFile={dir}/log/slurmdbd.log
PidFile={dir}/run/slurmdbd.pid
CommunicationParameters=NoInAddrAny
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm
"""

# Plain files are refused as devices, and GPUs without one count as none: terminals do.
GRES_CONF = "NodeName=node[01-06] Name=gpu File=/dev/tty[0-7]\n"

# The programs, and the Debian packages that they come from.
PACKAGES = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
ACCOUNTING_PACKAGES = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}

USABLE = {"idle", "mix", "alloc", "comp", "plnd"}
TO_RESUME = ("down", "drain", "drng", "fail", "boot")
SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
MARK = ".cluster"
POLICY = Path("/usr/sbin/policy-rc.d")
# A path of a socket may have 107 letters; slurmstepd's are some 40 below the folder.
LONGEST_DIR = 60
START_SECONDS, SETTLE_SECONDS = 40.0, 3.0


class ClusterError(Exception):
    """The cluster cannot be had; the message says why, for a person."""


@dataclass(frozen=True)
class Daemon:
    """One process of a cluster: slurmctld is called so, a slurmd by its node."""

    name: str
    command: tuple[str, ...]
    log: Path


class Cluster:
    """A cluster in its folder, whether it is up or not."""

    def __init__(self, folder: Path | None = None) -> None:
        # As the kernel spells it: it tells where a process works.
        self.dir = (folder or default_dir()).resolve()
        self.conf = self.dir / "slurm.conf"

    def environment(self) -> dict[str, str]:
        """What a process needs, beside its own environment, to speak to this cluster."""
        return {"SLURM_CONF": str(self.conf)}

    # ---- Up and down

    def up(self, accounting: bool = False, settings: Mapping[str, str] | None = None) -> bool:
        """Start it, or mend what is broken of it. False if it was up already. Raises ClusterError."""
        settings = dict(settings or {})
        check_path(self.dir)
        with locked(self.dir):
            if not self.conf.exists() or not self.processes():
                self._start_afresh(accounting, settings)
                return True
            self._check_settings(accounting, settings)
            if self.is_up():
                return False
            self._start()
        return True

    def down(self) -> bool:
        """End its daemons and its jobs, remove its folder. False if there was nothing."""
        if not self.dir.parent.is_dir():
            return False
        with locked(self.dir):
            existed = self.conf.exists() or bool(self.processes())
            self._wipe()
        return existed

    def is_up(self) -> bool:
        """Whether all its daemons run (none is stopped by a signal) and all its nodes can be used."""
        if not self.conf.exists() or self._not_running():
            return False
        states = self.node_states()
        return set(states) == set(NODES) and set(states.values()) <= USABLE

    def with_accounting(self) -> bool:
        """Whether it has been set up with slurmdbd."""
        return (self.dir / "slurmdbd.conf").exists()

    # ---- Its daemons

    def daemons(self) -> list[Daemon]:
        """All that it consists of, in the order in which they are started."""
        conf, log = str(self.conf), self.dir / "log"
        slurmds = [Daemon(node, ("slurmd", "-N", node, "-f", conf), log / f"{node}.log") for node in NODES]
        return [
            Daemon("munged", self._munged(), log / "munged.log"),
            *(self._accounting_daemons() if self.with_accounting() else ()),
            Daemon("slurmctld", ("slurmctld", "-f", conf), log / "slurmctld.log"),
            *slurmds,
        ]

    def start_daemon(self, name: str) -> None:
        """Start one ("slurmctld", "node03") if it does not run, and let it go on if it was stopped."""
        daemon = self._daemon(name)
        running = self._processes_of(daemon)
        for process in running:
            send(process, signal.SIGCONT)
        if not running:
            self._launch(daemon)

    def kill_daemon(self, name: str, signum: int = signal.SIGKILL) -> None:
        """Send a signal to one. Returns when it is gone, if the signal is one that ends it."""
        processes = self._processes_of(self._daemon(name))
        for process in processes:
            send(process, signum)
        if signum in (signal.SIGKILL, signal.SIGTERM):
            wait_until_gone(processes)

    def pids(self, name: str) -> list[int]:
        """The processes of one daemon: one, or none."""
        return [process.pid for process in self._processes_of(self._daemon(name))]

    def node_states(self) -> dict[str, str]:
        """Node -> state as sinfo has it ("idle", "mix", "down*"); nothing if slurmctld does not answer."""
        lines = self.client("sinfo", "-h", "-N", "-p", "debug", "-o", "%N %t").stdout.splitlines()
        return dict(line.split() for line in lines)

    def client(self, *command: str, timeout: float = 30) -> "subprocess.CompletedProcess[str]":
        """Run a command of Slurm against it."""
        environment = {**os.environ, **self.environment(), "PATH": SEARCH}
        try:
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout:.0f} s")

    def processes(self) -> list[psutil.Process]:
        """All processes of this cluster: daemons, slurmstepd, jobs, and what these started."""
        family = [process for process in psutil.process_iter() if self._owns(process)]
        for process in list(family):
            with contextlib.suppress(psutil.Error):
                family += process.children(recursive=True)
        # Who calls this from within a job wants to see the end of it.
        spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        return [process for process in dict.fromkeys(family) if process.pid not in spared]

    # ---- Below

    def _owns(self, process: psutil.Process) -> bool:
        program, environment = program_of(process), read_environment(process)
        # Its title lies over its environment; it works where its slurmd does.
        if program == "slurmstepd":
            return Path(ask(process.cwd, "/")).is_relative_to(self.dir)
        # A shell of the user has SLURM_CONF too; only in a job there is a node.
        return environment.get("SLURM_CONF") == str(self.conf) and (
            "SLURMD_NODENAME" in environment or program in _PROGRAMS
        )

    def _daemon(self, name: str) -> Daemon:
        for daemon in self.daemons():
            if daemon.name == name:
                return daemon
        raise ClusterError(f"no daemon {name}; there are {', '.join(each.name for each in self.daemons())}")

    def _processes_of(self, *daemons: Daemon) -> list[psutil.Process]:
        commands = {daemon.command for daemon in daemons}
        return [
            process
            for process in psutil.process_iter()
            if command_of(process) in commands and self._owns(process)
        ]

    def _not_running(self) -> list[Daemon]:
        daemons = self.daemons()
        found = {command_of(each) for each in self._processes_of(*daemons) if not is_stopped(each)}
        return [daemon for daemon in daemons if daemon.command not in found]

    def _munged(self) -> tuple[str, ...]:
        return (
            "munged",
            f"--key-file={self.dir}/munge.key",
            f"--socket={self.dir}/munge.socket",
            f"--pid-file={self.dir}/run/munged.pid",
            f"--seed-file={self.dir}/run/munged.seed",
            f"--log-file={self.dir}/log/munged.log",
        )

    def _accounting_daemons(self) -> list[Daemon]:
        database, log = self.dir / "database", self.dir / "log"
        mariadbd = (
            "mariadbd",
            "--no-defaults",
            f"--user={user()}",
            f"--datadir={database}/data",
            f"--socket={database}/socket",
            f"--pid-file={self.dir}/run/mariadbd.pid",
            f"--log-error={log}/mariadbd.log",
            # Its socket is in a folder that is only for its user.
            "--skip-networking",
            "--skip-grant-tables",
            # Nothing here is worth a wait for the disk.
            "--innodb-flush-log-at-trx-commit=0",
            # slurmdbd asks for these two.
            "--innodb-lock-wait-timeout=900",
            "--innodb-buffer-pool-size=128M",
        )
        return [
            Daemon("mariadbd", mariadbd, log / "mariadbd.log"),
            Daemon("slurmdbd", ("slurmdbd",), log / "slurmdbd.log"),
        ]

    def _check_settings(self, accounting: bool, settings: Mapping[str, str]) -> None:
        wanted = [f"{key}={value}" for key, value in settings.items()]
        wanted += ["AccountingStorageType=accounting_storage/slurmdbd"] if accounting else []
        lines = self.conf.read_text().splitlines()
        if missing := [line for line in wanted if line not in lines]:
            raise ClusterError(f"{self.dir} is up without {', '.join(missing)}: take it down first")

    def _start_afresh(self, accounting: bool, settings: Mapping[str, str]) -> None:
        self._wipe()
        install(accounting)
        self._write(accounting, settings)
        try:
            self._start()
        except BaseException:
            # The folder stays, for its logs.
            self._end_processes()
            raise

    def _write(self, accounting: bool, settings: Mapping[str, str]) -> None:
        # First: with it, the folder may be removed.
        self.dir.mkdir(exist_ok=True)
        if self.dir.lstat().st_uid != os.getuid():
            raise ClusterError(f"{self.dir}: belongs to user {self.dir.lstat().st_uid}; --dir names another")
        write(self.dir / MARK, b"")
        for name in ("log", "run", "state", *(f"spool/{node}" for node in NODES)):
            (self.dir / name).mkdir(parents=True)
        self.dir.chmod(0o755)
        values = {
            "dir": self.dir,
            "user": user(),
            "host": socket.gethostname().partition(".")[0],
            "cluster": CLUSTER,
            "ports": free_ports(2 + len(NODES)),
        }
        write(self.dir / "munge.key", os.urandom(128), 0o600)
        write(self.dir / "gres.conf", GRES_CONF.encode())
        if accounting:
            write(self.dir / "slurmdbd.conf", SLURMDBD_CONF.format(**values).encode(), 0o600)
            self._make_database()
        # Last: with it, the folder is that of a cluster, dead or alive.
        write(self.conf, slurm_conf(values, accounting, settings).encode())

    def _make_database(self) -> None:
        (self.dir / "database").mkdir(mode=0o700)
        command = ("mariadb-install-db", "--no-defaults", f"--user={user()}", "--skip-test-db")
        done = self.client(*command, f"--datadir={self.dir}/database/data", timeout=120)
        if done.returncode:
            raise ClusterError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")

    def _start(self) -> None:
        for daemon in self.daemons():
            self.start_daemon(daemon.name)
            if daemon.name == "slurmdbd":
                self._make_accounts()
        self._await("nodes", self._bring_up_nodes)

    def _launch(self, daemon: Daemon) -> None:
        # mariadbd alone does not go into the background by itself.
        prefix = ("setsid", "--fork") if daemon.name == "mariadbd" else ()
        program = shutil.which(daemon.command[0], path=SEARCH) or daemon.command[0]
        environment = {"PATH": SEARCH, "LANG": "C.UTF-8", **self.environment()}
        environment["MYSQL_UNIX_PORT"] = f"{self.dir}/database/socket"
        with open(self.dir / "log" / f"{daemon.name}.start", "wb") as log:
            done = subprocess.run(
                (*prefix, program, *daemon.command[1:]),
                env=environment,
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if done.returncode:
            raise ClusterError(f"{daemon.name} does not start:\n{self._tails(daemon)}")
        # On its way into the background, it is now this process and now that: who looks may find none.
        deadline = time.monotonic() + SETTLE_SECONDS
        while not self._has_settled(daemon) and time.monotonic() < deadline:
            time.sleep(0.01)
        if daemon.name == "mariadbd":
            self._await("mariadbd", (self.dir / "database" / "socket").exists)

    def _has_settled(self, daemon: Daemon) -> bool:
        try:
            process = psutil.Process(int((self.dir / "run" / f"{daemon.name}.pid").read_text()))
        except (OSError, ValueError, psutil.Error):
            return False
        return command_of(process) == daemon.command and self._owns(process)

    def _make_accounts(self) -> None:
        """The cluster, and who may submit to it; what is there already stays as it is."""
        self._await("slurmdbd", lambda: bool(self._sacctmgr("list", "qos", "--noheader")))
        self._sacctmgr("add", "cluster", CLUSTER)
        self._sacctmgr("add", "qos", SMALL_QOS, "MaxSubmitJobsPerUser=1")
        self._sacctmgr("add", "account", ACCOUNT, "Description=tests", "Organization=tests")
        self._sacctmgr("add", "user", user(), f"Account={ACCOUNT}")
        choice = ("DefaultAccount=" + ACCOUNT, f"QOS=normal,{SMALL_QOS}", "DefaultQOS=normal")
        self._sacctmgr("modify", "user", user(), "set", *choice)
        if not self._sacctmgr("list", "assoc", f"Account={ACCOUNT}", f"User={user()}", "--noheader"):
            raise ClusterError(f"no account was made:\n{self._tails(self._daemon('slurmdbd'))}")

    def _sacctmgr(self, *words: str) -> str:
        return self.client("sacctmgr", "--immediate", *words).stdout.strip()

    def _bring_up_nodes(self) -> bool:
        if self._not_running():
            raise ClusterError(self._what_is_wrong())
        for node, state in self.node_states().items():
            if state.startswith(TO_RESUME):
                self.client("scontrol", "update", f"NodeName={node}", "State=RESUME")
        return self.is_up()

    def _await(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise ClusterError(f"{what} not up after {START_SECONDS:.0f} s\n{self._what_is_wrong()}")
            time.sleep(0.05)

    def _what_is_wrong(self) -> str:
        if dead := self._not_running():
            return f"{dead[0].name} does not run:\n{self._tails(dead[0])}"
        states = self.node_states()
        if set(states) != set(NODES):
            return f"slurmctld does not answer:\n{self._tails(self._daemon('slurmctld'))}"
        node = next((node for node in NODES if states[node] not in USABLE), NODES[0])
        return f"{states}; the log of {node}:\n{self._tails(self._daemon(node))}"

    def _tails(self, daemon: Daemon) -> str:
        said = [daemon.log.with_suffix(".start"), daemon.log]
        return "\n".join(tail(path) for path in said if path.exists())

    def _wipe(self) -> None:
        """End all its processes and remove its folder, if that is one of a cluster."""
        if self.dir.exists() and any(self.dir.iterdir()) and not (self.dir / MARK).exists():
            raise ClusterError(f"{self.dir} is not the folder of a cluster: it stays as it is")
        self._end_processes()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _end_processes(self) -> None:
        # Not asked first: slurmctld would write its state, which nobody will read. Twice or more, for a
        # slurmd may have started something in between.
        while processes := self.processes():
            for process in processes:
                send(process, signal.SIGKILL)
            wait_until_gone(processes)


# ---- Files --------------------------------------------------------------------------------------


def default_dir() -> Path:
    """Where the cluster of this user is."""
    return Path(os.environ.get("HEYHI_CLUSTER_DIR") or f"/tmp/heyhi-slurm-{os.getuid()}")


def slurm_conf(values: Mapping[str, object], accounting: bool, settings: Mapping[str, str]) -> str:
    """The text of slurm.conf; settings replace what stands in it."""
    text = (SLURM_CONF + (ACCOUNTING_CONF if accounting else "")).format(**values)
    for key, value in settings.items():
        text = re.sub(rf"(?m)^{re.escape(key)}=.*\n", "", text) + f"{key}={value}\n"
    ports = values["ports"]
    assert isinstance(ports, list)
    for (node, features), port in zip(FEATURES.items(), ports[2:], strict=True):
        text += (
            f"NodeName={node} NodeHostname={values['host']} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs=80 RealMemory=520000 Gres=gpu:8 Feature={features}\n"
        )
    for partition, words in PARTITIONS.items():
        text += f"PartitionName={partition} Nodes=ALL {words}\n"
    return text


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def check_path(folder: Path) -> None:
    if re.search(r"[^\w/.+-]", str(folder)):
        raise ClusterError(f"{str(folder)!r}: only letters, digits and /_.+- can be in slurm.conf")
    if len(str(folder)) > LONGEST_DIR:
        raise ClusterError(f"{folder}: longer than {LONGEST_DIR} letters, too long for the sockets in it")
    folder.parent.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One at a time. The lock is beside the folder, which comes and goes, and there only while it is held."""
    path = folder.with_name(f"{folder.name}.lock")
    handle = open_locked(path)
    try:
        yield
    finally:
        path.unlink()
        os.close(handle)


def open_locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Its last holder may have removed it while we waited: then it locks nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)


def free_ports(count: int) -> list[int]:
    """Ports in a row on which nobody listens, below those that the kernel hands out by itself."""
    for _ in range(100):
        first = random.randrange(20000, 32000)
        if all(is_free(port) for port in range(first, first + count)):
            return list(range(first, first + count))
    raise ClusterError("no free ports on 127.0.0.1")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# ---- Processes ----------------------------------------------------------------------------------

Answer = TypeVar("Answer")
_PROGRAMS = {"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd"}


def user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def ask(question: Callable[[], Answer], otherwise: Answer) -> Answer:
    """What a process says of itself; it may be gone by now, or another user's."""
    try:
        return question()
    except (psutil.Error, OSError):
        return otherwise


def read_environment(process: psutil.Process) -> dict[str, str]:
    return ask(process.environ, {})


def read_command(process: psutil.Process) -> list[str]:
    return ask(process.cmdline, [])


def program_of(process: psutil.Process) -> str:
    """Its bare name, also of one that has changed its title to "slurmstepd: [7.batch]"."""
    return Path("".join(read_command(process)[:1]).partition(":")[0]).name


def command_of(process: psutil.Process) -> tuple[str, ...]:
    """Its command line, with the program as a bare name."""
    command = read_command(process)
    return (Path(command[0]).name, *command[1:]) if command else ()


def is_stopped(process: psutil.Process) -> bool:
    return ask(process.status, psutil.STATUS_DEAD) == psutil.STATUS_STOPPED


def send(process: psutil.Process, signum: int) -> None:
    # psutil looks first whether the pid is still that process.
    with contextlib.suppress(psutil.Error):
        process.send_signal(signum)


def wait_until_gone(processes: list[psutil.Process], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    # A zombie has no command line: it is gone, even if nobody has asked for its end yet.
    while any(map(read_command, processes)) and time.monotonic() < deadline:
        time.sleep(0.01)


# ---- Packages -----------------------------------------------------------------------------------


def missing_packages(accounting: bool = False) -> list[str]:
    packages = PACKAGES | (ACCOUNTING_PACKAGES if accounting else {})
    return [package for program, package in packages.items() if not shutil.which(program, path=SEARCH)]


def why_not(accounting: bool = False) -> str | None:
    """Why there can be no cluster here; None if there can."""
    if sys.platform != "linux":
        return "Slurm's daemons need Linux"
    missing = missing_packages(accounting)
    if not missing:
        return None
    if not shutil.which("apt-get"):
        return f"not installed: {', '.join(missing)}; and there is no apt-get"
    if os.getuid() != 0:
        return f"not installed: {', '.join(missing)}; install them, or be root"
    return None


def install(accounting: bool = False) -> None:
    """Install what is missing, and leave none of its daemons running. Raises ClusterError."""
    if reason := why_not(accounting):
        raise ClusterError(reason)
    missing = missing_packages(accounting)
    if not missing:
        return
    print(f"installing {', '.join(missing)} ...", flush=True)
    before = set(package_daemons())
    with no_services():
        if apt_get("install", *missing).returncode:
            apt_get("update")
            done = apt_get("install", *missing)
            if done.returncode:
                raise ClusterError(f"apt-get install {' '.join(missing)} failed:\n{done.stdout[-2000:]}")
    for process in set(package_daemons()) - before:
        send(process, signal.SIGTERM)


def apt_get(*words: str) -> "subprocess.CompletedProcess[str]":
    options = ("-q", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120")
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
    return subprocess.run(
        ("apt-get", *options, *words),
        env={**os.environ, **quiet, "PATH": SEARCH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextlib.contextmanager
def no_services() -> Iterator[None]:
    """Forbid packages to start their services, unless the machine has a policy of its own."""
    if POLICY.exists():
        yield
        return
    write(POLICY, b"#!/bin/sh\nexit 101\n", 0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def package_daemons() -> list[psutil.Process]:
    """Daemons as the packages start them. Those of our clusters have SLURM_CONF."""
    return [
        process
        for process in psutil.process_iter()
        if program_of(process) in _PROGRAMS and "SLURM_CONF" not in read_environment(process)
    ]


# ---- The program --------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    words = parse(argv)
    cluster = Cluster(words.dir)
    try:
        return COMMANDS[words.command](cluster, words)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster", description="A Slurm cluster on this machine, for tests."
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--dir", type=Path, help="its folder ($HEYHI_CLUSTER_DIR, or /tmp/heyhi-slurm-UID)")
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd: sacct, accounts, QOS")
    parser.add_argument(
        "--set", action="append", default=[], type=setting, metavar="KEY=VALUE", help="for slurm.conf"
    )
    return parser.parse_args(argv)


def setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def run_up(cluster: Cluster, words: argparse.Namespace) -> int:
    started = time.monotonic()
    changed = cluster.up(words.accounting, dict(words.set))
    how = f"is up, after {time.monotonic() - started:.1f} s" if changed else "is up already"
    print(f"the cluster in {cluster.dir} {how}: export SLURM_CONF={cluster.conf}")
    return 0


def run_down(cluster: Cluster, words: argparse.Namespace) -> int:
    print(f"the cluster in {cluster.dir} {'is down' if cluster.down() else 'was not up'}")
    return 0


def run_env(cluster: Cluster, words: argparse.Namespace) -> int:
    for key, value in cluster.environment().items():
        print(f"export {key}={shlex.quote(value)}")
    return 0


def run_why_not(cluster: Cluster, words: argparse.Namespace) -> int:
    reason = why_not(words.accounting)
    if reason:
        print(reason)
    return 1 if reason else 0


COMMANDS: dict[str, Callable[[Cluster, argparse.Namespace], int]] = {
    "up": run_up,
    "down": run_down,
    "env": run_env,
    "why-not": run_why_not,
}

if __name__ == "__main__":
    sys.exit(main())
