"""What a launcher asks of Slurm. The tables are the specification: a launcher -> options, or the error."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message
from grpc_tools import protoc

from heyhi.errors import ConfigError
from heyhi.launch import slurm_options
from heyhi.launch.slurm_options import DEFAULT, Resources, read_resources, resources_from_defaults
from tests.cluster import SEARCH, Cluster
from tests.conftest import HERE


def message(text: str) -> Message:
    """A Launcher.Slurm of conf/common.proto."""
    from conf import common_pb2

    return text_format.Parse(text, common_pb2.Launcher.Slurm())


def read(text: str) -> Resources:
    return read_resources(message(text), "")


class Row(NamedTuple):
    """A launcher, what sbatch is given, and what `scontrol show job` then tells of the job."""

    launcher: str
    options: str
    job: str = ""


# The end of the options where a launcher says nothing of signal and requeue.
END = " --signal=USR1@90 --requeue"

ASKED = {
    # CPU jobs: one task a node, the per-GPU figures once.
    "nothing asked for": Row(
        "", "--nodes=1 --ntasks-per-node=1" + END, "NumNodes=1 NumTasks=1 NumCPUs=1 TresPerNode=- Requeue=1"
    ),
    "0 GPUs": Row(
        "num_gpus: 0", "--nodes=1 --ntasks-per-node=1" + END, "NumNodes=1 NumTasks=1 TresPerNode=-"
    ),
    "a CPU job gets the per-GPU figures once": Row(
        "cpus_per_gpu: 2 mem_per_gpu: 8",
        "--nodes=1 --ntasks-per-node=1 --cpus-per-task=2 --mem=8G" + END,
        "NumNodes=1 NumTasks=1 NumCPUs=2 CPUs/Task=2 MinMemoryNode=8G TresPerNode=-",
    ),
    "a CPU job with a single task": Row(
        "single_task_per_node: true cpus_per_gpu: 2 mem_per_gpu: 8",
        "--nodes=1 --ntasks-per-node=1 --cpus-per-task=2 --mem=8G" + END,
        "NumTasks=1 NumCPUs=2 MinMemoryNode=8G",
    ),
    "a CPU job on three nodes": Row(
        "nodes: 3 cpus_per_gpu: 2 mem_per_gpu: 8",
        "--nodes=3 --ntasks-per-node=1 --cpus-per-task=2 --mem=8G" + END,
        "NumNodes=3 NumTasks=3 NumCPUs=6 CPUs/Task=2 MinMemoryNode=8G",
    ),
    "0 CPUs and 0 GB are not set": Row(
        "cpus_per_gpu: 0 mem_per_gpu: 0", "--nodes=1 --ntasks-per-node=1" + END, "NumCPUs=1"
    ),
    # GPUs of one node.
    "one GPU": Row(
        "num_gpus: 1 cpus_per_gpu: 10 mem_per_gpu: 62",
        "--nodes=1 --ntasks-per-node=1 --cpus-per-task=10 --gres=gpu:1 --mem=62G" + END,
        "NumNodes=1 NumTasks=1 NumCPUs=10 CPUs/Task=10 MinMemoryNode=62G TresPerNode=gres:gpu:1",
    ),
    "five GPUs": Row(
        "num_gpus: 5 cpus_per_gpu: 3 mem_per_gpu: 7",
        "--nodes=1 --ntasks-per-node=5 --cpus-per-task=3 --gres=gpu:5 --mem=35G" + END,
        "NumNodes=1 NumTasks=5 NumCPUs=15 CPUs/Task=3 MinMemoryNode=35G TresPerNode=gres:gpu:5",
    ),
    "a node of GPUs": Row(
        "num_gpus: 8 cpus_per_gpu: 10 mem_per_gpu: 62",
        "--nodes=1 --ntasks-per-node=8 --cpus-per-task=10 --gres=gpu:8 --mem=496G" + END,
        "NumNodes=1 NumTasks=8 NumCPUs=80 CPUs/Task=10 MinMemoryNode=496G TresPerNode=gres:gpu:8",
    ),
    "a node of GPUs for a single task": Row(
        "num_gpus: 8 cpus_per_gpu: 10 mem_per_gpu: 62 single_task_per_node: true",
        "--nodes=1 --ntasks-per-node=1 --cpus-per-task=80 --gres=gpu:8 --mem=496G" + END,
        "NumNodes=1 NumTasks=1 NumCPUs=80 CPUs/Task=80 MinMemoryNode=496G TresPerNode=gres:gpu:8",
    ),
    "GPUs alone": Row(
        "num_gpus: 2",
        "--nodes=1 --ntasks-per-node=2 --gres=gpu:2" + END,
        "NumNodes=1 NumTasks=2 NumCPUs=2 TresPerNode=gres:gpu:2",
    ),
    # Several nodes.
    "two nodes of GPUs": Row(
        "num_gpus: 16 cpus_per_gpu: 10 mem_per_gpu: 62",
        "--nodes=2 --ntasks-per-node=8 --cpus-per-task=10 --gres=gpu:8 --mem=496G" + END,
        "NumNodes=2 NumTasks=16 NumCPUs=160 CPUs/Task=10 MinMemoryNode=496G TresPerNode=gres:gpu:8",
    ),
    "two nodes of GPUs, a task each": Row(
        "num_gpus: 16 cpus_per_gpu: 10 mem_per_gpu: 62 single_task_per_node: true",
        "--nodes=2 --ntasks-per-node=1 --cpus-per-task=80 --gres=gpu:8 --mem=496G" + END,
        "NumNodes=2 NumTasks=2 NumCPUs=160 CPUs/Task=80 MinMemoryNode=496G TresPerNode=gres:gpu:8",
    ),
    "nodes of four GPUs": Row(
        "num_gpus: 12 gpus_per_node: 4 mem_per_gpu: 5",
        "--nodes=3 --ntasks-per-node=4 --gres=gpu:4 --mem=20G" + END,
        "NumNodes=3 NumTasks=12 MinMemoryNode=20G TresPerNode=gres:gpu:4",
    ),
    "as many GPUs as a node of four has": Row(
        "num_gpus: 4 gpus_per_node: 4",
        "--nodes=1 --ntasks-per-node=4 --gres=gpu:4" + END,
        "NumNodes=1 NumTasks=4 TresPerNode=gres:gpu:4",
    ),
    "nodes of one GPU": Row(
        "num_gpus: 3 gpus_per_node: 1",
        "--nodes=3 --ntasks-per-node=1 --gres=gpu:1" + END,
        "NumNodes=3 NumTasks=3 TresPerNode=gres:gpu:1",
    ),
    "nodes that agree with the GPUs": Row(
        "num_gpus: 16 nodes: 2",
        "--nodes=2 --ntasks-per-node=8 --gres=gpu:8" + END,
        "NumNodes=2 NumTasks=16 TresPerNode=gres:gpu:8",
    ),
    "twelve GPUs on two nodes": Row(
        "num_gpus: 12 nodes: 2 cpus_per_gpu: 2 mem_per_gpu: 3",
        "--nodes=2 --ntasks-per-node=6 --cpus-per-task=2 --gres=gpu:6 --mem=18G" + END,
        "NumNodes=2 NumTasks=12 NumCPUs=24 CPUs/Task=2 MinMemoryNode=18G TresPerNode=gres:gpu:6",
    ),
    "more nodes than the GPUs need": Row(
        "num_gpus: 4 nodes: 4 single_task_per_node: true cpus_per_gpu: 3",
        "--nodes=4 --ntasks-per-node=1 --cpus-per-task=3 --gres=gpu:1" + END,
        "NumNodes=4 NumTasks=4 NumCPUs=12 CPUs/Task=3 TresPerNode=gres:gpu:1",
    ),
    # Time.
    "an hour": Row(
        "hours: 1", "--nodes=1 --ntasks-per-node=1 --time=1:00:00" + END, "TimeLimit=01:00:00 Partition=debug"
    ),
    "three days": Row(
        'hours: 72 partition: "learnaccel"',
        "--nodes=1 --ntasks-per-node=1 --time=72:00:00 --partition=learnaccel" + END,
        "TimeLimit=3-00:00:00 Partition=learnaccel",
    ),
    "seven years": Row(
        'hours: 65533 partition: "learnaccel"',
        "--nodes=1 --ntasks-per-node=1 --time=65533:00:00 --partition=learnaccel" + END,
        "TimeLimit=2730-13:00:00",
    ),
    # Where, for whom.
    "a partition": Row(
        'partition: "Diplomacy"',
        "--nodes=1 --ntasks-per-node=1 --partition=Diplomacy" + END,
        "Partition=Diplomacy TimeLimit=UNLIMITED",
    ),
    "one of two partitions": Row(
        'partition: "learnaccel,Diplomacy"',
        "--nodes=1 --ntasks-per-node=1 --partition=learnaccel,Diplomacy" + END,
        "Partition=learnaccel,Diplomacy",
    ),
    "an account and a qos": Row(
        'account: "main" qos: "normal"',
        "--nodes=1 --ntasks-per-node=1 --account=main --qos=normal" + END,
        "Account=main",
    ),
    "empty texts are not set": Row(
        'partition: "" account: "" qos: "" comment: ""',
        "--nodes=1 --ntasks-per-node=1" + END,
        "Partition=debug",
    ),
    # Which nodes.
    "volta": Row("volta: true", "--nodes=1 --ntasks-per-node=1 --constraint=volta" + END, "Features=volta"),
    "volta32": Row(
        "volta32: true", "--nodes=1 --ntasks-per-node=1 --constraint=volta32gb" + END, "Features=volta32gb"
    ),
    "volta32 is a volta": Row(
        "volta: true volta32: true",
        "--nodes=1 --ntasks-per-node=1 --constraint=volta32gb" + END,
        "Features=volta32gb",
    ),
    "pascal": Row(
        "pascal: true", "--nodes=1 --ntasks-per-node=1 --constraint=pascal" + END, "Features=pascal"
    ),
    "not volta, but pascal": Row(
        "volta: false volta32: false pascal: true",
        "--nodes=1 --ntasks-per-node=1 --constraint=pascal" + END,
        "Features=pascal",
    ),
    # Comments are for people.
    "a comment with spaces": Row(
        'comment: "NeurIPS: it\'s due"',
        '--nodes=1 --ntasks-per-node=1 "--comment=NeurIPS: it\'s due"' + END,
        "Comment=NeurIPS: it's due",
    ),
    "a comment of all signs": Row(
        'comment: "--x=$HOME `id` *\\t\\303\\251"',
        "--nodes=1 --ntasks-per-node=1 '--comment=--x=$HOME `id` *\té'" + END,
        "Comment=--x=$HOME `id` *\té",
    ),
    # The end.
    "no requeue": Row(
        "requeue: false", "--nodes=1 --ntasks-per-node=1 --signal=USR1@90 --no-requeue", "Requeue=0"
    ),
    "a signal earlier": Row(
        "signal_delay_s: 300", "--nodes=1 --ntasks-per-node=1 --signal=USR1@300 --requeue", "Requeue=1"
    ),
    "no signal": Row("signal_delay_s: 0", "--nodes=1 --ntasks-per-node=1 --requeue", "Requeue=1"),
    "a signal just after the start": Row(
        "hours: 1 signal_delay_s: 3599",
        "--nodes=1 --ntasks-per-node=1 --time=1:00:00 --signal=USR1@3599 --requeue",
        "TimeLimit=01:00:00",
    ),
    # Further options are last, in the order given.
    "further options": Row(
        'extra: "--exclude=node01" extra: "--begin=now+1hour" extra: "-k"',
        "--nodes=1 --ntasks-per-node=1" + END + " --exclude=node01 --begin=now+1hour -k",
        "ExcNodeList=node01",
    ),
    "further options, short": Row(
        'extra: "-xnode02"', "--nodes=1 --ntasks-per-node=1" + END + " -xnode02", "ExcNodeList=node02"
    ),
    "further options that begin like taken ones": Row(
        'extra: "--time-min=30" extra: "--gres-flags=enforce-binding" extra: "--mem-bind=local" hours: 2',
        "--nodes=1 --ntasks-per-node=1 --time=2:00:00"
        + END
        + " --time-min=30 --gres-flags=enforce-binding --mem-bind=local",
        "TimeLimit=02:00:00 TimeMin=00:30:00",
    ),
    "a constraint that has no field": Row(
        'extra: "--constraint=volta&volta32gb"',
        "--nodes=1 --ntasks-per-node=1" + END + " '--constraint=volta&volta32gb'",
        "Features=volta&volta32gb",
    ),
    # All at once: conf/common/launcher/slurm_8gpus.
    "slurm_8gpus": Row(
        'num_gpus: 8 cpus_per_gpu: 10 mem_per_gpu: 62 hours: 72 partition: "learnaccel" volta32: true',
        "--nodes=1 --ntasks-per-node=8 --cpus-per-task=10 --gres=gpu:8 --mem=496G --time=72:00:00 "
        "--partition=learnaccel --constraint=volta32gb" + END,
        "NumNodes=1 NumTasks=8 NumCPUs=80 CPUs/Task=10 MinMemoryNode=496G TresPerNode=gres:gpu:8 "
        "TimeLimit=3-00:00:00 Partition=learnaccel Features=volta32gb Requeue=1",
    ),
}


@pytest.mark.parametrize("row", ASKED.values(), ids=ASKED)
def test_options(row: Row) -> None:
    assert read(row.launcher).options() == shlex.split(row.options)


REFUSED = {
    # How many.
    "num_gpus: 12": "num_gpus: 12 GPUs are more than a node has (gpus_per_node: 8) and no multiple of it; "
    "ask for 8 or 16, or for nodes: 2, with 6 on each",
    "num_gpus: 9": "num_gpus: 9 GPUs are more than a node has (gpus_per_node: 8) and no multiple of it; "
    "ask for 8 or 16",
    "num_gpus: 7 gpus_per_node: 3": "num_gpus: 7 GPUs are more than a node has (gpus_per_node: 3) and no "
    "multiple of it; ask for 6 or 9",
    "num_gpus: 9 nodes: 2": "num_gpus: 9 GPUs cannot be spread evenly over 2 nodes (nodes: 2); "
    "ask for a multiple of 2",
    "num_gpus: 2 nodes: 4": "num_gpus: 2 GPUs cannot be spread evenly over 4 nodes (nodes: 4); "
    "ask for a multiple of 4",
    "num_gpus: 16 nodes: 1": "num_gpus: 16 GPUs on 1 node (nodes: 1) are 16 on each, and a node has 8 "
    "(gpus_per_node: 8); ask for at most 8",
    "num_gpus: 6 nodes: 2 gpus_per_node: 2": "num_gpus: 6 GPUs on 2 nodes (nodes: 2) are 3 on each, and a "
    "node has 2 (gpus_per_node: 2); ask for at most 4",
    # Ranges.
    "num_gpus: -1": "num_gpus: -1 is out of range: 0 to 65533",
    "num_gpus: 65534": "num_gpus: 65534 is out of range: 0 to 65533",
    "num_gpus: 2147483647": "num_gpus: 2147483647 is out of range: 0 to 65533",
    "gpus_per_node: 0": "gpus_per_node: 0 is out of range: 1 to 65533",
    "gpus_per_node: -8": "gpus_per_node: -8 is out of range: 1 to 65533",
    "nodes: 0": "nodes: 0 is out of range: 1 to 65533",
    "nodes: -2": "nodes: -2 is out of range: 1 to 65533",
    "cpus_per_gpu: -1": "cpus_per_gpu: -1 is out of range: 0 to 65533",
    "cpus_per_gpu: 2147483647": "cpus_per_gpu: 2147483647 is out of range: 0 to 65533",
    "num_gpus: 8 cpus_per_gpu: 10000 single_task_per_node: true": "cpus_per_gpu: 10000 for each of 8 GPUs "
    "are more than Slurm counts, 65533",
    "mem_per_gpu: -1": "mem_per_gpu: -1 is out of range: 0 to 65533 GB",
    "mem_per_gpu: 65534": "mem_per_gpu: 65534 is out of range: 0 to 65533 GB",
    "hours: 0": "hours: 0 is out of range: more than 0, at most 65533; not set, it is the partition's limit",
    "hours: -3": "hours: -3 is out of range: more than 0, at most 65533; "
    "not set, it is the partition's limit",
    "hours: 65534": "hours: 65534 is out of range: more than 0, at most 65533; "
    "not set, it is the partition's limit",
    "signal_delay_s: -1": "signal_delay_s: -1 is out of range: 0 to 65533",
    "signal_delay_s: 70000": "signal_delay_s: 70000 is out of range: 0 to 65533",
    "hours: 1 signal_delay_s: 3600": "signal_delay_s: 3600 seconds before the end is before the start: "
    "the time limit is 3600 seconds (hours); 0 sends no signal",
    # Contradictions.
    "volta: true pascal: true": "pascal: no GPU is both this and volta (also set); keep one of them",
    "volta32: true pascal: true": "pascal: no GPU is both this and volta32 (also set); keep one of them",
    "volta: true volta32: true pascal: true": "pascal: no GPU is both this and volta32 (also set); "
    "keep one of them",
    # Texts.
    r'comment: "a\nb"': r"comment: 'a\nb' has a line break or a NUL in it; Slurm takes one line",
    r'partition: "a\000b"': r"partition: 'a\x00b' has a line break or a NUL in it; Slurm takes one line",
    r'account: "a\r"': r"account: 'a\r' has a line break or a NUL in it; Slurm takes one line",
    r'qos: "\n"': r"qos: '\n' has a line break or a NUL in it; Slurm takes one line",
    r'extra: "--begin=\n"': r"extra: '--begin=\n' has a line break or a NUL in it; Slurm takes one line",
}


@pytest.mark.parametrize(("launcher", "problem"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_is_refused(launcher: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_resources(message(launcher), "conf/sl.prototxt")
    assert str(error.value) == f"conf/sl.prototxt: launcher.slurm.{problem}"
    assert error.value.where == "conf/sl.prototxt"


FORM = "not one option of sbatch; write --name=value or --name"
LAYOUT = "use the fields num_gpus, nodes and single_task_per_node"
SUBMITTED = "HeyHi sets what is submitted"
LOGS = "HeyHi puts the logs into the run folder"
FOLDER = "HeyHi starts a job in its run folder"
NAME = "HeyHi names the job after the run; use the field comment"

# Further options that are refused, and what to do instead.
NOT_EXTRA = {
    LAYOUT: "--nodes=2 -N2 --ntasks=3 -n3 --ntasks-per-node=2 --tasks-per-node=2 --ntasks-per-gpu=1 --ntasks",
    "use the field num_gpus": "--gres=gpu:8 --gpus=8 -G8 --gpus-per-node=8 --gpus-per-task=1 "
    "--gpus-per-socket=1",
    "use the field cpus_per_gpu": "--cpus-per-task=2 -c2 --cpus-per-gpu=2 --cpus=2",
    "use the field mem_per_gpu": "--mem=3G --mem-per-cpu=3G --mem-per-gpu=3G --me=3",
    "use the field hours": "--time=3 -t3 --tim=3",
    "use the field partition": "--partition=debug -pdebug --part=debug --p=debug",
    "use the field account": "--account=me -Ame",
    "use the field qos": "--qos=low -qlow --q=low",
    "use the field comment": "--comment=hello",
    "use the field requeue": "--requeue --no-requeue --requ",
    "use the field signal_delay_s": "--signal=USR1@30 --sig=30",
    LOGS: "--output=x -ox --error=x -ex --out=x",
    FOLDER: "--chdir=/ -D/",
    NAME: "--job-name=x -Jx",
    SUBMITTED: "--array=0-9 -a0-9 --wrap=true --parsable --input=x -ix",
    "it is run.py that waits, with --wait": "--wait -W -HW",
    "HeyHi asks one cluster for its jobs; use the login node of the other": "--clusters=all -Mall",
    "it submits nothing": "--help -h --usage --version -V --test-only -HQV",
}
PAIRS = [(option, hint) for hint, options in NOT_EXTRA.items() for option in options.split()]
PAIRS += [("-Hpdebug", "use the field partition"), ("-p debug", FORM), ("--partition debug", FORM)]


@pytest.mark.parametrize(("option", "hint"), PAIRS, ids=[option for option, _ in PAIRS])
def test_an_option_that_has_a_field_or_is_ours_is_not_extra(option: str, hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(f'extra: "--begin=now" extra: "{option}"')
    told = f"'{option}' is {FORM}" if hint == FORM else f"'{option}' is not for extra: {hint}"
    assert str(error.value) == f"launcher.slurm.extra: {told}"


@pytest.mark.parametrize(
    "text",
    ["", "-", "--", "---", "exclude=node01", " --exclude=x", "--exclude x", "-x node01", "-x=n", "-9", "é"],
)
def test_what_is_no_option_is_not_extra(text: str) -> None:
    with pytest.raises(ConfigError, match=f"is {FORM}$"):
        read(f'extra: "{text}"')


@pytest.mark.parametrize("option", ["--constraint=a100", "-Ca100", "--const=a100"])
def test_a_constraint_is_extra_only_if_no_field_sets_one(option: str) -> None:
    assert read(f'extra: "{option}"').options()[-1] == option
    with pytest.raises(ConfigError, match="one of the fields volta, volta32 and pascal is set, and sets it"):
        read(f'volta: true extra: "{option}"')


# ---- Schemas of others --------------------------------------------------------------------------


def test_a_schema_with_two_fields_only(demo: Any) -> None:
    slurm = demo.Launcher.Slurm
    assert read_resources(slurm(), "") == DEFAULT
    assert read_resources(slurm(num_gpus=16, partition="p"), "").options() == shlex.split(
        "--nodes=2 --ntasks-per-node=8 --gres=gpu:8 --partition=p" + END
    )
    with pytest.raises(ConfigError, match=r"^here: launcher\.slurm\.num_gpus: 12 GPUs"):
        read_resources(slurm(num_gpus=12), "here")


SCHEMA = """
syntax = "proto2";
package others;
message Plain {  // defaults unlike ours, fractions, and a field that nothing is asked by
  optional int64 num_gpus = 1 [default = 2];
  optional int64 gpus_per_node = 2;
  optional double mem_per_gpu = 3;
  optional float hours = 4;
  optional bool requeue = 5 [default = false];
  optional int32 signal_delay_s = 6;
  optional string colour = 7;
  repeated string extra = 8;
  optional uint64 cpus_per_gpu = 9;
}
message Other {  // other types
  optional string num_gpus = 1;
  optional bool hours = 2;
  optional int32 partition = 3;
  optional string extra = 4;
  optional float cpus_per_gpu = 5;
  optional int32 volta = 6;
  repeated int32 mem_per_gpu = 7;
  optional Plain qos = 8;
  repeated int32 nodes = 9;
}
"""


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Messages of other projects, by name."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.message_factory import GetMessages

    folder: Path = tmp_path_factory.mktemp("others")
    (folder / "others.proto").write_text(SCHEMA)
    assert protoc.main(["protoc", f"-I{folder}", f"-o{folder}/others.bin", "others.proto"]) == 0
    files = FileDescriptorSet.FromString((folder / "others.bin").read_bytes())
    return GetMessages(list(files.file))


OTHERS = {
    "": "--nodes=1 --ntasks-per-node=2 --gres=gpu:2 --signal=USR1@90 --no-requeue",
    "num_gpus: 0 hours: 0.5": "--nodes=1 --ntasks-per-node=1 --time=0:30:00 --signal=USR1@90 --no-requeue",
    "num_gpus: 0 hours: 1.1": "--nodes=1 --ntasks-per-node=1 --time=1:06:00 --signal=USR1@90 --no-requeue",
    "num_gpus: 0 hours: 1e-9 signal_delay_s: 0": "--nodes=1 --ntasks-per-node=1 --time=0:01:00 --no-requeue",
    "num_gpus: 0 mem_per_gpu: 1e-9": "--nodes=1 --ntasks-per-node=1 --mem=1M --signal=USR1@90 --no-requeue",
    "num_gpus: 3 mem_per_gpu: 0.5": "--nodes=1 --ntasks-per-node=3 --gres=gpu:3 --mem=1536M "
    "--signal=USR1@90 --no-requeue",
    "num_gpus: 8 mem_per_gpu: 0.5 requeue: true": "--nodes=1 --ntasks-per-node=8 --gres=gpu:8 --mem=4G" + END,
}


@pytest.mark.parametrize(("text", "options"), OTHERS.items(), ids=OTHERS)
def test_a_schema_with_defaults_and_fractions_of_its_own(others: Any, text: str, options: str) -> None:
    slurm = text_format.Parse(text, others["others.Plain"]())
    assert read_resources(slurm, "").options() == shlex.split(options)


OTHERS_REFUSED = {
    "Plain hours: nan": "hours: nan is out of range",
    "Plain hours: inf": "hours: inf is out of range",
    "Plain hours: -0.0": "hours: -0.0 is out of range",
    "Plain mem_per_gpu: nan": "mem_per_gpu: nan is out of range",
    "Plain mem_per_gpu: -0.5": "mem_per_gpu: -0.5 is out of range",
    "Plain num_gpus: 9223372036854775807": "num_gpus: 9223372036854775807 is out of range",
    "Plain cpus_per_gpu: 18446744073709551615": "cpus_per_gpu: 18446744073709551615 is out of range",
    "Plain hours: 0.01": "signal_delay_s: 90 seconds before the end is before the start",
    "Plain colour: 'red'": "colour: HeyHi asks Slurm for nothing by this field; use extra: '--option=value'",
    "Other num_gpus: '8'": "num_gpus: the schema has it with another type; HeyHi expects a whole number",
    "Other hours: true": "hours: the schema has it with another type; "
    "HeyHi expects a whole number or a float",
    "Other partition: 3": "partition: the schema has it with another type; HeyHi expects a string",
    "Other extra: '-k'": "extra: the schema has it with another type; HeyHi expects repeated strings",
    "Other cpus_per_gpu: 2": "cpus_per_gpu: the schema has it with another type; "
    "HeyHi expects a whole number",
    "Other volta: 1": "volta: the schema has it with another type; HeyHi expects a bool",
    "Other mem_per_gpu: 1": "mem_per_gpu: the schema has it with another type",
    "Other qos {}": "qos: the schema has it with another type",
    "Other nodes: 1": "nodes: the schema has it with another type",
}


@pytest.mark.parametrize(("text", "problem"), OTHERS_REFUSED.items(), ids=OTHERS_REFUSED)
def test_what_another_schema_cannot_ask_is_refused(others: Any, text: str, problem: str) -> None:
    name, _, fields = text.partition(" ")
    slurm = text_format.Parse(fields, others[f"others.{name}"]())
    with pytest.raises(ConfigError) as error:
        read_resources(slurm, "")
    assert str(error.value).startswith(f"launcher.slurm.{problem}")


# ---- As a value ---------------------------------------------------------------------------------

TOLD = {
    "": ("", 0, 0),
    "hours: 24": ("24 h", 0, 0),
    "num_gpus: 1": ("1 GPU", 1, None),
    "num_gpus: 8 hours: 72 partition: 'learnaccel'": ("8 GPUs, 72 h, learnaccel", 8, 576),
    "num_gpus: 16 hours: 1": ("16 GPUs, 1 h", 16, 16),
    "partition: 'debug' comment: 'x'": ("debug", 0, 0),
}


@pytest.mark.parametrize(("text", "told"), TOLD.items(), ids=TOLD)
def test_what_a_listing_tells(text: str, told: tuple[str, int, int | None]) -> None:
    needs = read(text)
    assert (str(needs), needs.gpus, needs.gpu_hours) == told


def test_what_a_listing_tells_of_minutes() -> None:
    needs = DEFAULT._replace(minutes=90, gpus_per_node=3)
    assert (str(needs), needs.gpu_hours) == ("3 GPUs, 90 min", 5)


def test_equal_needs_are_one_value() -> None:
    spelled = 'num_gpus: 16 hours: 3 extra: "-k"', 'extra: "-k" nodes: 2 hours: 3 num_gpus: 16 requeue: true'
    assert len({read(text) for text in spelled}) == 1
    assert read(spelled[0]) != read(spelled[0] + ' extra: "-s"')


def test_the_message_is_not_changed() -> None:
    slurm = message("num_gpus: 8")
    read_resources(slurm, "")
    assert slurm == message("num_gpus: 8")


@pytest.mark.parametrize("name", ["slurm", "slurm_8gpus"])
def test_the_launchers_of_this_project(name: str) -> None:
    from conf import common_pb2

    text = (HERE / f"conf/common/launcher/{name}.prototxt").read_text()
    launcher = text_format.Parse(text, common_pb2.Launcher())
    assert read_resources(launcher.slurm, name).options()[0] == "--nodes=1"


def test_every_field_of_this_project_is_read() -> None:
    from conf import common_pb2

    assert set(common_pb2.Launcher.Slurm.DESCRIPTOR.fields_by_name) == set(slurm_options._TYPES)


# ---- Without a launcher -------------------------------------------------------------------------

DEFAULTS: dict[str, tuple[dict[str, object], str]] = {
    "none": ({}, "--nodes=1 --ntasks-per-node=1" + END),
    "all": (
        {
            "mem_mb": 4000,
            "cpus_per_task": 2,
            "runtime": 90,
            "slurm_partition": "debug",
            "slurm_account": "main",
            "tmpdir": "/tmp",
        },
        "--nodes=1 --ntasks-per-node=1 --cpus-per-task=2 --mem=4000M --time=1:30:00 --partition=debug "
        "--account=main" + END,
    ),
    "texts": (
        {"mem_mb": "4096", "slurm_account": "", "runtime": None},
        "--nodes=1 --ntasks-per-node=1 --mem=4G" + END,
    ),
}


@pytest.mark.parametrize(("defaults", "options"), DEFAULTS.values(), ids=DEFAULTS)
def test_a_profiles_defaults(defaults: dict[str, object], options: str) -> None:
    assert resources_from_defaults(defaults).options() == shlex.split(options)


DEFAULTS_REFUSED: dict[str, dict[str, object]] = {
    "mem_mb: expected a whole number, 1 or more, not 0": {"mem_mb": 0},
    "cpus_per_task: expected a whole number, 1 or more, not -1": {"cpus_per_task": -1},
    "runtime: expected a whole number, 1 or more, not 1.5": {"runtime": 1.5},
    "runtime: expected a whole number, 1 or more, not '1h'": {"runtime": "1h"},
    "mem_mb: expected a whole number, 1 or more, not True": {"mem_mb": True},
    r"slurm_partition: 'a\nb' has a line break or a NUL in it; Slurm takes one line": {
        "slurm_partition": "a\nb"
    },
}


@pytest.mark.parametrize(("problem", "defaults"), DEFAULTS_REFUSED.items(), ids=DEFAULTS_REFUSED)
def test_a_profiles_defaults_that_cannot_be(problem: str, defaults: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as error:
        resources_from_defaults(defaults)
    assert str(error.value) == f"default-resources: {problem}"


# ---- What Slurm makes of it ---------------------------------------------------------------------


def ask(cluster: Cluster, *command: str) -> str:
    # The user's own settings are not what is tested.
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("SBATCH_", "SLURM_"))}
    environment = {**plain, **cluster.environment(), "PATH": SEARCH}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"
    return done.stdout


def granted(cluster: Cluster, options: list[str]) -> dict[str, str]:
    """What scontrol tells of a job with these options, which is held and cancelled."""
    log = ("--output=/dev/null", "--chdir=/")
    job = ask(cluster, "sbatch", "--hold", "--parsable", *log, *options, "--wrap=true").strip()
    try:
        text = ask(cluster, "scontrol", "--oneliner", "show", "job", job)
    finally:
        ask(cluster, "scancel", job)
    told = dict(pair.split("=", 1) for pair in re.split(r"\s+(?=[A-Z][\w/:]*=)", text.strip()))
    told["NumNodes"] = told["NumNodes"].partition("-")[0]  # "2-2" while it waits
    return told


@pytest.mark.slurm
@pytest.mark.parametrize("row", ASKED.values(), ids=ASKED)
def test_slurm_grants_what_the_launcher_asks_for(cluster: Cluster, row: Row) -> None:
    expected = dict(pair.split("=", 1) for pair in re.split(r" (?=[A-Z][\w/]*=)", row.job))
    told = granted(cluster, read(row.launcher).options())
    assert {name: told.get(name, "-") for name in expected} == expected


@pytest.mark.slurm
def test_slurm_grants_a_profiles_defaults(cluster: Cluster) -> None:
    defaults = {"mem_mb": 4000, "cpus_per_task": 2, "runtime": 90, "slurm_partition": "learnaccel"}
    told = granted(cluster, resources_from_defaults(defaults).options())
    names = ["NumNodes", "NumTasks", "NumCPUs", "MinMemoryNode", "TimeLimit", "Partition", "Requeue"]
    assert [told[name] for name in names] == ["1", "1", "2", "4000M", "01:30:00", "learnaccel", "1"]


@pytest.mark.slurm
def test_the_most_that_can_be_asked_for_is_what_slurm_counts(cluster: Cluster) -> None:
    most = read(
        "nodes: 65533 cpus_per_gpu: 65533 mem_per_gpu: 65533 hours: 65533 signal_delay_s: 65533 "
        "partition: 'learnaccel'"
    )
    told = granted(cluster, most.options())
    assert told["NumNodes"] == told["NumTasks"] == told["CPUs/Task"] == "65533"
    assert told["TimeLimit"] == "2730-13:00:00"
    assert told["MinMemoryNode"] == "65533G"
