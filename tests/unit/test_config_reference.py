"""The parameter reference: every key is described, types are readable, and the page does not drift."""

from typing import Annotated, Any, Literal

import pytest
from made_config import ROOT
from pydantic import Field

from convpress.config.reference import markdown, rows, type_name


def test_every_key_is_described():
    assert not [key for key, _, _, text in rows() if not text.endswith(".")]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[int, Field(ge=1)] | None, "int or None"),
        (Literal["raw", "pca"] | None, "`raw` or `pca` or None"),
        (list[Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]], "list of list of int"),
        (dict[str, Any], "dict[str, Any]"),
    ],
)
def test_types_are_readable(annotation, words):
    assert type_name(annotation) == words


def test_no_type_of_the_page_shows_the_checking_library():
    assert not [key for key, kind, _, _ in rows() if "Annotated" in kind or "Optional" in kind or "Info" in kind]


def test_reference_page_is_up_to_date():
    assert (ROOT / "docs" / "parameters.md").read_text() == markdown() + "\n", "call `make docs`"
