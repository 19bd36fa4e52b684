"""What do other libraries reach in the same harness: same checkpoints, same sizes, same fine-tuning?"""

PEERS = config["peers"]
PEER_GRID = checked.peers.grid()
FINAL["peers"] = {variant: entry["model"] for variant, entry in PEER_GRID.items()}
PEER_RECIPES = {variant: PEERS[checked.peers.recipe_of(entry["method"])] for variant, entry in PEER_GRID.items()}
EPOCHS["peers"] = {variant: recipe["epochs"] for variant, recipe in PEER_RECIPES.items()}
RATES["peers"] = {variant: recipe["lr"] for variant, recipe in PEER_RECIPES.items()}


rule compress_peer:
    input:
        model=lambda w: f"{MODELS}/baseline/{PEER_GRID[w.variant]['model']}.safetensors",
    output:
        model=f"{MODELS}/peers/{{variant}}.start.safetensors",
        metrics=f"{RESULTS}/metrics/peers/compress/{{variant}}.json",
    log:
        f"{LOGS}/compress_peer/{{variant}}.log",
    wildcard_constraints:
        variant="|".join(PEER_GRID),
    threads: THREADS
    params:
        peer=lambda w: PEER_GRID[w.variant] | {"iterations": PEERS["iterations"]},
        cpu={"threads": THREADS},
        seed=config["seed"],
        code=code("compress_peer.py"),
    script:
        "../scripts/compress_peer.py"


use rule finetune as finetune_peer with:
    input:
        data=DATASET,
        model=rules.compress_peer.output.model,
        teacher=lambda w: teacher_of(PEER_RECIPES[w.variant]),
    output:
        model=f"{MODELS}/peers/{{variant}}.safetensors",
        history=f"{RESULTS}/histories/peers/{{variant}}.csv",
    log:
        f"{LOGS}/finetune_peer/{{variant}}.log",
    wildcard_constraints:
        variant="|".join(PEER_GRID),
    params:
        recipe=lambda w: PEER_RECIPES[w.variant],
        resume=f"{RESULTS}/resume/peers/{{variant}}.pt",
        data=config["data"],
        compute=lambda w: finetuned_on(PEER_GRID[w.variant]["model"]),
        seed=config["seed"],
        loads=layers_of("peers"),
        code=code("finetune.py", layers_of("peers")),


rule peers_tables:
    input:
        metrics=lambda w: COMPARED.metrics,
        predictions=lambda w: COMPARED.predictions,
        latency=lambda w: COMPARED.latency,
        onnx=lambda w: COMPARED.onnx,
        compressed=expand(rules.compress_peer.output.metrics, variant=PEER_GRID),
    output:
        table("peers"),
    log:
        f"{LOGS}/peers_tables.log",
    params:
        final=lambda w: FINAL,
        epochs=lambda w: EPOCHS,
        rates=lambda w: RATES,
        controls=CONTROLS,
        code=code("peers_tables.py"),
    script:
        "../scripts/peers_tables.py"


TARGETS += expand(rules.compress_peer.output, variant=PEER_GRID) + expand(rules.finetune_peer.output, variant=PEER_GRID)
TARGETS += [rules.peers_tables.output]
