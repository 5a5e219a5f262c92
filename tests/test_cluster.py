"""The cluster of tests.cluster is one: jobs run on it, it is mended, and it goes without a trace."""

import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests import cluster as module
from tests.cluster import NODES, Cluster, ClusterError, why_not

pytestmark = pytest.mark.slurm


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: pytest's own may be too long for sockets."""
    path = Path(tempfile.mkdtemp(prefix="heyhi-slurm-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def own(folder: Path) -> Iterator[Cluster]:
    """A second cluster, for one test to do with as it likes."""
    if reason := why_not():
        pytest.skip(reason)
    cluster = Cluster(folder)
    cluster.up()
    yield cluster
    cluster.down()


def run(cluster: Cluster, *command: str) -> str:
    done = cluster.client(*command, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def submit(cluster: Cluster, *options: str) -> str:
    return run(cluster, "sbatch", "--parsable", "--output=/dev/null", *options)


def state(cluster: Cluster, job: str) -> str:
    return run(cluster, "squeue", "-h", "-t", "all", "-j", job, "-o", "%T")


def all_daemons(cluster: Cluster) -> dict[str, list[int]]:
    return {daemon.name: cluster.pids(daemon.name) for daemon in cluster.daemons()}


def listening(cluster: Cluster) -> set[str]:
    """The addresses on which its daemons wait for somebody."""
    processes = [psutil.Process(pid) for pids in all_daemons(cluster).values() for pid in pids]
    sockets = [each for process in processes for each in process.net_connections(kind="inet")]
    return {each.laddr[0] for each in sockets if each.status == psutil.CONN_LISTEN}


# ---- It is a cluster


def test_srun_works(cluster: Cluster) -> None:
    assert run(cluster, "srun", "echo", "hello") == "hello"


def test_a_job_sees_the_gpus_that_it_asked_for(cluster: Cluster) -> None:
    assert run(cluster, "srun", "--gres=gpu:8", "printenv", "CUDA_VISIBLE_DEVICES") == "0,1,2,3,4,5,6,7"


def test_a_job_as_large_as_a_node_runs(cluster: Cluster) -> None:
    asked = ("--constraint=volta32gb", "--gres=gpu:8", "--mem=496G", "--cpus-per-task=80")
    assert run(cluster, "srun", *asked, "echo", "large") == "large"


@pytest.mark.parametrize("feature", ["volta", "volta32gb", "pascal"])
def test_two_nodes_have_each_feature(cluster: Cluster, feature: str) -> None:
    nodes = run(cluster, "srun", "-C", feature, "-N2", "printenv", "SLURMD_NODENAME").split()
    assert len(nodes) == 2
    assert all(feature in module.FEATURES[node].split(",") for node in nodes)


def test_an_array_of_50_completes(cluster: Cluster, tmp_path: Path) -> None:
    submit(cluster, "--wait", "--array=0-49", f"--wrap=touch {tmp_path}/$SLURM_ARRAY_TASK_ID")
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(50))


@pytest.mark.parametrize("partition", module.PARTITIONS)
def test_partitions(cluster: Cluster, partition: str) -> None:
    assert run(cluster, "srun", "-p", partition, "printenv", "SLURM_JOB_PARTITION") == partition


def test_an_urgent_job_preempts_after_a_signal(own: Cluster, folder: Path) -> None:
    script = folder / "script.sh"
    script.write_text(f"#!/bin/sh\ntrap 'touch {folder}/signalled' USR1\nwhile :; do sleep 0.1; done\n")
    whole = ("--nodes=6", "--exclusive")
    job = submit(own, "-p", "learnaccel", "--requeue", "--signal=B:USR1@60", *whole, str(script))
    assert eventually(lambda: state(own, job) == "RUNNING")
    urgent = submit(own, "-p", "urgent", *whole, "--wrap=sleep 1")
    assert eventually((folder / "signalled").exists)
    assert eventually(lambda: state(own, urgent) == "COMPLETED")
    assert state(own, job) == "PENDING"


# ---- Up, mended, down


def test_a_second_up_changes_nothing(own: Cluster) -> None:
    before = all_daemons(own)
    assert own.up() is False
    assert all_daemons(own) == before
    assert all(len(pids) == 1 for pids in before.values())


def test_up_with_other_settings_is_refused(own: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"is up without MaxArraySize=20: take it down first"):
        own.up(settings={"MaxArraySize": "20"})


def test_what_does_not_start_says_why(folder: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    cluster = Cluster(folder)
    with pytest.raises(ClusterError, match=r"(?s)^slurmctld does not .*sched/nonsense"):
        cluster.up(settings={"SchedulerType": "sched/nonsense"})
    assert cluster.processes() == []
    assert cluster.up() is True
    cluster.down()


def test_settings_are_obeyed(folder: Path, own: Cluster) -> None:
    own.down()
    own.up(settings={"MaxArraySize": "20", "KillWait": "7"})
    config = run(own, "scontrol", "show", "config")
    assert re.search(r"(?m)^MaxArraySize += 20$", config)
    assert re.search(r"(?m)^KillWait += 7 sec$", config)


@pytest.mark.parametrize("name", ["slurmctld", "node03", "munged"])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_up_mends_what_was_killed(own: Cluster, name: str, signum: signal.Signals) -> None:
    own.kill_daemon(name, signum)
    assert not own.is_up()
    assert own.up() is True
    assert own.is_up()
    assert run(own, "srun", "-N6", "echo", "x").split() == ["x"] * len(NODES)


def test_a_job_outlives_all_daemons(own: Cluster) -> None:
    job = submit(own, "--wrap=sleep 60")
    assert eventually(lambda: state(own, job) == "RUNNING")
    # Killed, it comes back as it was some seconds ago; asked, it writes down what it knows.
    own.kill_daemon("slurmctld", signal.SIGTERM)
    for daemon in own.daemons():
        own.kill_daemon(daemon.name)
    assert own.up() is True
    assert state(own, job) == "RUNNING"


def test_drained_nodes_are_resumed(own: Cluster) -> None:
    run(own, "scontrol", "update", "NodeName=node02", "State=DRAIN", "Reason=test")
    assert not own.is_up()
    own.up()
    assert own.node_states()["node02"] == "idle"


def test_a_cluster_beside_the_other_goes_without_a_trace(cluster: Cluster, own: Cluster) -> None:
    before = all_daemons(cluster)
    job = submit(own, "--wrap=setsid sleep 300 & sleep 300")
    assert eventually(lambda: state(own, job) == "RUNNING" and names(own).count("sleep") == 2)
    assert own.down() is True
    assert not own.dir.exists()
    assert own.processes() == []
    assert own.down() is False
    assert all_daemons(cluster) == before
    assert cluster.is_up()


def names(cluster: Cluster) -> list[str]:
    return [process.name() for process in cluster.processes()]


def test_only_loopback_listens(own: Cluster) -> None:
    assert listening(own) == {"127.0.0.1"}


def test_a_shell_that_speaks_to_it_is_not_its_own(own: Cluster) -> None:
    with psutil.Popen(["sleep", "60"], env=own.environment() | {"PATH": module.SEARCH}) as shell:
        own.down()
        assert shell.poll() is None
        shell.kill()


def test_a_folder_of_somebody_else_stays(folder: Path) -> None:
    (folder / "slurm.conf").write_text("precious")
    for act in (Cluster(folder).up, Cluster(folder).down):
        with pytest.raises(ClusterError, match="is not the folder of a cluster"):
            act()
    assert (folder / "slurm.conf").read_text() == "precious"


@pytest.mark.parametrize(
    ("path", "problem"), [("/tmp/with space", "only letters"), ("/tmp/" + "x" * 90, "longer than")]
)
def test_a_folder_that_slurm_cannot_have_is_refused(path: str, problem: str) -> None:
    with pytest.raises(ClusterError, match=problem):
        Cluster(Path(path)).up()


def test_why_not_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEARCH", "/nowhere")
    monkeypatch.setattr("os.getuid", lambda: 1000)
    assert (why_not() or "").startswith("not installed: munge, slurmctld, slurmd, slurm-client; ")


@pytest.mark.parametrize("policy", [None, "of this machine"])
def test_services_are_forbidden_only_while_packages_are_installed(
    policy: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy-rc.d"
    monkeypatch.setattr(module, "POLICY", path)
    if policy:
        path.write_text(policy)
    with module.no_services():
        assert path.read_text() == (policy or "#!/bin/sh\nexit 101\n")
    assert path.exists() == bool(policy)


# ---- With accounting


def test_with_accounting_there_are_records_and_limits(folder: Path) -> None:
    if reason := why_not(accounting=True):
        pytest.skip(reason)
    cluster = Cluster(folder)
    try:
        cluster.up(accounting=True)
        assert listening(cluster) == {"127.0.0.1"}
        job = submit(cluster, "--qos=tiny", "--wrap=sleep 3")
        refused = cluster.client("sbatch", "--qos=tiny", "--wrap=true")
        assert "QOSMaxSubmitJobPerUserLimit" in refused.stderr
        assert "Invalid account" in cluster.client("sbatch", "--account=nobody", "--wrap=true").stderr
        record = ("sacct", "-n", "-X", "-j", job, "--parsable2", "--format=account,qos,state")
        assert eventually(lambda: run(cluster, *record) == "main|tiny|COMPLETED")
    finally:
        cluster.down()
