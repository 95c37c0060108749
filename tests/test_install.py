"""The installed package: what it needs, what it holds, what importing it costs."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import rnnfast

PACKAGE = Path(rnnfast.__file__).parent
EDITABLE = any("__editable__" in str(file) for file in metadata.files("rnnfast"))


def python(code):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(result.stdout)


def test_version_is_the_distribution_s():
    assert rnnfast.__version__ == metadata.version("rnnfast")


def test_numpy_is_all_that_it_needs():
    always = [line for line in metadata.requires("rnnfast") if "extra ==" not in line]
    assert [re.match(r"[\w-]+", line).group() for line in always] == ["numpy"]


def test_links_of_the_description_are_whole():
    """It is the page of a package index."""
    if EDITABLE:
        pytest.skip("an editable install keeps the page that it was made with")
    links = re.findall(r"\]\(([^)]*)\)", metadata.metadata("rnnfast")["Description"])
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []


def test_type_hints_are_installed():
    names = ("py.typed", "core/kernels.pyi", "core/recurrent.pyi", "core/dense.pyi")
    assert [name for name in names if not (PACKAGE / name).exists()] == []


def test_installed_size():
    files = metadata.files("rnnfast")
    if EDITABLE:
        pytest.skip("an editable install holds no files")
    # a repaired wheel brings the compiler's OpenMP along, in rnnfast.libs
    own = [file for file in files if file.parts[0] != "rnnfast.libs" and file.locate().exists()]
    size = sum(Path(file.locate()).stat().st_size for file in own)
    assert 50e3 < size < 6e6
    sources = [str(file) for file in files if file.suffix in (".c", ".h", ".pyx", ".pxd")]
    assert sources == []


def test_import_brings_no_other_package_along():
    code = """
import json, sys, numpy
before = {name.partition(".")[0] for name in sys.modules}
import rnnfast
after = {name.partition(".")[0] for name in sys.modules}
new = after - before - set(sys.stdlib_module_names)
print(json.dumps(sorted(name for name in new if "cython" not in name)))
"""
    assert python(code) == ["rnnfast"]


def test_import_is_quick():
    code = """
import time
start = time.perf_counter()
import numpy
middle = time.perf_counter()
import rnnfast
print((time.perf_counter() - start) / (middle - start))
"""
    # The least of several: everything else that a busy machine does only adds to it.
    assert min(python(code) for _ in range(7)) <= 1.3
