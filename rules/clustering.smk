"""How many different filters does a layer need? Filters share centroids, frozen or learning, at equal training."""

from convpress.config.clustering import ClusteringConfig, pull_epochs, variants

CL = ClusteringConfig(**config["clustering"])
CL_BASE = f"{MODELS}/baseline/{CL.model}.safetensors"
CL_POINTS = f"{RESULTS}/metrics/clustering"
CL_HISTORIES = f"{RESULTS}/histories/clustering"
CL_EPOCHS = CL.training.epochs
CL_RECIPE = CL.training.model_dump(mode="json")
CL_SWEEP = CL.sweep.model_dump(mode="json")
CL_GROUPS = {group.name: group.layers for group in CL.groups}
CL_PLANS = range(len(CL.plans.rows))
CL_VARIANTS = variants(CL)
CL_REMEDIES = {name: CL.remedies[v.remedy] for name, v in CL_VARIANTS.items() if v.remedy}
CL_PROGRESSIVE = [name for name, remedy in CL_REMEDIES.items() if remedy.progressive]
CL_PULLED = sorted(
    {f"{v.remedy}-s{v.replicate}" for name, v in CL_VARIANTS.items() if v.remedy and CL_REMEDIES[name].norm_penalty}
)


def cl_layers(variant):
    """The layers that a variant clusters: those of its plan, or all of the study."""
    number = CL_VARIANTS[variant].plan
    return list(CL.plans.plan(number)) if number is not None else CL.layers


def cl_pulled(variant):
    """Epochs that a variant's norms were pulled for, before anything is clustered."""
    return pull_epochs(CL_REMEDIES[variant], CL_EPOCHS) if variant in CL_REMEDIES else 0


def cl_start(wildcards):
    """The baseline, or the network whose norms were pulled."""
    variant = CL_VARIANTS[wildcards.variant]
    if cl_pulled(variant.name):
        return f"{MODELS}/clustering/pulled/{variant.remedy}-s{variant.replicate}.safetensors"
    return CL_BASE


def cl_variant(wildcards):
    """What a job clusters and how."""
    variant, remedy = CL_VARIANTS[wildcards.variant], CL_REMEDIES.get(wildcards.variant)
    return {
        "remedy": remedy.model_dump(mode="json") if remedy else None,
        "ratio": variant.ratio,
        "plan": CL.plans.plan(variant.plan) if variant.plan is not None else None,
    }


def cl_recipe(wildcards):
    """The recipe with the epochs that the pulling of norms has left."""
    return CL_RECIPE | {"epochs": CL_EPOCHS - cl_pulled(wildcards.variant)}


def cl_sweeps(wildcards):
    """The sweeps of all layers, for a remedy that spends its budget by them."""
    remedy = CL_REMEDIES.get(wildcards.variant)
    return expand(rules.sweep_clusters.output.points, layer=CL.layers) if remedy and remedy.adaptive_k else []


rule sweep_clusters:
    input:
        data=DATASET,
        model=CL_BASE,
    output:
        points=f"{CL_POINTS}/layers/{{layer}}.csv",
        provenance=f"{CL_POINTS}/layers/{{layer}}.csv.provenance.json",
    log:
        f"{LOGS}/sweep_clusters/{{layer}}.log",
    threads: THREADS
    params:
        name=lambda w: w.layer,
        layers=lambda w: [w.layer],
        sweep=CL_SWEEP,
        data=config["data"],
        compute=config["compute"],
        seed=config["seed"],
        code=code("sweep_clusters.py"),
    script:
        "../scripts/sweep_clusters.py"


use rule sweep_clusters as sweep_clusters_group with:
    output:
        points=f"{CL_POINTS}/groups/{{group}}.csv",
        provenance=f"{CL_POINTS}/groups/{{group}}.csv.provenance.json",
    log:
        f"{LOGS}/sweep_clusters_group/{{group}}.log",
    params:
        name=lambda w: w.group,
        layers=lambda w: CL_GROUPS[w.group],
        sweep=CL_SWEEP,
        data=config["data"],
        compute=config["compute"],
        seed=config["seed"],
        code=code("sweep_clusters.py"),


