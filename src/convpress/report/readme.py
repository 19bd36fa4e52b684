"""The results table of the README, from the committed tables: `python -m convpress.report.readme`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

BEGIN, END = "<!-- results:begin", "<!-- results:end -->"


def results_table(tables: Path) -> str:
    """Markdown of the study's stages; empty when the run has no tables yet."""
    path = tables / "kernel_search.csv"
    if not path.exists():
        return ""
    frame = pd.read_csv(path, keep_default_na=False, na_values={"latency_ms": ""})
    rows = [
        {
            "stage": row.stage,
            "variant": row.variant,
            "right after the surgery, %": f"{100 * row.accuracy_before:.2f}",
            "test accuracy, % (95 % interval)": f"{100 * row.test_accuracy:.2f} "
            f"({100 * row.ci_low:.2f} to {100 * row.ci_high:.2f})",
            "epochs": row.epochs,
            "kernel sizes": row.kernel_sizes,
            "parameters": f"{row.params:,}",
            "MACs, M": f"{row.macs / 1e6:.1f}",
            "ms": f"{row.latency_ms:.1f}",
        }
        for row in frame.itertuples()
    ]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def with_results(text: str, table: str) -> str:
    """`text` with `table` between the markers."""
    head, _, rest = text.partition(BEGIN)
    marker, _, rest = rest.partition("\n")
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{marker}\n{table}\n{END}{tail}"


if __name__ == "__main__":
    readme = Path("README.md")
    readme.write_text(with_results(readme.read_text(), results_table(Path("results/cifar10/tables"))))
