"""What the jobs ask of a cluster, by what they do; alone on one machine only threads and `gpu` count."""

from shutil import which

DEVICE = config["compute"]["device"]
GPUS = 1 if DEVICE == "cuda" or (DEVICE == "auto" and which("nvidia-smi")) else 0


def needs(rule):
    """Memory in MB, minutes and GPUs of a rule's jobs; a retry gets twice as much."""
    trains, computes = "resume" in rule.params.keys(), "compute" in rule.params.keys()
    return {
        "mem_mb": lambda wildcards, attempt: (4000 if computes else 2000) * attempt,
        "runtime": lambda wildcards, attempt: (480 if trains else 60) * attempt,
        "gpu": GPUS if computes else 0,
        # Times mean nothing when others use the node.
        "slurm_extra": "--exclusive" if "measure" in rule.params.keys() else "",
    }


for rule_ in workflow.rules:
    chosen = workflow.resource_settings.overwrite_resources.get(rule_.name, {})
    for name, amount in needs(rule_).items():
        if name not in chosen:
            rule_.resources[name] = amount