rule evaluate_plan:
    input:
        data=DATASET,
        model=CL_BASE,
    output:
        points=f"{CL_POINTS}/plans/{{plan}}.csv",
        provenance=f"{CL_POINTS}/plans/{{plan}}.csv.provenance.json",
    log:
        f"{LOGS}/evaluate_plan/{{plan}}.log",
    threads: THREADS
    params:
        plan=lambda w: CL.plans.plan(int(w.plan)),
        clusters=lambda w: " ".join(str(k) for k in CL.plans.rows[int(w.plan)]),
        sweep=CL_SWEEP,
        data=config["data"],
        compute=config["compute"],
        seed=config["seed"],
        code=code("evaluate_plan.py"),
    script:
        "../scripts/evaluate_plan.py"


def pull_recipe(wildcards):
    """A part of the study's epochs; clipped gradients would pull so many norms together too slowly to arrive."""
    epochs = pull_epochs(CL.remedies[wildcards.remedy], CL_EPOCHS)
    return CL_RECIPE | {"epochs": epochs, "clip_norm": 0.0}


rule pull_norms:
    input:
        data=DATASET,
        model=CL_BASE,
        teacher=lambda w: teacher_of(pull_recipe(w)),
    output:
        model=f"{MODELS}/clustering/pulled/{{remedy}}-s{{replicate}}.safetensors",
        history=f"{CL_HISTORIES}/pulled/{{remedy}}-s{{replicate}}.csv",
    log:
        f"{LOGS}/pull_norms/{{remedy}}-s{{replicate}}.log",
    threads: THREADS
    params:
        layers=CL.layers,
        weight=lambda w: CL.remedies[w.remedy].norm_penalty,
        recipe=pull_recipe,
        resume=f"{RESULTS}/resume/clustering/pulled/{{remedy}}-s{{replicate}}.pt",
        data=config["data"],
        compute=finetuned_on(CL.model),
        seed=lambda w: config["seed"] + int(w.replicate),
        view_seed=config["seed"],
        code=code("pull_norms.py"),
    script:
        "../scripts/pull_norms.py"


rule finetune_clusters:
    input:
        data=DATASET,
        model=cl_start,
        teacher=teacher_of(CL_RECIPE),
        sweeps=cl_sweeps,
    output:
        start=f"{MODELS}/clustering/{{variant}}.start.safetensors",
        model=f"{MODELS}/clustering/{{variant}}.safetensors",
        history=f"{CL_HISTORIES}/{{variant}}.csv",
    log:
        f"{LOGS}/finetune_clusters/{{variant}}.log",
    wildcard_constraints:
        variant="|".join(name for name in CL_VARIANTS if name not in CL_PROGRESSIVE),
    threads: THREADS
    params:
        variant=cl_variant,
        layers=lambda w: cl_layers(w.variant),
        recipe=cl_recipe,
        before=lambda w: {"epochs": cl_pulled(w.variant)},
        resume=f"{RESULTS}/resume/clustering/{{variant}}.pt",
        data=config["data"],
        compute=finetuned_on(CL.model),
        seed=lambda w: config["seed"] + CL_VARIANTS[w.variant].replicate,
        view_seed=config["seed"],
        code=code("finetune_clusters.py"),
    script:
        "../scripts/finetune_clusters.py"


rule finetune_progressive:
    input:
        data=DATASET,
        model=cl_start,
        teacher=teacher_of(CL_RECIPE),
        sweeps=cl_sweeps,
    output:
        start=f"{MODELS}/clustering/{{variant}}.start.safetensors",
        model=f"{MODELS}/clustering/{{variant}}.safetensors",
        history=f"{CL_HISTORIES}/{{variant}}.csv",
    log:
        f"{LOGS}/finetune_progressive/{{variant}}.log",
    wildcard_constraints:
        variant="|".join(CL_PROGRESSIVE) or "(?!)",
    threads: THREADS
    params:
        variant=cl_variant,
        layers=lambda w: cl_layers(w.variant),
        recipe=cl_recipe,
        before=lambda w: {"epochs": cl_pulled(w.variant)},
        resume=f"{RESULTS}/resume/clustering/{{variant}}.pt",
        data=config["data"],
        compute=finetuned_on(CL.model),
        seed=lambda w: config["seed"] + CL_VARIANTS[w.variant].replicate,
        view_seed=config["seed"],
        code=code("finetune_progressive.py"),
    script:
        "../scripts/finetune_progressive.py"


