"""Which code a module rests on: imports followed by hand, and edits that count or do not."""

import pytest

from book.tools.code import closure, code_hash, essence


@pytest.fixture
def checkout(tmp_path):
    package = tmp_path / "pkg"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "sub" / "__init__.py").write_text("from pkg import base\n")
    (package / "base.py").write_text("import numpy\n")
    (package / "sub" / "one.py").write_text("def lazy():\n    from pkg.other import thing\n    return thing\n")
    (package / "other.py").write_text("thing = 1\n")
    (package / "alone.py").write_text("thing = 2\n")
    return tmp_path


def test_a_closure_follows_lazy_imports_and_packages(checkout):
    found = closure([checkout / "pkg/sub/one.py"], checkout)
    names = [path.relative_to(checkout.resolve() / "pkg").as_posix() for path in found]
    assert names == ["__init__.py", "base.py", "other.py", "sub/__init__.py", "sub/one.py"]


def test_only_what_is_reached_counts(checkout):
    def hashed():
        return code_hash(closure([checkout / "pkg/sub/one.py"], checkout), checkout)

    first = hashed()
    (checkout / "pkg/alone.py").write_text("thing = 3\n")
    assert hashed() == first
    (checkout / "pkg/other.py").write_text("thing = 2\n")
    assert hashed() != first


SOURCE = '''"""What it is."""

def f(x):
    """Say."""
    return "# no comment" + x  # a comment
'''


@pytest.mark.parametrize(
    ("was", "becomes", "counts"),
    [
        ("What it is.", "What it\nwas.", False),
        ("Say.", "Tell.", False),
        ("a comment", "another", False),
        ("return", "\n    return", False),
        ("# no", "# a", True),
        ("+ x", "- x", True),
        ("(x)", "(y)", True),
    ],
)
def test_comments_and_docstrings_do_not_count(was, becomes, counts):
    assert (essence(SOURCE) != essence(SOURCE.replace(was, becomes, 1))) == counts
