"""External inputs: found in place, in a mirror, or downloaded; always checked."""

DATASET = f"data/{config['data']['name']}.safetensors"
CHECKPOINTS = {name: model["checkpoint"] for name, model in config["models"].items() if model["checkpoint"]}


rule fetch_data:
    output:
        images=update(DATASET),  # a file that lies there already is looked at first
        provenance=f"data/{config['data']['name']}.json",
    log:
        f"{LOGS}/fetch_data.log",
    params:
        name=config["data"]["name"],
        code=code("fetch_data.py"),
    script:
        "../scripts/fetch_data.py"


rule fetch_checkpoint:
    output:
        checkpoint=update("data/checkpoints/{checkpoint}"),  # a file that lies there already is looked at first
        provenance="data/checkpoints/{checkpoint}.json",
    log:
        f"{LOGS}/fetch_checkpoint/{{checkpoint}}.log",
    wildcard_constraints:
        checkpoint=r"[^/]+\.th",
    params:
        code=code("fetch_checkpoint.py"),
    script:
        "../scripts/fetch_checkpoint.py"


def input_provenance(wildcards=None):
    """Provenance records of the external inputs that this run uses."""
    used = [CHECKPOINTS[name] for name in config["baselines"] if name in CHECKPOINTS]
    return [rules.fetch_data.output.provenance] + [f"data/checkpoints/{name}.json" for name in used]


TARGETS += [rules.fetch_data.output, input_provenance()]
TARGETS += [f"data/checkpoints/{CHECKPOINTS[name]}" for name in config["baselines"] if name in CHECKPOINTS]
