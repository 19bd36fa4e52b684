"""External inputs: found in place, in a mirror, or downloaded; always checked."""


localrules:
    fetch_data,
    fetch_checkpoint,


DATASET = f"data/{config['data']['name']}.safetensors"
CHECKPOINTS = {name: model["checkpoint"] for name, model in config["models"].items() if model["checkpoint"]}
OWN = {name: path for name, path in CHECKPOINTS.items() if "/" in path}  # a user's own files stay where they are


def checkpoint_file(model):
    """The checkpoint of a model: a path of one's own, or a name that is fetched."""
    return OWN.get(model) or f"data/checkpoints/{CHECKPOINTS[model]}"


def checkpoint_provenance(model):
    """The record of where it comes from."""
    return f"data/checkpoints/own-{model}.json" if model in OWN else f"data/checkpoints/{CHECKPOINTS[model]}.json"


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


if OWN:

    rule record_checkpoint:
        input:
            checkpoint=lambda w: OWN[w.model],
        output:
            provenance="data/checkpoints/own-{model}.json",
        log:
            f"{LOGS}/record_checkpoint/{{model}}.log",
        wildcard_constraints:
            model="|".join(OWN),
        params:
            checksum=lambda w: sha256_file(OWN[w.model]),  # an exchanged file may be older
            code=code("record_checkpoint.py"),
        script:
            "../scripts/record_checkpoint.py"


# Baselines, and a teacher that is none of them, where a training listens to it.
USED = list(dict.fromkeys([*config["baselines"], *([config["teacher"]["model"]] if checked.teacher_views() else [])]))
IMPORTED = [name for name in USED if name in CHECKPOINTS]


# Records of the external inputs that this run uses.
INPUT_PROVENANCE = [rules.fetch_data.output.provenance, *map(checkpoint_provenance, IMPORTED)]

TARGETS += [rules.fetch_data.output, INPUT_PROVENANCE]
TARGETS += [checkpoint_file(name) for name in IMPORTED]
