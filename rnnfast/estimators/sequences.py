"""Sequences as users give them, and as the engine takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils import check_array

from ..checks import name_of
from ..datasets.formats import pad
from .batches import Ragged, with_weight
from .missing import check_finite
from .numeric import FLOATS, as_array, is_missing, refuse_sparse, to_floats
from .panels import from_frame, in_order, is_panel
from .sequence_form import SequenceForm, check_form
from .tables import (
    as_table,
    check_names,
    is_frame,
    is_pandas,
    match_names,
    plain,
    refuse_lazy,
    rows,
    time_column,
)
from .texts import holds_symbols
from .times import TimesReader

if TYPE_CHECKING:
    from ..arrays import Array


class Sequences(NamedTuple):
    """Sequences as arrays.

    Parameters
    ----------
    values : (samples, time, features) array of float32 or float64, or Ragged
        Zero past each sample's end.
    lengths : (samples,) array of int, or None
        None where all are equal.
    form : SequenceForm
    has_missing : bool
        Whether any value is NaN.
    ids : list, optional
        Of the samples of a long frame.
    unsorted : str, optional
        The first sample whose rows were not in order of time, which they are now.
    """

    values: Any
    lengths: Array | None
    form: SequenceForm
    has_missing: bool = False
    ids: list[Any] | None = None
    unsorted: str | None = None


# ---- what X is -------------------------------------------------------------------------------


def is_ragged(X: Any) -> bool:
    """Whether X is a list of sequences rather than one array, or nested lists of one."""
    if is_frame(X):
        return is_panel(X)
    X = plain(X)
    if isinstance(X, np.ndarray):
        return X.dtype == object and X.ndim == 1 and len(X) > 0 and np.ndim(X[0]) > 0
    if not isinstance(X, (list, tuple)) or not all(hasattr(s, "__len__") for s in X):
        return False
    return any(hasattr(s, "ndim") or hasattr(s, "to_numpy") for s in X) or len(set(map(len, X))) > 1


def axes(X: Any) -> int:
    """Return the number of axes of an array_like that is not ragged."""
    if is_frame(X):
        return 2
    return int(X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim)


# ---- numbers ---------------------------------------------------------------------------------


def read_sequences(
    owner: Any,
    X: Any,
    name: str = "X",
    *,
    lengths: Any = None,
    missing: str | None = None,
    seen: SequenceForm | None = None,
    padded: bool = True,
) -> Sequences:
    """Read sequences of real numbers.

    * A (samples, time, features) array, or a list of (time, features) arrays or frames, or of 1-D
      arrays or Series, of any lengths.
    * A (samples, time) array or frame: sequences of one feature. The rows of a frame whose index
      holds times are no samples, so it is refused.
    * A frame with an id, a time and values in each row (`tables.ID_NAMES`, `TIME_NAMES`), or with
      an index of two levels, samples and times. Its samples come in the order of their ids.

    Parameters
    ----------
    owner : estimator or str
        For errors.
    X : sequences
    name : str
        The user's argument.
    lengths : (samples,) array_like of int, optional
        Real steps of each sample of a padded array. What comes after them may be anything.
    missing : {"mask", "linear", "ffill", "mean"}, optional
        With it values may be missing: they are NaN in the result, for `missing.fill_missing`.
    seen : SequenceForm, optional
        Form of the X of `fit`.
    padded : bool
        Whether sequences of several lengths become one array, or stay as they are, as `Ragged`.

    Returns
    -------
    Sequences

    Raises
    ------
    TypeError, ValueError
        For anything else, sequences without steps, numbers that are not finite, and what is not of
        the form of `fit`.
    """
    refuse_lazy(owner, X, name)
    X = as_table(X)
    wanted = f"{name_of(owner)} expected {name}"
    refuse_sparse(owner, X, name)
    if not isinstance(X, (str, bytes)) and holds_symbols(X):
        raise TypeError(
            f"{wanted} of real numbers, got strings; astype(float) reads numbers from text"
        )
    if is_frame(X):
        known = None if seen is None else seen.names
        names, arrays, ids, unsorted = from_frame(owner, X, name, known)
    elif is_ragged(X) or _is_uneven(X):
        names, arrays, unsorted = _from_list(owner, plain(X), name, seen)
        ids = None
    else:
        names, arrays, ids, unsorted = None, _from_array(owner, X, name, seen), None, None
    x: Any
    if isinstance(arrays, list):
        kind = "list"
        _check_lengths_of_list(wanted, lengths)
        if padded or len({len(array) for array in arrays}) == 1:
            x, ends = pad(arrays)
        else:
            x = Ragged(arrays)
            ends = x.lengths
    else:
        kind = "cube" if arrays.ndim == 3 else "columns"
        x = arrays if arrays.ndim == 3 else arrays[..., np.newaxis]
        ends = check_lengths(owner, lengths, *x.shape[:2])
    columns = names if kind == "list" else None
    has_missing = check_finite(
        owner,
        x,
        ends,
        name,
        missing=missing,
        columns=columns,
        samples=ids,
        masked=isinstance(X, np.ma.MaskedArray),
    )
    if lengths is not None and ends is not None:
        x = _without_padding(x, ends)
    steps = (x.shape[1],) * 2 if ends is None else (int(ends.min()), int(ends.max()))
    form = SequenceForm(kind, x.shape[2], steps, columns)
    if seen is not None:
        check_form(wanted, name, X, x, form, seen)
    return Sequences(x, ends, form, has_missing, ids, unsorted)


def check_lengths(owner: Any, lengths: Any, n: int, steps: int) -> Array | None:
    """Return the real steps of each of `n` samples of an array, None where all are `steps`."""
    if lengths is None:
        return None
    wanted = f"{name_of(owner)} expected lengths"
    array = np.asarray(lengths)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{wanted} of int, got {array.dtype}")
    if array.shape != (n,):
        raise ValueError(f"{wanted} with one number for each of {n} samples, got {array.shape}")
    wrong = (array < 1) | (array > steps)
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(f"{wanted} from 1 to {steps}, got {array[i]} for sample {i}")
    return None if (array == steps).all() else array.astype(np.int64)


# ---- token ids -------------------------------------------------------------------------------


def check_ids(
    owner: Any,
    X: Any,
    size: int,
    *,
    lengths: Any = None,
    unknown_id: int | None = None,
) -> tuple[Array, Array | None]:
    """Return token ids from 0 to size - 1, (samples, time), and their lengths.

    Other ids become `unknown_id`; by default an error names the first.
    """
    wanted = f"{name_of(owner)} expected"
    given = plain(X)
    if not hasattr(given, "__len__") or isinstance(given, (str, bytes)):
        raise TypeError(f"{wanted} X as sequences, got {type(X).__name__}")
    if len(given) and _axes_or_none(given) == 1:
        raise ValueError(
            f"{wanted} X as sequences of token ids, got one sequence; [X] is a list of one"
        )
    arrays = [_token_ids(owner, s, f"X[{i}]") for i, s in enumerate(given)]
    if not arrays:
        raise ValueError(f"{wanted} at least one sample, got none")
    x, ends = pad(arrays)
    if lengths is not None:
        _check_lengths_of_list(f"{wanted} X", lengths if is_ragged(X) else None)
        ends = check_lengths(owner, lengths, *x.shape)
        if ends is not None:
            x = _without_padding(x, ends)
    known = 0 <= x.min() <= x.max() < size
    if not known and unknown_id is not None:
        x = np.where((x < 0) | (x >= size), unknown_id, x)
    elif not known:
        sample, step = np.argwhere((x < 0) | (x >= size))[0]
        advice = "; unknown_id= stands for such ones" if hasattr(owner, "unknown_id") else ""
        raise ValueError(
            f"{wanted} token ids from 0 to {size - 1}, got {x.min()} to {x.max()}: "
            f"{x[sample, step]} in X[{sample}], step {step}{advice}"
        )
    return x, ends


def _token_ids(owner: Any, sequence: Any, name: str) -> Array:
    wanted = f"{name_of(owner)} expected"
    if isinstance(sequence, np.ma.MaskedArray) and np.ma.getmaskarray(sequence).any():
        raise ValueError(f"{wanted} {name} with a token id at each step, got masked ones")
    array = np.asarray(plain(sequence))
    if not array.size:
        raise ValueError(f"{wanted} {name} of at least one step, got shape {array.shape}")
    if array.dtype.kind == "O" and all(isinstance(v, (int, np.integer)) for v in array.flat):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        advice = ""
        if array.dtype.kind == "f" and (array == np.floor(array)).all():
            advice = "; astype(int) makes them ids"
        raise TypeError(f"{wanted} {name} as token ids (integers), got {array.dtype}{advice}")
    if array.ndim == 2 and array.shape[1] != 1:
        raise ValueError(f"{wanted} a token id for each step, got {array.shape[1]} features")
    if array.ndim not in (1, 2):
        raise ValueError(f"{wanted} {name} as (time,) token ids, got shape {array.shape}")
    return array.reshape(-1)


# ---- results ---------------------------------------------------------------------------------


def is_step(x: Array, lengths: Array | None) -> Array | None:
    """Return which steps (samples, time) are real, None where all are."""
    return None if lengths is None else np.arange(x.shape[1]) < lengths[:, np.newaxis]


def counts(x: Array, lengths: Array | None, weight: Array | None) -> Array | None:
    """Return which steps are real and of samples that have any weight, or None for all."""
    real = is_step(x, lengths)
    if weight is None or weight.all():
        return real
    some = np.zeros(x.shape[:2], bool)
    some[with_weight(weight)] = True
    return some if real is None else some & real


def unpad(y: Array, lengths: Array | None, like: Any) -> Any:
    """Return (samples, time, ...) as the sequences `like` were given: an array or a list."""
    if not is_ragged(like):
        return y
    ends = [y.shape[1]] * len(y) if lengths is None else lengths
    return [sample[:n] for sample, n in zip(y, ends, strict=True)]


# ---- forms of X ------------------------------------------------------------------------------


def _from_array(owner: Any, X: Any, name: str, seen: SequenceForm | None) -> Array:
    wanted = f"{name_of(owner)} expected {name} as (samples, time, features) or (samples, time)"
    if axes(X) == 0:
        raise TypeError(f"{wanted}, got {type(X).__name__}")
    array = to_floats(owner, X, name)
    if array.ndim == 1:
        advice = f"{as_array(X, name)}[np.newaxis] is one sample of {len(array)} steps"
        if seen is not None and seen.n_features > 1:
            advice = f"each step has {seen.n_features} features, as in fit"
        raise ValueError(f"{wanted}, got shape {array.shape}. Reshape your data: {advice}")
    if array.ndim > 3 or (array.ndim == 3 and 0 in array.shape[1:]):
        raise ValueError(f"{wanted} with at least one step and feature, got shape {array.shape}")
    # in one order, as sums of other layouts round in other ways
    checked: Array = check_array(
        array,
        dtype=FLOATS,
        order="C",
        allow_nd=array.ndim == 3,
        ensure_all_finite=False,
        estimator=owner,
        input_name=name,
    )
    return checked


def _from_list(
    owner: Any, X: Any, name: str, seen: SequenceForm | None
) -> tuple[list[Any] | None, list[Array], str | None]:
    names = seen.names if seen is not None else None
    arrays: list[Array] = []
    read_times = TimesReader(owner, regular=False)
    for i, sample in enumerate(X):
        label = f"{name}[{i}]"
        if is_missing(sample):
            raise ValueError(f"{name_of(owner)} expected {label} as a sequence, got {sample!r}")
        if is_frame(sample):
            when = time_column(sample)
            own = [n for n in check_names(owner, sample, label) if n != when]
            own = match_names(owner, own, names, label)
            names = own if names is None else names
            array = in_order(read_times, sample, rows(owner, sample, label, own), when, label)
        else:
            array = to_floats(owner, sample, label)
            if is_pandas(sample):
                array = in_order(read_times, sample, array, None, label)
        if array.ndim not in (1, 2) or array.size == 0:
            raise ValueError(
                f"{name_of(owner)} expected {label} as (time, features) or (time,) with at "
                f"least one step and feature, got shape {array.shape}"
            )
        array = array[:, np.newaxis] if array.ndim == 1 else array
        if arrays and array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"{name_of(owner)} expected {label} of {arrays[0].shape[1]} features at each "
                f"step, as {name}[0] has, got {array.shape[1]}"
            )
        arrays.append(array)
    if not arrays:
        raise ValueError(f"{name_of(owner)} expected at least one sample, got none")
    return names, arrays, read_times.unsorted


def _is_uneven(X: Any) -> bool:
    """Whether nested lists of one length are of others inside, so that they make no array."""
    if not isinstance(X, (list, tuple)) or not any(hasattr(s, "__len__") for s in X):
        return False
    try:
        np.asarray(X)
    except ValueError:
        return True
    return False


def _axes_or_none(X: Any) -> int | None:
    """Return the number of axes, None for nested lists of different lengths."""
    if is_ragged(X):
        return None
    try:
        return axes(X)
    except ValueError:
        return None


# ---- padding ---------------------------------------------------------------------------------


def _check_lengths_of_list(wanted: str, lengths: Any) -> None:
    if lengths is not None:
        raise ValueError(
            f"{wanted} as a padded array with lengths, got a list of sequences, each of which has "
            "a length of its own"
        )


def _without_padding(x: Array, ends: Array) -> Array:
    """Return x with zeros past each sample's end."""
    past = np.arange(x.shape[1]) >= ends[:, np.newaxis]
    if not x[past].any():  # NaN counts as any
        return x
    x = x.copy()
    x[past] = 0
    return x
