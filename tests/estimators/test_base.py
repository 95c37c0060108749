"""What all estimators share: how a fit goes on from another, ends early, fails, and is told of."""

from __future__ import annotations

import copy
import pickle
import warnings
from functools import partial

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import told
from sklearn.exceptions import ConvergenceWarning

from rnnfast import Adam, Callback, Dropout, ExponentialLR, losses
from rnnfast.estimators import (
    Forecaster,
    LanguageModel,
    LinearForecaster,
    Seq2Seq,
    SequenceClassifier,
    SequenceLabeler,
    SequenceRegressor,
)
from rnnfast.estimators.convergence import least_constant_loss
from rnnfast.schedules import Schedule

QUICK = {"hidden_size": 8, "max_iter": 2, "random_state": 0}
RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6, 2))
Y = np.arange(40) % 2
WAVE = np.sin(np.arange(60) / 3)
TEXTS = ["one two", "two one", "one", "two two", "two", "one one"]
# estimator, and what it is fitted on
EACH = {
    "classifier": (SequenceClassifier, (X, Y)),
    "regressor": (SequenceRegressor, (X, Y * 1.0)),
    "labeler": (SequenceLabeler, (X, np.repeat(Y[:, None], 6, 1))),
    "language": (LanguageModel, (TEXTS,)),
    "seq2seq": (Seq2Seq, (TEXTS, TEXTS)),
}
each = pytest.mark.parametrize("name", EACH)


def make(name, **options):
    kind, data = EACH[name]
    return kind(**{**QUICK, **options}), data


def weights(model):
    return np.concatenate([a.ravel() for a in model.model_.state_dict().values()])


# ---- parameters changed between fits -------------------------------------------------------------


@each
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_a_changed_rate_takes_effect(name, how):
    model, data = make(name, warm_start=True)
    before = weights(model.fit(*data))
    getattr(model.set_params(learning_rate_init=1e-6), how)(*data)
    assert model.optimizer_.lr == 1e-6
    assert 0 < np.abs(weights(model) - before).max() < 1e-4


@each
def test_a_changed_optimizer_takes_effect(name):
    model, data = make(name, warm_start=True)
    model.fit(*data).set_params(optimizer="sgd").fit(*data)
    assert type(model.optimizer_).__name__ == "SGD"


def test_the_optimizer_is_kept_where_nothing_has_changed():
    model, data = make("classifier", warm_start=True)
    before = model.fit(*data).optimizer_
    assert model.fit(*data).optimizer_ is before
    assert before.steps == 8


@pytest.mark.filterwarnings("ignore:fit goes on with a learning rate of 0:UserWarning")
@each
def test_a_changed_dropout_takes_effect_on_the_same_weights(name):
    model, data = make(name, warm_start=True, optimizer=still)
    before = weights(model.fit(*data))
    model.set_params(dropout=0.5).fit(*data)
    np.testing.assert_array_equal(weights(model), before)
    if name != "seq2seq":  # which has it inside
        assert any(isinstance(layer, Dropout) for layer in model.model_.layers)
    assert model.loss_curve_[-1] != model.loss_curve_[0]


def still(model, lr):
    adam = Adam(model, lr)
    adam.lr = 0.0
    return adam


@each
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "change", [{"hidden_size": 9}, {"cell": "gru"}, {"num_layers": 2}], ids=lambda c: next(iter(c))
)
def test_a_changed_shape_is_refused_by_name(name, how, change):
    model, data = make(name, warm_start=True)
    before = weights(model.fit(*data))
    key = next(iter(change))
    with pytest.raises(ValueError, match=f"expected {key} .*, as in the fit that this one goes on"):
        getattr(model.set_params(**change), how)(*data)
    np.testing.assert_array_equal(weights(model), before)
    model.set_params(warm_start=False).fit(*data)  # a new network


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": "mean"},
        {"bidirectional": True},
        {"standardize": False},
        {"network": len},
        {"vocabulary_size": 3},
        {"missing": "mean"},
    ],
    ids=lambda c: next(iter(c)),
)
def test_what_else_shapes_a_network(change):
    model, data = make("classifier", warm_start=True)
    with pytest.raises(ValueError, match=f"expected {next(iter(change))} "):
        model.fit(*data).set_params(**change).fit(*data)


