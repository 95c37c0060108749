"""Builds the compiled engine with what the machine offers; the metadata stands in pyproject.toml.

Without a compiler rnnfast installs with its NumPy reference backend only, without OpenMP its
engine is serial: both are said in the build's output and by `python -m rnnfast info`.
"""

import os
import platform
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

# No -march: each file of csrc names its own instruction set, and dispatch.c chooses at run time.
# With -O3 the tiles are the same code, and all else is larger.
# Nobody reads errno or floating-point exceptions, and heeding them keeps sqrt from being a vector.
# Aligned, the tiles' loops cross fewer lines of the cache of decoded instructions. No exception
# passes through C, so tables to unwind its stack only add to the size.
COMPILE_FLAGS = [
    "-O2",
    "-g0",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-falign-loops=64",
    "-fno-asynchronous-unwind-tables",
]
# A second form of each loop, for strides of one, gains nothing here and is left unaligned.
GCC_FLAGS = ["-fno-version-loops-for-strides"]
# Pages of their own for code, and for tables that are written at load alone, would pad each module.
SMALLER = ["-s", "-Wl,-z,noseparate-code", "-Wl,-z,norelro"]
LINK_FLAGS = SMALLER if sys.platform == "linux" else []
OPENMP_FLAGS = ["-fopenmp"]
# For modules that only call kernels or plan, and not once a step.
SMALL = ["-Os"]
# Those of x86 processors without AVX2 lose up to a tenth.
FILES = {"baseline_f32.c": SMALL, "baseline_f64.c": SMALL} if platform.machine() == "x86_64" else {}
# Of the environment: they make other numbers, lose NaN, or flush denormals in the whole process.
UNSAFE_FLAGS = {
    "-Ofast",
    "-ffast-math",
    "-funsafe-math-optimizations",
    "-fassociative-math",
    "-freciprocal-math",
    "-ffinite-math-only",
    "-fno-signed-zeros",
}

COMPILER_PROBE = """
#include <Python.h>
#if !defined(__clang__) && __GNUC__ < 9
#error "too old"
#endif
typedef float vec __attribute__((vector_size(16)));
vec probe(vec a, vec b);
vec probe(vec a, vec b) { return a * b; }
"""
OPENMP_PROBE = """
#include <omp.h>
int probe(void);
int probe(void) {
    int n = 0;
#pragma omp parallel reduction(+ : n)
    n += omp_get_num_threads();
    return n;
}
"""


def readme():
    """Return the README for a package index, where links inside the repository would be dead."""
    text, project = (Path(name).read_text("utf-8") for name in ("README.md", "pyproject.toml"))
    address = re.search(r'^Repository = "(.+)"', project, re.M)[1]
    return re.sub(r"\]\((?!https:|#)", f"]({address}/blob/main/", text)


def leave_out_unsafe_flags(environment):
    """Take flags that change results out of the variables that setuptools reads."""
    for name in ("CC", "CFLAGS", "CPPFLAGS", "LDSHARED", "LDFLAGS"):
        flags = environment.get(name, "").split()
        unsafe = [flag for flag in flags if flag in UNSAFE_FLAGS]
        if unsafe:
            print(f"rnnfast: left out of {name}: {' '.join(unsafe)}, which would change results")
            environment[name] = " ".join(flag for flag in flags if flag not in UNSAFE_FLAGS)


class BuildEngine(build_ext):
    def build_extensions(self):
        if not self.builds(COMPILER_PROBE, []):
            print(
                "rnnfast: no working C compiler (GCC >= 9 or Clang >= 14, with Python's headers), "
                "installing without the engine; the NumPy reference backend serves"
            )
            self.extensions = []
            return
        gcc = GCC_FLAGS if self.builds(COMPILER_PROBE, GCC_FLAGS) else []
        if self.builds(OPENMP_PROBE, OPENMP_FLAGS):
            print("rnnfast: C compiler and OpenMP found")
            openmp = OPENMP_FLAGS
        else:
            print("rnnfast: no OpenMP found, the engine will be serial")
            openmp = []

        import numpy
        from Cython.Build import cythonize

        for ext in self.extensions:
            ext.include_dirs.append(numpy.get_include())
            ext.extra_compile_args += gcc + openmp
            ext.extra_link_args += openmp
            ext.sources[:1] = cythonize(ext.sources[0], build_dir=self.build_temp)[0].sources

        serial = self.compiler.compile

        def compile_file(source, extra_postargs=(), **options):
            flags = FILES.get(Path(source).name, [])
            return serial([source], extra_postargs=[*extra_postargs, *flags], **options)

        def compile_files_in_parallel(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_file(source, **options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_files_in_parallel
        self.parallel = True
        super().build_extensions()

    def builds(self, program, flags):
        """Whether a shared library can be made of `program`."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(program)
            try:
                objects = self.compiler.compile([str(source)], folder, extra_postargs=flags)
                target = str(Path(folder, "probe.so"))
                self.compiler.link_shared_object(objects, target, extra_postargs=flags)
            except (CompileError, LinkError):
                return False
        return True


def extension(name, *sources, flags=()):
    return Extension(
        f"rnnfast.core.{name}",
        [f"rnnfast/core/{name}.pyx", *sources],
        include_dirs=["csrc"],
        depends=[*glob("csrc/**/*.h", recursive=True), *glob("rnnfast/core/*.pxd")],
        define_macros=[("NPY_TARGET_VERSION", "NPY_1_23_API_VERSION")],
        extra_compile_args=[*COMPILE_FLAGS, *flags],
        extra_link_args=LINK_FLAGS[:],
    )


leave_out_unsafe_flags(os.environ)
setup(
    long_description=readme(),
    long_description_content_type="text/markdown",
    ext_modules=[
        extension("kernels", *sorted(glob("csrc/*.c"))),
        extension("packed", flags=SMALL),
        extension("job", flags=SMALL),
        extension("phases"),
        extension("forward"),
        extension("backward"),
        extension("recurrent", flags=SMALL),
        extension("optim", flags=SMALL),
        extension("dense", flags=SMALL),
        extension("custom_op", flags=SMALL),
    ],
    cmdclass={"build_ext": BuildEngine},
)
