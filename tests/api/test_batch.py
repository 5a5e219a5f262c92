import json
import re
from pathlib import Path

import pytest

from tests.conftest import Done, Garden

HEAD = "import heyhi, pathlib\nfrom heyhi.errors import *\nbatch = heyhi.Batch('sweep')\n"
CFG = "conf/beds/carrot.prototxt"


def _do(garden: Garden, code: str) -> Done:
    path = garden.root / "sweep.py"
    path.write_text(HEAD + code)
    return garden.python("sweep.py")


def test_a_batch_is_a_list_of_runs_with_their_needs(garden: Garden) -> None:
    code = f"""
for lr in (1, 0.5):
    first = batch.add("{CFG}", lr=lr)
    batch.add("{CFG}", ["Ilauncher=slurm"], note=first / "model", **{{"soil.depth": None}})
batch.add("{CFG}", seed=3, after=[first], mode="restart")
print(batch.plan())
"""
    done = _do(garden, code)
    assert done.err == ""
    lines = done.out.splitlines()
    assert [re.findall(r"after [#\d]+|\(\S+\)", line) for line in lines[:5]] == [
        ["(sweep.py:6)"],
        ["after #1", "(sweep.py:7)"],
        ["(sweep.py:6)"],
        ["after #3", "(sweep.py:7)"],
        ["after #3", "(sweep.py:8)"],
    ]
    assert lines[5] == "sweep: 5 runs: 5 NOT_STARTED; 5 to start"


def test_folders_are_those_of_the_command_line(garden: Garden) -> None:
    done = _do(garden, f'print(batch.add("{CFG}", lr=0.1, note="a b"))')
    assert Path(done.out.strip()) == garden.folder("-c", CFG, "lr=0.1", "note=a b")


def test_it_is_written_as_a_script_that_means_the_same(garden: Garden) -> None:
    code = f"""
first = batch.add("{CFG}", note="$(touch x) 'é' \\n;")
batch.add("{CFG}", lr=2, after=[first], mode="start_restart")
batch.write("it.sh")
"""
    assert _do(garden, code).err == ""
    done = garden.python("-m", "heyhi.commands", "plan", "it.sh", "--json")
    first, second = map(json.loads, done.out.splitlines())
    assert first["overrides"] == ["note=$(touch x) 'é' \n;"]
    assert second["needs"] == [first["folder"]]
    assert not (garden.root / "x").exists()


# A value in Python -> the override that it becomes.
VALUES = {
    "lr=1": "lr=1.0",
    "lr=0.1": "lr=0.1",
    "note='NULL'": r"note=\NULL",
    "note=None": "note=NULL",
    "note=pathlib.Path('a')": "note=a",
    "season='AUTUMN'": "season=AUTUMN",
    "note=''": "note=",
}


def test_values_become_overrides(garden: Garden) -> None:
    adds = "\n".join(f'batch.add("{CFG}", {value})' for value in VALUES)
    code = f"import json\n{adds}\nbatch.write('it.sh')"
    assert _do(garden, code).err == ""
    done = garden.python("-m", "heyhi.commands", "plan", "it.sh", "--json", "--all")
    assert [json.loads(line)["overrides"] for line in done.out.splitlines()] == [[v] for v in VALUES.values()]


# A call -> what it says.
BAD = {
    f'batch.add("{CFG}", lrr=1)': "no field 'lrr'; did you mean 'lr'",
    'batch.add("none")': "'none': no such config",
    f'batch.add("{CFG}", tags=["a"])': "tags: a value has no list; give its parts, as in tags.-1=a",
    f'batch.add("{CFG}", mode="go")': "no such mode 'go'",
    f'batch.add("{CFG}"); batch.plan("gentle")': "no such mode 'gentle'; did you mean 'gentle_start'?",
    f'batch.add("{CFG}", note="{{0}}/p/x"); batch.plan()': "no run of this batch makes it",
    "heyhi.Batch('../run')": "a batch cannot be called '../run': its name becomes that of a file",
    "heyhi.Batch('')": "a batch cannot be called ''",
    "batch.plan()": "sweep: no `python run.py ...` line in it",
}


@pytest.mark.parametrize("call", BAD)
def test_a_mistake_is_a_heyhi_error(call: str, garden: Garden) -> None:
    call = call.replace("{0}", str(garden.exp))
    code = f"try:\n    {call}\nexcept HeyhiError as problem:\n    print(problem)"
    done = _do(garden, code)
    assert done.err == ""
    assert BAD[call.replace(str(garden.exp), "{0}")] in done.out
