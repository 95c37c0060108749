"""Estimators with scikit-learn's conventions; they need ``pip install rnnfast[sklearn]``."""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "rnnfast.estimators needs the scikit-learn library: pip install rnnfast[sklearn]; "
        "rnnfast.fit trains without it"
    ) from error

from .classifier import SequenceClassifier
from .forecaster import Forecaster
from .labeler import SequenceLabeler
from .language import LanguageModel
from .regressor import SequenceRegressor
from .seq2seq import Seq2Seq
from .simple import LinearForecaster, NaiveForecaster

__all__ = [
    "Forecaster",
    "LanguageModel",
    "LinearForecaster",
    "NaiveForecaster",
    "Seq2Seq",
    "SequenceClassifier",
    "SequenceLabeler",
    "SequenceRegressor",
]