def test_a_changed_random_state_draws_another_order():
    curves = []
    for seed in (0, 1):
        model, data = make("classifier", warm_start=True)
        curves.append(model.fit(*data).set_params(random_state=seed).fit(*data).loss_curve_)
    assert curves[0][:2] == curves[1][:2]
    assert curves[0][2:] != curves[1][2:]


def test_schedules_go_on_across_fits():
    halve = partial(ExponentialLR, gamma=0.5)
    model, data = make("classifier", warm_start=True, callbacks=[halve], learning_rate_init=0.08)
    assert model.fit(*data).optimizer_.lr == pytest.approx(0.02)
    assert model.fit(*data).optimizer_.lr == pytest.approx(0.005)
    assert model.partial_fit(*data).optimizer_.lr == pytest.approx(0.0025)
    again = pickle.loads(pickle.dumps(model)).partial_fit(*data)
    assert again.optimizer_.lr == pytest.approx(0.00125)
    # a new rate is where the schedule starts from
    assert model.set_params(learning_rate_init=0.4).fit(*data).optimizer_.lr == pytest.approx(0.1)


class ToZero(Schedule):
    def _rate(self, step):
        return 0.0


def test_a_rate_of_zero_is_told():
    model, data = make("classifier", callbacks=[ToZero], max_iter=1)
    model.fit(*data)
    with pytest.warns(UserWarning, match="rate of 0"):
        model.partial_fit(*data)


# ---- training that fails -------------------------------------------------------------------------


@each
def test_divergence_is_told_and_the_weights_stay_finite(name):
    model, data = make(name, learning_rate_init=3e38, clip_norm=None, max_iter=6, optimizer="sgd")
    said = (
        rf"{type(model).__name__}: training diverged in epoch \d.* Try a learning_rate_init below"
    )
    with pytest.warns(ConvergenceWarning, match=said):
        model.fit(*data)
    assert np.isfinite(weights(model)).all()
    assert np.isfinite(model.loss_curve_).all()


def test_divergence_names_the_epoch_and_both_losses():
    model, data = make("regressor", learning_rate_init=1e38, clip_norm=None, optimizer="sgd")
    with pytest.warns(
        ConvergenceWarning,
        match=r"diverged in epoch 1: nonfinite \w+. The loss was .*, where the best number for all "
        r"y alone would have 1\. The weights of the epoch before are kept",
    ):
        model.fit(*data)
    # which can be trained on
    model.set_params(learning_rate_init=1e-3, warm_start=True, optimizer="adam", max_iter=30)
    assert np.isfinite(model.fit(*data).loss_curve_[-1])


def test_a_network_without_numbers_predicts_no_class():
    model, data = make("classifier")
    model.fit(*data)
    model.model_.params["2.bias"] = np.full(2, np.nan, np.float32)
    with pytest.raises(ValueError, match=r"outputs are finite, got NaN or inf for X\[0\]"):
        model.predict(X)


def test_learning_nothing_is_told_with_two_numbers():
    noise = np.random.default_rng(1).integers(0, 2, 40)
    model, _ = make("classifier", max_iter=1)
    with pytest.warns(
        ConvergenceWarning,
        match=r"after 2 updates the loss is 0\.\d+, no better than the 0\.6\d+ of",
    ):
        model.fit(X, noise)
    y = X[:, :, 0].sum(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SequenceRegressor(**{**QUICK, "max_iter": 60, "learning_rate_init": 0.01}).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="better than the .* of the best number for all y"):
        SequenceRegressor(**{**QUICK, "max_iter": 1}).fit(X, 5.0 * noise + 3.0)


def test_where_nothing_is_to_be_learnt_nothing_is_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SequenceLabeler(**QUICK).fit(X, np.ones((40, 6)))
        SequenceRegressor(**QUICK).fit(X, np.ones(40))


class Interrupt(Callback):
    """Ctrl-C in the second epoch."""

    def on_epoch_begin(self, epoch):
        if epoch == 1:
            raise KeyboardInterrupt


@each
def test_an_interrupt_keeps_what_was_learnt(name):
    model, data = make(name, callbacks=[Interrupt()], max_iter=5)
    said = f"{type(model).__name__}: training was interrupted after 1 epochs; what was learnt"
    with pytest.warns(ConvergenceWarning, match=said):
        assert model.fit(*data) is model
    assert model.n_iter_ == len(model.loss_curve_) == 1
    once, _ = make(name, max_iter=1)
    np.testing.assert_array_equal(weights(model), weights(once.fit(*data)))


