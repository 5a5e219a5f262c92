# The learning curves of all trainings of the batch in one picture: `snakemake --profile profiles/local curves`.
#
# An example of your own rule: it takes results of runs as inputs, and reads other files of their folders.


rule curves:
    input:
        results=runs.results("train"),
    output:
        picture=runs.project.experiment_root / "curves" / f"{Path(runs.batch_name).stem}.svg",
    params:
        script=Path(workflow.basedir, "workflows/scripts/plot_curves.py"),
    message:
        "{output.picture}"
    shell:
        "python {params.script:q} {output.picture:q} {input.results:q}"
