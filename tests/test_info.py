"""`rnnfast.info`: what describes the machine."""

from __future__ import annotations

import io

import pytest

from rnnfast.info import processor


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("Intel(R) Xeon(R) Processor", "Intel Xeon family 6 model 85"),
        (
            "Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz",
            "Intel Core i7-8700 @ 3.20GHz family 6 model 85",
        ),
        ("AMD EPYC", "AMD EPYC family 6 model 85"),
    ],
)
def test_processor_has_no_trademarks(monkeypatch, name, want):
    text = f"processor\t: 0\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: {name}\n"
    monkeypatch.setattr("builtins.open", lambda path: io.StringIO(text))
    assert processor() == want
