"""One filter for many: filters that share centroids, and channels that are merged and gone."""

from convpress.config.merging import MergingConfig

MG = config["merging"]
MG_PERCENT = [f"{round(100 * ratio):02d}" for ratio in MG["ratios"]]
MG_VARIANTS = {
    f"{name}-s{replicate}" if replicate else name: (MG["variants"][name], replicate)
    for name in MG["train"]
    for replicate in MG["variants"][name]["replicates"]
}
MG_MODELS = MergingConfig(**MG).models()


def mg_common(surgery):
    """What jobs share, as far as theirs needs it; images are cropped and flipped as in trainings before and after."""
    view = {"padding": config["control"]["crop_padding"], "flip": config["control"]["flip"]}
    images = MG["images"] if surgery["rule"] == "fitted" or surgery.get("allocate") else 0
    drop = {"drop": MG["drop"]} if surgery["method"] == "kernels" else {}
    return {"images": images, "recalibration": MG["recalibration"], "view": view} | drop


def merged_network(wildcards):
    """The network that a variant is made from."""
    return MG_VARIANTS[wildcards.variant][0]["model"] or MG["model"]


rule merge_sweep:
    input:
        data=DATASET,
        model=f"{MODELS}/baseline/{MG['model']}.safetensors",
    output:
        models=expand(f"{MODELS}/merging/sweep/{{{{series}}}}-{{percent}}.safetensors", percent=MG_PERCENT),
        accuracies=f"{RESULTS}/metrics/merging/sweep/{{series}}.csv",
        provenance=f"{RESULTS}/metrics/merging/sweep/{{series}}.csv.provenance.json",
    log:
        f"{LOGS}/merge_sweep/{{series}}.log",
    wildcard_constraints:
        series="|".join(MG["sweep"]),
    threads: THREADS
    params:
        method=lambda w: MG["sweep"][w.series],
        ratios=MG["ratios"],
        common=lambda w: mg_common(MG["sweep"][w.series]),
        data=config["data"],
        compute=config["compute"],
        seed=config["seed"],
        code=code("merge_sweep.py"),
    script:
        "../scripts/merge_sweep.py"


rule merge:
    input:
        data=DATASET,
        model=lambda w: f"{MODELS}/baseline/{merged_network(w)}.safetensors",
    output:
        model=f"{MODELS}/merging/{{variant}}.start.safetensors",
    log:
        f"{LOGS}/merge/{{variant}}.log",
    wildcard_constraints:
        variant="|".join(MG_VARIANTS),
    threads: THREADS
    params:
        surgery=lambda w: {k: v for k, v in MG_VARIANTS[w.variant][0].items() if k not in ("replicates", "training")},
        common=lambda w: mg_common(MG_VARIANTS[w.variant][0]),
        data=config["data"],
        compute=config["compute"],
        seed=lambda w: config["seed"] + MG_VARIANTS[w.variant][1],
        code=code("merge.py"),
    script:
        "../scripts/merge.py"


use rule finetune as finetune_merged with:
    input:
        data=DATASET,
        model=rules.merge.output.model,
        teacher=lambda w: teacher_of(MG_VARIANTS[w.variant][0]["training"]),
    output:
        model=f"{MODELS}/merging/{{variant}}.safetensors",
        history=f"{RESULTS}/histories/merging/{{variant}}.csv",
    log:
        f"{LOGS}/finetune_merged/{{variant}}.log",
    wildcard_constraints:
        variant="|".join(MG_VARIANTS),
    params:
        recipe=lambda w: MG_VARIANTS[w.variant][0]["training"],
        resume=f"{RESULTS}/resume/merging/{{variant}}.pt",
        data=config["data"],
        compute=lambda w: finetuned_on(merged_network(w)),
        seed=lambda w: config["seed"] + MG_VARIANTS[w.variant][1],
        view_seed=config["seed"],  # the teacher's views belong to it
        loads=layers_of("merging"),
        code=code("finetune.py", layers_of("merging")),


rule merging_latency:
    input:
        baselines=expand(f"{MODELS}/baseline/{{model}}.safetensors", model=MG_MODELS),
        sweep=expand(rules.merge_sweep.output.models, series=MG["sweep"]),
        variants=expand(rules.finetune_merged.output.model, variant=MG_VARIANTS),
    output:
        latency=f"{RESULTS}/metrics/merging/latency.csv",
        provenance=f"{RESULTS}/metrics/merging/latency.csv.provenance.json",
    log:
        f"{LOGS}/merging_latency.log",
    threads: workflow.cores or 1  # alone on the machine, or the times mean nothing
    params:
        measure=config["measure"],
        compute=config["compute"],
        loads=layers_of("merging"),
        code=code("merging_latency.py", layers_of("merging")),
    script:
        "../scripts/merging_latency.py"


rule merging_tables:
    input:
        sweep=expand(rules.merge_sweep.output.accuracies, series=MG["sweep"]),
        latency=rules.merging_latency.output.latency,
        metrics=references(rules.evaluate.output.metrics, *MG_MODELS)
        + expand(rules.evaluate.output.metrics, study="merging", variant=MG_VARIANTS),
        predictions=references(rules.evaluate.output.predictions, *MG_MODELS)
        + expand(rules.evaluate.output.predictions, study="merging", variant=MG_VARIANTS),
        control_histories=expand(rules.finetune.output.history, model=MG_MODELS),
        histories=expand(rules.finetune_merged.output.history, variant=MG_VARIANTS),
        starts=expand(rules.merge.output.model, variant=MG_VARIANTS),
    output:
        merging=table("merging"),
        history=table("merging_history"),
        channels=table("merging_channels"),
        pairs=table("merging_pairs"),
    log:
        f"{LOGS}/merging_tables.log",
    params:
        variants={name: variant | {"replicate": n} for name, (variant, n) in MG_VARIANTS.items()},
        controls={model: CONTROLS[model] for model in MG_MODELS},
        model=MG["model"],
        seed=config["seed"],
        code=code("merging_tables.py"),
    script:
        "../scripts/merging_tables.py"


rule merging_figures:
    input:
        rules.merging_tables.output,
    output:
        time=picture("merging_time.svg", "merging"),
        params=picture("merging_params.svg", "merging"),
        accuracy=picture("merging_accuracy.svg", "merging"),
        curves=picture("merging_curves.svg", "merging"),
        channels=picture("merging_channels.svg", "merging"),
    log:
        f"{LOGS}/merging_figures.log",
    params:
        code=code("merging_figures.py"),
    script:
        "../scripts/merging_figures.py"


TARGETS += [rules.merging_tables.input, rules.merging_tables.output, rules.merging_figures.output]
TARGETS += expand(rules.merge_sweep.output, series=MG["sweep"]) + [rules.merging_latency.output]
TARGETS += expand(rules.merge.output, variant=MG_VARIANTS) + expand(rules.finetune_merged.output, variant=MG_VARIANTS)

RATES["merging"] = {name: variant["training"]["lr"] for name, (variant, _) in MG_VARIANTS.items()}
EPOCHS["merging"] = {name: variant["training"]["epochs"] for name, (variant, _) in MG_VARIANTS.items()}
FINAL["merging"] = {name: v["model"] or MG["model"] for name, (v, replicate) in MG_VARIANTS.items() if not replicate}
SEEDS["merging"] = {name: config["seed"] + replicate for name, (_, replicate) in MG_VARIANTS.items()}
