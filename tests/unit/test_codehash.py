"""What a change in the code reruns."""

from pathlib import Path

import pytest

from convpress.workflow.codehash import _digest, code_hash

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path):
    package = tmp_path / "pack"
    (package / "inner").mkdir(parents=True)
    files = {
        "script.py": "from pack.a import f\nf()\n",
        "other.py": "import json\n",
        "pack/__init__.py": "X = 1\n",
        "pack/a.py": '"""Doc."""\nfrom pack.inner import g\n\n\ndef f():\n    """Doc of f."""\n    return g()\n',
        "pack/b.py": 'B = 1\n"""What B is."""\n',
        "pack/inner/__init__.py": "def g():\n    return 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def both(tree):
    _digest.cache_clear()
    return code_hash(tree / "script.py", [tree]), code_hash(tree / "other.py", [tree])


def replace(tree, name, old, new):
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new))


def test_direct_and_indirect_imports_count(tree):
    script, other = both(tree)
    replace(tree, "pack/inner/__init__.py", "return 1", "return 2")
    assert both(tree)[0] != script
    assert both(tree)[1] == other


def test_reverting_gives_the_old_hash(tree):
    before = both(tree)
    replace(tree, "pack/a.py", "g()\n", "g() + 1\n")
    replace(tree, "pack/a.py", "g() + 1\n", "g()\n")
    assert both(tree) == before


def test_words_below_a_constant_do_not_count_its_value_does(tree):
    replace(tree, "pack/a.py", "from pack.inner", "from pack.b import B\nfrom pack.inner")
    before = both(tree)
    replace(tree, "pack/b.py", "What B is.", "What B is for.")
    assert both(tree) == before
    replace(tree, "pack/b.py", "B = 1", "B = 2")
    assert both(tree)[0] != before[0]


@pytest.mark.parametrize(("old", "new"), [("Doc of f.", "Better."), ("return g()", "return g()  # why"), ("Doc.", "D")])
def test_words_do_not_count(tree, old, new):
    before = both(tree)
    replace(tree, "pack/a.py", old, new)
    assert both(tree) == before


@pytest.mark.parametrize(
    ("lines", "words", "value"),
    [
        ('class K:\n    """What K is."""\n\n    k = 1', ("What K is.", "What K is for."), ("k = 1", "k = 2")),
        ('x: int = Field(3, description="The x.")', ("The x.", "How many."), ("Field(3", "Field(4")),
    ],
)
def test_words_of_classes_and_fields_do_not_count_their_values_do(tree, lines, words, value):
    replace(tree, "pack/a.py", "def f", f"{lines}\n\n\ndef f")
    before = both(tree)
    replace(tree, "pack/a.py", *words)
    assert both(tree) == before
    replace(tree, "pack/a.py", *value)
    assert both(tree)[0] != before[0]


@pytest.mark.parametrize(
    ("line", "old", "new"),
    [('return g(description="x")', '"x"', '"y"'), ("raise SystemExit(2)", "SystemExit(2)", "SystemExit(3)")],
)
def test_descriptions_of_no_field_and_exit_codes_count(tree, line, old, new):
    replace(tree, "pack/a.py", "return g()", line)
    before = both(tree)
    replace(tree, "pack/a.py", old, new)
    assert both(tree)[0] != before[0]


def test_what_an_error_says_does_not_count_its_condition_does(tree):
    raising = "    if g() > 2:\n        raise ValueError(f'no {g()}')\n    return g()"
    replace(tree, "pack/a.py", "    return g()", raising)
    before = both(tree)
    replace(tree, "pack/a.py", "f'no {g()}'", "f'never {g()}'")
    assert both(tree) == before
    replace(tree, "pack/a.py", "ValueError(f'never {g()}')", "KeyError(f'never {g()}')")
    changed = both(tree)
    assert changed[0] != before[0]
    replace(tree, "pack/a.py", "g() > 2", "g() > 3")
    assert both(tree)[0] != changed[0]


def test_every_version_of_python_gives_the_same_hash(tree):
    text = (
        "async def g(*a, b=None, **c):\n    return [x async for x in a if x is not None], f'{b!r:>3}', {**c}, -1, ...\n"
    )
    (tree / "script.py").write_text(f"import pack.b\n\n\n{text}")
    assert code_hash(tree / "script.py", [tree]) == "79396efae4997f88"


def test_modules_that_are_not_imported_do_not_count(tree):
    before = both(tree)
    replace(tree, "pack/b.py", "B = 1", "B = 2")
    replace(tree, "pack/__init__.py", "X = 1", "X = 2")
    assert both(tree) == before


def test_what_a_text_came_to_is_remembered(tree, monkeypatch):
    known = tree / "known"
    before = code_hash(tree / "script.py", [tree], known=known)
    assert before == both(tree)[0]
    monkeypatch.setattr("convpress.workflow.codehash._parsed", lambda text: pytest.fail("parsed again"))
    _digest.cache_clear()
    assert code_hash(tree / "script.py", [tree], known=known) == before
    monkeypatch.undo()
    for record in known.iterdir():
        record.write_text(record.read_text()[:20])
    _digest.cache_clear()
    assert code_hash(tree / "script.py", [tree], known=known) == before
    replace(tree, "pack/a.py", "g()\n", "g() + 1\n")
    _digest.cache_clear()
    assert code_hash(tree / "script.py", [tree], known=known) != before


def test_what_was_remembered_ends_with_the_rules_of_hashing(tree, monkeypatch):
    known = tree / "known"
    code_hash(tree / "script.py", [tree], known=known)
    monkeypatch.setattr("convpress.workflow.codehash.OWN_TEXT", b"other rules")
    monkeypatch.setattr("convpress.workflow.codehash._parsed", lambda text: ("anew", ()))
    _digest.cache_clear()
    code_hash(tree / "script.py", [tree], known=known)
    assert any("anew" in record.read_text() for record in known.iterdir())
    _digest.cache_clear()


def test_a_hash_needs_no_place_to_remember(tree):
    (tree / "known").write_text("a file, so nothing can be written below")
    expected = both(tree)[0]
    _digest.cache_clear()
    assert code_hash(tree / "script.py", [tree], known=tree / "known") == expected


def test_extra_modules_count(tree):
    with_b = code_hash(tree / "other.py", [tree], ["pack.b"])
    assert with_b != both(tree)[1]
    replace(tree, "pack/b.py", "B = 1", "B = 2")
    _digest.cache_clear()
    assert code_hash(tree / "other.py", [tree], ["pack.b"]) != with_b


def test_training_scripts_do_not_depend_on_the_report():
    roots = [ROOT / "src", ROOT / "scripts"]
    for script in ("finetune.py", "evaluate.py", "search_kernels.py", "teacher_logits.py"):
        seen = {Path(script)}
        pending = [ROOT / "scripts" / script]
        from convpress.workflow.codehash import _files_of

        while pending:
            path = pending.pop()
            if path not in seen:
                seen.add(path)
                pending += [file for module in _digest(path)[1] for file in _files_of(module, tuple(roots))]
        assert not [path for path in seen if "report" in path.parts]
        assert any(path.name == "data.py" for path in seen)