use rule baseline_latency as clustering_latency with:
    input:
        models=expand(MODEL_FILE, study="baseline", variant=CL.model)
        + expand(MODEL_FILE, study="clustering", variant=CL_VARIANTS),
    output:
        latency=f"{RESULTS}/metrics/clustering/latency.csv",
        provenance=f"{RESULTS}/metrics/clustering/latency.csv.provenance.json",
    log:
        f"{LOGS}/clustering_latency.log",
    params:
        measure=config["measure"],
        compute=config["compute"],
        loads=layers_of("clustering"),
        code=code("baseline_latency.py", layers_of("clustering")),


rule clustering_tables:
    input:
        latency=rules.clustering_latency.output.latency,
        metrics=references(rules.evaluate.output.metrics, CL.model)
        + expand(rules.evaluate.output.metrics, study="clustering", variant=CL_VARIANTS),
        predictions=references(rules.evaluate.output.predictions, CL.model)
        + expand(rules.evaluate.output.predictions, study="clustering", variant=CL_VARIANTS),
        models=expand(rules.finetune_clusters.output.model, variant=CL_VARIANTS),
        histories=expand(rules.finetune_clusters.output.history, variant=CL_VARIANTS)
        + expand(f"{CL_HISTORIES}/pulled/{{pulled}}.csv", pulled=CL_PULLED),
        layers=expand(rules.sweep_clusters.output.points, layer=CL.layers),
        groups=expand(rules.sweep_clusters_group.output.points, group=CL_GROUPS),
        plans=expand(rules.evaluate_plan.output.points, plan=CL_PLANS),
        dense=CL_BASE,
        pulled=expand(f"{MODELS}/clustering/pulled/{{pulled}}.safetensors", pulled=CL_PULLED),
    output:
        layers=table("clustering_layers"),
        groups=table("clustering_groups"),
        plans=table("clustering_plans"),
        finetune=table("clustering_finetune"),
        history=table("clustering_history"),
        norms=table("clustering_norms"),
    log:
        f"{LOGS}/clustering_tables.log",
    params:
        study=CL.model_dump(mode="json"),
        controls={CL.model: CONTROLS[CL.model]},
        code=code("clustering_tables.py"),
    script:
        "../scripts/clustering_tables.py"


rule clustering_figures:
    input:
        rules.clustering_tables.output,
        "report/reference/seeds.csv",
    output:
        **{
            name: picture(f"clustering_{name}.svg", "clustering")
            for name in ("layers", "groups", "plans", "norms", "curves", "tradeoff")
        },
    log:
        f"{LOGS}/clustering_figures.log",
    params:
        code=code("clustering_figures.py"),
    script:
        "../scripts/clustering_figures.py"


TARGETS += [rules.clustering_tables.input, rules.clustering_tables.output, rules.clustering_figures.output]
TARGETS += [rules.clustering_latency.output]
TARGETS += expand(rules.sweep_clusters.output, layer=CL.layers)
TARGETS += expand(rules.sweep_clusters_group.output, group=CL_GROUPS)
TARGETS += expand(rules.evaluate_plan.output, plan=CL_PLANS)
TARGETS += expand(rules.finetune_clusters.output, variant=CL_VARIANTS)

FINAL["clustering"] = {name: CL.model for name in CL_REMEDIES if CL_VARIANTS[name].replicate == 0}
RATES["clustering"] = dict.fromkeys(FINAL["clustering"], CL.training.lr)
EPOCHS["clustering"] = dict.fromkeys(FINAL["clustering"], CL_EPOCHS)  # of all stages
SEEDS["clustering"] = {name: config["seed"] + variant.replicate for name, variant in CL_VARIANTS.items()}
