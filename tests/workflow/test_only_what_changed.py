"""Only what changed runs again: decided by contents and by the imports of each script, for every rule there is.

Stubs do the jobs' work: Snakemake decides by files, parameters and code. The quickstart tests that nothing follows it.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from following import dependents, following, written
from rules_read import script_of, scripts_importing

from conftest import ROOT, TINY, Job, Project, tiny_project
from convpress.models.registry import create_model

pytestmark = pytest.mark.workflow

INVENTORY = """
include: "Snakefile"

with open("inventory.json", "w") as file:
    import json

    rules = {rule.name: list(rule.params.items()) for rule in workflow.rules}
    numbers = {name: [key for key, value in params if isinstance(value, int | float)] for name, params in rules.items()}
    json.dump({name: [[key for key, _ in params], numbers[name]] for name, params in rules.items()}, file)
"""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory) -> tuple[Project, list[Job]]:
    """A finished run of stubs, and its jobs."""
    project = tiny_project(tmp_path_factory.mktemp("stubs") / "project", stubs=True)
    project.write("small.yaml", "{}")
    return project, project.listed(overlay=TINY)


@pytest.fixture(scope="module")
def finished(stubs) -> Project:
    """A finished run of stubs."""
    return stubs[0]


@pytest.fixture(scope="module")
def all_jobs(stubs) -> list[Job]:
    """Every job of an empty folder, with `all`."""
    return stubs[1]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> list[Job]:
    """Every job of the cifar10 run in an empty folder, with `all`."""
    return tiny_project(tmp_path_factory.mktemp("whole") / "project").listed("-n")


@pytest.fixture(scope="module")
def own_run(tmp_path_factory) -> list[Job]:
    """Every job of a run that starts from a checkpoint of one's own, taught by a network that is no baseline."""
    project = tiny_project(tmp_path_factory.mktemp("own") / "project")
    own_checkpoint(project, "resnet8", width=4)
    mine = {"checkpoint": "mine/resnet8.th", "training": None}
    tutor = {"architecture": "resnet8", "training": {"epochs": 1, "lr": 0.1}}
    project.write("own.yaml", json.dumps({"models": {"resnet8": mine, "tutor": tutor}, "teacher": {"model": "tutor"}}))
    return project.listed("-n", overlay=(*TINY, "own.yaml"))


def own_checkpoint(project: Project, name: str, **arguments: int) -> None:
    """Write untrained weights to mine/<name>.th."""
    path = project.folder / "mine" / f"{name}.th"
    path.parent.mkdir()
    torch.save(create_model(name, **arguments).state_dict(), path)


def test_second_run_has_nothing_to_do(finished):
    assert finished.jobs(overlay=TINY) == []  # how quickly: benchmarks/dag_build.py


def test_touching_everything(finished):
    for path in sorted(finished.folder.rglob("*")):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path)
    assert finished.jobs(overlay=TINY) == []


# One parameter of each study, and the rules that have it among their own.
PARAMETERS = {
    "kernel_search": ({"finetune_recomposed": {"lr": 0.011}}, {"finetune_recomposed"}),
    "sensitivity": (
        {"training": {"lr": 0.011}},
        {"finetune_factorised", "sensitivity_probe", "sensitivity_tables"},
    ),
    "clustering": ({"training": {"lr": 0.011}}, {"finetune_clusters", "clustering_tables"}),
    "merging": (
        {"variants": {"merged-allocated-80": {"training": {"lr": 0.011}}}},
        {"finetune_merged", "merging_tables"},
    ),
    "low_rank": (
        {"ce": {"lr": 0.0011}},
        {"finetune_low_rank", "finetune_low_rank_control", "low_rank_tables"},
    ),
}


@pytest.mark.parametrize("study", PARAMETERS)
def test_one_parameter(finished, all_jobs, study):
    parameter, rules = PARAMETERS[study]
    finished.write("small.yaml", json.dumps({study: parameter}))
    jobs = finished.jobs(overlay=(*TINY, "small.yaml"))
    changed = [job for job in all_jobs if job.rule in rules]
    assert {job.rule for job in changed} == rules
    assert written(jobs) == written(following(all_jobs, changed))
    evaluated = [path for job in jobs if job.rule == "evaluate" for path in job.outputs]
    assert evaluated
    assert {Path(path).parent.name for path in evaluated} <= {study, "control"}
    assert not {"train_baseline", "teacher_logits"} & {job.rule for job in jobs}


