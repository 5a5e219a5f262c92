"""One run carried out, here or on a cluster.

draft, mode ─start─▶ order ─┬─ here ──────────────────────────────────▶ job ─▶ task(cfg) ─▶ result.json
                            └─ slurm_submit ─▶ sbatch ─▶ slurm_ranks ─▶ job

snapshot, environment, gpus, disk_room: what a job needs around it; slurm: what Slurm is asked.
"""
