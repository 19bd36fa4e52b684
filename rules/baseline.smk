"""Baselines, their control, the teacher's answers, and the two rules that every study inherits: finetune and evaluate."""

import re

NETWORKS_AT = {
    name: path
    for path in (ROOT / "src" / "convpress" / "models").glob("*.py")
    for name in re.findall(r'@register_model\("(.+?)"\)', path.read_text())
}


def architecture_code(wildcards):
    """Hash of the network's own code, which is found by name, not by import; torchvision's is not ours."""
    home = NETWORKS_AT.get(config["models"][wildcards.model]["architecture"])
    return code(home) if home else ""


# Jobs find networks by name as well; they compare their code with that of the run's start.
config["network_code"] = {
    str(home): code(home)
    for home in sorted({NETWORKS_AT.get(model["architecture"]) for model in config["models"].values()} - {None})
}


def checksum(wildcards):
    """Of a user's own file, which may be exchanged for an older one; others have theirs in their name."""
    return sha256_file(OWN[wildcards.model]) if wildcards.model in OWN else ""


def compute_for(model):
    """The settings of compute for the training of this network."""
    own = config["compute_for"].get(model, {})
    return config["compute"] | {key: value for key, value in own.items() if value is not None}


def finetuned_on(model):
    """The same for the trainings that start from it, which run beside each other."""
    return compute_for(model) | {"threads": THREADS}


TRAINED = [name for name, model in config["models"].items() if model["training"]]


rule import_baseline:
    input:
        checkpoint=lambda w: checkpoint_file(w.model),
    output:
        model=f"{MODELS}/baseline/{{model}}.safetensors",
    log:
        f"{LOGS}/import_baseline/{{model}}.log",
    wildcard_constraints:
        model="|".join(CHECKPOINTS) or "(?!)",
    params:
        model=lambda w: config["models"][w.model],
        checksum=checksum,
        architecture=architecture_code,
        code=code("import_baseline.py"),
    script:
        "../scripts/import_baseline.py"


rule train_baseline:
    input:
        data=DATASET,
    output:
        model=f"{MODELS}/baseline/{{model}}.safetensors",
        history=f"{RESULTS}/histories/baseline/{{model}}.csv",
    log:
        f"{LOGS}/train_baseline/{{model}}.log",
    wildcard_constraints:
        model="|".join(TRAINED) or "(?!)",
    threads: lambda w: compute_for(w.model)["threads"]
    params:
        model=lambda w: config["models"][w.model],
        resume=f"{RESULTS}/resume/baseline/{{model}}.pt",
        data=config["data"],
        compute=lambda w: compute_for(w.model),
        seed=config["seed"],
        architecture=architecture_code,
        code=code("train_baseline.py"),
    script:
        "../scripts/train_baseline.py"


rule teacher_logits:
    input:
        data=DATASET,
        model=f"{MODELS}/baseline/{config['teacher']['model']}.safetensors",
    output:
        logits=f"{MODELS}/teacher/view{{view}}.safetensors",
    log:
        f"{LOGS}/teacher_logits/view{{view}}.log",
    wildcard_constraints:
        view=r"\d+",
    threads: THREADS
    params:
        asked={"padding": config["control"]["crop_padding"], "flip": config["control"]["flip"]},
        data=config["data"],
        compute=config["compute"],
        seed=config["seed"],
        code=code("teacher_logits.py"),
    script:
        "../scripts/teacher_logits.py"


def teacher_of(recipe, before=0):
    """The teacher's answers about the views of a chain of trainings, whose last recipe may listen to a teacher."""
    views = min(config["teacher"]["views"], before + recipe["epochs"]) if recipe["distillation"] else 0
    return expand(rules.teacher_logits.output.logits, view=range(views))


rule finetune:
    input:
        data=DATASET,
        model=f"{MODELS}/baseline/{{model}}.safetensors",
        teacher=teacher_of(config["control"]),
    output:
        model=f"{MODELS}/control/{{model}}.safetensors",
        history=f"{RESULTS}/histories/control/{{model}}.csv",
    log:
        f"{LOGS}/finetune/{{model}}.log",
    threads: THREADS
    params:
        recipe=config["control"],
        resume=f"{RESULTS}/resume/control/{{model}}.pt",
        data=config["data"],
        compute=lambda w: finetuned_on(w.model),
        seed=config["seed"],
        code=code("finetune.py"),
    script:
        "../scripts/finetune.py"


FURTHER = {
    name: {"model": model, "recipe": recipe.model_dump(mode="json")}
    for model, known in checked.controls().items()
    for name, recipe in known.items()
    if name != model
}


