"""Replicates have seeds of their own, and all see the images as the teacher did."""

import json

SEEDS = """
include: "Snakefile"

with open("seeds.json", "w") as file:
    import json
    from types import SimpleNamespace

    known = {rule.name: dict(rule.params.items()) for rule in workflow.rules}

    def of(rule, names, **wildcards):
        values = {name: known[rule][name] for name in names}
        return [value(SimpleNamespace(**wildcards)) if callable(value) else value for value in values.values()]

    trained = {"merging": "finetune_merged", "clustering": "finetune_clusters", "sensitivity": "finetune_factorised"}
    found = {
        study: {name: of(rule, ("seed", "view_seed"), variant=name) for name in SEEDS[study]}
        for study, rule in trained.items()
    }
    found["merge"] = {name: of("merge", ("seed",), variant=name) for name in MG_VARIANTS}
    found["evaluate"] = {
        name: of("evaluate", ("seed",), study=study, variant=name) for study in SEEDS for name in SEEDS[study]
    }
    found["pull_norms"] = {
        f"{remedy}-s{number}": of("pull_norms", ("seed", "view_seed"), remedy=remedy, replicate=str(number))
        for remedy in CL.remedies
        for number in range(2)
    }
    recipes = {name: of("finetune_peer", ("recipe",), variant=name)[0] for name in PEER_GRID}
    learned = {name: [recipe["lr"], RATES["peers"][name], EPOCHS["peers"][name]] for name, recipe in recipes.items()}
    json.dump({"seeds": found, "peers": learned}, file)
"""
PEERS = {"methods": ["magnitude", "cp"], "finetune_pruned": {"epochs": 2, "batch_size": 500, "lr": 0.07}}


def test_replicates_have_seeds_of_their_own_and_the_views_of_the_teacher(project):
    project.write("seeds.smk", SEEDS)
    project.done("--list-rules", "--snakefile", "seeds.smk", "--config", "seed=40", f"peers={json.dumps(PEERS)}")
    found = json.loads((project.folder / "seeds.json").read_text())
    recipes = {name: tuple(recipe) for name, recipe in found["peers"].items()}
    pruned, factorised = ({recipes[name] for name in recipes if f"-{kind}-" in name} for kind in ("magnitude", "cp"))
    assert pruned == {(0.07, 0.07, 2)}, "channels that are left out have a recipe of their own"
    ((rate, column, _),) = factorised
    assert rate == column != 0.07
    for rule, seeds in found["seeds"].items():
        for name, (seed, *views) in seeds.items():
            last = name.rsplit("-s", 1)[-1]
            assert seed == 40 + (int(last) if last.isdigit() and "-s" in name else 0), (rule, name)
            assert views in ([], [40]), (rule, name)
        assert {seed for seed, *_ in seeds.values()} > {40}, rule
