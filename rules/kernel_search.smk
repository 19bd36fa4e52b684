"""Which filter size does each convolution want? CP factors grow long under a learned mask, then become dense again."""

from convpress.config.kernel_search import CPSolverConfig, RankConfig

KS = config["kernel_search"]
KS_BASE = f"{MODELS}/baseline/{KS['model']}.safetensors"
KS_REFERENCE = "report/reference/tensorlab_cp_error.csv"  # of the imported ResNet-32 alone
KS_STARTS = ["plain", "corrected"]


rule decompose_cp:
    input:
        model=KS_BASE,
    output:
        factors=f"{MODELS}/kernel_search/cp/{{layer}}.safetensors",
        metrics=f"{RESULTS}/metrics/kernel_search/cp/{{layer}}.json",
    log:
        f"{LOGS}/decompose_cp/{{layer}}.log",
    threads: THREADS
    params:
        cp={key: KS["cp"][key] for key in CPSolverConfig.model_fields},
        cpu={"threads": THREADS},
        seed=config["seed"],
        code=code("decompose_cp.py"),
    script:
        "../scripts/decompose_cp.py"


rule compare_cp:
    input:
        model=KS_BASE,
    output:
        metrics=f"{RESULTS}/metrics/kernel_search/parafac/{{layer}}.json",
    log:
        f"{LOGS}/compare_cp/{{layer}}.log",
    threads: THREADS
    params:
        rank={key: KS["cp"][key] for key in RankConfig.model_fields},
        asked={"starts": KS["cp"]["starts"], "iterations": KS["cp"]["tensorly_iterations"]},
        cpu={"threads": THREADS},
        seed=config["seed"],
        code=code("compare_cp.py"),
    script:
        "../scripts/compare_cp.py"


rule replace_cp:
    input:
        model=KS_BASE,
        factors=expand(rules.decompose_cp.output.factors, layer=KS["layers"]),
    output:
        model=f"{MODELS}/kernel_search/finetune_cp-{{start}}.start.safetensors",
    log:
        f"{LOGS}/replace_cp/{{start}}.log",
    params:
        layers=KS["layers"],
        code=code("replace_cp.py"),
    script:
        "../scripts/replace_cp.py"


use rule finetune as finetune_cp with:
    input:
        data=DATASET,
        model=rules.replace_cp.output.model,
        teacher=teacher_of(KS["finetune_cp"]),
    output:
        model=f"{MODELS}/kernel_search/finetune_cp-{{start}}.safetensors",
        history=f"{RESULTS}/histories/kernel_search/finetune_cp-{{start}}.csv",
    log:
        f"{LOGS}/finetune_cp/{{start}}.log",
    params:
        recipe=KS["finetune_cp"],
        resume=f"{RESULTS}/resume/kernel_search/finetune_cp-{{start}}.pt",
        data=config["data"],
        compute=finetuned_on(KS["model"]),
        seed=config["seed"],
        loads=layers_of("kernel_search"),
        code=code("finetune.py", layers_of("kernel_search")),


ks_before = checked.kernel_search.before


def ks_search_start(wildcards):
    """A branch grows beside the dense kernels, the other masks over the fine-tuned CP factors."""
    if KS["search"][wildcards.search]["mask"] == "branch":
        return KS_BASE
    return f"{MODELS}/kernel_search/finetune_cp-{KS['start']}.safetensors"


rule search_kernels:
    input:
        data=DATASET,
        model=ks_search_start,
        teacher=lambda w: teacher_of(KS["search"][w.search]["training"], ks_before(f"search_kernels-{w.search}")),
    output:
        start=f"{MODELS}/kernel_search/search_kernels-{{search}}.start.safetensors",
        model=f"{MODELS}/kernel_search/search_kernels-{{search}}.safetensors",
        history=f"{RESULTS}/histories/kernel_search/search_kernels-{{search}}.csv",
    log:
        f"{LOGS}/search_kernels/{{search}}.log",
    threads: THREADS
    params:
        search=lambda w: KS["search"][w.search],
        before=lambda w: {"epochs": ks_before(f"search_kernels-{w.search}")},
        layers=KS["layers"],
        cp={key: KS["cp"][key] for key in RankConfig.model_fields},
        resume=f"{RESULTS}/resume/kernel_search/search_kernels-{{search}}.pt",
        data=config["data"],
        compute=finetuned_on(KS["model"]),
        seed=config["seed"],
        code=code("search_kernels.py"),
    script:
        "../scripts/search_kernels.py"


rule recompose:
    input:
        model=rules.search_kernels.output.model,
    output:
        model=f"{MODELS}/kernel_search/finetune_recomposed-{{search}}.start.safetensors",
    log:
        f"{LOGS}/recompose/{{search}}.log",
    params:
        code=code("recompose.py"),
    script:
        "../scripts/recompose.py"


