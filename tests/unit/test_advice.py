"""What to use when, and which peers are ahead: advice computed from the comparison, on closed cases."""

# ruff: noqa: F811
# A fixture is used by the name of the argument.
from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_run import REPORT, run  # noqa: F401
from test_pareto import compared_run, frame_of, made_comparison, made_peers  # noqa: F401

from convpress.report import wording
from convpress.report.advice import advice
from convpress.report.pareto import networks


def test_advice_is_computed_from_the_table(compared_run: Path) -> None:
    frame = frame_of(compared_run)
    assert networks(frame) == ["resnet20", "resnet32"]
    smallest, lightest, fastest, best = advice(frame, "resnet32").cards
    assert smallest[:2] == ("Smallest without a significant loss", "2.00× smaller")
    assert "small (merging)" in smallest[2]
    assert lightest[:2] == ("Fewest MACs without a significant loss", "2.00× fewer MACs")
    assert fastest[1] == "1.41× faster"
    assert best[1].replace(wording.SPACE, " ") == "93.50 %"
    assert "cannot be told apart from the control" in best[2]
    assert advice(frame, "resnet32").sentences == []
    ours_and_peer = advice(frame, "resnet20")
    assert "peer group-norm (peers)" in ours_and_peer.cards[0][2]
    assert "by parameters (190.0" in ours_and_peer.sentences[0]


def short(frame: pd.DataFrame, network: str) -> list[str]:
    return [sentence.replace(wording.SPACE, " ") for sentence in advice(frame, network).short]


def test_all_stands_in_short(compared_run: Path) -> None:
    frame = frame_of(compared_run)
    assert short(frame, "resnet32") == [
        "small (merging) is 2.00× smaller, takes 2.00× fewer MACs and is 1.41× faster, without a significant loss "
        "(−0.40 points)."
    ]
    assert short(frame, "resnet20")[-1] == (
        "Ahead of ours: peer group-norm by parameters (190.0 k at 92.90 %, good 380.0 k at 93.50 %, accuracies within "
        "chance) and MACs (19.0 M at 92.90 %, good 38.0 M at 93.50 %, accuracies within chance)."
    )


def test_a_sentence_each_names_what_comes_near_and_what_does_not(compared_run: Path) -> None:
    frame = frame_of(compared_run)
    lost = frame["variant"] == "small"
    frame.loc[lost, ["delta_control", "mcnemar_p"]] = (-0.009, 0.01)
    near, far = (
        "small (merging) is 2.00× smaller, takes 2.00× fewer MACs and is 1.41× faster, for −0.90 points.",
        "No variant within 1 point of the control is faster by more than 5 %.",
    )
    kept = (
        "good (sensitivity) is 1.05× smaller, takes 1.05× fewer MACs and is about as fast as uncompressed, without a "
        "significant loss (+0.50 points)."
    )
    assert short(frame, "resnet32") == [kept, near]
    alone = frame[frame["variant"] != "good"]
    assert short(alone, "resnet32") == [near]
    frame.loc[lost, "delta_control"] = -0.02
    assert short(frame, "resnet32") == [kept, far]
    alone = frame[frame["variant"] != "good"]
    none = "is smaller, takes fewer MACs or is faster"
    assert short(alone, "resnet32") == [far.replace("is faster", none)]


@pytest.mark.parametrize(("params", "named"), [(195e3, "other"), (185e3, "small")])
def test_of_variants_about_as_small_the_more_accurate_one_is_named(params: float, named: str) -> None:
    frame = made_comparison().assign(peer=False)
    other = frame[frame["variant"] == "small"].assign(variant="other", params=200e3, test_accuracy=0.929)
    frame.loc[frame["variant"] == "small", "params"] = params
    frame = pd.concat([frame, other]).reset_index(drop=True)
    assert advice(frame, "resnet20").cards[0][2].startswith(f"{named} (merging)")


