"""convpress: from pretrained checkpoints to tables, figures and one report page.

`snakemake` computes the cifar10 run, `snakemake --configfile config/quickstart.yaml` a small run in minutes.
"""


configfile: "params.yaml"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/baseline.smk"
include: "rules/kernel_search.smk"
include: "rules/report.smk"
include: "rules/resources.smk"


rule all:
    default_target: True
    input:
        TARGETS,
