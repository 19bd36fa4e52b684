"""The columns of merging.csv."""

from convpress.report.tables import CONDITIONS

COLUMNS = (
    *("stage", "series", "model", "variant", "method", "rule", "features", "allocate", "ratio", "macs_divisor", "seed"),
    *("params", "bytes", "macs", "latency_ms", "latency_q1_ms", "latency_q3_ms", "speedup", "seconds_10k"),
    *CONDITIONS,
    "device",
    *("validation_before", "validation_before_ci_low", "validation_before_ci_high", "validation_recalibrated"),
    *("validation_recalibrated_ci_low", "validation_recalibrated_ci_high"),
    *(
        "accuracy_before",
        "test_accuracy",
        "test_n",
        "ci_low",
        "ci_high",
        "before_ci_low",
        "before_ci_high",
        "validation_accuracy",
        "validation_n",
    ),
    *("validation_ci_low", "validation_ci_high", "delta_control", "mcnemar_p", "epochs", "control_epochs"),
)
