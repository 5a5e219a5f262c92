import os
import time

import heyhi


def main(cfg, task, log_level):
    return {"seed": cfg.seed, "cpu": cpu_of_the_job()}


def cpu_of_the_job():
    """CPU seconds of all processes of this Slurm job up to now; of this one alone off Slurm."""
    cpu = time.process_time()
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return cpu
    import psutil

    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("SLURM_JOB_ID") == job:
                cpu += sum(process.cpu_times()[:2])
        except psutil.Error:
            pass  # it has just ended, or is another user's
    return cpu


if __name__ == "__main__":
    heyhi.parse_args_and_maybe_launch(main)
