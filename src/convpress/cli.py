"""The command `convpress`: look at a model file, evaluate it, export it."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from convpress.errors import ConvpressError

# torch takes seconds to import, so commands import it when they need it: help and completion stay quick.

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def prepare(
    modules: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="Python module that registers layers or networks of your own."),
    ] = None,
) -> None:
    """Look at, evaluate and export networks that convpress wrote (.safetensors)."""
    sys.path.insert(0, str(Path.cwd()))
    for module in modules or []:
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever the module does
            raise ConvpressError(f"--import {module}: it cannot be imported ({_reason(error)}).") from error


def _reason(error: Exception) -> str:
    """The first line of what went wrong."""
    return str(error).strip().split("\n")[0][:160] or type(error).__name__


def _model_files(incomplete: str) -> list[str]:
    """Model files and folders that begin as typed, for the shell's completion."""
    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") or not incomplete else typed.parent
    start = "" if folder == typed else typed.name
    found = sorted(path for path in folder.glob(f"{start}*") if path.is_dir() or path.suffix == ".safetensors")
    return [f"{path}/" if path.is_dir() else str(path) for path in found]


File = Annotated[Path, typer.Argument(help="A model file (.safetensors).", autocompletion=_model_files)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")]
Shape = Annotated[
    str | None,
    typer.Option(help="Size of one image as C,H,W; without it 3,32,32, or 3,224,224 for torchvision's networks."),
]


@app.command()
def info(file: File, as_json: Json = False, input_shape: Shape = None) -> None:
    """Show architecture, surgeries, parameters, MACs and bytes."""
    facts = describe(file, parse_shape(input_shape))
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        _print_info(facts)


@app.command()
def evaluate(
    file: File,
    data: Annotated[
        str, typer.Option(help="cifar10, digits (data/<name>.safetensors), or the path of such a file.")
    ] = "cifar10",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; without it, torch's own choice.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the accuracy on test images, with its 95 % Wilson interval."""
    facts = measure_accuracy(file, data, threads)
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    print(
        f"{100 * facts['test_accuracy']:.2f} % of {facts['test_n']:,} test images right "
        f"(95 % interval {100 * facts['ci_low']:.2f} to {100 * facts['ci_high']:.2f} %, Wilson)"
    )


@app.command()
def export(
    file: File,
    output: Annotated[Path | None, typer.Argument(help="The ONNX file; without it, beside FILE.")] = None,
    input_shape: Shape = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest difference of a logit between PyTorch and ONNX Runtime.")
    ] = 1e-4,
    as_json: Json = False,
) -> None:
    """Write the network as ONNX and check the file in ONNX Runtime."""
    from convpress.onnx_export import export as export_file

    target = output or file.with_suffix(".onnx")
    if target.suffix != ".onnx":
        raise ConvpressError(f"{target}: the file to write must end in .onnx.")
    try:
        done = export_file(file, target, input_shape=parse_shape(input_shape), tolerance=tolerance)
    except OSError as error:
        raise ConvpressError(f"{target}: cannot be written ({error.strerror}); give another OUTPUT.") from error
    if as_json:
        facts = {"file": str(done.path), "bytes": done.bytes, "difference": done.difference, "images": done.images}
        print(json.dumps(facts, indent=1))
        return
    print(
        f"{done.path}: {done.bytes:,} bytes; on {done.images} images of noise ONNX Runtime's answers differ from "
        f"PyTorch's by at most {done.difference:.1g}"
    )


def parse_shape(text: str | None) -> tuple[int, ...] | None:
    """`3,32,32` as (3, 32, 32); None stays None.

    Raises:
        ConvpressError: not three positive integers.
    """
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ConvpressError(f"--input-shape is {text!r}; three positive integers such as 3,32,32 are allowed.")
    return tuple(int(part) for part in parts)


def describe(file: Path, input_shape: tuple[int, ...] | None = None) -> dict[str, Any]:
    """What a model file holds: architecture, arguments, surgeries, parameters, MACs of one image, bytes.

    `macs` and `input_shape` are None for a network of one's own without `input_shape`.

    Raises:
        ConvpressError: no model file, or images of `input_shape` do not go through its network.
    """
    from convpress.checkpoints import load, read_metadata
    from convpress.measure import count_macs, count_parameters, file_bytes
    from convpress.onnx_export import input_shape_of

    model, metadata = load(file), read_metadata(file)
    try:
        shape = input_shape or input_shape_of(model)
    except ConvpressError:  # a network of one's own
        shape = None
    try:
        macs = count_macs(model, shape) if shape else None
    except Exception as error:  # a network may refuse the images in words of its own
        raise ConvpressError(
            f"{file}: images of {shape} do not go through the network ({_reason(error)}); give --input-shape."
        ) from error
    return {
        "file": str(file),
        "architecture": metadata["architecture"]["name"],
        "arguments": metadata["architecture"]["arguments"],
        "surgeries": metadata["surgeries"],
        "params": count_parameters(model),
        "macs": macs,
        "input_shape": list(shape) if shape else None,
        "bytes": file_bytes(file),
        "extra": metadata["extra"],
    }


def measure_accuracy(file: Path, data: str, threads: int | None = None) -> dict[str, Any]:
    """Accuracy of a model file on the test images of a data set, with its Wilson interval.

    Raises:
        ConvpressError: no model file, no such data set, or images or classes that do not fit the network.
    """
    from typing import get_args

    import torch

    from convpress.checkpoints import load
    from convpress.config.sections import DataConfig
    from convpress.data import load_dataset
    from convpress.predict import predict
    from convpress.statistics import wilson

    path = Path(data) if data.endswith(".safetensors") else Path("data", f"{data}.safetensors")
    names = get_args(DataConfig.model_fields["name"].annotation)
    if path.stem not in names:
        allowed = " or ".join(names)
        raise ConvpressError(f"--data is {data!r}; {allowed}, or the path of a file of that name, is allowed.")
    model = load(file)
    if not path.is_file():
        fetching = f"`snakemake {path}` in the project's folder fetches them, or " if data in names else ""
        raise ConvpressError(f"{path}: these images are not here; {fetching}give another file with --data.")
    if threads:
        torch.set_num_threads(threads)
    _, _, test = load_dataset(path, DataConfig(name=path.stem, validation=1))  # type: ignore[arg-type, call-arg]
    try:
        logits = predict(model, test)
    except Exception as error:  # a network may refuse the images in words of its own
        raise ConvpressError(f"{file}: the images of {path} do not fit this network ({_reason(error)}).") from error
    if logits.shape[1:] != (test.num_classes,):
        raise ConvpressError(
            f"{file}: this network gives {tuple(logits.shape[1:])} numbers for an image, and {path} has "
            f"{test.num_classes} classes; evaluate a network that was made for them."
        )
    accuracy = wilson(int((logits.argmax(1) == test.labels).sum()), len(test))
    return {
        "file": str(file),
        "data": str(path),
        "test_accuracy": accuracy.accuracy,
        "test_n": accuracy.n,
        "ci_low": accuracy.ci_low,
        "ci_high": accuracy.ci_high,
    }


def _print_info(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=not sys.stdout.isatty())
    arguments = ", ".join(f"{key}={value}" for key, value in facts["arguments"].items())
    table = Table(show_header=False, title=facts["file"], title_justify="left")
    shape = "x".join(map(str, facts["input_shape"] or ()))
    for name, value in (
        ("architecture", facts["architecture"] + (f" ({arguments})" if arguments else "")),
        ("parameters", f"{facts['params']:,}"),
        (f"MACs ({shape})", f"{facts['macs']:,}") if shape else ("MACs", "with --input-shape"),
        ("bytes", f"{facts['bytes']:,}"),
        ("surgeries", str(len(facts["surgeries"]))),
    ):
        table.add_row(name, value)
    console.print(table, markup=False)
    if facts["surgeries"]:
        console.print(_surgery_table(facts["surgeries"], Table("layer", "is now", "with")), markup=False)


def _surgery_table(surgeries: list[dict[str, Any]], table: Any) -> Any:
    for surgery in surgeries:
        shown = {key: value for key, value in surgery["arguments"].items() if key not in ("bias", "dilation")}
        table.add_row(
            surgery["layer"], surgery["kind"], ", ".join(f"{key}={_tight(value)}" for key, value in shown.items())
        )
    return table


def _tight(value: Any) -> str:
    """Lists without spaces, so that they are not broken over lines."""
    return str(value).replace(" ", "")


def main() -> None:
    """Run the command; a mistake ends with one sentence on stderr and exit code 1, wrong usage with 2."""
    try:
        app(prog_name="convpress")
    except ConvpressError as error:
        print(f"convpress: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
