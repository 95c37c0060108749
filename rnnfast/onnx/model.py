"""What `load` returns: a model, called as a session of ONNX Runtime is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..checks import check_dtype, check_size
from .profile import Profile, Timing
from .proto import Signature, Value

if TYPE_CHECKING:
    from ..arrays import Array


class Host(Protocol):
    """What runs a graph; its methods get checked inputs, and threads may share it."""

    host: str
    signature: Signature
    content: bytes  # of the file, with the types of all values

    def run(self, names: list[str], feed: dict[str, Array], run_options: Any) -> list[Array]:
        """Return outputs by their names, as new arrays."""

    def profile(self, feed: dict[str, Array], rounds: int) -> list[Timing]:
        """Return what the nodes take, a mean over rounds."""


class Model:
    """A graph that `load` has read. Any number of threads may call it at once.

    Copies, and what comes of a pickle, are loaded anew.

    Attributes
    ----------
    inputs, outputs : list of Value
        In the order of the graph. Inputs that have a default are not among them.
    """

    def __init__(self, host: Host, again: Callable[[bytes], Model]) -> None:
        self.inputs, optional, self.outputs, self._free = host.signature
        self._host, self._again = host, again
        self._names = [value.name for value in self.outputs]
        self._required = {value.name for value in self.inputs}
        self._feeds = {value.name: value for value in [*self.inputs, *optional]}
        # shapes and dtypes of a call that passed all checks; swapped whole, as threads may race
        self._passed: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return self._again, (self._host.content,)

    @property
    def host(self) -> str:
        """What runs all but the recurrences: "onnxruntime" or "numpy"."""
        return self._host.host

    def get_inputs(self) -> list[Value]:
        """Return `inputs`, as onnxruntime does."""
        return self.inputs

    def get_outputs(self) -> list[Value]:
        """Return `outputs`, as onnxruntime does."""
        return self.outputs

    def __call__(self, /, *args: Array, **kwargs: Array) -> Any:
        """Run the model on arrays in the order of `inputs`, or by their names.

        Returns
        -------
        array or tuple of array
            The only output, or all of them in the order of `outputs`.

        Raises
        ------
        TypeError, ValueError
            As `run` does.
        """
        if len(args) > len(self.inputs):
            raise TypeError(f"the model takes {len(self.inputs)} inputs, got {len(args)}")
        feed = {value.name: array for value, array in zip(self.inputs, args, strict=False)}
        for name in kwargs.keys() & feed.keys():
            raise TypeError(f"the model got its input {name!r} twice")
        results = self.run(None, feed | kwargs)
        return results[0] if len(results) == 1 else tuple(results)

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Array],
        run_options: Any = None,
    ) -> list[Array]:
        """Run the model, with the arguments of ``onnxruntime.InferenceSession.run``.

        Parameters
        ----------
        output_names : sequence of str or None
            Which outputs to return; None for all.
        input_feed : mapping of str to ndarray
            Inputs by name, with the dtypes of `inputs` (not converted) and their shapes.
        run_options : onnxruntime.RunOptions, optional
            Handed to ONNX Runtime, where that is the host.

        Returns
        -------
        list of ndarray
            New arrays.

        Raises
        ------
        TypeError
            For what is no array, or one of another dtype.
        ValueError
            For an unknown or missing name, for a wrong shape, for `run_options` without ONNX
            Runtime, and where a node cannot compute with what it gets, say an index that an
            embedding does not have.
        """
        if isinstance(output_names, str):
            raise TypeError(
                f"the model expected output_names as a list of names, got {output_names!r}"
            )
        wanted = self._names if output_names is None else list(output_names)
        for name in wanted:
            if name not in self._names:
                known = ", ".join(self._names)
                raise ValueError(f"the model has no output {name!r}, only {known}")
        feed: Any = input_feed
        if not self._is_like_the_last(feed):
            feed = self._checked(feed)
            self._passed = {name: (array.shape, array.dtype) for name, array in feed.items()}
        return self._host.run(wanted, feed, run_options)

    def profile(self, input_feed: Mapping[str, Array], rounds: int = 10) -> Profile:
        """Say where the time of a call goes, by host and node.

        Parameters
        ----------
        input_feed : mapping of str to ndarray
            As `run` takes it.
        rounds : int, default 10
            How often each node runs; times are means.

        Returns
        -------
        Profile
            A list of `Timing`, longest first; printed, it is a table.

        Raises
        ------
        TypeError, ValueError
            As `run` does, and for `rounds` below 1.
        """
        check_size("profile", "rounds", rounds, 1)
        return Profile(self._host.profile(self._checked(input_feed), rounds))

    def _is_like_the_last(self, feed: Any) -> bool:
        # whether all checks would pass, as they did for the same shapes and dtypes
        passed = self._passed
        if passed is None or type(feed) is not dict or len(feed) != len(passed):
            return False
        for name, array in feed.items():
            known = passed.get(name)
            if (
                known is None
                or type(array) is not np.ndarray
                or array.dtype is not known[1]
                or array.shape != known[0]
            ):
                return False
        return True

    def _checked(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        if not isinstance(feed, Mapping):
            raise TypeError(
                "the model expected input_feed as a mapping of names to arrays, "
                f"got {type(feed).__name__}"
            )
        names = self._feeds.keys()
        if not self._required <= feed.keys() <= names:
            listed = ", ".join(repr(value.name) for value in self.inputs)
            for name in feed.keys() - names:
                raise ValueError(f"the model has no input {name!r}, only {listed}")
            missing = min(self._required - feed.keys())
            raise ValueError(f"the model needs the inputs {listed}, got no {missing!r}")
        arrays = {}
        for name, array in feed.items():
            _, shape, dtype = self._feeds[name]
            check_dtype("the model", name, array, dtype)
            if name not in self._free and (
                len(shape) != array.ndim
                or any(
                    [
                        length != given and isinstance(length, int)
                        for length, given in zip(shape, array.shape, strict=True)
                    ]
                )
            ):
                wanted = ", ".join("?" if length is None else str(length) for length in shape)
                raise ValueError(
                    f"the model expected {name} of shape ({wanted}), got {array.shape}"
                )
            arrays[name] = array.view() if array.dtype == dtype else array.astype(dtype)
        return arrays

    def __repr__(self) -> str:
        def listed(values: list[Value]) -> str:
            return ", ".join(f"{v.name}: {v.dtype} {v.shape}" for v in values)

        return f"Model(inputs=({listed(self.inputs)}), outputs=({listed(self.outputs)}))"
