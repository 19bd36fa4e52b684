"""What a result was computed with, as provenance tells it."""

import pytest

from convpress.provenance import processor


@pytest.mark.parametrize(
    ("cpuinfo", "said"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx avx2 fma\n", "AMD EPYC (avx2)"),
        ("model name\t: Intel: Xeon\nflags\t\t: avx2 avx512f avx512_bf16 amx_bf16\n", "Intel: Xeon (amx_bf16)"),
        ("model name\t: AMD EPYC\nflags\t\t: avx512f avx2 avx512_bf16\n\nprocessor\t: 1\n", "AMD EPYC (avx512_bf16)"),
        ("model name\t: Old\nflags\t\t: fpu sse2\n", "Old"),
    ],
)
def test_processors_of_one_name_differ_by_their_instructions(tmp_path, cpuinfo, said):
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    assert processor(file) == said


def test_every_system_names_its_processor(tmp_path):
    assert processor(tmp_path / "absent")
