"""Data mixing: times, prices of a wrong share, finite buffers, and noise in the long run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import chi2, norm

import forgetlib as fl
from forgetlib import data_mixing

INF = math.inf


# ---- the way to the optimum --------------------------------------------------------------


@pytest.mark.parametrize(("separation", "replay", "start"), [(1.0, 0.3, 0.9), (4.0, 0.6, 0.02)])
def test_time_with_replay_is_the_flows(separation: float, replay: float, start: float) -> None:
    weights = replay + np.array([0.7, 0.2, 0.01]) * (start - replay)
    times = [fl.forgetting_time(separation, start, w, replay) for w in weights]
    model = fl.TwoModeMixture.separated(separation, old_weight=start)
    path = fl.gradient_flow(fl.ForwardKL(model, replay=replay), model, times, train="weight")
    assert path.old_weight == pytest.approx(weights, rel=1e-6)


def test_time_with_replay_close_to_the_optimum_and_far_from_it() -> None:
    # the last decades of the error take equal times
    t = [fl.forgetting_time(3.0, 0.9, 0.25 + 10.0**-k, 0.25) for k in (8, 9, 10)]
    assert t[2] - t[1] == pytest.approx(t[1] - t[0], rel=1e-6)
    tiny = fl.forgetting_time(INF, 0.5, 1e-3, replay=1e-6)
    assert tiny == pytest.approx(fl.forgetting_time(INF, 0.5, 1e-3), rel=2e-3)
    # without replay the two quadratures agree
    tiny = fl.forgetting_time(2.0, 0.9, 0.1, replay=1e-12)
    assert tiny == pytest.approx(fl.forgetting_time(2.0, 0.9, 0.1), rel=1e-9)


# ---- a share that is wrong --------------------------------------------------------------


@pytest.mark.parametrize("weights", [(0.0, 0.3), (1.0, 0.3), (0.7, 0.01), (0.2, 0.9)])
@pytest.mark.parametrize("separation", [0.2, 1.5, 6.0])
def test_weight_divergence_is_the_integral(weights: tuple[float, float], separation: float) -> None:
    a, lam = weights

    def integrand(y: float) -> float:
        old, new = norm.pdf(y), norm.pdf(y - separation)
        p, q = a * old + (1 - a) * new, lam * old + (1 - lam) * new
        return float(p * np.log(p / q)) if p > 0.0 and q > 0.0 else 0.0

    exact = quad(integrand, -12, 18, limit=400, epsabs=1e-12, points=[0.0, separation])[0]
    assert fl.weight_divergence(separation, a, lam) == pytest.approx(exact, rel=1e-7, abs=1e-11)


def test_weight_divergence_agrees_with_the_objective() -> None:
    right = fl.TwoModeMixture.separated(2.5, old_weight=0.6, dim=3)
    model = right.replace(old_weight=0.2)
    assert fl.weight_divergence(2.5, 0.6, 0.2) == pytest.approx(
        fl.ForwardKL(right, replay=0.6).value(model), rel=1e-10
    )
    assert fl.weight_divergence(2.5, 0.2, 0.6) == pytest.approx(
        fl.ReverseKL(right).value(model), rel=1e-10
    )


def test_weight_divergence_keeps_its_digits_near_zero() -> None:
    tiny = fl.weight_divergence(2.0, 0.3, 0.3 + 1e-7)
    small = fl.weight_divergence(2.0, 0.3, 0.3 + 1e-4)
    assert tiny == pytest.approx(1e-6 * small, rel=1e-3)
    assert fl.weight_divergence(3.0, 0.4, 0.4) == 0.0
    near = fl.weight_divergence(INF, 0.3, 0.3 + 1e-9)
    assert near == pytest.approx(0.5e-18 / 0.21, rel=1e-6)
    assert fl.weight_divergence(60.0, 0.7, 0.2) == pytest.approx(
        fl.weight_divergence(INF, 0.7, 0.2), rel=1e-10
    )


def test_affordable_replay() -> None:
    low, high = fl.affordable_replay(0.1, 0.01, 2.0)
    assert low < 0.1 < high
    for end in (low, high):
        assert fl.weight_divergence(2.0, 0.1, end) == pytest.approx(0.01, rel=1e-8)
    assert fl.affordable_replay(0.3, 100.0, 1.0) == (0.0, 1.0)  # the modes are too similar
    narrow = fl.affordable_replay(0.1, 0.01)
    assert low < narrow[0] < 0.1 < narrow[1] < high


def test_minimax_replay() -> None:
    assert fl.minimax_replay(0.0, 1.0).replay == pytest.approx(0.5)
    assert fl.minimax_replay(0.0, 1.0).loss == pytest.approx(math.log(2.0))
    z = fl.minimax_replay(0.0, 0.5)
    assert (z.replay, z.loss) == (pytest.approx(0.2), pytest.approx(math.log(1.25)))
    for separation in (0.7, 3.0, INF):
        plan = fl.minimax_replay(0.05, 0.4, separation)
        shares = np.linspace(0.06, 0.39, 34)
        worst = [
            max(fl.weight_divergence(separation, a, s) for a in np.linspace(0.05, 0.4, 15))
            for s in shares
        ]
        assert min(worst) >= plan.loss
        assert abs(shares[np.argmin(worst)] - plan.replay) < 0.011
    assert any("no overlap" in text for text in z.assumptions)
    for separation in (2.0, INF):  # narrow intervals at the edges
        assert 0.0 < fl.minimax_replay(0.0, 1e-12, separation).replay < 1e-12
        assert 1.0 - 2e-12 < fl.minimax_replay(1.0 - 2e-12, 1.0, separation).replay < 1.0


# ---- a finite buffer ----------------------------------------------------------------------


def test_buffer_weights_solve_the_equation() -> None:
    rng = np.random.default_rng(2)
    D, share = 1.2, 0.3
    v = 0.5 * D**2 + D * rng.standard_normal((3, 4, 50))
    b = fl.buffer_weights(v, D, share)
    assert b.shape == (3, 4)
    l = logit(b)
    fresh = fl.logistic_normal.sigmoid_mean(l - 0.5 * D**2, D)
    mine = expit(l[..., None] + v).mean(axis=-1)
    assert b == pytest.approx(share * mine + (1 - share) * fresh, abs=1e-11)


def test_buffers_that_lose_or_keep_everything() -> None:
    hopeless = np.full(5, -3.0)  # samples that all look new
    assert fl.buffer_weights(hopeless, 1.0, 0.3) < 1e-12
    # a buffer that could not be older, where new data are scarce
    assert fl.buffer_weights(np.full(5, 50.0), 0.1, 0.999) > 1.0 - 1e-2


@pytest.mark.parametrize(("separation", "replay"), [(1.5, 0.25), (3.0, 0.6)])
def test_buffer_law_of_the_weight(separation: float, replay: float) -> None:
    rng = np.random.default_rng(3)
    size, buffers = 400, 3000
    v = 0.5 * separation**2 + separation * rng.standard_normal((buffers, size))
    b = fl.buffer_weights(v, separation, replay)
    law = fl.buffer_law(separation, replay)
    square = size * (b - b.mean()) ** 2
    error = square.std() / math.sqrt(buffers)
    # 4.5 standard errors (false-alarm rate 7e-6) and what is left of second order
    assert abs(square.mean() - law.weight_variance) < 4.5 * error + 0.05 * law.weight_variance
    assert abs(size * (b.mean() - replay) - law.weight_bias) < 4.5 * size * b.std() / math.sqrt(
        buffers
    )


def test_buffer_law_of_everything() -> None:
    rng = np.random.default_rng(4)
    D, share, dim, size = 3.0, 0.4, 2, 400
    target = fl.TwoModeMixture.separated(D, dim=dim)
    objective = fl.ForwardKL(target, replay=share)
    law = fl.buffer_law(D, share, dim)
    drifts, losses, weights = [], [], []
    for _ in range(250):
        fit = fl.fit_buffer(rng.standard_normal((size, dim)), target, share)
        drifts.append(size * fit.old_mean**2)
        losses.append(size * objective.value(fit))
        weights.append(size * (fit.old_weight - share) ** 2)
    predictions = [[law.drift_along, law.drift_across], law.excess_loss, law.joint_weight_variance]
    for sample, predicted in zip((drifts, losses, weights), predictions, strict=True):
        values = np.array(sample)
        error = values.std(axis=0) / math.sqrt(len(values))
        # false-alarm rate 7e-6 each, and a tenth for what is left of second order
        assert (np.abs(values.mean(axis=0) - predicted) < 4.5 * error + 0.1 * law.drift_along).all()
    assert law.square_drift == law.drift_along + law.drift_across


def test_buffer_law_limits() -> None:
    far = fl.buffer_law(20.0, 0.3, 7)
    exact = fl.buffer_law(INF, 0.3, 7)
    assert far.square_drift == pytest.approx(exact.square_drift, rel=1e-9)
    assert far.excess_loss == pytest.approx(exact.excess_loss, rel=1e-9)
    assert far.weight_variance < 1e-20
    assert exact.weight_variance == 0.0
    widths = [fl.buffer_law(D, 0.3, 2).drift_along for D in (1.0, 2.0, 4.0, 6.0)]
    assert (np.diff(widths) < 0.0).all()


def test_fit_buffer_is_a_minimum_in_any_coordinates() -> None:
    rng = np.random.default_rng(5)
    covariance = np.array([[2.0, 0.6], [0.6, 0.5]])
    target = fl.TwoModeMixture(0.5, [1.0, -1.0], [4.0, 0.5], covariance)
    buffer = target.old_mean + target.unwhiten(rng.standard_normal((60, 2)))
    fit = fl.fit_buffer(buffer, target, 0.35)

    def loss(q: fl.TwoModeMixture) -> float:
        return float(-0.35 * np.mean(q.logpdf(buffer)) + 0.65 * fl.ForwardKL(target).value(q))

    best = loss(fit)
    for _ in range(20):
        step = 1e-3 * rng.standard_normal(5)
        near = fit.replace(
            old_weight=float(expit(fit.old_logit + step[0])),
            old_mean=fit.old_mean + step[1:3],
            new_mean=fit.new_mean + step[3:],
        )
        assert loss(near) > best
    # the stationary equations
    fresh = fl.ForwardKL(target).gradient(fit)
    r = fit.responsibility(buffer)
    assert abs(0.35 * np.mean(fit.old_weight - r) + 0.65 * fresh.logit) < 1e-8
    pull = -np.mean(r[:, None] * fit.precision_times((buffer - fit.old_mean).T).T, axis=0)
    assert 0.35 * pull + 0.65 * fresh.old_mean == pytest.approx([0.0, 0.0], abs=1e-8)


def test_fit_of_tiny_buffers_comes_to_rest() -> None:
    rng = np.random.default_rng(8)
    target = fl.TwoModeMixture.separated(1.0)
    far = []
    for _ in range(20):
        buffer = rng.standard_normal((10, 1))
        fit = fl.fit_buffer(buffer, target, 0.05)  # raises where the gradient does not vanish
        r = fit.responsibility(buffer)
        slope = 0.05 * np.mean(fit.old_weight - r) + 0.95 * fl.ForwardKL(target).gradient(fit).logit
        assert abs(slope) < 1e-6
        far.append(abs(fit.old_weight - 0.05))
    assert max(far) > 0.1  # as the documentation warns


def test_fit_that_does_not_come_to_rest_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = data_mixing.minimize
    monkeypatch.setattr(
        data_mixing, "minimize", lambda *a, **k: stop(*a, **{**k, "options": {"maxiter": 1}})
    )
    target = fl.TwoModeMixture.separated(2.0)
    with pytest.raises(RuntimeError, match="fit of the buffer failed: gradient"):
        fl.fit_buffer(np.array([[1.5], [0.5]]), target, 0.3)


def test_buffer_size_is_the_smallest() -> None:
    rng = np.random.default_rng(6)
    plan = fl.buffer_size(0.3, 5, failure=0.1)
    means = rng.standard_normal((200_000, 5))
    square = (means**2).sum(axis=1)
    exact, before = chi2.sf(0.09 * np.array([plan.size, plan.size - 1]), 5)
    assert exact <= 0.1 < before
    missed = (square / plan.size > 0.09).mean()
    # false-alarm rate 7e-6
    assert abs(missed - exact) < 4.5 * math.sqrt(exact * (1.0 - exact) / len(square))
    assert plan.expected_drift == pytest.approx(math.sqrt(5 / plan.size))
    assert fl.buffer_size(0.3, 5, 0.1, separation=2.5, replay=0.2).size > plan.size
    assert any("exact for every size" in text for text in plan.assumptions)


# ---- mini-batches -------------------------------------------------------------------------


@pytest.mark.parametrize(("floor", "share", "h"), [(0.08, 0.1, 1.0), (0.4, 0.5, 0.5)])
def test_steady_batch_keeps_its_promise(floor: float, share: float, h: float) -> None:
    plan = fl.steady_batch(floor, share, h)
    goal = fl.TwoModeMixture.separated(4.0, old_weight=share)
    run = fl.simulate(
        fl.ForwardKL(goal, replay=share),
        goal,
        steps=4000,
        batch_size=plan.batch_size,
        learning_rate=h,
        replicates=400,
        record_every=20,
        train="weight",
    )
    x = run.old_logit[:, 20:] - goal.old_logit
    each = (x**2).mean(axis=1)
    error = each.std() / math.sqrt(400)
    # false-alarm rate 7e-6, and two per cent for the information that overlap takes away
    assert abs(each.mean() / plan.logit_deviation**2 - 1) < 4.5 * error / each.mean() + 0.02
    below = (run.old_weight[:, 20:] < floor).mean(axis=1)
    error = below.std() / math.sqrt(400)
    # false-alarm rate 7e-6, and a tenth for the law of the tail
    assert below.mean() < 0.01 + 4.5 * error
    assert abs(below.mean() - plan.probability_below(floor)) < 4.5 * error + 0.001


def test_steady_batch_is_the_smallest() -> None:
    plan = fl.steady_batch(0.08, 0.1, learning_rate=1.0)
    assert plan.probability_below(0.08) <= 0.01
    wider = plan.logit_deviation * math.sqrt(plan.batch_size / (plan.batch_size - 1))
    assert norm.cdf((logit(0.08) - logit(0.1)) / wider) > 0.01
    assert fl.steady_batch(1e-6, 0.5, 1e-3).batch_size == 1
    assert any("not its minimum over a run" in text for text in plan.assumptions)


# ---- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fl.forgetting_time(3.0, 0.9, 0.5, 1.0), r"replay must lie in \[0, 1\), got 1.0"),
        (
            lambda: fl.forgetting_time(3.0, 0.9, 0.2, 0.3),
            "strictly between replay 0.3 and start_we",
        ),
        (lambda: fl.forgetting_time(0.0, 0.9, 0.5, 0.3), "separation must be > 0"),
        (lambda: fl.weight_divergence(1.0, 1.1, 0.5), r"weight must lie in \[0, 1\], got 1.1"),
        (lambda: fl.weight_divergence(1.0, 0.5, 1.0), "other must lie strictly between"),
        (lambda: fl.affordable_replay(0.5, 0.0), "loss must be a finite number > 0"),
        (lambda: fl.minimax_replay(0.5, 0.5), "low must be below high by at least 1e-12, got 0.5"),
        (lambda: fl.minimax_replay(-0.1, 0.5), r"low must lie in \[0, 1\]"),
        (lambda: fl.minimax_replay(0.0, 1e-20, 2.0), "low must be below high by at least 1e-12"),
        (lambda: fl.minimax_replay(1.0 - 1e-16, 1.0, 2.0), "low must be below high by at least"),
        (lambda: fl.buffer_law(0.04, 0.3), "separation must be at least 0.05 and at most"),
        (lambda: fl.buffer_size(0.1, 3, separation=0.0), "separation must be at least 0.05 and"),
        (lambda: fl.buffer_law(2.0, 0.3, 0), "dim must be an integer >= 1"),
        (lambda: fl.buffer_size(0.1, 3, failure=1.0), "failure must lie strictly between"),
        (lambda: fl.buffer_size(-0.1, 3), "drift must be a finite number > 0"),
        (lambda: fl.buffer_weights([], 2.0, 0.3), "log_ratios must be finite, with one or more"),
        (lambda: fl.buffer_weights([1.0, math.nan], 2.0, 0.3), "log_ratios must be finite"),
        (lambda: fl.buffer_weights([1.0], INF, 0.3), "separation must be finite"),
        (lambda: fl.steady_batch(0.1, 0.3, 0.0), "learning_rate must be > 0 and below 9.52381"),
        (lambda: fl.steady_batch(0.1, 0.3, 9.6), "where the weight stops to settle, got 9.6"),
        (lambda: fl.steady_batch(0.1, 0.3, 1.0).probability_below(0.0), "old_weight must lie"),
        (lambda: fl.steady_batch(0.4, 0.3, 0.1), "floor must lie strictly between 0 and replay"),
        (lambda: fl.steady_batch(0.1, 0.3, 0.1, 0.7), "failure must lie strictly between 0 and"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_fit_buffer_bad_input() -> None:
    target = fl.TwoModeMixture.separated(2.0, dim=2)
    with pytest.raises(ValueError, match=r"buffer must have shape \(M, 2\) with M >= 1"):
        fl.fit_buffer(np.zeros((3, 1)), target, 0.3)
    with pytest.raises(ValueError, match="buffer must be finite"):
        fl.fit_buffer(np.full((3, 2), np.inf), target, 0.3)
    with pytest.raises(ValueError, match="target must be a TwoModeMixture"):
        fl.fit_buffer(np.zeros((3, 1)), 3.0, 0.3)  # type: ignore[arg-type]
