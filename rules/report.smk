"""The report page and the accuracies that DVC compares; included last, so that it knows what every study makes."""


report: "../report/workflow.rst"


def made(folder, suffix=""):
    """Files of results/<run>/<folder>/ that the run makes, in order; nothing needs to be listed here twice."""

    def paths(item):
        return [item] if isinstance(item, str) else [] if callable(item) else [p for part in item for p in paths(part)]

    found = (str(path) for path in paths(TARGETS))
    return sorted({path for path in found if path.startswith(f"{RESULTS}/{folder}/") and path.endswith(suffix)})


wildcard_constraints:
    study="|".join(FINAL),


rule targets_table:
    input:
        tables=made("tables", ".csv"),
        reference="report/reference/targets.csv",
    output:
        table("targets"),
    log:
        f"{LOGS}/targets_table.log",
    params:
        code=code("targets_table.py"),
    script:
        "../scripts/targets_table.py"


TARGETS += rules.targets_table.output


rule report_page:
    input:
        tables=made("tables", ".csv"),
        figures=made("figures"),
        provenance=INPUT_PROVENANCE,
        metrics=rules.baseline_tables.input.metrics,
        records=made("metrics", ".json"),
        histories=made("histories", ".csv"),
        captions=sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("report/*.rst")),
        reference=sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("report/reference/*.csv")),
        attempts=[path for path in ["results/attempts.csv"] if Path(path).exists()],
        templates=sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("src/convpress/report/templates/*")),
    output:
        provenance=f"{RESULTS}/provenance.json",
        page=report(f"{RESULTS}/report.html", caption="../report/page.rst", category="report"),
    log:
        f"{LOGS}/report_page.log",
    params:
        run=config["run"],
        seed=config["seed"],
        code=code("report_page.py"),
    script:
        "../scripts/report_page.py"


TARGETS += rules.report_page.output


rule summary:
    input:
        metrics=[
            path
            for path in made("metrics", ".json")
            if Path(path).parent.name in FINAL and not path.endswith(".provenance.json")
        ],
    output:
        summary=f"{RESULTS}/summary.json",
    log:
        f"{LOGS}/summary.log",
    params:
        code=code("summary.py"),
    script:
        "../scripts/summary.py"


TARGETS += rules.summary.output
