"""scikit-learn's base classes, which have no types: of such a class mypy takes any argument."""

from __future__ import annotations

from typing import Any

MYPY = False  # mypy alone takes it for True
if MYPY:
    from typing_extensions import Self

    class _Base:
        def __getattr__(self, name: str) -> Any: ...  # what fit adds
        def __sklearn_tags__(self) -> Any: ...
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...

    class _Mixin: ...

    # by other names, or pyright, too, would take these and not those of scikit-learn's source
    BaseEstimator = _Base
    ClassifierMixin = _Mixin
    RegressorMixin = _Mixin
else:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

__all__ = ["BaseEstimator", "ClassifierMixin", "RegressorMixin"]
