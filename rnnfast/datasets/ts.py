"""The .ts format of time series with labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_float_dtype
from .files import joined, read_lines

if TYPE_CHECKING:
    from ..arrays import Array

__all__ = ["read_ts"]


def read_ts(
    path: str | os.PathLike[str], dtype: Any = np.float32
) -> tuple[Array | list[Array], Array | None]:
    """Read a file in the .ts format of aeon, sktime and the UCR and UEA archives.

    The format, with one sample a line, colons between channels and before the label, and commas
    between steps: https://www.aeon-toolkit.org/en/stable/api_reference/data_format.html. Time
    stamps are not supported.

    Parameters
    ----------
    path : path
    dtype : dtype, default float32
        Of the series: float32 or float64.

    Returns
    -------
    x : (samples, time, channels) array, or list of (time, channels) arrays
        An array where all samples have the same length. A missing value ("?" in the file) is NaN.
    y : (samples,) array or None
        str for ``@classLabel true``, float64 for ``@targetLabel true``, None without labels.

    Raises
    ------
    OSError
        Where the file cannot be opened.
    ValueError
        For a file that is not of this format, or contradicts its own header; the message has the
        line.
    """
    dtype = check_float_dtype("read_ts", dtype)
    name = os.fspath(path)
    with open(name, "rb") as file:
        lines = (
            (place, line)
            for place, line in read_lines(name, file)
            if line[:1] not in ("#", "%", "")
        )
        header = _read_header(name, lines)
        classes = header["classlabel"]
        series: list[Array] = []
        labels: list[Any] = []
        channels = header["dimensions"]
        steps = header["serieslength"]
        for place, line in lines:
            columns = line.split(":")
            if classes is not None or header["targetlabel"]:
                labels.append(_label(place, columns.pop().strip(), classes))
            sample = _values(place, columns, dtype)
            channels = channels or len(columns)
            if len(columns) != channels:
                raise ValueError(f"{place}: expected {channels} channels, got {len(columns)}")
            if header["equallength"]:
                steps = steps or len(sample)
                if len(sample) != steps:
                    raise ValueError(
                        f"{place}: expected {steps} time steps like the others, got {len(sample)}"
                    )
            series.append(sample)
    if not series:
        raise ValueError(f"{name}: expected at least one sample after @data, got none")
    return joined(series), np.array(labels) if labels else None


def _read_header(name: str, lines: Iterator[tuple[str, str]]) -> dict[str, Any]:
    """Read up to @data: of each tag that matters its value; of @classLabel the labels, or None."""
    header: dict[str, Any] = {
        "univariate": False,
        "equallength": False,
        "timestamps": False,
        "targetlabel": False,
        "classlabel": None,
        "dimensions": None,
        "serieslength": None,
    }
    seen: set[str] = set()
    for place, line in lines:
        tag, *values = line.split()
        key = tag[1:].lower()
        key = "dimensions" if key == "dimension" else key  # both are in use
        if not tag.startswith("@"):
            raise ValueError(f"{place}: expected a tag like @data, got {short(line)}")
        if key in seen and key in header:  # UnitTest, of aeon and sktime, has @problemName twice
            raise ValueError(f"{place}: expected each tag once, got {short(tag)} again")
        seen.add(key)
        if key == "data":
            return _check_header(place, header)
        if key == "classlabel" and _flag(place, tag, values):
            header[key] = values[1:]
        elif key in ("univariate", "equallength", "timestamps", "targetlabel"):
            header[key] = _flag(place, tag, values)
        elif key in ("dimensions", "serieslength"):
            if len(values) != 1 or not values[0].isdecimal():
                raise ValueError(f"{place}: expected {tag} and a number, got {short(line)}")
            header[key] = int(values[0])
    raise ValueError(f"{name}: expected the tag @data, found none")


def _flag(place: str, tag: str, values: list[str]) -> bool:
    if not values or values[0].lower() not in ("true", "false"):
        raise ValueError(f"{place}: expected {tag} and true or false, got {short(values)}")
    return values[0].lower() == "true"


def _check_header(place: str, header: dict[str, Any]) -> dict[str, Any]:
    if header["timestamps"]:
        raise ValueError(f"{place}: expected series without time stamps, got @timeStamps true")
    if header["targetlabel"] and header["classlabel"] is not None:
        raise ValueError(f"{place}: expected @classLabel or @targetLabel, got both")
    if header["univariate"]:
        if header["dimensions"] not in (None, 1):
            raise ValueError(
                f"{place}: expected @dimensions 1 with @univariate true, got {header['dimensions']}"
            )
        header["dimensions"] = 1
    return header


def _label(place: str, text: str, classes: list[str] | None) -> str | float:
    if classes is None:
        value = float(_numbers(place, [text], np.float64)[0])
        if np.isnan(value):
            raise ValueError(f"{place}: expected a number as label, got {short(text)}")
        return value
    if text not in classes:
        raise ValueError(
            f"{place}: expected one of the labels {', '.join(classes)}, got {short(text)}"
        )
    return text


def _values(place: str, columns: list[str], dtype: Any) -> Array:
    """Return the (time, channels) array of a sample's channels as text."""
    channels = [_numbers(place, column.split(","), dtype) for column in columns]
    lengths = {len(channel) for channel in channels}
    if len(lengths) != 1:
        raise ValueError(
            f"{place}: expected channels of one length, got {sorted(lengths) or 'none'}"
        )
    return np.stack(channels, axis=-1)


def _numbers(place: str, texts: list[str], dtype: Any) -> Array:
    try:
        with np.errstate(over="ignore"):  # infinite then, and so refused below
            values = np.array(["nan" if text.strip() == "?" else text for text in texts], "f8")
            values = values.astype(dtype)
    except ValueError:
        raise ValueError(f"{place}: expected numbers, got {short(texts)}") from None
    if np.isinf(values).any():
        raise ValueError(f"{place}: expected finite numbers, got {short(texts)}")
    return values
