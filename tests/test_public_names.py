import importlib
import inspect
import subprocess
import sys
from typing import Any

import pytest

import heyhi
from tests.conftest import Garden

# The names of the original, and how they are called. `silent` has a default now.
SIGNATURES = """
conf  load_config(config_path, overrides=(), *, msg_class=None, extra_include_dirs=())
conf  load_root_config(config_path, overrides=(), *, extra_include_dirs=())
conf  load_proto_message(config_path, overrides=(), *, msg_class=None, extra_include_dirs=())
conf  load_root_proto_message(config_path, overrides, extra_include_dirs=())
conf  flatten_cfg(cfg, *, with_all=True)
conf  save_config(cfg, path)
conf  conf_to_dict(cfg, include_defaults=False)
conf  conf_is_set(cfg, path)
conf  conf_get(cfg, path)
conf  conf_set(cfg, path, value)
conf  conf_with_overrides(cfg, overrides)
conf  overrides_to_dict(overrides)
run   get_exp_dir(project_name)
run   get_default_exp_dir()
run   parse_args_and_maybe_launch(main)
run   maybe_launch(main, *, exp_root, overrides, cfg, mode, checkpoint='DEFAULT', adhoc=False, exp_id_pattern_override=None, force=False, log_level='INFO')
util  get_exp_id(config_path, overrides, adhoc, exp_id_pattern=None)
util  handle_dst(exp_handle, mode, force=False)
util  ExperimentDir(exp_path, exp_id='')
util  ExperimentDir.maybe_get_job_id(self)
util  ExperimentDir.save_job_id(self, id)
util  ExperimentDir.get_status(self)
util  ExperimentDir.is_done(self)
util  ExperimentDir.is_started(self)
util  ExperimentDir.is_running(self)
util  ExperimentDir.kill_and_prune(self, silent=False)
util  get_job_env()
util  get_slurm_job_id()
util  get_slurm_master()
util  is_adhoc()
util  is_master()
util  is_on_slurm()
util  log_git_status(base_path_for_logging=None)
util  maybe_init_requeue_handler(master_callback=None)
util  reset_slurm_cache()
util  save_result_in_cwd(f)
util  setup_logging(*, console_level='INFO', fpath=None, file_level='DEBUG', label=None)
util  also_log_to_file(fpath, label=None, file_level='DEBUG')
util  get_all_runing_job_ids()
"""  # noqa: E501
_SIGNATURES = [line.split(maxsplit=1) for line in SIGNATURES.strip().splitlines()]
VALUES = {
    "conf": ["CONF_ROOT", "PROJ_ROOT", "ROOT_CFG_CLASS"],
    "run": ["PROJECT_NAME"],
    "util": ["MODES", "EXP_ID_PATTERN", "Status"],
}


@pytest.mark.parametrize(("module", "signature"), _SIGNATURES, ids=[s.split("(")[0] for _, s in _SIGNATURES])
def test_names_of_the_original_are_called_as_they_were(module: str, signature: str) -> None:
    thing: Any = importlib.import_module(f"heyhi.{module}")
    name = signature.partition("(")[0]
    for part in name.split("."):
        thing = getattr(thing, part)
    told = inspect.signature(thing)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in told.parameters.values()]
    assert f"{name}{inspect.Signature(bare)}" == signature


def test_the_modules_of_the_original_hand_on_these_names_and_no_others() -> None:
    for module, values in VALUES.items():
        functions = {s.split("(")[0] for m, s in _SIGNATURES if m == module and "." not in s.split("(")[0]}
        assert sorted(importlib.import_module(f"heyhi.{module}").__all__) == sorted(functions | set(values))


def test_statuses_have_the_numbers_of_the_original() -> None:
    from heyhi.util import MODES, Status

    assert {status.name: int(status) for status in Status} == {
        "NOT_STARTED": 1, "DONE": 2, "DEAD": 3, "RUNNING": 4,
    }  # fmt: skip
    assert MODES == ("gentle_start", "start_restart", "start_continue", "restart", "dryrun")


def test_the_attributes_of_a_run_folder_are_those_of_the_original(garden: Garden) -> None:
    from heyhi.util import ExperimentDir

    run = ExperimentDir(garden.exp / "a", "a")
    names = ("exp_path", "exp_id", "job_id_path", "result_path", "slurm_path")
    assert [str(getattr(run, name)).replace(str(garden.exp), "EXP") for name in names] == [
        "EXP/a", "a", "EXP/a/heyhi.jobid", "EXP/a/result.json", "EXP/a/slurm",
    ]  # fmt: skip


# ---- heyhi itself -------------------------------------------------------------------------------

CONSTANTS = {"CONF_ROOT", "PROJ_ROOT", "MODES"}


def test_every_public_name_is_there_and_has_a_home() -> None:
    assert [name for name in heyhi.__all__ if getattr(heyhi, name, None) is None] == []
    assert set(heyhi.__all__) <= set(dir(heyhi))


@pytest.mark.parametrize("name", sorted(set(heyhi.__all__) - CONSTANTS))
def test_every_public_name_tells_what_it_is(name: str) -> None:
    doc = inspect.getdoc(getattr(heyhi, name)) or ""
    assert len(doc.split()) >= 5, f"{name}: {doc!r}"
    assert doc.split("\n")[0][-1] in ".:,", "the first line is a sentence"


@pytest.mark.processes
def test_importing_heyhi_imports_nothing_but_itself() -> None:
    code = (
        "import sys; before = set(sys.modules); import heyhi; new = set(sys.modules) - before;"
        "print(sorted(name for name in new if name.split('.')[0] not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['heyhi', 'heyhi.interrupts']\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'heyhi' has no attribute 'lode_config'"):
        _ = heyhi.lode_config
    with pytest.raises(AttributeError, match=r"module 'heyhi\.conf' has no attribute 'ROOT'"):
        _ = importlib.import_module("heyhi.conf").ROOT
    with pytest.raises(AttributeError, match=r"module 'heyhi\.run' has no attribute 'NAME'"):
        _ = importlib.import_module("heyhi.run").NAME


def test_names_that_belong_to_the_project_are_looked_up_when_asked_for(garden: Garden) -> None:
    code = (
        "import heyhi, heyhi.run, heyhi.conf;"
        "print(heyhi.CONF_ROOT, heyhi.run.PROJECT_NAME, heyhi.conf.ROOT_CFG_CLASS)"
    )
    done = garden.python("-c", code)
    assert (done.out, done.err) == (
        f"{garden.root}/conf garden <class 'conf.conf_cfgs.MetaCfg'>\n", "",
    )  # fmt: skip
