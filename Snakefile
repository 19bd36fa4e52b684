"""convpress: from pretrained checkpoints to tables, figures and one report page.

`snakemake` computes the cifar10 run, `snakemake --configfile config/quickstart.yaml` a small run in minutes.
"""

import sys
from pathlib import Path

# Elsewhere Snakemake misses params.yaml, and says nothing of it where --configfile names another file.
if not Path.cwd().samefile(workflow.basedir):
    sys.exit(f"convpress works in its own folder; call snakemake in {workflow.basedir}, without --directory")


configfile: "params.yaml"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/baseline.smk"
include: "rules/kernel_search.smk"
include: "rules/sensitivity.smk"
include: "rules/clustering.smk"
include: "rules/merging.smk"
include: "rules/low_rank.smk"


if config["peers"]:

    include: "rules/peers.smk"


include: "rules/comparison.smk"
include: "rules/report.smk"
include: "rules/resources.smk"


rule all:
    default_target: True
    input:
        TARGETS,
