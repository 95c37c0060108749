"""Estimators with scikit-learn's conventions; they need ``pip install rnnfast[sklearn]``."""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "rnnfast.estimators needs the scikit-learn library: pip install rnnfast[sklearn]; "
        "rnnfast.fit trains without it"
    ) from error

from .classifier import SequenceClassifier
from .forecaster import Forecaster, LinearForecaster, NaiveForecaster
from .labeler import SequenceLabeler
from .regressor import SequenceRegressor

__all__ = [
    "Forecaster",
    "LinearForecaster",
    "NaiveForecaster",
    "SequenceClassifier",
    "SequenceLabeler",
    "SequenceRegressor",
]
