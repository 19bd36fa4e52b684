"""What all scripts share: a log file, one clear sentence for a user's mistake, and the loaded data."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from convpress.errors import ConvpressError
from convpress.workflow.codehash import code_hash

# Imports leave objects by the hundred thousand that all stay; looking through them takes a fifth of a short job.
gc.disable()

SCRIPTS = Path(__file__).resolve().parent
ROOTS = (SCRIPTS.parent / "src", SCRIPTS)
FORMAT = "%(asctime)s %(name)s: %(message)s"


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Log to the rule's log file, and briefly to the terminal; end with one sentence on a user's mistake."""
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter(f"[{path.parent.name}/{path.stem}] %(message)s"))
    logging.basicConfig(level=logging.INFO, format=FORMAT, handlers=[logging.FileHandler(path, "a"), terminal])
    logging.captureWarnings(True)
    gc.freeze()
    gc.enable()
    try:
        _check_code(snakemake)
        yield
    except ConvpressError as error:
        logging.error("stopped: %s", error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        logging.error("interrupted; the same command goes on from what is finished")
        raise SystemExit(128 + signal.SIGINT) from None
    except BaseException:
        logging.exception("failed")
        raise


def _check_code(snakemake: Any) -> None:
    """Refuse code that was edited after the run started: the result would be recorded as that of the old code."""
    script = SCRIPTS / Path(sys.modules["__main__"].__file__ or "").name
    loads, known = snakemake.params.get("loads") or (), Path(".snakemake", "code")
    networks = getattr(snakemake, "config", {}).get("network_code", {})
    same = [code_hash(script, ROOTS, loads, known=known) == snakemake.params.code]
    same += [code_hash(Path(file), ROOTS, known=known) == before for file, before in networks.items()]
    if not all(same):
        raise ConvpressError(
            f"the code of {script.name}, of what it imports or loads, or of a network has changed since this run "
            "started; call the same command again"
        )


def sections(snakemake: Any) -> dict[str, Any]:
    """The typed `compute` and `data` sections that came as parameters of the rule."""
    from convpress.config.sections import ComputeConfig, DataConfig

    kinds = {"compute": ComputeConfig, "data": DataConfig}
    return {name: kinds[name](**value) for name, value in snakemake.params.items() if name in kinds}
