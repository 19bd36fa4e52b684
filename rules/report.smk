"""The report page, drawn from tables and figures alone."""


rule report_page:
    input:
        tables=[rules.baseline_tables.output, rules.kernel_search_tables.output, rules.merging_tables.output],
        figures=[rules.kernel_search_figures.output, rules.merging_figures.output],
        provenance=input_provenance(),
        metrics=rules.baseline_tables.input.metrics,
        histories=rules.baseline_tables.input.histories
        + rules.kernel_search_tables.input.histories
        + rules.merging_tables.input.histories,
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