use rule finetune as finetune_recomposed with:
    input:
        data=DATASET,
        model=rules.recompose.output.model,
        teacher=lambda w: teacher_of(KS["finetune_recomposed"], ks_before(f"finetune_recomposed-{w.search}")),
    output:
        model=f"{MODELS}/kernel_search/finetune_recomposed-{{search}}.safetensors",
        history=f"{RESULTS}/histories/kernel_search/finetune_recomposed-{{search}}.csv",
    log:
        f"{LOGS}/finetune_recomposed/{{search}}.log",
    params:
        recipe=KS["finetune_recomposed"],
        before=lambda w: {"epochs": ks_before(f"finetune_recomposed-{w.search}")},
        resume=f"{RESULTS}/resume/kernel_search/finetune_recomposed-{{search}}.pt",
        data=config["data"],
        compute=finetuned_on(KS["model"]),
        seed=config["seed"],
        loads=layers_of("kernel_search"),
        code=code("finetune.py", layers_of("kernel_search")),


# Epochs of each stage alone.
KS_EPOCHS = {f"finetune_cp-{start}": KS["finetune_cp"]["epochs"] for start in KS_STARTS}
KS_EPOCHS |= {f"search_kernels-{name}": search["training"]["epochs"] for name, search in KS["search"].items()}
KS_EPOCHS |= {f"finetune_recomposed-{name}": KS["finetune_recomposed"]["epochs"] for name in KS["search"]}
KS_STAGES = [*KS_EPOCHS]


use rule baseline_latency as kernel_search_latency with:
    input:
        models=[KS_BASE] + expand(MODEL_FILE, study="kernel_search", variant=KS_STAGES),
    output:
        latency=f"{RESULTS}/metrics/kernel_search/latency.csv",
        provenance=f"{RESULTS}/metrics/kernel_search/latency.csv.provenance.json",
    log:
        f"{LOGS}/kernel_search_latency.log",
    params:
        measure=config["measure"],
        compute=config["compute"],
        loads=layers_of("kernel_search"),
        code=code("baseline_latency.py", layers_of("kernel_search")),


rule kernel_search_tables:
    input:
        metrics=references(rules.evaluate.output.metrics, KS["model"])
        + expand(rules.evaluate.output.metrics, study="kernel_search", variant=KS_STAGES),
        predictions=references(rules.evaluate.output.predictions, KS["model"])
        + expand(rules.evaluate.output.predictions, study="kernel_search", variant=KS_STAGES),
        cp=expand(rules.decompose_cp.output.metrics, layer=KS["decompose"]),
        parafac=expand(rules.compare_cp.output.metrics, layer=KS["decompose"]),
        histories=expand(f"{RESULTS}/histories/kernel_search/{{stage}}.csv", stage=KS_STAGES),
        control_history=expand(rules.finetune.output.history, model=KS["model"]),
        before=KS_BASE,
        searched=expand(rules.search_kernels.output.model, search=KS["search"]),
        after=expand(rules.finetune_recomposed.output.model, search=KS["search"]),
        latency=rules.kernel_search_latency.output.latency,
    output:
        cp_error=table("cp_error"),
        kernel_search=table("kernel_search"),
        history=table("kernel_search_history"),
        sizes=table("kernel_search_sizes"),
        masks=table("kernel_search_masks"),
        kernels=table("kernel_search_kernels"),
    log:
        f"{LOGS}/kernel_search_tables.log",
    params:
        layers=KS["layers"],
        epochs=KS_EPOCHS | {"control": CONTROLS[KS["model"]][KS["model"]]},
        spent={stage: checked.kernel_search.spent(stage) for stage in KS_STAGES},
        controls={KS["model"]: CONTROLS[KS["model"]]},
        code=code("kernel_search_tables.py"),
    script:
        "../scripts/kernel_search_tables.py"


rule kernel_search_figures:
    input:
        rules.kernel_search_tables.output,
        KS_REFERENCE if CHECKPOINTS.get(KS["model"]) == "resnet32-d509ac18.th" else [],
    output:
        curves=picture("kernel_search_curves.svg", "kernel_search"),
        sizes=picture("kernel_search_sizes.svg", "kernel_search"),
        masks=picture("kernel_search_masks.svg", "kernel_search"),
        cp_error=picture("cp_error.svg", "kernel_search"),
        kernels=picture("kernel_search_kernels.png", "kernel_search"),
        tradeoff=picture("kernel_search_tradeoff.svg", "kernel_search"),
    log:
        f"{LOGS}/kernel_search_figures.log",
    params:
        code=code("kernel_search_figures.py"),
    script:
        "../scripts/kernel_search_figures.py"


TARGETS += [rules.kernel_search_tables.input, rules.kernel_search_tables.output, rules.kernel_search_figures.output]
TARGETS += expand(rules.decompose_cp.output, layer=KS["decompose"])
TARGETS += expand(rules.replace_cp.output, start=KS_STARTS) + expand(rules.finetune_cp.output, start=KS_STARTS)
TARGETS += expand(rules.search_kernels.output, search=KS["search"]) + expand(
    rules.recompose.output, search=KS["search"]
)
TARGETS += expand(rules.finetune_recomposed.output, search=KS["search"]) + [rules.kernel_search_latency.output]

FINAL["kernel_search"] = {stage: KS["model"] for stage in KS_STAGES if not stage.startswith("search_kernels")}
RATES["kernel_search"] = {stage: KS[stage.partition("-")[0]]["lr"] for stage in FINAL["kernel_search"]}
EPOCHS["kernel_search"] = {stage: checked.kernel_search.spent(stage) for stage in FINAL["kernel_search"]}
