"""The report page, drawn from tables and figures alone."""

# Every study has a rule <study>_tables and a rule <study>_figures.
STUDIES = ["kernel_search", "sensitivity", "low_rank"]


def of_studies(kind):
    """The rules <study>_<kind>."""
    return [getattr(rules, f"{study}_{kind}") for study in STUDIES]


rule report_page:
    input:
        tables=[rule.output for rule in [rules.baseline_tables, *of_studies("tables")]],
        figures=[rule.output for rule in of_studies("figures")],
        provenance=input_provenance(),
        metrics=rules.baseline_tables.input.metrics,
        histories=[rule.input.histories for rule in [rules.baseline_tables, *of_studies("tables")]],
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
