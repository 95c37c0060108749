"""scikit-learn's base classes, which have no types: of such a class mypy takes any argument."""

from __future__ import annotations

from typing import Any

MYPY = False  # mypy alone takes it for True; others read scikit-learn's source, or stubs of it
if MYPY:
    from typing_extensions import Self

    class BaseEstimator:  # noqa: D101
        def __getattr__(self, name: str) -> Any: ...  # what fit adds
        def __sklearn_tags__(self) -> Any: ...
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...  # noqa: D102
        def set_params(self, **params: Any) -> Self: ...  # noqa: D102

    class ClassifierMixin: ...  # noqa: D101

    class RegressorMixin: ...  # noqa: D101

else:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

__all__ = ["BaseEstimator", "ClassifierMixin", "RegressorMixin"]
