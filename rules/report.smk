"""The report page, drawn from tables and figures alone."""


rule report_page:
    input:
        tables=[rules.baseline_tables.output, rules.kernel_search_tables.output],
        figures=rules.kernel_search_figures.output,
        provenance=input_provenance(),
        metrics=rules.baseline_tables.input.metrics,
    output:
        provenance=f"{RESULTS}/provenance.json",
        page=f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report_page.log",
    params:
        config=config,
        code=code("report_page.py"),
    script:
        "../scripts/report_page.py"


TARGETS += rules.report_page.output