def test_what_is_near_and_smaller_still_stands_beside_what_does_no_harm() -> None:
    frame = made_comparison().assign(peer=False)
    frame.loc[frame["variant"] == "tiny", ["test_accuracy", "delta_control"]] = [0.921, -0.009]
    title, value, words = advice(frame, "resnet20").cards[0]
    assert (title, value) == ("Smallest without a significant loss", "2.00× smaller")
    assert "Within 1 point of the control: tiny (merging), 4.00× smaller, 2.00 times as fast as" in words.replace(
        wording.SPACE, " "
    )


@pytest.mark.parametrize(
    ("column", "words"), [("params", "its parameters are 1.50× the un"), ("bytes", "its file is 1.50× the un")]
)
def test_what_came_out_larger_says_so(column: str, words: str) -> None:
    frame = made_comparison().assign(peer=False)
    good, dense = frame["variant"] == "good", frame["study"] == "baseline"
    assert "×" not in advice(frame, "resnet20").cards[-1][2]
    frame.loc[good, column] = 1.5 * frame.loc[dense, column].iloc[0]
    assert words in advice(frame, "resnet20").cards[-1][2]


def test_a_peer_that_is_beaten_is_not_called_ahead() -> None:
    frame = pd.concat([made_comparison().assign(peer=False), made_peers(0.5, 399e3).assign(peer=True, latency_ms=99)])
    frame.loc[frame["peer"], "macs"] = 399e5
    assert advice(frame.reset_index(drop=True), "resnet20").sentences[0].startswith("No peer is ahead")


def test_a_peer_is_ahead_of_ours_even_where_another_peer_beats_it() -> None:
    peers = pd.concat([made_peers(), made_peers(0.93, 180e3).assign(variant="better")]).assign(peer=True)
    frame = pd.concat([made_comparison().assign(peer=False), peers]).reset_index(drop=True)
    sentence = advice(frame, "resnet20").sentences[0]
    assert "group-norm (peers)" in sentence
    assert "better (peers)" in sentence


def peer_beside(accuracy: float, params: float, **tested: object) -> list[str]:
    """Sentences on a peer beside ours; all of its costs follow its parameters."""
    peer = made_peers(accuracy, params).assign(peer=True, ci_low=accuracy - 0.005, ci_high=accuracy + 0.005, **tested)
    costs = {"macs": 100 * params, "latency_ms": math.sqrt(params) / 10, "bytes": 4 * params}
    frame = pd.concat([made_comparison().assign(peer=False), peer.assign(**costs)]).reset_index(drop=True)
    return advice(frame, "resnet20").sentences


@pytest.mark.parametrize(
    ("accuracy", "params", "is_ahead"),
    [
        (0.926, 195e3, False),  # cheaper by less than 5 % than ours, as accurate
        (0.926, 170e3, True),  # cheaper by more
        (0.930, 200e3, False),  # more accurate, but not beyond chance
        (0.935, 200e3, True),
        (0.910, 170e3, False),  # cheaper and less accurate: neither is ahead
    ],
)
def test_ahead_is_cheaper_or_more_accurate_beyond_what_is_about_the_same(
    accuracy: float, params: float, is_ahead: bool
) -> None:
    assert peer_beside(accuracy, params)[0].startswith("Peers that are ahead" if is_ahead else "No peer is ahead")


def test_the_paired_test_decides_on_a_peer_where_there_is_one() -> None:
    tested = {"nearest": "merging/small", "delta_nearest": 0.004, "nearest_p": 0.01}
    assert "+0.40 points to merging/small, p" in peer_beside(0.930, 200e3, **tested)[0]
    assert peer_beside(0.930, 200e3, **tested | {"nearest_p": 0.2})[0].startswith("No peer")


def test_times_whose_quartiles_overlap_are_no_gain() -> None:
    frame = made_comparison().assign(peer=False)
    frame.loc[frame["variant"] == "small", "latency_q3_ms"] = 70.0
    assert advice(frame, "resnet20").cards[2][:2] == ("Fastest without a significant loss", "None")


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(120.0, "slower (1.90 times the time of uncompressed)"), (65.0, "about as fast"), (40.0, "1.58 times as fast as")],
)
def test_what_is_small_says_how_fast_it_is(milliseconds: float, words: str) -> None:
    frame = made_comparison().assign(peer=False)
    frame.loc[frame["variant"] == "small", "latency_ms"] = milliseconds
    assert words in advice(frame, "resnet20").cards[0][2].replace(wording.SPACE, " ")


