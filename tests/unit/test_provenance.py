"""What a result was computed with, as provenance tells it."""

import platform
from importlib.metadata import PackageNotFoundError, version

import pytest

from convpress.provenance import PACKAGES, package_versions, processor, run_record


@pytest.mark.parametrize(
    ("cpuinfo", "said"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx avx2 fma\n", "AMD EPYC (avx2)"),
        ("model name\t: Intel: Xeon\nflags\t\t: avx2 avx512f avx512_bf16 amx_bf16\n", "Intel: Xeon (amx_bf16)"),
        ("model name\t: AMD EPYC\nflags\t\t: avx512f avx2 avx512_bf16\n\nprocessor\t: 1\n", "AMD EPYC (avx512_bf16)"),
        ("model name\t: Old\nflags\t\t: fpu sse2\n", "Old"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\n", platform.machine()),  # ARM
    ],
)
def test_processors_of_one_name_differ_by_their_instructions(tmp_path, cpuinfo, said):
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    assert processor(file) == said


def test_every_system_names_its_processor(tmp_path):
    assert processor(tmp_path / "absent")


def test_a_package_that_is_not_installed_is_told(monkeypatch):
    def found(name):
        if name == "tensorly":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("convpress.provenance.version", found)
    versions = package_versions()
    assert list(versions) == ["python", *PACKAGES]
    assert versions["python"] == platform.python_version()
    assert versions["tensorly"] == "not installed"
    assert versions["torch"] == version("torch")


def test_a_run_has_the_machine_of_its_last_metrics():
    def made(processor, torch, threads):
        compute = {"device": "cpu", "threads": threads}
        return {"provenance": {"processor": processor, "packages": {"torch": torch}, "compute": compute}}

    record = run_record({"run": "mine", "seed": 3}, [{"file": "a"}], [made("old", "1", 1), made("new", "2", 2)])
    assert record.pop("cores") >= 1
    assert record == {
        "run": "mine",
        "seed": 3,
        "processor": "new",
        "packages": {"torch": "2"},
        "inputs": [{"file": "a"}],
        "device": "cpu",
        "threads": 2,
    }
