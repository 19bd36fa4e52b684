"""Looks of clustering's remedies: told apart in colour, in grey, by marker, and by colour-blind readers."""

import itertools
from pathlib import Path

import matplotlib.colors
import numpy as np
import yaml

from convpress.report import style

COMPARED = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())["clustering"]["compare"]

# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as protanopes, deuteranopes, tritanopes see it.
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lightness(color, blindness="none"):
    """CIE L* (0 to 100): what is left of a colour in grey."""
    rgb = np.array(matplotlib.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = float(np.clip(np.array(BLINDNESS[blindness]) @ linear, 0, 1) @ (0.2126, 0.7152, 0.0722))
    return 116 * np.cbrt(y) - 16 if y > 0.008856 else 903.3 * y


def test_compared_remedies_look_different_in_colour_marker_and_grey():
    looks = style.looks([*COMPARED, "control"])
    assert set(looks) <= set(style.LOOKS), "a compared remedy has no fixed look"
    for (a, one), (b, other) in itertools.combinations(looks.items(), 2):
        assert one.color != other.color, (a, b)
        assert one.marker != other.marker, (a, b)
        for blindness in BLINDNESS:
            apart = abs(lightness(one.color, blindness) - lightness(other.color, blindness))
            assert one.linestyle != other.linestyle or apart > 15, (a, b, blindness, apart)
    for look in looks.values():
        assert lightness(look.color) < 72, "too pale on white paper"


def test_spare_looks_differ_from_each_other_and_from_fixed_ones():
    names = [f"own{i}" for i in range(24)]
    looks = style.looks([*COMPARED, *names])
    assert len({(look.color, look.marker, str(look.linestyle)) for look in looks.values()}) == len(looks)
