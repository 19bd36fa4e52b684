"""Are factorised layers stable, and can they be made so? Factors plain or corrected, trained with a penalty or not."""

from typing import get_args

from convpress.config.sensitivity import (
    ALLOCATED,
    PENALISED,
    STARTS,
    Decomposition,
    ProbeConfig,
    SelectionConfig,
    SensitivityConfig,
)

FAMILIES = "|".join(get_args(Decomposition))
SELECTION = set(SelectionConfig.model_fields)  # which networks, families and compressions there are
SENS = SensitivityConfig(**config["sensitivity"])
SENS_VARIANTS = SENS.variants()
SENS_FACTORS = sorted({variant.factors for variant in SENS_VARIANTS.values()})
SENS_PROBES = [f"{model}-{kind}-{ratio}x" for model, kind, ratio in SENS.probe.factors]
SENS_HISTORY = f"{RESULTS}/histories/sensitivity/{{variant}}.csv"


def sensitivity_model(name):
    return f"{MODELS}/sensitivity/{name}.safetensors"


rule decompose_factorised:
    input:
        model=f"{MODELS}/baseline/{{model}}.safetensors",
    output:
        factors=sensitivity_model("factors/{model}-{decomposition}-{compression}x{allocation}"),
        metrics=f"{RESULTS}/metrics/sensitivity/factors/{{model}}-{{decomposition}}-{{compression}}x{{allocation}}.json",
    log:
        f"{LOGS}/decompose_factorised/{{model}}-{{decomposition}}-{{compression}}x{{allocation}}.log",
    wildcard_constraints:
        decomposition=FAMILIES,
        compression=r"\d+",
        allocation=f"({ALLOCATED})?",
    threads: THREADS
    params:
        options={"slack": SENS.slack, "starts": SENS.starts, "iterations": SENS.iterations},
        cpu={"threads": THREADS},
        seed=config["seed"],
        code=code("decompose_factorised.py"),
    script:
        "../scripts/decompose_factorised.py"


def sensitivity_recipe(wildcards):
    return SENS_VARIANTS[wildcards.variant].recipe.model_dump(mode="json")


rule finetune_factorised:
    input:
        data=DATASET,
        model=lambda w: f"{MODELS}/baseline/{SENS_VARIANTS[w.variant].model}.safetensors",
        factors=lambda w: sensitivity_model(f"factors/{SENS_VARIANTS[w.variant].factors}"),
        teacher=lambda w: teacher_of(sensitivity_recipe(w)),
    output:
        start=f"{MODELS}/sensitivity/{{variant}}.start.safetensors",
        model=sensitivity_model("{variant}"),
        history=SENS_HISTORY,
    log:
        f"{LOGS}/finetune_factorised/{{variant}}.log",
    wildcard_constraints:
        variant="|".join(SENS_VARIANTS),
    threads: THREADS
    params:
        recipe=sensitivity_recipe,
        decomposition=lambda w: SENS_VARIANTS[w.variant].decomposition,
        start=lambda w: STARTS[SENS_VARIANTS[w.variant].treatment],
        penalty=lambda w: SENS.penalty if SENS_VARIANTS[w.variant].treatment in PENALISED else 0,
        resume=f"{RESULTS}/resume/sensitivity/{{variant}}.pt",
        data=config["data"],
        compute=lambda w: finetuned_on(SENS_VARIANTS[w.variant].model),
        seed=lambda w: config["seed"] + SENS_VARIANTS[w.variant].replicate,
        view_seed=config["seed"],
        code=code("finetune_factorised.py"),
    script:
        "../scripts/finetune_factorised.py"


rule sensitivity_probe:
    input:
        data=DATASET,
        model=rules.decompose_factorised.input.model,
        factors=sensitivity_model("factors/{model}-{decomposition}-{compression}x"),
    output:
        noise=f"{RESULTS}/metrics/sensitivity/noise/{{model}}-{{decomposition}}-{{compression}}x.csv",
        rates=f"{RESULTS}/metrics/sensitivity/rates/{{model}}-{{decomposition}}-{{compression}}x.csv",
        slacks=f"{RESULTS}/metrics/sensitivity/slacks/{{model}}-{{decomposition}}-{{compression}}x.csv",
        provenance=[
            f"{RESULTS}/metrics/sensitivity/{kind}/{{model}}-{{decomposition}}-{{compression}}x.csv.provenance.json"
            for kind in ("noise", "rates", "slacks")
        ],
    log:
        f"{LOGS}/sensitivity_probe/{{model}}-{{decomposition}}-{{compression}}x.log",
    wildcard_constraints:
        decomposition=FAMILIES,
        compression=r"\d+",
    threads: THREADS
    params:
        probe={key: config["sensitivity"]["probe"][key] for key in sorted(set(ProbeConfig.model_fields) - SELECTION)},
        recipe=config["sensitivity"]["training"],
        data=config["data"],
        compute=config["compute"],
        seed=config["seed"],
        code=code("sensitivity_probe.py"),
    script:
        "../scripts/sensitivity_probe.py"


