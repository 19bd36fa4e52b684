"""Files of earlier jobs that were cut off: each is named with the way out, and none is taken for whole."""

import re

import numpy as np
import pandas as pd
import pytest

from convpress.errors import ConvpressError
from convpress.files import write_csv, write_json
from convpress.report.kernel_search.tables import history_table as stages_history
from convpress.report.merging.tables import history_table
from convpress.report.reading import read_array, read_history, read_json, read_rows
from convpress.report.tables import (
    Result,
    accuracy_columns,
    before_columns,
    read_results,
    stage_seconds,
    with_validation,
)
from convpress.statistics import wilson

CORRECT = np.arange(1000) % 3 > 0
RECORD = {"study": "baseline", "variant": "net", "test_accuracy": float(CORRECT.mean())}
HISTORY = [{"epoch": epoch, "loss": 1 / (1 + epoch), "seconds": 0.5} for epoch in range(4)]


@pytest.fixture
def files(tmp_path):
    """Whole files as the jobs write them, by the ending of their names."""
    write_json(RECORD, tmp_path / "net.json")
    np.savez_compressed(tmp_path / "net.npz", correct=CORRECT)
    write_csv(HISTORY, tmp_path / "net.csv")
    return {path.suffix: path for path in tmp_path.iterdir()}


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])
    return pytest.raises(ConvpressError, match=rf"^{re.escape(str(path))}: cut off or damaged .*; delete it and run")


def test_whole_files_are_read(files):
    assert read_json(files[".json"]) == RECORD
    assert (read_array(files[".npz"], "correct") == CORRECT).all()
    assert read_history(files[".csv"], 3).to_dict("records") == HISTORY


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("suffix", [".json", ".npz", ".csv"])
def test_a_part_of_a_file_is_named(files, suffix, part):
    read = {".json": read_json, ".npz": lambda path: read_array(path, "correct"), ".csv": read_rows}[suffix]
    path = files[suffix]
    with cut(path, int(part * path.stat().st_size)):
        read(path)


def test_every_cut_of_a_history_is_seen_where_its_epochs_are_known(files):
    path, whole = files[".csv"], files[".csv"].read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole)
        with cut(path, size):
            read_history(path, 3)


def test_a_history_tells_what_it_lacks(files):
    with pytest.raises(ConvpressError, match=r"it ends with epoch 3 of 6\); delete it"):
        read_history(files[".csv"], 6)


def test_a_history_of_the_start_alone_is_no_training(files):
    write_csv(HISTORY[:1], files[".csv"])
    with pytest.raises(ConvpressError, match="it ends with epoch 0 of 3"):
        read_history(files[".csv"], 3)


def test_a_stage_of_the_kernel_search_has_its_own_epochs_and_the_control_others(files):
    path = str(files[".csv"])
    assert len(stages_history(path, [path], {"control": 3, "net": 3})) == 2 * len(HISTORY)
    for epochs in ({"control": 4, "net": 3}, {"control": 3, "net": 4}):
        with pytest.raises(ConvpressError, match=r"it ends with epoch 3 of 4\)"):
            stages_history(path, [path], epochs)


def test_a_merged_variant_has_the_epochs_of_its_recipe(files):
    with pytest.raises(ConvpressError, match=r"net\.csv: .*it ends with epoch 3 of 6\)"):
        history_table([], [str(files[".csv"])], {"net": {"training": {"epochs": 6}}}, {})


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_results_name_the_file(files, suffix):
    with cut(files[suffix], files[suffix].stat().st_size // 2):
        read_results([files[".json"]], [files[".npz"]])


def test_answers_of_another_model_are_refused(files):
    np.savez_compressed(files[".npz"], correct=~CORRECT)
    with pytest.raises(ConvpressError, match=r"net\.npz does not belong to .*net\.json; their accuracies differ"):
        read_results([files[".json"]], [files[".npz"]])


def test_seconds_are_not_summed_over_a_part_of_a_history(files):
    with cut(files[".csv"], 40):
        stage_seconds([str(files[".csv"])])


def test_an_array_that_is_not_there_is_named(files):
    with pytest.raises(ConvpressError, match=r"net\.npz: .*answers"):
        read_array(files[".npz"], "answers")


def test_accuracies_before_training_and_on_validation_images_carry_intervals():
    metrics = {"accuracy_before": 0.3, "test_n": 1000, "validation_accuracy": 0.96, "validation_n": 500}
    shared = dict.fromkeys(("test_accuracy", "ci_low", "ci_high", "params", "macs", "bytes"), 0.0)
    result = Result(shared | metrics, np.zeros(0, dtype=bool))
    before, validation = before_columns(result), accuracy_columns(result)
    ends = wilson(300, 1000)
    assert (before["before_ci_low"], before["before_ci_high"]) == (ends.ci_low, ends.ci_high)
    ends = wilson(480, 500)
    assert validation["validation_n"] == 500
    assert (validation["validation_ci_low"], validation["validation_ci_high"]) == (ends.ci_low, ends.ci_high)
    del result.metrics["validation_n"]
    assert np.isnan(accuracy_columns(result)["validation_ci_low"])


@pytest.mark.parametrize("n", [500, None])
def test_epochs_tell_how_sure_their_validation_accuracy_is(n):
    history = pd.DataFrame({"epoch": [0, 1], "validation_accuracy": [None, np.float32(0.9)]}, index=[3, 7])
    metrics = [{}, {} if n is None else {"validation_n": n}]
    found = with_validation(history, {i: Result(one, CORRECT) for i, one in enumerate(metrics)})
    assert found[["epoch", "validation_accuracy"]].equals(history)
    columns = ["validation_n", "validation_ci_low", "validation_ci_high"]
    assert found[columns].iloc[0].isna().all(), "an epoch that was not judged"
    expected = [500, wilson(450, 500).ci_low, wilson(450, 500).ci_high]
    assert found[columns].iloc[1].tolist() == (expected if n else pytest.approx([np.nan] * 3, nan_ok=True))
