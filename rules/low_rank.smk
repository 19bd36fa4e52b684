"""Low-rank expansions of AlexNet: the seed's table row by row, then the scheme that is really faster."""

from convpress.config.low_rank import LowRankConfig

LR = config["low_rank"]
LR_STUDY = LowRankConfig(**LR)
LR_BASE = f"{MODELS}/baseline/{LR['model']}.safetensors"
LR_ROWS = {row.row: row.variant for row in LR_STUDY.rows}
LR_CHAINS = LR_STUDY.chains()
LR_VARIANTS = list(dict.fromkeys([*LR_ROWS.values(), *LR_CHAINS]))
LR_EXPANSIONS = list(dict.fromkeys(row.expansion for row in LR_STUDY.rows))
LR_MODEL = f"{MODELS}/low_rank/{{variant}}.safetensors"
# The files are large, so variants share their expansion's file as the start.
SHARED_STARTS["low_rank"] = lambda variant: (
    [] if variant in LR_EXPANSIONS else LR_MODEL.format(variant=variant.split("-")[0])
)


def lr_chains(kind):
    """Names of the variants that end with a training of this kind."""
    return [name for name, (_, last, _) in LR_CHAINS.items() if last == kind]


def lr_source(wildcards):
    return LR_MODEL.format(variant=LR_CHAINS[wildcards.variant][0])


def lr_size(wildcards):
    """What says how small an expansion is; the other schemes' number is none of its business."""
    key = "compression" if LR["expansions"][wildcards.expansion]["scheme"] == "separable" else "bases"
    return {key: LR[key]}


def lr_before(wildcards):
    """Epochs of the trainings before this one."""
    return LR_STUDY.spent(LR_CHAINS[wildcards.variant][0])


def lr_recipe(wildcards):
    _, kind, times = LR_CHAINS[wildcards.variant]
    return LR_STUDY.recipe(kind, times).model_dump(mode="json")


rule expand_low_rank:
    input:
        model=LR_BASE,
    output:
        model=f"{MODELS}/low_rank/{{expansion}}.safetensors",
    log:
        f"{LOGS}/expand_low_rank/{{expansion}}.log",
    wildcard_constraints:
        expansion="|".join(LR_EXPANSIONS),
    threads: THREADS
    params:
        expansion=lambda w: LR["expansions"][w.expansion],
        layers=LR["layers"],
        size=lr_size,
        cpu={"threads": THREADS},
        code=code("expand_low_rank.py"),
    script:
        "../scripts/expand_low_rank.py"


rule match_outputs:
    input:
        data=DATASET,
        model=lr_source,
        original=LR_BASE,
    output:
        model=LR_MODEL,
        history=f"{RESULTS}/histories/low_rank/{{variant}}.csv",
    log:
        f"{LOGS}/match_outputs/{{variant}}.log",
    wildcard_constraints:
        variant="|".join(lr_chains("l2")) or "(?!)",
    threads: THREADS
    params:
        recipe=lr_recipe,
        before=lambda w: {"epochs": lr_before(w)},
        layers=LR["layers"],
        resume=f"{RESULTS}/resume/low_rank/{{variant}}.pt",
        data=config["data"],
        compute=config["compute"] | {"compile": "off"},  # the objective looks into both networks
        seed=config["seed"],
        code=code("match_outputs.py"),
    script:
        "../scripts/match_outputs.py"


use rule finetune as finetune_low_rank with:
    input:
        data=DATASET,
        model=lr_source,
        teacher=lambda w: teacher_of(lr_recipe(w), lr_before(w)),
    output:
        model=LR_MODEL,
        history=f"{RESULTS}/histories/low_rank/{{variant}}.csv",
    log:
        f"{LOGS}/finetune_low_rank/{{variant}}.log",
    wildcard_constraints:
        variant="|".join(lr_chains("ce")) or "(?!)",
    params:
        recipe=lr_recipe,
        before=lambda w: {"epochs": lr_before(w)},
        resume=f"{RESULTS}/resume/low_rank/{{variant}}.pt",
        data=config["data"],
        compute=finetuned_on(LR["model"]),
        seed=config["seed"],
        loads=layers_of("low_rank"),
        code=code("finetune.py", layers_of("low_rank")),


use rule finetune as finetune_low_rank_control with:
    input:
        data=DATASET,
        model=LR_BASE,
        teacher=teacher_of(LR_STUDY.control().model_dump(mode="json")),
    output:
        model=f"{MODELS}/control/{LR['model']}.safetensors",
        history=f"{RESULTS}/histories/control/{LR['model']}.csv",
    log:
        f"{LOGS}/finetune_low_rank_control.log",
    params:
        recipe=LR_STUDY.control().model_dump(mode="json"),
        resume=f"{RESULTS}/resume/control/{LR['model']}.pt",
        data=config["data"],
        compute=finetuned_on(LR["model"]),
        seed=config["seed"],
        code=code("finetune.py"),


# This network's control has the recipe of this study.
ruleorder: finetune_low_rank_control > finetune