def test_what_only_a_peer_takes(finished, all_jobs):
    """tensorly's iterations stand in the section of our decomposition, on which trainings rest."""
    finished.write("small.yaml", json.dumps({"kernel_search": {"cp": {"tensorly_iterations": 6}}}))
    jobs = finished.jobs(overlay=(*TINY, "small.yaml"))
    peers = [job for job in all_jobs if job.rule == "compare_cp"]
    assert peers
    assert written(jobs) == written(following(all_jobs, peers))
    assert not {"decompose_cp", "finetune_cp", "evaluate"} & {job.rule for job in jobs}


# A number that one method or scheme reads, and the words in the files of the others, which are not made anew for it.
OF_ONE_METHOD = {
    "drop": ({"merging": {"drop": 0.5}}, "merging/", ("/shared-", "/merged-", "/seed", "/folded", "/fitted")),
    "compression": ({"low_rank": {"compression": 3.0}}, "models/low_rank/", ("/replaced",)),
    "bases": ({"low_rank": {"bases": [3, 3, 3, 3]}}, "models/low_rank/", ("/separable",)),
}


@pytest.mark.parametrize("name", OF_ONE_METHOD)
def test_what_only_one_method_reads(finished, name):
    parameter, folder, others = OF_ONE_METHOD[name]
    finished.write("small.yaml", json.dumps(parameter))
    made = {path for path in written(finished.jobs(overlay=(*TINY, "small.yaml"))) if folder in path}
    assert made
    assert not {path for path in made if any(word in path for word in others) and "latency" not in path}


def test_a_new_entry_of_the_probe(finished):
    """Of its networks, families and compressions: those that are there are not probed again."""
    probe = {"decompositions": ["cp", "tensor_chain"]}
    finished.write("small.yaml", json.dumps({"sensitivity": {"probe": probe}}))
    probes = [job for job in finished.jobs(overlay=(*TINY, "small.yaml")) if job.rule == "sensitivity_probe"]
    assert len(probes) == 1
    assert all("tensor_chain" in path for path in probes[0].outputs)


def test_threads_of_one_network(finished, all_jobs):
    finished.write("small.yaml", json.dumps({"compute_for": {"alexnet": {"threads": 2}}}))
    jobs = finished.jobs(overlay=(*TINY, "small.yaml"))
    trained = [job for job in all_jobs if job.rule == "train_baseline" and "/alexnet." in str(job.outputs)]
    assert len(trained) == 1
    assert written(jobs) == written(following(all_jobs, trained))


@contextmanager
def edited(path: Path) -> Iterator[None]:
    """A module with one more constant."""
    before = path.read_text()
    path.write_text(f"{before}\n\nNEW = 1\n")
    try:
        yield
    finally:
        path.write_text(before)


@pytest.mark.parametrize(("module", "network"), [("alexnet", "alexnet"), ("resnet_cifar", "resnet8")])
def test_the_code_of_a_network(finished, all_jobs, module, network):
    """No script imports it; the rules find it by the network's name."""
    path = finished.folder / "src" / "convpress" / "models" / f"{module}.py"
    with edited(path):
        jobs = finished.jobs(overlay=TINY)
    model = f"results/tiny/models/baseline/{network}.safetensors"
    changed = [job for job in all_jobs if model in job.outputs]
    assert len(changed) == 1
    assert written(jobs) == written(following(all_jobs, changed))
    trained = [path for job in jobs if job.rule == "train_baseline" for path in job.outputs]
    assert model in trained
    assert all(Path(path).stem == network for path in trained)


def test_the_code_of_a_layer(finished, all_jobs):
    """Rules that load networks by their files find layers by name: theirs run again, other studies' do not."""
    path = finished.folder / "src" / "convpress" / "layers" / "low_rank.py"
    with edited(path):
        jobs = finished.jobs(overlay=TINY)
    made = written(jobs)
    mine = [path for job in all_jobs if job.rule in ("evaluate", "finetune_low_rank") for path in job.outputs]
    assert {path for path in mine if "/low_rank/" in path} <= made
    assert {"comparison_latency", "export_onnx", "low_rank_latency"} <= {job.rule for job in jobs}
    assert not {"merging_latency", "kernel_search_latency"} & {job.rule for job in jobs}
    assert not {path for path in mine if "/merging/" in path or "/kernel_search/" in path} & made


def test_every_layer_belongs_to_a_study(project):
    text = (project.folder / "rules" / "common.smk").read_text()
    tree = ast.parse(text[text.index("LAYERS_OF = {") : text.index("def layers_of")])
    known = {name for names in ast.literal_eval(tree.body[0].value).values() for name in names}
    files = (project.folder / "src" / "convpress" / "layers").glob("*.py")
    assert known == {file.stem for file in files if "\n@register_layer\n" in file.read_text()}


