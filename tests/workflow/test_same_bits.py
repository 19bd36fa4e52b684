"""Same seed, same machine: the same tables, whatever runs beside a job."""

import pandas as pd
import pytest

pytestmark = pytest.mark.workflow

OVERLAYS = ("config/quickstart.yaml", "tiny.yaml")
TIMES = ("seconds", "parafac_seconds", "latency_ms", "latency_q1_ms", "latency_q3_ms", "speedup")


def run(project, tiny, cores):
    (project.folder / "tiny.yaml").write_text(tiny)
    project.done("--cores", str(cores), "--configfile", *OVERLAYS)
    folder = project.folder / "results" / "tiny"
    tables = {
        path.stem: pd.read_csv(path).drop(columns=list(TIMES), errors="ignore") for path in folder.glob("tables/*.csv")
    }
    models = {path.name: path.read_bytes() for path in sorted(folder.glob("models/**/*.safetensors"))}
    return tables, models


def test_one_core_and_two_give_the_same_tables_and_models(tmp_path, request):
    from conftest import copy_project

    tiny = (request.path.parent / "tiny.yaml").read_text()
    tables, models = run(copy_project(tmp_path / "one"), tiny, 1)
    again, models_again = run(copy_project(tmp_path / "two"), tiny, 2)
    assert tables.keys() == again.keys()
    for name, frame in tables.items():
        pd.testing.assert_frame_equal(frame, again[name], check_exact=True, obj=name)
    assert models == models_again
