"""Times of a study's networks: which rows of the file stand in its table."""

import pandas as pd
import pytest

from convpress.report.latencies import read_times, time_columns


def test_a_large_float32_batch_stands_in_the_table(tmp_path):
    rows = [
        ("baseline/net", "float32", 64, 8.0),
        ("baseline/net", "float32", 1, 1.0),
        ("baseline/net", "bfloat16", 64, 3.0),
        ("study/small-2x", "float32", 64, 2.0),
        ("study/small-2x", "float32", 1, 0.5),
        ("study/small-2x", "bfloat16", 64, 1.0),
    ]
    frame = pd.DataFrame(rows, columns=["name", "dtype", "batch_size", "median_ms"])
    frame = frame.assign(q1_ms=frame["median_ms"] - 0.1, q3_ms=frame["median_ms"] + 0.1, repeats=15, backend="torch")
    frame.assign(threads=2, layout="channels_last", device="cpu").to_csv(tmp_path / "latency.csv", index=False)
    times = read_times(str(tmp_path / "latency.csv"))
    found = time_columns(times, "study", "small-2x", "net")
    assert found == {
        "latency_ms": 2.0,
        "latency_q1_ms": pytest.approx(1.9),
        "latency_q3_ms": pytest.approx(2.1),
        "batch_size": 64,
        "threads": 2,
        "dtype": "float32",
        "layout": "channels_last",
        "device": "cpu",
        "speedup": 4.0,
    }
    assert time_columns(times, "baseline", "net", "net")["speedup"] == 1.0
