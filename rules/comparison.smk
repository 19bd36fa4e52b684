"""All final variants of all studies side by side: accuracy, size, time in PyTorch and in ONNX Runtime."""

from types import SimpleNamespace

NETWORKS = sorted({model for variants in FINAL.values() for model in variants.values()})


def final_files(pattern, network=None):
    """A file of each final variant (of a network), `pattern` having {study} and {variant}."""
    return [
        pattern.format(study=study, variant=variant)
        for study, variants in FINAL.items()
        for variant, model in variants.items()
        if network in (None, model)
    ]


use rule baseline_latency as comparison_latency with:
    input:
        models=lambda w: final_files(MODEL_FILE, w.model),
    output:
        latency=f"{RESULTS}/metrics/latency/{{model}}.csv",
        provenance=f"{RESULTS}/metrics/latency/{{model}}.csv.provenance.json",
    log:
        f"{LOGS}/comparison_latency/{{model}}.log",
    params:
        measure=config["measure"],
        compute=config["compute"],
        loads=layers_of(*LAYERS_OF),
        code=code("baseline_latency.py", layers_of(*LAYERS_OF)),


rule export_onnx:
    input:
        data=DATASET,
        models=lambda w: final_files(MODEL_FILE, w.model),
        predictions=lambda w: final_files(rules.evaluate.output.predictions, w.model),
    output:
        metrics=f"{RESULTS}/metrics/onnx/{{model}}.json",
        latency=f"{RESULTS}/metrics/onnx/{{model}}.csv",
        provenance=[f"{RESULTS}/metrics/onnx/{{model}}.{kind}.provenance.json" for kind in ("json", "csv")],
    log:
        f"{LOGS}/export_onnx/{{model}}.log",
    threads: workflow.cores or 1  # it measures times as well
    params:
        measure=config["measure"],
        data=config["data"],
        compute=config["compute"],
        loads=layers_of(*LAYERS_OF),
        code=code("export_onnx.py", layers_of(*LAYERS_OF)),
    script:
        "../scripts/export_onnx.py"


COMPARED = SimpleNamespace(
    metrics=final_files(rules.evaluate.output.metrics)
    + expand(rules.evaluate.output.metrics, study="control", variant=FURTHER),
    predictions=final_files(rules.evaluate.output.predictions)
    + expand(rules.evaluate.output.predictions, study="control", variant=FURTHER),
    latency=expand(rules.comparison_latency.output.latency, model=NETWORKS)
    + expand(rules.export_onnx.output.latency, model=NETWORKS),
    onnx=expand(rules.export_onnx.output.metrics, model=NETWORKS),
)


rule comparison_tables:
    input:
        **vars(COMPARED),
    output:
        table("comparison"),
    log:
        f"{LOGS}/comparison_tables.log",
    params:
        final=FINAL,
        epochs=EPOCHS,
        rates=RATES,
        controls=CONTROLS,
        code=code("comparison_tables.py"),
    script:
        "../scripts/comparison_tables.py"


rule comparison_figures:
    input:
        rules.comparison_tables.output,
        rules.peers_tables.output if config["peers"] else [],
    output:
        pareto=picture("comparison_pareto.svg", "comparison"),
        runtimes=picture("comparison_runtimes.svg", "comparison"),
    log:
        f"{LOGS}/comparison_figures.log",
    params:
        code=code("comparison_figures.py"),
    script:
        "../scripts/comparison_figures.py"


TARGETS += [COMPARED.metrics, COMPARED.predictions]
TARGETS += expand(rules.comparison_latency.output, model=NETWORKS) + expand(rules.export_onnx.output, model=NETWORKS)
TARGETS += [rules.comparison_tables.output, rules.comparison_figures.output]
