"""Keys that stand twice in params.yaml or in an overlay."""

import pytest
from made_config import ROOT

from convpress.config.keys import check_keys
from convpress.errors import ConvpressError


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("run: mine\ncontrol: {lr: 0.1}\ncontrol: {epochs: 3}\n", 3, "control"),
        ("a: {lr: 0.1,\n  lr: 0.2}\n", 2, "lr"),
        ("a:\n  - {x: 1}\n  - b: 1\n    c: 2\n    b: 3\n", 5, "b"),
        ("a: &one {x: 1}\nb: {<<: *one, x: 2, x: 3}\n", 2, "x"),
        ('{"a": 1,\n "a": 2}', 2, "a"),
    ],
)
def test_a_key_that_stands_twice_is_named_with_its_line(tmp_path, text, line, key):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConvpressError) as refused:
        check_keys([path])
    assert str(refused.value) == f"{path}, line {line}: key {key!r} stands there twice; join the two"


@pytest.mark.parametrize(
    "text", ["a: &one {x: 1}\nb: &two {<<: *one, x: 2}\nc: {<<: *two, x: 3}\n", "a: [", '{\n\t"a": 1}']
)
def test_overrides_of_merges_and_what_is_no_yaml_pass(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    check_keys([tmp_path / "mine.yaml"])


def test_the_committed_files_pass():
    check_keys([ROOT / "params.yaml", *(ROOT / "config").glob("*.yaml")])


def test_a_section_that_holds_itself_ends(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("control: &it {lr: 0.1, again: *it}")
    check_keys([path])
