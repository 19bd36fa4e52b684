"""The report page, drawn from tables and figures alone, and the accuracies that DVC compares."""


rule report_page:
    input:
        tables=[rules.baseline_tables.output, rules.kernel_search_tables.output],
        figures=rules.kernel_search_figures.output,
        provenance=input_provenance(),
        metrics=rules.baseline_tables.input.metrics,
        histories=rules.baseline_tables.input.histories + rules.kernel_search_tables.input.histories,
        captions=sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("report/*.rst")),
        reference=sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("report/reference/*")),
    output:
        provenance=f"{RESULTS}/provenance.json",
        page=f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report_page.log",
    params:
        run=config["run"],
        seed=config["seed"],
        code=code("report_page.py"),
    script:
        "../scripts/report_page.py"


TARGETS += rules.report_page.output


def metrics_files(targets):
    """Metrics of every model among the targets, whatever study they belong to."""
    for target in targets:
        if not isinstance(target, str):
            yield from metrics_files(target if isinstance(target, list) else [])
        elif Path(target).match(f"{RESULTS}/metrics/*/*.json"):
            yield str(target)


rule summary:
    input:
        sorted(set(metrics_files(TARGETS))),
    output:
        summary=f"{RESULTS}/summary.json",
    log:
        f"{LOGS}/summary.log",
    params:
        code=code("summary.py"),
    script:
        "../scripts/summary.py"


TARGETS += rules.summary.output