@pytest.mark.parametrize(("kept", "smallest"), [(2, "good (sensitivity)"), (3, "small (merging)")])
def test_a_variant_of_several_seeds_keeps_the_accuracy_by_all_of_them(kept: int, smallest: str) -> None:
    frame = made_comparison().assign(peer=False, seeds=np.nan, seeds_tested=np.nan, seeds_kept=np.nan)
    frame.loc[frame["variant"] == "small", ["seeds", "seeds_tested", "seeds_kept"]] = [3, 3, kept]
    words = advice(frame, "resnet20").cards[0][2]
    assert words.startswith(smallest)
    assert ("3 of 3 seeds not worse" in words) == (kept == 3)


def test_seeds_are_counted_from_the_tables_of_the_studies(compared_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(compared_run, folder)
    rows = [("small", -0.004, 0.3), ("small-s1", -0.02, 0.001), ("small-s2", 0.02, 0.001), ("tiny", -0.03, 0.001)]
    found = pd.DataFrame(rows, columns=["variant", "delta_control", "mcnemar_p"])
    found.to_csv(folder / "tables" / "merging.csv", index=False)
    counted = frame_of(folder).set_index(["model", "variant"])[["seeds", "seeds_kept"]]
    assert counted.loc["resnet32", "small"].tolist() == [3, 2]
    assert counted.loc["resnet32", "tiny"].isna().all()


def test_seeds_without_a_test_of_their_own_are_not_taken_for_tested() -> None:
    frame = made_comparison().assign(peer=False, seeds=np.nan, seeds_tested=np.nan, seeds_kept=np.nan)
    frame.loc[frame["variant"] == "small", ["seeds", "seeds_tested", "seeds_kept"]] = [3, 1, 1]
    assert "1 of 3 seeds tested" in advice(frame, "resnet20").cards[0][2]


def test_the_point_that_is_allowed_is_to_the_own_control() -> None:
    frame = made_comparison().assign(peer=False)
    frame.loc[frame["variant"] == "tiny", ["test_accuracy", "delta_control", "mcnemar_p"]] = [0.90, -0.009, 0.001]
    cards = advice(frame[frame["variant"].isin(["resnet20", "tiny"])], "resnet20").cards
    assert cards[0][2].startswith("Within 1 point of the control: tiny (merging)")


@pytest.mark.parametrize(("points", "p", "named"), [(0.004, 0.02, True), (0.004, 0.2, False), (-0.004, 0.02, False)])
def test_a_peer_that_beats_its_pair_alone_is_named_too(points: float, p: float, named: bool) -> None:
    paired = {"nearest": "merging/small", "delta_nearest": points, "nearest_p": p}
    sentences = peer_beside(0.910, 170e3, **paired)
    told = [text for text in sentences if text.startswith("Others of ours are ahead of these")]
    assert bool(told) == named
    assert not named or "+0.40 points to merging/small" in told[0]


def test_where_no_variant_keeps_the_accuracy_the_best_is_not_called_most_accurate() -> None:
    frame = made_comparison().assign(peer=False)
    frame = frame[frame["study"].isin(["baseline", "control"]) | (frame["variant"] == "worse")]
    _, value, words = advice(frame, "resnet20").cards[-1]
    assert value == "None"
    assert words.startswith("No compressed variant reaches the control. The best is worse (low_rank): 91.00")


def test_nothing_within_the_interval_is_said_plainly() -> None:
    frame = made_comparison().assign(peer=False)
    frame.loc[frame["variant"] == "tiny", ["delta_control", "mcnemar_p"]] = [-0.02, 0.001]
    cards = advice(frame[frame["variant"].isin(["resnet20", "tiny"])], "resnet20").cards
    assert cards[0][1] == "None"
    assert cards[0][2] == "No variant within 1 point of the control is smaller by more than 5 %."


def test_where_nothing_keeps_the_accuracy_the_cheapest_within_a_point_is_named() -> None:
    frame = made_comparison().assign(peer=False, control_epochs=6)
    frame.loc[frame["variant"] == "good", ["test_accuracy", "delta_control", "mcnemar_p"]] = [0.925, -0.005, 0.01]
    frame = frame[frame["variant"].isin(["resnet20", "good"])]
    value, words = advice(frame, "resnet20").cards[0][1:]
    assert value == "None"
    assert words.replace(wording.SPACE, " ").startswith("Within 1 point of the control: good (sensitivity), ")
    assert "× smaller, about as fast as uncompressed, \N{MINUS SIGN}0.50 points" in words
    assert words.endswith("(control: 6).")


def test_what_costs_more_than_the_uncompressed_network_is_no_advice() -> None:
    frame = made_comparison().assign(peer=False)
    frame.loc[frame["variant"] == "good", ["params", "latency_ms", "latency_q1_ms"]] = [500e3, 99.0, 98.0]
    frame = frame[frame["variant"].isin(["resnet20", "good"])]
    cards = {card[0]: card[1:] for card in advice(frame, "resnet20").cards}
    assert cards["Smallest without a significant loss"][0] == "None"
    assert cards["Fastest without a significant loss"] == (
        "None",
        "No variant within 1 point of the control is faster by more than 5 %.",
    )


def test_the_most_accurate_is_chosen_on_validation_images() -> None:
    frame = made_comparison().assign(peer=False)
    frame.loc[frame["variant"] == "tiny", "validation_accuracy"] = 0.99
    title, value, words = advice(frame, "resnet20").cards[-1]
    assert (title, value) == ("Most accurate, chosen on validation images", wording.percent(0.90))
    assert words.startswith("tiny (merging)")


def test_a_peer_is_held_against_ours_of_no_more_training_as_well() -> None:
    frame = pd.concat([made_comparison().assign(peer=False), made_peers(0.925, 250e3).assign(peer=True)])
    frame.loc[frame["peer"], ["latency_ms", "macs", "finetune_epochs"]] = [50.0, 25e6, 1]
    frame.loc[frame["study"].isin(["baseline", "control"]), "finetune_epochs"] = 0
    first, second = advice(frame.reset_index(drop=True), "resnet20").sentences
    assert first.startswith("No peer is ahead")
    assert "trained no longer, these are ahead as well: group-norm (peers), 92.50" in second
    assert "after 1 epoch" in second.replace(wording.SPACE, " ")


def test_advice_without_a_control_measures_against_the_baseline() -> None:
    frame = made_comparison().assign(peer=False)
    cards = advice(frame[frame["study"] != "control"], "resnet20").cards
    assert "uncompressed 400.0" in cards[0][2]
    assert "(file 800" in cards[0][2].replace(wording.SPACE, " ")
    only = frame[frame["study"] == "baseline"]
    assert advice(only, "resnet20").cards == []


def test_a_file_that_shrinks_less_than_the_parameters_is_told_and_little_is_no_gain() -> None:
    frame = made_comparison().assign(peer=False)
    small = frame["variant"] == "small"
    frame.loc[small, "bytes"] *= 1.5
    assert (
        "small (merging) is 2.00× smaller (its file 1.33×), takes 2.00× fewer MACs and is 1.41× faster, without"
        in short(frame, "resnet20")[0]
    )
    dense = frame.loc[frame["study"] == "control", ["params", "macs", "latency_ms"]].iloc[0]
    frame.loc[small, ["params", "macs", "latency_ms"]] = (dense * 0.96).to_numpy()
    frame = frame[frame["variant"] != "good"]
    assert short(frame, "resnet20") == [
        "No variant within 1 point of the control is smaller, takes fewer MACs or is faster by more than 5 %."
    ]


def test_points_of_a_sweep_are_no_seeds_of_the_variant_that_bears_their_name(
    compared_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(compared_run, folder)
    rows = [("finetuned", "small", -0.001, 0.5), ("sweep", "small", None, None)]
    pd.DataFrame(rows, columns=["stage", "variant", "delta_control", "mcnemar_p"]).to_csv(
        folder / "tables" / "merging.csv", index=False
    )
    assert frame_of(folder)["seeds"].isna().all()