class Late(Callback):
    def on_epoch_end(self, epoch, logs):
        if epoch == 1:
            raise RuntimeError("late")


@each
def test_an_error_undoes_everything(name):
    model, data = make(name, warm_start=True, dropout=0.2)
    model.fit(*data)
    twin = copy.deepcopy(model)
    with pytest.raises(RuntimeError):
        model.set_params(callbacks=[Late()]).fit(*data)
    model.set_params(callbacks=())
    assert model.loss_curve_ == twin.loss_curve_ and model.n_iter_ == twin.n_iter_ == 2
    np.testing.assert_array_equal(weights(model), weights(twin))
    # nor the optimizer, the masks or the random numbers
    np.testing.assert_array_equal(weights(model.fit(*data)), weights(twin.fit(*data)))


def test_a_first_fit_that_fails_leaves_nothing():
    model, data = make("classifier", callbacks=[Late()])
    with pytest.raises(RuntimeError):
        model.fit(*data)
    assert not hasattr(model, "model_") and not hasattr(model, "classes_")


# ---- updates, held-out data ----------------------------------------------------------------------


def test_updates_are_counted_where_max_iter_is_none():
    few = SequenceRegressor(hidden_size=4, random_state=0, batch_size=32).fit(X[:8], Y[:8] * 1.0)
    many = SequenceRegressor(hidden_size=4, random_state=0, batch_size=4).fit(X, Y * 1.0)
    assert many.n_iter_ < few.n_iter_
    assert len(many.history_.batch_losses) == pytest.approx(
        len(few.history_.batch_losses), rel=0.05
    )


def test_validation_data_of_ones_own():
    Xv, yv = X[:10], Y[:10]
    model, _ = make("classifier", max_iter=4)
    model.fit(X[10:], Y[10:], validation_data=(Xv, yv))
    assert len(model.history_["val_loss"]) == 4
    assert model.validation_scores_ == model.history_["val_accuracy"]
    assert model.history_["val_accuracy"][-1] == model.score(Xv, yv)
    weighted = make("classifier", max_iter=4)[0]
    weighted.fit(X[10:], Y[10:], validation_data=(Xv, yv, np.r_[np.ones(1), np.zeros(9)]))
    assert weighted.history_["val_accuracy"][-1] == weighted.score(Xv[:1], yv[:1])
    stopped = make("classifier", max_iter=500, early_stopping=True, n_iter_no_change=2)[0]
    assert stopped.fit(X[10:], Y[10:], validation_data=(Xv, yv)).n_iter_ < 500
    for wrong, message in [(Xv, "as \\(X, y\\)"), ((Xv, yv[:3]), "inconsistent"), ((Xv,), "as")]:
        with pytest.raises(ValueError, match=message):
            make("classifier")[0].fit(X, Y, validation_data=wrong)


