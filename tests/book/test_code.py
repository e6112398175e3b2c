"""Which code a module rests on: imports followed by hand, and edits that count or do not."""

import pytest

from book.tools.code import closure, code_hash, essence, read


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


def test_relative_imports_count_and_what_is_left_out_does_not(checkout):
    (checkout / "pkg/sub/two.py").write_text("from . import one\nfrom ..alone import thing\n")
    found = closure([checkout / "pkg/sub/two.py"], checkout, without=[checkout / "pkg/sub/one.py"])
    assert [path.stem for path in found] == ["__init__", "alone", "base", "__init__", "two"]


def test_line_ends_and_a_byte_order_mark_do_not_count(checkout):
    file = checkout / "pkg/other.py"
    first = code_hash([file], checkout)
    file.write_bytes(b"\xef\xbb\xbfthing = 1\r\n")
    assert code_hash([file], checkout) == first
    assert read(file) == "thing = 1\n"


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


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('x = """a\n\nb"""', 'x = """a\nb"""', False),  # inside a string an empty line counts
        ('x = """a \nb"""', 'x = """a\nb"""', False),  # and so does a blank
        ('x = f"""{y}\n\nb"""', 'x = f"""{y}\nb"""', False),
        ('def f(): "doc"; return 1', 'def f(): "doc"; return 2', False),  # what shares a line with a docstring
        ('class A: "doc"', 'class B: "doc"', False),
        ('def f():\n    "说 doc"; return 1  # 说', 'def f():\n    "doc"; return 1', True),
        ('x = "\x0c\u2028"  # a\ny = 1', 'x = "\x0c\u2028"  # b\ny = 1', True),  # no ends of lines to Python
        ('x = "\x0c\u2028"  # a\ny = 1', 'x = "\x0c\u2028"  # a\ny = 2', False),
        ('x = ("a"  # one\n     "b")', 'x = ("a"\n     "b")', True),
        ("@e.check\ndef c(s):\n    return s  # row\nx = 1", "@e.check\ndef d(s):\n    yield 2\nx = 1", True),
        ("@e.check\ndef c(s):\n    return s\nx = 1", "@e.check\ndef c(s):\n    return s\nx = 2", False),
        ("@check\ndef c(s):\n    return s", "@check\ndef c(s):\n    return 2", False),
    ],
)
def test_edges(one, other, same):
    assert (essence(one) == essence(other)) == same
