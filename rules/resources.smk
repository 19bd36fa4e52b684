"""What the jobs ask of a cluster; alone on one machine only threads and `gpu` count.

It is read off the names of a rule's parameters, so that a new rule needs no entry: with `resume` it trains and gets
hours, with `compute` it computes and gets memory and the GPU, with `measure` it times all variants of a network, holds
them at once and gets a node to itself.
"""

from shutil import which

DEVICE = config["compute"]["device"]
GPUS = 1 if DEVICE == "cuda" or (DEVICE == "auto" and which("nvidia-smi")) else 0
# Their scripts take no more than the threads from `compute`, and nothing of them runs on a GPU.
ON_THE_CPU = ("export_onnx", "low_rank_distances", "merge", "merge_sweep")


def needs(rule):
    """Memory in MB, minutes and GPUs of a rule's jobs; a retry gets twice as much."""
    trains, computes, times = (name in rule.params.keys() for name in ("resume", "compute", "measure"))
    return {
        "mem_mb": lambda wildcards, attempt: (8000 if times else 4000 if computes else 2000) * attempt,
        "runtime": lambda wildcards, attempt: (480 if trains else 60) * attempt,
        "gpu": GPUS if computes and rule.name not in ON_THE_CPU else 0,
        # Times mean nothing when others use the node.
        "slurm_extra": "--exclusive" if times else "",
    }


for rule_ in workflow.rules:
    chosen = workflow.resource_settings.overwrite_resources.get(rule_.name, {})
    for name, amount in needs(rule_).items():
        if name not in chosen:
            rule_.resources[name] = amount