use rule baseline_latency as sensitivity_latency with:
    input:
        models=expand(MODEL_FILE, study="baseline", variant=SENS.models)
        + expand(MODEL_FILE, study="sensitivity", variant=SENS_VARIANTS),
    output:
        latency=f"{RESULTS}/metrics/sensitivity/latency.csv",
        provenance=f"{RESULTS}/metrics/sensitivity/latency.csv.provenance.json",
    log:
        f"{LOGS}/sensitivity_latency.log",
    params:
        measure=config["measure"],
        compute=config["compute"],
        loads=layers_of("sensitivity"),
        code=code("baseline_latency.py", layers_of("sensitivity")),


rule sensitivity_tables:
    input:
        latency=rules.sensitivity_latency.output.latency,
        metrics=references(rules.evaluate.output.metrics, *SENS.models)
        + expand(rules.evaluate.output.metrics, study="sensitivity", variant=SENS_VARIANTS),
        predictions=references(rules.evaluate.output.predictions, *SENS.models)
        + expand(rules.evaluate.output.predictions, study="sensitivity", variant=SENS_VARIANTS),
        models=expand(rules.finetune_factorised.output.model, variant=SENS_VARIANTS),
        histories=expand(rules.finetune_factorised.output.history, variant=SENS_VARIANTS),
        factors=expand(f"{RESULTS}/metrics/sensitivity/factors/{{name}}.json", name=SENS_FACTORS),
        noise=expand(f"{RESULTS}/metrics/sensitivity/noise/{{name}}.csv", name=SENS_PROBES),
        rates=expand(f"{RESULTS}/metrics/sensitivity/rates/{{name}}.csv", name=SENS_PROBES),
        slacks=expand(f"{RESULTS}/metrics/sensitivity/slacks/{{name}}.csv", name=SENS_PROBES),
    output:
        sensitivity=table("sensitivity"),
        layers=table("sensitivity_layers"),
        noise=table("sensitivity_noise"),
        rates=table("sensitivity_rates"),
        slacks=table("sensitivity_slacks"),
        pairs=table("sensitivity_pairs"),
        correlation=table("sensitivity_correlation"),
    log:
        f"{LOGS}/sensitivity_tables.log",
    params:
        study=config["sensitivity"],
        controls={model: CONTROLS[model] for model in SENS.models},
        code=code("sensitivity_tables.py"),
    script:
        "../scripts/sensitivity_tables.py"


rule sensitivity_figures:
    input:
        rules.sensitivity_tables.output,
    output:
        accuracy=picture("sensitivity_accuracy.svg", "sensitivity"),
        noise=picture("sensitivity_noise.svg", "sensitivity"),
        error=picture("sensitivity_error.svg", "sensitivity"),
    log:
        f"{LOGS}/sensitivity_figures.log",
    params:
        code=code("sensitivity_figures.py"),
    script:
        "../scripts/sensitivity_figures.py"


TARGETS += [rules.sensitivity_tables.input, rules.sensitivity_tables.output, rules.sensitivity_figures.output]
TARGETS += [rules.sensitivity_latency.output]
TARGETS += expand(rules.finetune_factorised.output, variant=SENS_VARIANTS)
TARGETS += expand(f"{MODELS}/sensitivity/factors/{{name}}.safetensors", name=SENS_FACTORS)
TARGETS += [
    expand(rules.sensitivity_probe.output, model=model, decomposition=decomposition, compression=compression)
    for model, decomposition, compression in SENS.probe.factors
]

RATES["sensitivity"] = {name: variant.recipe.lr for name, variant in SENS_VARIANTS.items()}
EPOCHS["sensitivity"] = {name: variant.recipe.epochs for name, variant in SENS_VARIANTS.items()}
FINAL["sensitivity"] = {name: variant.model for name, variant in SENS_VARIANTS.items() if variant.replicate == 0}
SEEDS["sensitivity"] = {name: config["seed"] + variant.replicate for name, variant in SENS_VARIANTS.items()}
