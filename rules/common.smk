"""What all rules share: the checked configuration, paths, code hashes, and the list of everything to make."""

import os
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))

from convpress.workflow.codehash import code_hash
from convpress.config.keys import check_keys
from convpress.config.schema import load_config
from convpress.errors import ConvpressError
from convpress.files import sha256_file
from convpress.workflow.startup import (
    check_networks,
    check_python,
    check_whole,
    check_writable,
    keep_freed_memory,
    lock_folder,
    nearly_full_disks,
    remove_leftovers,
    wait_for_jobs,
    without_records,
)

try:
    check_python(sys.executable)
    if workflow.is_main_process:
        check_keys(map(Path, workflow.configfiles))
    checked = load_config(config)
    config = checked.model_dump(mode="json")
    check_networks(config, Path(".snakemake", "checked"))
    check_writable(Path("results", config["run"]).absolute())
except ConvpressError as error:
    sys.exit(f"convpress: {error}")

keep_freed_memory(os.environ)

RESULTS = f"results/{config['run']}"
MODELS = f"{RESULTS}/models"
TABLES = f"{RESULTS}/tables"
FIGURES = f"{RESULTS}/figures"
LOGS = f"logs/{config['run']}"
THREADS = config["compute"]["threads"]
# Epochs of the controls: network -> {control: epochs}; the first has the network's name, and stands in comparison.csv.
CONTROLS = {
    model: {name: recipe.epochs for name, recipe in known.items()} for model, known in checked.controls().items()
}

# Snakemake checks parameters and inputs of a job only when every output of it is asked for: rule all asks for all.
TARGETS = []
LOCKS = []  # held as long as Snakemake runs


# What comparison.csv sets side by side: study -> {final variant: the network it was made from}.
FINAL = {}
# Epochs of all trainings since the baseline: study -> {final variant: epochs}.
EPOCHS = {}
# Peak learning rate of the last training since the baseline: study -> {final variant: rate}, where there is one.
RATES = {}
# Seeds of trainings that have another than the run's: study -> {variant: seed}.
SEEDS = {}


if workflow.is_main_process and (sentence := without_records(Path(RESULTS), Path(".snakemake", "metadata"))):
    print(f"convpress: {sentence}.", file=sys.stderr)

# Jobs may outlive a killed Snakemake; the lock, which ends with them, tells the next run so.
shell.prefix("exec 9<>.snakemake/jobs.lock; flock --shared 9 2>/dev/null || true; ")


def code(script, loads=()):
    """Hash of a script and the modules that it imports or loads; a parameter of every rule, so that changes rerun it."""
    folders = (ROOT / "src", ROOT / "scripts")
    return code_hash(ROOT / "scripts" / script, folders, loads, known=Path(".snakemake", "code"))


# The layers in the networks of a study. Rules that load a network from its file find them by name, not by import, and
# name these modules as their parameter `loads`.
LAYERS_OF = {
    "kernel_search": ["cp", "searched"],
    "sensitivity": ["cp", "tucker", "tensor_chain"],
    "clustering": ["shared", "elementwise"],
    "merging": ["shared", "shared_kernels"],
    "low_rank": ["low_rank"],
    "peers": ["cp", "tucker"],
}


def layers_of(*studies):
    """Modules of the layers in the networks of these studies."""
    return sorted({f"convpress.layers.{name}" for study in studies for name in LAYERS_OF.get(study, [])})


def table(name):
    return [f"{TABLES}/{name}.csv", f"{TABLES}/{name}.md"]


def picture(file, study):
    """A picture of a study, with its caption for Snakemake's own report."""
    return report(f"{FIGURES}/{file}", caption=f"../report/{Path(file).stem}.rst", category=study)


onstart:
    # Snakemake's own lock outlives a killed run; job processes on cluster nodes call no hooks.
    try:
        LOCKS.append(lock_folder(Path(".snakemake", "run.lock")))
        wait_for_jobs(Path(".snakemake", "jobs.lock"))
        remove_leftovers([Path("data"), Path("results")])
        check_whole(Path(RESULTS))
    except ConvpressError as error:
        sys.exit(f"convpress: {error}")
    if workflow.local_exec:
        # Snakemake looks at all open jobs again, a second after each look, as long as the rate of jobs has a limit.
        workflow.scheduler.job_rate_limiter = None


onerror:
    for sentence in nearly_full_disks([Path("results"), Path("data"), Path("logs")]):
        print(f"convpress: {sentence}", file=sys.stderr)


wildcard_constraints:
    model="|".join(config["models"]),
    variant=r"[a-z0-9_-]+",
    start="plain|corrected",
    search="|".join(config["kernel_search"]["search"]),
