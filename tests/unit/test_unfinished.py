"""The page of a run that is not whole."""

import json

import pytest

from convpress.errors import ConvpressError
from convpress.report.__main__ import draw


def metrics(seed):
    about = {
        "seed": seed,
        "processor": "p",
        "packages": {},
        "compute": {"device": "cpu"},
        "inputs": {},
    }
    return json.dumps({"study": "merging", "variant": f"v{seed}", "provenance": about})


def test_what_is_there_is_drawn(tmp_path, monkeypatch, request):
    (tmp_path / "report").symlink_to(request.config.rootpath / "report")
    config = (
        "seed: 2\ndata: {name: d}\nbaselines: [a, b]\nteacher: {model: t}\n"
        "models: {a: {checkpoint: mine/a.th}, b: {}, c: {checkpoint: c.th}, t: {checkpoint: t.th}}\n"
    )
    (tmp_path / "params.yaml").write_text(config)
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results" / "half"
    for folder in ("metrics/merging", "histories/merging", "tables"):
        (results / folder).mkdir(parents=True)
    for seed in (3, 2):
        (results / "metrics" / "merging" / f"v{seed}.json").write_text(metrics(seed))
    (results / "histories" / "merging" / "v2.csv").write_text("epoch,seconds\n1,2.5\n2,2.0\n")
    (tmp_path / "data").mkdir()
    for name in ("d.safetensors", "e.safetensors", "a.th", "c.th", "t.th"):
        (tmp_path / "data" / f"{name}.json").write_text(json.dumps({"file": name, "sha256": "1", "source": "made"}))
    draw(results)
    provenance = json.loads((results / "provenance.json").read_text())
    assert provenance["seed"] == 2
    assert [entry["file"] for entry in provenance["inputs"]] == ["a.th", "d.safetensors", "t.th"]
    assert provenance["stage_seconds"] == {"merging/v2": 4.5}
    assert (results / "tables" / "targets.csv").read_text().count("not measured") > 10
    assert "</html>" in (results / "report.html").read_text()


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(ConvpressError, match="nothing has been evaluated there yet"):
        draw(tmp_path)