rule compare_bases:
    input:
        model=LR_BASE,
    output:
        errors=f"{RESULTS}/metrics/low_rank/bases.csv",
        sweeps=f"{RESULTS}/metrics/low_rank/sweeps.csv",
        provenance=[f"{RESULTS}/metrics/low_rank/{name}.csv.provenance.json" for name in ("bases", "sweeps")],
    log:
        f"{LOGS}/compare_bases.log",
    threads: THREADS
    params:
        layers=LR["layers"],
        bases=LR["bases"],
        comparison=LR["comparison"],
        cpu={"threads": THREADS},
        seed=config["seed"],
        code=code("compare_bases.py"),
    script:
        "../scripts/compare_bases.py"


rule low_rank_distances:
    input:
        data=DATASET,
        original=LR_BASE,
        models=expand(LR_MODEL, variant=LR_VARIANTS),
        control=rules.finetune_low_rank_control.output.model,
    output:
        distances=f"{RESULTS}/metrics/low_rank/distances.csv",
        provenance=f"{RESULTS}/metrics/low_rank/distances.csv.provenance.json",
    log:
        f"{LOGS}/low_rank_distances.log",
    threads: THREADS
    params:
        layers=LR["layers"],
        data=config["data"],
        compute=config["compute"],
        code=code("low_rank_distances.py"),
    script:
        "../scripts/low_rank_distances.py"


rule low_rank_latency:
    input:
        original=LR_BASE,
        models=expand(rules.expand_low_rank.output.model, expansion=LR_EXPANSIONS),
    output:
        latency=f"{RESULTS}/metrics/low_rank/latency.csv",
        provenance=f"{RESULTS}/metrics/low_rank/latency.csv.provenance.json",
    log:
        f"{LOGS}/low_rank_latency.log",
    threads: workflow.cores or 1  # alone on the machine, or the times mean nothing
    params:
        measure=config["measure"],
        size=LR["cost_size"],
        repeats={"float32": LR["repeats"], "bfloat16": LR["bf16_repeats"]},
        compute=config["compute"],
        loads=layers_of("low_rank"),
        code=code("low_rank_latency.py", layers_of("low_rank")),
    script:
        "../scripts/low_rank_latency.py"


rule low_rank_tables:
    input:
        baseline=expand(rules.evaluate.output, study="baseline", variant=LR["model"]),
        control=expand(rules.evaluate.output, study="control", variant=LR["model"]),
        metrics=expand(rules.evaluate.output.metrics, study="low_rank", variant=LR_ROWS.values()),
        predictions=expand(rules.evaluate.output.predictions, study="low_rank", variant=LR_ROWS.values()),
        histories=expand(rules.match_outputs.output.history, variant=LR_CHAINS),
        control_history=f"{RESULTS}/histories/control/{LR['model']}.csv",
        original=LR_BASE,
        models=expand(LR_MODEL, variant=LR_VARIANTS),
        distances=rules.low_rank_distances.output.distances,
        latency=rules.low_rank_latency.output.latency,
        errors=rules.compare_bases.output.errors,
        sweeps=rules.compare_bases.output.sweeps,
    output:
        low_rank=table("low_rank"),
        bases=table("low_rank_bases"),
        sweeps=table("low_rank_sweeps"),
        history=table("low_rank_history"),
        filters=table("low_rank_filters"),
    log:
        f"{LOGS}/low_rank_tables.log",
    params:
        study=LR,
        code=code("low_rank_tables.py"),
    script:
        "../scripts/low_rank_tables.py"


rule low_rank_figures:
    input:
        rules.low_rank_tables.output,
    output:
        tradeoff=picture("low_rank_tradeoff.svg", "low_rank"),
        bases=picture("low_rank_bases.svg", "low_rank"),
        curves=picture("low_rank_curves.svg", "low_rank"),
        filters=picture("low_rank_filters.png", "low_rank"),
    log:
        f"{LOGS}/low_rank_figures.log",
    params:
        code=code("low_rank_figures.py"),
    script:
        "../scripts/low_rank_figures.py"


TARGETS += [rules.low_rank_tables.input, rules.low_rank_tables.output, rules.low_rank_figures.output]
TARGETS += expand(rules.expand_low_rank.output, expansion=LR_EXPANSIONS)
TARGETS += expand(rules.match_outputs.output, variant=lr_chains("l2"))
TARGETS += expand(rules.finetune_low_rank.output, variant=lr_chains("ce")) + [rules.finetune_low_rank_control.output]
TARGETS += [rules.compare_bases.output, rules.low_rank_distances.output, rules.low_rank_latency.output]

FINAL["low_rank"] = dict.fromkeys(LR_ROWS.values(), LR["model"])
RATES["low_rank"] = {variant: LR_STUDY.recipe(*how).lr for variant, (_, *how) in LR_STUDY.chains().items()}
EPOCHS["low_rank"] = {variant: LR_STUDY.spent(variant) for variant in FINAL["low_rank"]}
