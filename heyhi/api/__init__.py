"""HeyHi from Python: configs, single runs and batches, under the names of the original.

configs      load, change and save a config
experiments  maybe_launch, and a run folder as an object
batch        a batch made by a program, in place of a script
"""

from typing import TYPE_CHECKING

from heyhi import hand_on

# fmt: off
# isort: off
if TYPE_CHECKING:
    from heyhi.api.batch import Batch
    from heyhi.api.configs import (
        conf_get,
        conf_is_set,
        conf_set,
        conf_to_dict,
        conf_with_overrides,
        flatten_cfg,
        load_config,
        load_proto_message,
        load_root_config,
        load_root_proto_message,
        overrides_to_dict,
        save_config,
    )
    from heyhi.api.experiments import (
        EXP_ID_PATTERN,
        MODES,
        ExperimentDir,
        Status,
        get_all_runing_job_ids,
        get_default_exp_dir,
        get_exp_dir,
        get_exp_id,
        handle_dst,
        maybe_launch,
        reset_slurm_cache,
    )

__getattr__ = hand_on(
    __name__,
    whole="experiments",
    batch="Batch",
    configs=(
        "conf_get conf_is_set conf_set conf_to_dict conf_with_overrides flatten_cfg load_config "
        "load_proto_message load_root_config load_root_proto_message overrides_to_dict save_config"
    ),
    experiments=(
        "EXP_ID_PATTERN ExperimentDir MODES Status get_all_runing_job_ids get_default_exp_dir get_exp_dir "
        "get_exp_id handle_dst maybe_launch reset_slurm_cache"
    ),
)
# fmt: on