def test_models_from_a_memory_map_learn_on(tmp_path):
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    model, data = make("classifier")
    joblib.dump(model.fit(*data), tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    np.testing.assert_array_equal(
        weights(mapped.partial_fit(*data)), weights(model.partial_fit(*data))
    )


def test_forecasters_share_this():
    model = Forecaster(window=8, warm_start=True, **QUICK).fit(WAVE)
    with pytest.raises(ValueError, match="expected window 8, as in the fit"):
        model.set_params(window=9).fit(WAVE)


def test_an_interrupt_while_a_forecaster_rehearses_ends_the_fit():
    class Now(Callback):
        def on_epoch_begin(self, epoch):
            raise KeyboardInterrupt

    model = Forecaster(horizon=2, window=8, callbacks=[lambda optimizer: Now()], random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(WAVE)
    assert not hasattr(model, "model_")


def test_how_a_forecaster_chooses_is_fixed():
    model = Forecaster(window=8, warm_start=True, select="network", **QUICK).fit(WAVE)
    with pytest.raises(ValueError, match="expected select 'network', as in the fit"):
        model.set_params(select="best").fit(WAVE)


IDS = np.arange(240).reshape(40, 6) % 5
WORDS = [["good", "fine"], ["bad"]] * 20


def layer(n_features, n_outputs):
    raise AssertionError("parameters are checked first")


@pytest.mark.parametrize(
    ("kind", "options", "inputs", "message"),
    [
        (SequenceClassifier, {"unknown_id": 0}, X, "unknown_id left at None, as X holds numbers"),
        (SequenceClassifier, {"embedding_size": 8}, X, "embedding_size left at 32, as X holds num"),
        (SequenceClassifier, {"unknown_id": 0}, WORDS, "unknown_id left at None, as texts have"),
        (SequenceClassifier, {"missing": "mean"}, WORDS, "missing left at None, as only numbers"),
        (
            SequenceClassifier,
            {"missing": "mask", "vocabulary_size": 5},
            IDS,
            "missing left at None, as only numbers are filled in, got 'mask'",
        ),
        (SequenceRegressor, {"embedding_size": 8}, X, "embedding_size left at 32, as X holds num"),
        *(
            (kind, {"network": layer, name: value}, X, f"{name} left at .*, as network= makes")
            for kind, name, value in [
                (SequenceClassifier, "hidden_size", 64),
                (SequenceClassifier, "hidden_size", [8, 8]),
                (SequenceClassifier, "pooling", "mean"),
                (SequenceClassifier, "bidirectional", False),
                (SequenceRegressor, "cell", "gru"),
                (SequenceRegressor, "dropout", 0.5),
                (SequenceLabeler, "num_layers", 2),
                (Forecaster, "cell", "gru"),
                (Forecaster, "hidden_size", 64),
                (Forecaster, "dropout", 0.1),
            ]
        ),
        (SequenceClassifier, {"hidden_size": [8, 8], "num_layers": 3}, X, "num_layers left at"),
        (LanguageModel, {"hidden_size": [8], "num_layers": 2}, X, "num_layers left at 1, as hid"),
    ],
    ids=told,
)
def test_parameters_without_effect_are_refused(kind, options, inputs, message):
    data = (inputs,) if kind in (Forecaster, LanguageModel) else (inputs, Y * 1.0)
    with pytest.raises(ValueError, match=f"{kind.__name__} expected {message}"):
        kind(max_iter=1, **options).fit(*data)


def test_parameters_that_say_what_is_so_are_taken():
    model = SequenceClassifier(hidden_size=[4, 4], num_layers=2, max_iter=1)
    assert len(model.fit(X, Y).model_.state_dict()) > 8
    SequenceClassifier(embedding_size=4, max_iter=1).fit(WORDS, Y)
    LanguageModel(hidden_size=np.array([4, 4]), num_layers=2, max_iter=1).fit("ab" * 20)


def test_windows_of_targets_leave_no_window_or_season_to_choose():
    W = np.lib.stride_tricks.sliding_window_view(np.sin(np.arange(90) / 3), 12)
    for kind in (Forecaster, LinearForecaster):
        with pytest.raises(ValueError, match="windows X of 20 steps, as window says, got 9"):
            kind(horizon=3, window=20).fit(W[:, :9], W[:, 9:])
    with pytest.raises(ValueError, match="season left at None, as targets y are learnt from wind"):
        Forecaster(horizon=3, season=6).fit(W[:, :9], W[:, 9:])
    for kind in (Forecaster, LinearForecaster):
        with pytest.raises(ValueError, match="windows X of 9 steps, as in fit, got 5"):
            kind(horizon=3).fit(W[:, :9], W[:, 9:]).predict(W[:, :5])
    assert LinearForecaster(horizon=3, window=9).fit(W[:, :9], W[:, 9:]).coef_.shape == (10, 3)


def test_a_panel_that_is_no_frame():
    table = np.stack([WAVE, 2 * WAVE], axis=1)
    with pytest.raises(ValueError, match=r"a frame with panel='columns', got others; X\.T has"):
        Forecaster(panel="columns").fit(table)
    with pytest.raises(ValueError, match=r"panel='one'.* a list of 60 arrays; np\.stack\(X\)"):
        Forecaster(panel="one").fit(list(table))


def test_all_classes_of_partial_fits():
    model = SequenceClassifier(max_iter=1, random_state=0)
    model.partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y, classes=[2, 1, 0])
    assert model.predict_proba(X).shape == (40, 3)
    with pytest.raises(ValueError, match=r"classes \[0 1 2\], as at the first call, got \[0, 1\]"):
        model.partial_fit(X, Y, classes=[0, 1])
    both = np.stack([Y + 1, 2 * Y], axis=1)
    model = SequenceClassifier(max_iter=1).partial_fit(X, both, classes=[[1, 2, 3], [0, 2]])
    assert [each.tolist() for each in model.classes_] == [[1, 2, 3], [0, 2]]
    with pytest.raises(ValueError, match=r"classes as a list with the classes of each of the 2"):
        SequenceClassifier().partial_fit(X, both, classes=[0, 1, 2])
    labels = np.stack([Y, 1 - Y], axis=1)
    SequenceClassifier(max_iter=1).partial_fit(X, labels, classes=[0, 1])
    with pytest.raises(ValueError, match=r"classes \[0 1\], as at the first call, got \[0, 1, 2\]"):
        SequenceClassifier(max_iter=1).partial_fit(X, labels, classes=[0, 1, 2])


def test_balance_is_not_told_from_a_part():
    with pytest.raises(ValueError, match="class_weight as a dict in partial_fit, which does not"):
        SequenceClassifier(class_weight="balanced").partial_fit(X, Y)


def test_losses_of_several_labels():
    labels = np.stack([Y, 1 - Y], axis=1)
    with pytest.raises(ValueError, match=r"loss as 'cross_entropy' or a function .*, got 'focal'"):
        SequenceClassifier(loss="focal").fit(X, labels)
    options = {"max_iter": 2, "hidden_size": 4, "random_state": 0}
    one = SequenceClassifier(loss=losses.logistic, **options).fit(X, labels)
    other = SequenceClassifier(**options).fit(X, labels)
    assert one.loss_curve_ == other.loss_curve_


def test_parameters_of_other_inputs_are_refused():
    texts = SequenceClassifier(**QUICK).fit([["good", "fine"], ["bad"]] * 4, [1, 0] * 4)
    with pytest.raises(TypeError, match="X of lists of words, as in fit, got texts"):
        texts.predict(["good fine"])
    with pytest.raises(TypeError, match="SequenceRegressor expected y of real numbers, got dates"):
        SequenceRegressor().fit(X, np.arange(40).astype("M8[D]"))
    with pytest.raises(TypeError, match="SequenceRegressor expected y of real numbers, got"):
        SequenceRegressor().fit(X, ["1"] * 40)


@pytest.mark.parametrize("axes", [1, 2])
def test_forecasts_of_windows_are_as_their_targets(axes):
    W = np.lib.stride_tricks.sliding_window_view(np.sin(np.arange(90) / 3), 12)
    horizon = 1 if axes == 1 else 3
    y = W[:, 9] if axes == 1 else W[:, 9:]
    model = Forecaster(horizon=horizon, random_state=0).fit(W[:, :9], y)
    assert model.predict(W[:, :9]).shape == y.shape


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SequenceClassifier, {}),
        (SequenceClassifier, {"loss": "focal"}),
        (SequenceClassifier, {"class_weight": "balanced"}),
        (SequenceClassifier, {"vocabulary_size": 3}),
        (SequenceRegressor, {}),
        (SequenceRegressor, {"loss": "absolute_error"}),
        (SequenceRegressor, {"loss": "huber"}),
    ],
    ids=str,
)
def test_inputs_that_say_nothing_are_told_of(kind, options):
    rng = np.random.default_rng(0)
    same = np.zeros((150, 8), int if "vocabulary_size" in options else float)
    rare = np.arange(150) % 10 == 0
    y = rng.exponential(size=150) if kind is SequenceRegressor else rare
    with pytest.warns(ConvergenceWarning, match=r"(hardly|no) better than the .* alone"):
        kind(max_iter=20, random_state=0, **options).fit(same, y)


def test_the_best_constant_is_that_of_the_loss():
    rng = np.random.default_rng(1)
    y, w = rng.exponential(size=(5001, 1)).astype(np.float32), np.ones(5001)
    found = least_constant_loss(losses.absolute_error, y.mean(axis=0), y, w)
    assert found == pytest.approx(np.abs(y - np.median(y)).mean(), rel=1e-3)
    assert found < 0.99 * np.abs(y - y.mean()).mean()
    codes = (rng.random(5001) < 0.1).astype(np.int32)
    smoothed = partial(losses.softmax_cross_entropy, label_smoothing=0.1)
    p = 0.9 * codes.mean() + 0.05
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    start = np.log([1 - codes.mean(), codes.mean()])
    assert least_constant_loss(smoothed, start, codes, w) == pytest.approx(entropy, rel=1e-3)
