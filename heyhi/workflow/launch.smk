# Every run of the batch that is not done: its config is frozen, then it is launched.
#
# All files of a run are `update()`d: Snakemake would delete a plain output before the job that makes it.


localrules:
    all,


onstart:
    runs.begin()


onsuccess:
    runs.end()


onerror:
    runs.end()


# What came of the batch so far, as a table. The driver writes it at the end of every call that has done something
# (or is asked for this rule), also when runs have failed: a job would only be started if all were done.
rule summary:
    input:
        runs.targets,
    localrule: True
    message:
        "{runs.summary_file}"
    shell:
        ":"


# The same as a page, also when runs have failed; an item of `snakemake --report` once it was made.
rule report:
    input:
        runs.page_inputs,
    output:
        update(report(runs.page, category="Runs", labels={"batch": runs.batch_name})),
    localrule: True
    message:
        "{output}"
    shell:
        "touch {output:q}"


for part in range(len(runs.freeze_chunks)):

    rule:
        name:
            f"freeze_{part}"
        output:
            [update(path) for path in runs.freeze_outputs(part)],
        priority: 1
        localrule: True
        params:
            command=lambda wildcards, part=part: runs.freeze_command(part),
        message:
            f"freeze {len(runs.freeze_chunks[part])} configs"
        shell:
            "{params.command}"


rule launch:
    input:
        runs.launch_inputs,
    output:
        update("{run}/result.json"),
    threads: runs.threads
    resources:
        local_gpus=runs.gpus,
        local_runs=runs.local_runs,
    params:
        command=runs.launch_command,
        name=runs.name,
        reason=runs.reason,
    message:
        "{params.name}: {params.reason}"
    shell:
        "{params.command}"