use rule finetune as finetune_further_control with:
    input:
        data=DATASET,
        model=lambda w: f"{MODELS}/baseline/{FURTHER[w.control]['model']}.safetensors",
        teacher=lambda w: teacher_of(FURTHER[w.control]["recipe"]),
    output:
        model=f"{MODELS}/control/{{control}}.safetensors",
        history=f"{RESULTS}/histories/control/{{control}}.csv",
    log:
        f"{LOGS}/finetune_further_control/{{control}}.log",
    wildcard_constraints:
        control="|".join(FURTHER) or "(?!)",
    params:
        recipe=lambda w: FURTHER[w.control]["recipe"],
        resume=f"{RESULTS}/resume/control/{{control}}.pt",
        data=config["data"],
        compute=lambda w: finetuned_on(FURTHER[w.control]["model"]),
        seed=config["seed"],
        code=code("finetune.py"),


SHARED_STARTS = {}  # by study: a function of the variant, where variants share the model right after the surgery


def network_of(control):
    """The network that a control was trained further from."""
    return next(model for model, known in CONTROLS.items() if control in known)


def references(output, *models):
    """A file of these networks and of all their controls, `output` having {study} and {variant}."""
    controls = [name for model in models for name in CONTROLS.get(model, ())]
    return expand(output, study="baseline", variant=models) + expand(output, study="control", variant=controls)


def start_of(wildcards):
    """The model right after the surgery, before fine-tuning; the control starts from the baseline."""
    if wildcards.study in SHARED_STARTS:
        return SHARED_STARTS[wildcards.study](wildcards.variant)
    if wildcards.study == "baseline":
        return []
    if wildcards.study == "control":
        return f"{MODELS}/baseline/{network_of(wildcards.variant)}.safetensors"
    return f"{MODELS}/{wildcards.study}/{wildcards.variant}.start.safetensors"


rule evaluate:
    input:
        data=DATASET,
        model=f"{MODELS}/{{study}}/{{variant}}.safetensors",
        start=start_of,
    output:
        metrics=f"{RESULTS}/metrics/{{study}}/{{variant}}.json",
        predictions=f"{RESULTS}/predictions/{{study}}/{{variant}}.npz",
    log:
        f"{LOGS}/evaluate/{{study}}/{{variant}}.log",
    threads: THREADS
    params:
        data=config["data"],
        compute=config["compute"],
        seed=lambda w: SEEDS.get(w.study, {}).get(w.variant, config["seed"]),
        loads=lambda w: layers_of(w.study),
        code=lambda w: code("evaluate.py", layers_of(w.study)),
    script:
        "../scripts/evaluate.py"


MODEL_FILE = f"{MODELS}/{{study}}/{{variant}}.safetensors"


rule baseline_latency:
    input:
        models=references(MODEL_FILE, *config["baselines"]),
    output:
        latency=f"{RESULTS}/metrics/baseline/latency.csv",
        provenance=f"{RESULTS}/metrics/baseline/latency.csv.provenance.json",
    log:
        f"{LOGS}/baseline_latency.log",
    threads: workflow.cores or 1  # alone on the machine, or the times mean nothing
    params:
        measure=config["measure"],
        compute=config["compute"],
        loads=[],
        code=code("baseline_latency.py"),
    script:
        "../scripts/baseline_latency.py"


rule baseline_tables:
    input:
        metrics=references(rules.evaluate.output.metrics, *config["baselines"]),
        predictions=references(rules.evaluate.output.predictions, *config["baselines"]),
        latency=rules.baseline_latency.output.latency,
    output:
        table("baselines"),
    log:
        f"{LOGS}/baseline_tables.log",
    params:
        controls=CONTROLS,
        code=code("baseline_tables.py"),
    script:
        "../scripts/baseline_tables.py"


TARGETS += [rules.baseline_tables.input, rules.baseline_tables.output, rules.baseline_latency.output]
TARGETS += expand(rules.teacher_logits.output.logits, view=range(checked.teacher_views()))
TARGETS += expand(rules.import_baseline.output, model=IMPORTED)
TARGETS += expand(rules.train_baseline.output, model=[name for name in USED if name in TRAINED])
TARGETS += expand(rules.finetune.output, model=CONTROLS) + expand(
    rules.finetune_further_control.output, control=FURTHER
)

FINAL["baseline"] = {name: name for name in config["baselines"]}
FINAL["control"] = {name: name for name in CONTROLS}
EPOCHS["baseline"] = dict.fromkeys(config["baselines"], 0)
EPOCHS["control"] = {name: CONTROLS[name][name] for name in CONTROLS}
RATES["control"] = {name: recipe.lr for known in checked.controls().values() for name, recipe in known.items()}