@pytest.mark.parametrize("module", ["convpress.train", "convpress.measure", "convpress.report.figures"])
def test_a_package_module(finished, all_jobs, module):
    path = finished.folder.joinpath("src", *module.split(".")).with_suffix(".py")
    scripts = scripts_importing(finished.folder, module)
    rules = {rule for rule, script in script_of(finished.folder).items() if script in scripts}
    with edited(path):
        assert finished.rules(overlay=TINY) == dependents(all_jobs, rules & {job.rule for job in all_jobs})
    assert finished.jobs(overlay=TINY) == []


def test_a_remark_in_the_code(finished):
    path = finished.folder / "src" / "convpress" / "train.py"
    before = path.read_text()
    path.write_text(f"{before}\n# a remark\n")
    try:
        assert finished.jobs(overlay=TINY) == []
    finally:
        path.write_text(before)


def test_a_deleted_output(finished):
    path = finished.folder / "results/tiny/predictions/kernel_search/finetune_cp-plain.npz"
    content = path.read_bytes()
    path.unlink()
    jobs = finished.jobs(overlay=TINY)
    evaluations = [job for job in jobs if job.rule == "evaluate"]
    assert [path.name in str(job.outputs) for job in evaluations] == [True]
    assert not {"finetune_cp", "search_kernels", "train_baseline"} & {job.rule for job in jobs}
    finished.done(overlay=TINY)
    assert path.read_bytes() == content
    assert finished.jobs(overlay=TINY) == []


def test_a_new_entry_of_a_grid(finished, all_jobs):
    search = yaml.safe_load((finished.folder / "params.yaml").read_text())["kernel_search"]["search"]["preserving"]
    search["mac_penalty"] = 0.5
    search["training"] |= {"crop_padding": 2, "flip": False}  # as the quickstart's control
    finished.write("small.yaml", json.dumps({"kernel_search": {"search": {"eager": search}}}))
    known = {path for job in all_jobs for path in job.outputs}
    again = []
    for job in finished.jobs(overlay=(*TINY, "small.yaml")):
        if not known & set(job.outputs):
            assert all("eager" in path for path in job.outputs)
        else:
            again.append(job.rule)
    collecting = {"kernel_search_latency", "kernel_search_tables", "kernel_search_figures", "report_page"}
    assert collecting <= set(again)
    assert not {"search_kernels", "recompose", "finetune_recomposed", "evaluate", "train_baseline"} & set(again)


def test_every_rule_has_the_hash_of_its_code(project):
    own_checkpoint(project, "resnet20")  # a rule is there for those who bring their own
    project.write("own.yaml", json.dumps({"models": {"resnet20": {"checkpoint": "mine/resnet20.th"}}}))
    project.write("inventory.smk", INVENTORY)
    project.done("--list-rules", "--snakefile", "inventory.smk", overlay="own.yaml")
    inventory = json.loads((project.folder / "inventory.json").read_text())
    assert len(inventory) > 15
    assert [name for name, (params, _) in inventory.items() if "code" not in params and name != "all"] == []
    # Snakemake compares the values alone, so that two numbers that change places would go unseen.
    assert [name for name, (_, numbers) in inventory.items() if len({*numbers} - {"seed", "view_seed"}) > 1] == []
    # A rule without a script could not be seen by the hash.
    assert set(inventory) - {"all"} == set(script_of(project.folder))


def test_rule_all_asks_for_every_output_of_every_rule(project, all_jobs, whole_run, own_run):
    runs = (all_jobs, whole_run, own_run)
    for jobs in runs:
        asked = {path for job in jobs if job.rule == "all" for path in job.inputs}
        made = written(job for job in jobs if job.rule != "all")
        assert len(made) > 50
        assert made - asked == set()
    used = {job.rule for jobs in runs for job in jobs}
    assert set(script_of(project.folder)) - used == set()


def test_dvc_tracks_every_output_of_the_cifar10_run(whole_run):
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    tracked = [path for out in stage["stages"]["workflow"]["outs"] for path in out]
    made = written(whole_run)
    assert [path for path in made if not any(path == out or path.startswith(f"{out}/") for out in tracked)] == []
    folders = {path.rsplit("/", 1)[0] for path in made if path.endswith(".start.safetensors")}
    offered = {artifact["path"] for artifact in stage["artifacts"].values()}
    assert folders
    assert folders <= offered, "every study's models are an artifact"
