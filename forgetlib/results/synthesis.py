r"""Checks of the synthesis: what holds the old mass, under all methods at once.

Setting: the log-odds :math:`l` of the old mode, at right and fixed components. Without
overlap each method is an equation for :math:`l` alone, or for :math:`l` and the log-odds of
its teacher. The checks compare the equations with the library's gradients at separation 30,
and their solutions with its flows.

Every Monte Carlo part accepts an estimate within 4.5 standard errors of the prediction: a
false alarm has probability 7e-6, and with the default seed none happens.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.special import expit, logit
from scipy.stats import norm

from forgetlib.flow import forgetting_time, gradient_flow
from forgetlib.methods import OAPL, SDFT, TTTDiscover
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ForwardKL, Objective, ReverseKL
from forgetlib.results import Check, Result, Rng
from forgetlib.results._cases import Cases, mean_and_error
from forgetlib.verdict import Method, critical_weight, kl_weight_for, old_mass, outcome, what_holds

__all__ = ["results"]

FloatArray = NDArray[np.float64]

_APART = TwoModeMixture.separated(30.0)
_EVERY = 10  # how many configurations share one that is followed by flows


# ---- the formulas, as printed ---------------------------------------------------------


def _mixed_velocity(old_weight: float, share: float) -> float:
    """Velocity of the logit on mixed data; share 0 is new data only."""
    return share - old_weight


def _matching_velocity(old_weight: float, goal: float) -> float:
    """Velocity of the logit under reverse KL to a mixture."""
    b = old_weight
    return b * (1.0 - b) * float(logit(goal) - logit(b))


def _push(old_weight: float, kept: float) -> float:
    """What the reward subtracts from the velocity, over b (1 - b)."""
    return (1.0 - kept) / (1.0 - old_weight * (1.0 - kept))


def _rewarded_velocity(old_weight: float, reference: float, penalty: float, kept: float) -> float:
    """Velocity of the logit under the entropic utility with a KL penalty."""
    b = old_weight
    pull = penalty * float(logit(b) - logit(reference)) + _push(b, kept)
    return -b * (1.0 - b) * pull


def _slow_rate(student: float, follow: float, anchor: float) -> float:
    """Smaller root of s^2 - (f + e + a) s + f a = 0."""
    return float(np.roots([1.0, -(student + follow + anchor), student * anchor]).min())


def _rewarded_rate(old_weight: float, penalty: float, kept: float) -> float:
    """Rate at which the entropic utility with a penalty settles."""
    w = old_weight * (1.0 - old_weight)
    return w * (penalty + w * _push(old_weight, kept) ** 2)


def _falling_clock(old_weight: float, kept: float) -> float:
    """What grows at the rate 1 - kept under the reward, and at rate 1 on new data (kept = 0)."""
    b = old_weight
    l = float(logit(b))
    return 1.0 / b - l - kept * (l + 1.0 / (1.0 - b))


def _stretched(l: float) -> float:
    """Integral of dl / (b (1 - b))."""
    return 2.0 * l + math.exp(l) - math.exp(-l)


def _account(start: float, end: float, penalty: float, follow: float) -> float:
    """What the push has to pay to bring the logit from start to end, with a follower."""
    return _stretched(start) - _stretched(end) + penalty / follow * (start - end)


def _diluted(penalty: float, follow: float, anchor: float) -> float:
    """Penalty that is left when the reference follows and is anchored."""
    return penalty * anchor / (anchor + follow)


def _threshold_slope(separation: float, reference: float) -> float:
    """Minus the slope of KL(q_b || q_ref) in b, at b = 0."""
    return _kl_slope(separation, reference, 0.0)


def _kl_slope(separation: float, reference: float, old_weight: float) -> float:
    """Minus the slope of KL(q_b || q_ref) in b, by the trapezoid rule along the line."""
    _, step, old, new = _line(separation)
    ratio = (old_weight * old + (1.0 - old_weight) * new) / (
        reference * old + (1 - reference) * new
    )
    return float(step * (new - old) @ np.log(ratio))


def _slope_gap(separation: float, reference: float) -> float:
    """Bound on the distance of that slope from D^2 / 2 + logit b_ref."""
    largest = math.exp(0.5 * abs(float(logit(reference))))
    return 0.80475 * largest * math.exp(-(separation**2) / 8.0)


def _needed_penalty(push: float, slope: float) -> float:
    """KL weight at which an old weight is stationary."""
    return push / slope


def _half_new_data(start: float) -> float:
    """Time until half is gone on new data."""
    return 1.0 / start + math.log((2.0 - start) / (1.0 - start))


def _half_mixed(start: float, share: float) -> float:
    """Time until half is gone on mixed data."""

    def clock(b: float) -> float:
        return (
            math.log(b - share) / (share * (1.0 - share))
            - math.log(b) / share
            - math.log1p(-b) / (1.0 - share)
        )

    return clock(start) - clock(0.5 * start)


def _half_rewarded(start: float, kept: float) -> float:
    """Time until half is gone under the entropic utility without a penalty."""
    b = start
    step = math.log((2.0 - b) / (1.0 - b))
    return (1.0 / b + step + kept * (step + b / ((1.0 - b) * (2.0 - b)))) / (1.0 - kept)


def _half_rounds(start: float, tilt: float) -> float:
    """Number of rounds until half is gone, before rounding up."""
    return math.log((2.0 - start) / (1.0 - start)) / tilt


def _mass(old_weight: float, right: float, separation: float) -> float:
    """Old mass of the right components with another weight."""
    return right + (old_weight - right) * _told_apart(right, separation)


def _told_apart(weight: float, separation: float) -> float:
    """Clock rate: b (1 - b) times the Fisher information of the weight."""
    _, step, old, new = _line(separation)
    square = (old - new) ** 2 / (weight * old + (1.0 - weight) * new)
    return weight * (1.0 - weight) * float(step * square.sum())


def _critical_weight(right: float, separation: float) -> float:
    """Old weight at which half of the right old mass is left."""
    return right * (1.0 - 0.5 / _told_apart(right, separation))


# ---- helpers --------------------------------------------------------------------------


def _line(separation: float) -> tuple[FloatArray, float, FloatArray, FloatArray]:
    """Points along the line of means, their distance, and both modes there."""
    step = min(0.05, 0.25 / separation)
    y = np.arange(-9.5 - separation, 9.5 + 2.0 * separation, step)
    return y, step, norm.pdf(y), norm.pdf(y - separation)


def _round_slope(odds: float, lagged: float, gain: float, policy: float, value: float) -> float:
    """Slope in the logit of a round's loss, over twice the temperature of the policy."""
    b, b_lag = float(expit(odds)), float(expit(lagged))
    rest, rest_lag = float(expit(-odds)), float(expit(-lagged))
    level = value * math.log(b_lag + rest_lag * math.exp(gain / value))
    old = policy * math.log(b / b_lag) + level
    new = policy * math.log(rest / rest_lag) - gain + level
    return b_lag * rest * old - rest_lag * b * new


def _kept_by(method: TTTDiscover, k: float) -> float:
    """Ratio of the exponential moments of the reward, old over new."""
    reference, height = method.reference, k * method.reward_gap
    separation = reference.separation
    y, _, old, new = _line(separation)
    if method.gate == "soft":
        tilt = np.exp(k * method.reward(y[:, None]))
        return float(old @ tilt / (new @ tilt))
    boundary = 0.5 * separation + reference.old_logit / separation
    means = [
        norm.cdf(boundary - center) + math.exp(height) * norm.sf(boundary - center)
        for center in (0.0, separation)
    ]
    return float(means[0] / means[1])


def _weight(generator: np.random.Generator, reach: float = 3.0) -> float:
    return float(expit(generator.uniform(-reach, reach)))


def _apart(old_weight: float) -> TwoModeMixture:
    return _APART.replace(old_weight=old_weight)


def _kept(generator: np.random.Generator) -> float:
    return float(generator.uniform(0.02, 0.9))


# ---- checks ---------------------------------------------------------------------------


def _check_velocities(cases: Cases, generator: np.random.Generator) -> None:
    """Equations of the table against exact gradients, where the overlap is nil."""
    b, a, share = (_weight(generator) for _ in range(3))
    model = _apart(b)
    kept, penalty = _kept(generator), 10.0 ** generator.uniform(-2.0, 1.0)
    gap = generator.uniform(0.2, 3.0)
    k = -math.log(kept) / gap
    pairs: list[tuple[Objective, float]] = [
        (ForwardKL(_APART), _mixed_velocity(b, 0.0)),
        (ForwardKL(_APART, replay=share), _mixed_velocity(b, share)),
        (ReverseKL(_apart(a)), _matching_velocity(b, a)),
        (SDFT(_APART, 0.1, 0.1).loss(_apart(a)), _matching_velocity(b, a)),
        (SDFT(_APART, 0.1, 0.1, "forward").loss(_apart(a)), _mixed_velocity(b, a)),
        (TTTDiscover(_apart(a), gap, k, penalty), _rewarded_velocity(b, a, penalty, kept)),
        (TTTDiscover(_apart(a), -gap, k, penalty), _rewarded_velocity(b, a, penalty, 1 / kept)),
        (TTTDiscover(_apart(a), gap, k, 0.0, "hard"), _rewarded_velocity(b, a, 0.0, kept)),
    ]
    for objective, velocity in pairs:
        cases.within(objective.gradient(model).logit + velocity, 1e-9 * (1.0 + abs(velocity)))


def _check_held(cases: Cases, generator: np.random.Generator, flows: bool) -> None:
    """A held method: limit, rate, and a flow that gets there on one side."""
    b, goal = _weight(generator, 2.0), _weight(generator, 1.5)
    follow, anchor = generator.uniform(0.0, 0.3), generator.uniform(0.05, 0.3)
    kept, penalty = _kept(generator), generator.uniform(0.2, 2.0)
    spread = goal * (1.0 - goal)
    anchored = SDFT(_apart(goal), follow, anchor, generator.choice(["reverse", "forward"]))
    rewarded = TTTDiscover(_apart(goal), 1.0, -math.log(kept), penalty)
    found = what_holds(rewarded, b)
    cases.within(
        penalty * (logit(found.old_weight) - logit(goal)) + _push(found.old_weight, kept), 1e-8
    )
    frozen = SDFT(_apart(0.5), 0.0, 0.0, teacher=_apart(goal))
    held: list[tuple[Method, str, float, float]] = [
        (ForwardKL(_APART, replay=goal), "data", goal, spread),
        (ReverseKL(_apart(goal)), "target", goal, spread),
        (anchored, "demonstrations", goal, _slow_rate(spread, follow, anchor)),
        (frozen, "teacher", goal, spread),
        (rewarded, "reference", found.old_weight, _rewarded_rate(found.old_weight, penalty, kept)),
    ]
    for method, law, limit, rate in held:
        hold = what_holds(method, b)
        cases.must(hold.law == law)
        cases.equal(hold.old_weight, limit, 1e-9)
        cases.equal(hold.rate, rate, 1e-6)
    if not flows:
        return
    method, _, limit, rate = held[int(generator.integers(len(held)))]
    if abs(logit(b) - logit(limit)) < 0.1:
        b = 0.5 * b
    times = np.array([0.0, 1.0, 2.0, 4.0, 11.0, 12.0]) / rate
    path = gradient_flow(method, _apart(b), times, train="weight", rtol=1e-9)
    error = path.old_logit - logit(limit)
    low, high = sorted((float(logit(b)), float(logit(limit))))
    cases.must((path.old_logit >= low - 1e-6) & (path.old_logit <= high + 1e-6))
    cases.within(error[-1], 1e-3 * (1.0 + abs(error[0])) * 20.0)
    cases.within(error[-1] / error[-2] * math.e - 1.0, 0.02)


def _check_unheld(cases: Cases, generator: np.random.Generator, flows: bool) -> None:
    """What is lost, and what stays where it is."""
    b, kept = _weight(generator), _kept(generator)
    k = -math.log(kept)
    lost: list[tuple[Method, float]] = [
        (ForwardKL(_APART), 0.0),
        (TTTDiscover(_apart(b), 1.0, k, 0.0), 0.0),
        (TTTDiscover(_apart(b), -1.0, k, 0.0), 1.0),
        (OAPL(_apart(b), 1.0, 1.0, 10), 0.0),
        (OAPL(_apart(b), -1.0, 1.0, 10), 1.0),
        (SDFT(_apart(0.3), 0.1, 0.0), b),
        (OAPL(_apart(b), 0.0, 1.0, 10), b),
    ]
    for method, limit in lost:
        hold = what_holds(method, b)
        cases.must(hold.law is None and hold.rate == 0.0)
        cases.within(hold.old_weight - limit, 1e-12)
    # two temperatures: a round is the minimizer of its loss, and round by round all is lost
    policy, value = generator.uniform(0.1, 2.0, 2)
    mismatched = OAPL(_apart(b), 1.0, policy, 10, value)
    way = mismatched.old_logit_after(np.arange(200))
    cases.must(np.diff(way[way > -700.0]) < 0.0)  # below, weights are no doubles any more
    cases.must(way[-1] < -20.0)
    for before, after in itertools.pairwise(way[:3]):
        cases.must(_round_slope(after - 1e-4, before, 1.0, policy, value) < 0.0)
        cases.must(_round_slope(after + 1e-4, before, 1.0, policy, value) > 0.0)
    if not flows:
        return
    # the way down, on the clock from which b t tends to 1 (to 1 / (1 - kept) under the reward)
    for method, ratio in ((lost[0][0], 0.0), (lost[1][0], kept)):
        end = generator.uniform(5.0, 100.0)
        path = gradient_flow(method, _apart(b), end, train="weight", rtol=1e-7)
        clock = _falling_clock(path.old_weight[-1], ratio) - _falling_clock(b, ratio)
        cases.equal(clock / (1.0 - ratio), end, 1e-4)
    cases.within(1e-9 * _falling_clock(1e-9, kept) - 1.0, 1e-6)
    # student and averaged teacher meet on the conserved line
    follow = generator.uniform(0.05, 0.5)
    start, teacher = generator.uniform(-1.5, 1.5, 2)
    neutral = SDFT(_APART, follow, 0.0, teacher=_apart(float(expit(teacher))))
    path = gradient_flow(
        neutral, _apart(float(expit(start))), 60.0 / follow, train="weight", rtol=1e-8
    )
    assert path.teacher is not None
    before = _stretched(start) + teacher / follow
    after = _stretched(path.old_logit[-1]) + path.teacher.old_logit[-1] / follow
    cases.within(after - before, 1e-6 * (1.0 + abs(before)))
    cases.within(path.old_logit[-1] - path.teacher.old_logit[-1], 1e-6)
    hold = what_holds(neutral, float(expit(start)))
    cases.within(hold.old_weight - path.old_weight[-1], 1e-6)


def check_what_holds(configurations: int = 2, rng: Rng = 1) -> Check:
    """Equations, limits and rates of all methods.

    Parameters
    ----------
    configurations : int
        Random weights, rates and rewards; the first of every ten follows four flows.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for number, generator in enumerate(cases):
        flows = number % _EVERY == 0
        _check_velocities(cases, generator)
        _check_held(cases, generator, flows)
        _check_unheld(cases, generator, flows)
    # Monte Carlo: two exact rounds of OAPL by importance weights
    lagged = _apart(0.8)
    method = OAPL(lagged, 0.8, 1.0, 10)
    y, _ = lagged.rvs(600_000, cases.generator)
    tilt = np.exp(2.0 * method.reward(y))
    old = lagged.responsibility(y)
    share = float(tilt @ old / tilt.sum())
    error = math.sqrt(float(tilt**2 @ (old - share) ** 2)) / float(tilt.sum())
    prediction = float(expit(logit(0.8) - 2.0 * 0.8))
    return cases.conclude(
        share,
        prediction,
        error,
        "weights, rates, rewards, direction; Monte Carlo: old weight after two rounds of OAPL, by "
        "600,000 weighted samples",
    )


def _follow(
    start: float, end: float, penalty: float, follow: float, kept: float
) -> tuple[float, float, float]:
    """Time, reference and paid push when the logit passes ``end`` with a soft follower."""

    def velocity(_: float, state: FloatArray) -> list[float]:
        l, reference = float(state[0]), float(state[1])
        b = float(expit(l))
        push = _push(b, kept)
        descent = b * float(expit(-l)) * (penalty * (l - reference) + push)
        return [-descent, follow * (l - reference), push]

    def passes(_: float, state: FloatArray) -> float:
        return float(state[0]) - end

    passes.terminal = True  # type: ignore[attr-defined]
    longest = 2.0 * _account(start, end, penalty, follow) / (1.0 - kept) + 10.0
    flow = solve_ivp(
        velocity,
        (0.0, longest),
        [start, start, 0.0],
        method="LSODA",
        events=passes,
        rtol=1e-9,
        atol=1e-11,
    )
    if flow.t_events is None or not flow.t_events[0].size:
        return math.nan, math.nan, math.nan
    return float(flow.t_events[0][0]), float(flow.y[1, -1]), float(flow.y[2, -1])


def check_following_reference(configurations: int = 12, rng: Rng = 2) -> Check:
    """A reference that follows the model: softly, by hard renewal, with an anchor.

    Parameters
    ----------
    configurations : int
        Random penalties, rates and rewards.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        kept, penalty = _kept(generator), 10.0 ** generator.uniform(-1.5, 1.0)
        follow = 10.0 ** generator.uniform(-2.5, 0.5)
        start = generator.uniform(-1.0, 3.0)
        end = start - generator.uniform(0.5, 3.0)
        time, reference, paid = _follow(start, end, penalty, follow, kept)
        account = _account(start, end, penalty, follow)
        high, low = (_push(float(expit(l)), kept) for l in (start, end))
        gap = reference - end
        cases.equal(paid, account - penalty / follow * gap, 1e-6)
        cases.must(gap >= -1e-9)
        cases.at_most(penalty * gap, low)
        cases.at_most(time, account / low)
        if account > high / follow:
            cases.at_most((account - high / follow) / high, time)
        # hard renewal: each round ends at its own fixed point, at least so far down
        method = TTTDiscover(_apart(float(expit(start))), 1.0, -math.log(kept), penalty)
        for _ in range(3):
            now = method.reference.old_logit
            ends = method.stationary_old_logit()
            drop = _push(float(expit(ends)), kept) / penalty
            cases.equal(now - ends, drop, 1e-6)
            cases.at_most((1.0 - kept) / penalty, now - ends)
            if ends < -30.0:
                break
            method = dataclasses.replace(method, reference=_apart(float(expit(ends))))
        # an anchored follower holds like the anchor with a smaller penalty
        kept, penalty = generator.uniform(0.2, 0.9), generator.uniform(0.5, 3.0)
        follow, anchor = generator.uniform(0.02, 0.4), generator.uniform(0.2, 0.6)
        goal = generator.uniform(-1.0, 2.0)

        def velocity(
            _: float,
            state: FloatArray,
            penalty: float = penalty,
            kept: float = kept,
            follow: float = follow,
            anchor: float = anchor,
            goal: float = goal,
        ) -> list[float]:
            l, y = float(state[0]), float(state[1])
            b = float(expit(l))
            pull = penalty * (l - y) + _push(b, kept)
            return [-b * float(expit(-l)) * pull, follow * (l - y) + anchor * (goal - y)]

        flow = solve_ivp(velocity, (0.0, 3000.0), [3.0, -1.0], method="LSODA", rtol=1e-8)
        l, y = flow.y[:, -1]
        left = _diluted(penalty, follow, anchor)
        held = TTTDiscover(_apart(float(expit(goal))), 1.0, -math.log(kept), left)
        cases.within(l - held.stationary_old_logit(), 1e-3)
        cases.within(y - (follow * l + anchor * goal) / (follow + anchor), 1e-3)
    # Monte Carlo: the push, from the rewards of samples
    b, kept = 0.7, 0.3
    model = _apart(b)
    y, is_old = model.rvs(1_000_000, cases.generator)
    rewarded = np.exp(-math.log(kept) * TTTDiscover(model, 1.0, 1.0, 0.0).reward(y))
    total = float(rewarded.mean())
    score = np.where(is_old, -1.0 / b, 1.0 / (1.0 - b))
    samples = rewarded / total
    estimate = float((samples * score).mean())
    error = float(np.std(samples * (score - estimate), ddof=1)) / math.sqrt(samples.size)
    return cases.conclude(
        estimate,
        _push(b, kept),
        error,
        "penalty, rate of the reference, reward, start; Monte Carlo: push of the reward, from a "
        "million samples",
    )


def check_overlap_holds(configurations: int = 3, rng: Rng = 3) -> Check:
    """With overlap: the same limits, and the threshold of the KL penalty.

    Parameters
    ----------
    configurations : int
        Random separations, weights and rewards; the first of every ten follows two flows.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for number, generator in enumerate(cases):
        flows = number % _EVERY == 0
        separation = generator.uniform(1.0, 4.5)
        line = TwoModeMixture.separated(separation)
        b, goal, teacher = (_weight(generator, 2.0) for _ in range(3))
        # toward the teacher, in both directions
        for direction in ("reverse", "forward"):
            loss = SDFT(line, 0.1, 0.1, direction).loss(line.replace(old_weight=teacher))
            slope = loss.gradient(line.replace(old_weight=b)).logit
            cases.must(slope * (b - teacher) > 0.0)
            cases.at_most(abs(slope), 0.25 * abs(logit(b) - logit(teacher)))
        anchored = SDFT(
            line.replace(old_weight=goal), 0.1, 0.2, generator.choice(["reverse", "forward"])
        )
        ours, theirs = (line.replace(old_weight=w) for w in (b, teacher))
        method = dataclasses.replace(anchored, teacher=theirs)
        if flows:
            path = gradient_flow(method, ours, [0.0, 5.0, 50.0, 5000.0], train="weight", rtol=1e-7)
            ends = sorted((b, teacher, goal))
            cases.must((path.old_weight >= ends[0] - 1e-6) & (path.old_weight <= ends[2] + 1e-6))
            cases.within(path.old_logit[-1] - logit(goal), 0.02)
        # the reward: what KL weight keeps a level, and the threshold
        reference = line.replace(old_weight=_weight(generator, 2.0))
        gap, k = generator.uniform(0.5, 2.0), generator.uniform(0.5, 2.0)
        gate = generator.choice(["soft", "hard"])
        free = TTTDiscover(reference, gap, k, 0.0, gate)
        kept = _kept_by(free, k)
        level = reference.old_weight * generator.uniform(0.1, 0.9)
        push = _push(level, kept)
        slope = _kl_slope(separation, reference.old_weight, level)
        needed = kl_weight_for(reference, gap, k, level, gate)
        cases.equal(needed, _needed_penalty(push, slope), 1e-7)
        cases.at_most(slope, reference.old_logit - logit(level))
        at_level = dataclasses.replace(free, kl_weight=needed)
        model = reference.replace(old_weight=level)
        cases.within(at_level.gradient(model).logit, 1e-9)
        threshold = kl_weight_for(reference, gap, k, 0.0, gate)
        bottom = _threshold_slope(separation, reference.old_weight)
        cases.equal(threshold, _needed_penalty(1.0 - kept, bottom), 1e-7)
        cases.at_most(threshold, needed)
        gap = bottom - 0.5 * separation**2 - reference.old_logit
        cases.at_most(abs(gap), _slope_gap(separation, reference.old_weight))
        for _ in range(10):  # where the bound is nearly attained: little separation
            close, weight = 10.0 ** generator.uniform(-2.0, 0.3), _weight(generator, 8.0)
            gap = _threshold_slope(close, weight) - 0.5 * close**2 - float(logit(weight))
            cases.at_most(abs(gap), _slope_gap(close, weight))
        # just below the threshold the slope is upward at every tiny weight, just above not
        tiny = reference.replace(old_weight=1e-4 * math.exp(-(separation**2)))
        for factor, sign in ((0.98, 1.0), (1.02, -1.0)):
            near = dataclasses.replace(free, kl_weight=factor * threshold)
            cases.must(sign * near.gradient(tiny).logit > 0.0)
        if not flows:
            continue
        # half of the threshold: lost like 1 / t
        lost = dataclasses.replace(free, kl_weight=0.5 * threshold)
        end = 1e9 * math.exp(separation**2)
        path = gradient_flow(lost, reference, end, train="weight", rtol=1e-6)
        speed = 1.0 - kept - 0.5 * threshold * bottom
        cases.within(path.old_weight[-1] * end * speed - 1.0, 1e-3)
    # Monte Carlo: the slope at weight 0, from labeled samples
    separation, weight = 3.0, 0.9
    reference = TwoModeMixture.separated(separation, old_weight=weight)
    count = 400_000
    noise = cases.generator.standard_normal(count)
    soft = [
        np.logaddexp(0.0, reference.log_odds((center + noise)[:, None]))
        for center in (0.0, separation)
    ]
    estimate, stderr = mean_and_error(soft[0] - soft[1])
    return cases.conclude(
        estimate,
        _threshold_slope(separation, weight),
        stderr,
        "separation, weights, reward, gate, direction; Monte Carlo: slope of the KL penalty at "
        "weight 0, from 400,000 pairs of samples",
    )


def check_half_times(configurations: int = 8, rng: Rng = 4) -> Check:
    """Times until half of the old mass is gone.

    Parameters
    ----------
    configurations : int
        Random starts and knobs.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b, kept = _weight(generator), _kept(generator)
        share = 0.5 * b * generator.uniform(0.02, 0.98)
        cases.equal(what_holds(ForwardKL(_APART), b).half_time, _half_new_data(b), 1e-8)
        mixed = what_holds(ForwardKL(_APART, replay=share), b).half_time
        cases.equal(mixed, _half_mixed(b, share), 1e-6)
        rewarded = TTTDiscover(_apart(b), 1.0, -math.log(kept), 0.0)
        cases.equal(what_holds(rewarded, b).half_time, _half_rewarded(b, kept), 1e-8)
        # a decisive reward without a penalty is training on new data
        cases.equal(_half_rewarded(b, 1e-12), _half_new_data(b), 1e-9)
        tilt, every = generator.uniform(0.05, 2.0), int(generator.integers(1, 100))
        rounds = what_holds(OAPL(_apart(b), tilt, 1.0, every), b, learning_rate=0.1).half_time
        exact = _half_rounds(b, tilt)
        cases.equal(rounds / (0.1 * every), math.ceil(exact - 1e-12), 1e-9)
        level = float(logit(0.5 * b))
        cases.within(logit(b) - exact * tilt - level, 1e-9)
        way = OAPL(_apart(b), tilt, 1.0, every).old_logit_after(
            np.array([math.ceil(exact) - 1, math.ceil(exact)])
        )
        cases.must(way[0] > level - 1e-9 and way[1] <= level + 1e-9)
        # a target or a penalty that keeps half: never; otherwise the clock of its equation
        goal = _weight(generator)
        time = what_holds(ReverseKL(_apart(goal)), b).half_time
        cases.must(math.isinf(time) == (goal >= 0.5 * b))
        if goal < 0.45 * b:
            end = gradient_flow(ReverseKL(_apart(goal)), _apart(b), time, train="weight")
            cases.equal(end.old_weight[-1], 0.5 * b, 1e-6)
        penalty = 10.0 ** generator.uniform(-2.0, 1.0)
        held = dataclasses.replace(rewarded, kl_weight=penalty)
        found = what_holds(held, b)
        cases.must(math.isinf(found.half_time) == (found.old_weight >= 0.5 * b))
        cases.must(found.half_time >= _half_rewarded(b, kept) * (1.0 - 1e-9))
        # demonstrations and a teacher that keep half: never
        enough, above = (0.5 * b + (1.0 - 0.5 * b) * generator.uniform(0.0, 0.95, 2)).tolist()
        anchored = SDFT(_apart(enough), 0.1, 0.05, teacher=_apart(above))
        cases.must(math.isinf(what_holds(anchored, b).half_time))
    # an anchored student with wrong demonstrations, against the exact flow
    wrong = SDFT(_apart(0.1), 0.1, 0.05)
    time = what_holds(wrong, 0.8).half_time
    path = gradient_flow(wrong, _apart(0.8), time, train="weight")
    cases.equal(path.old_weight[-1], 0.4, 1e-6)
    # the same time, read off the exact flow (interpolated: to about one per cent)
    apart = _apart(0.8)
    for method, time in (
        (ForwardKL(_APART), _half_new_data(0.8)),
        (TTTDiscover(apart, 1.0, -math.log(0.4), 0.0, "hard"), _half_rewarded(0.8, 0.4)),
    ):
        cases.equal(outcome(method, apart, apart, 30.0, train="weight").half_time, time, 8e-3)
    # Monte Carlo: the clock of the reward. At a random logit the time per nat is
    # E_q[e^{kR}] / (b (1 - b) (E_n - E_o)), here with one sample of the model for E_q.
    b, kept = 0.6, 0.3
    high, low = float(logit(b)), float(logit(0.5 * b))
    weight = expit(cases.generator.uniform(low, high, 200_000))
    is_new = cases.generator.random(weight.size) >= weight
    y = cases.generator.standard_normal(weight.size) + _APART.separation * is_new
    rewards = np.exp(-math.log(kept) * TTTDiscover(_apart(b), 1.0, 1.0, 0.0).reward(y[:, None]))
    slowness = rewards / (weight * (1.0 - weight) * (1.0 / kept - 1.0))
    estimate, stderr = mean_and_error((high - low) * slowness)
    return cases.conclude(
        estimate,
        _half_rewarded(b, kept),
        stderr,
        "start, share, reward, penalty, rounds; Monte Carlo: time until half is gone without a "
        "penalty, from the rewards of 200,000 samples at random logits",
    )


def check_outcome_boundaries(configurations: int = 3, rng: Rng = 5) -> Check:
    """When the old mass ends below half of the right one.

    Parameters
    ----------
    configurations : int
        Random separations and weights; the first of every ten follows flows.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    followed = 0
    for number, generator in enumerate(cases):
        separation = generator.uniform(1.0, 5.0)
        right = _weight(generator, 1.5)
        truth = TwoModeMixture.separated(separation, old_weight=right)
        b = _weight(generator)
        cases.equal(old_mass(truth.replace(old_weight=b), truth), _mass(b, right, separation), 1e-7)
        apart = _told_apart(right, separation)
        critical = _critical_weight(right, separation)
        if apart <= 0.5:  # then nothing can be lost by its weight
            cases.must(critical_weight(truth) == 0.0)
            cases.must(critical <= 0.0)
            cases.at_most(0.5 * right, old_mass(truth.replace(old_weight=1e-12), truth))
            continue
        if critical < 0.02:
            continue
        cases.equal(critical_weight(truth), critical, 1e-7)
        half = old_mass(truth.replace(old_weight=critical), truth)
        cases.equal(half, 0.5 * right, 1e-7)
        if followed * _EVERY > number:
            continue
        followed += 1
        start = truth.replace(old_weight=0.5 * (1.0 + right))
        for factor, verdict in ((0.97, "lost"), (1.03, "retained")):
            share = factor * critical
            for method in (ForwardKL(truth, share), ReverseKL(truth.replace(old_weight=share))):
                rate = share * (1.0 - share) * _told_apart(share, separation)
                found = outcome(method, start, truth, 60.0 / rate, train="weight")
                cases.must(found.verdict == verdict)
            poor = SDFT(truth.replace(old_weight=share), 0.1, 0.2)
            found = outcome(
                poor, start, truth, 60.0 / poor.rates(share * rate).slow, train="weight"
            )
            cases.must(found.verdict == verdict)
            # the penalty for the level, trained to its end
            needed = kl_weight_for(start, 1.0, 1.0, critical)
            rewarded = TTTDiscover(start, 1.0, 1.0, factor * needed)
            end = rewarded.balanced_old_weight()
            rate = 0.2 * needed * end * (1.0 - end)
            found = outcome(rewarded, start, truth, 60.0 / rate, train="weight")
            cases.must(found.verdict == verdict)
        # new data: the time is that of the forgetting clock
        time = forgetting_time(separation, start.old_weight, critical)
        for factor, verdict in ((1.02, "lost"), (0.98, "retained")):
            found = outcome(ForwardKL(truth), start, truth, factor * time, train="weight")
            cases.must(found.verdict == verdict)
        # OAPL without overlap: lost with the round that passes the critical weight
        tilt = generator.uniform(0.05, 2.0)
        rounds = float(logit(start.old_weight) - logit(0.5 * right)) / tilt
        after = OAPL(_apart(start.old_weight), tilt, 1.0, 10).old_weight_after(
            np.array([math.floor(rounds), math.floor(rounds) + 1])
        )
        goal = _apart(right)
        masses = [old_mass(goal.replace(old_weight=float(w)), goal) for w in after]
        cases.must(masses[0] >= 0.5 * right * (1.0 - 1e-9) and masses[1] < 0.5 * right)
    # Monte Carlo: old mass of a model whose means have moved, from its samples
    truth = TwoModeMixture.separated(2.5, old_weight=0.75, dim=2)
    model = TwoModeMixture(0.6, [0.3, -0.4], [1.5, 0.5])
    y, _ = model.rvs(200_000, cases.generator)
    estimate, stderr = mean_and_error(truth.responsibility(y))
    return cases.conclude(
        estimate,
        old_mass(model, truth),
        stderr,
        "separation, weights, shares, horizons; Monte Carlo: old mass of a model with wrong means "
        "in two dimensions, from 200,000 samples",
    )


def results() -> list[Result]:
    """Claims of the synthesis, in the order of the page.

    Returns
    -------
    list of Result
    """
    chapter = "synthesis"
    return [
        Result(
            "thm-what-holds",
            chapter,
            "What holds the old mass",
            r"Without overlap the old weight has one limit in $(0, 1)$, whatever the start, exactly "
            r"under those methods into whose update a law that training never moves, with old "
            r"weight in $(0, 1)$, enters: the data $\lambda$, the target $a$, the demonstrations "
            r"$a_D$ or a frozen teacher, the reference of a KL penalty. Otherwise it tends to 0, or "
            r"every weight is a rest point.",
            "proved",
            ("what_holds", "ForwardKL", "ReverseKL", "SDFT", "TTTDiscover", "OAPL"),
            check_what_holds,
            grid=200,
        ),
        Result(
            "thm-follower-holds-nothing",
            chapter,
            "A reference that follows holds nothing",
            r"If the reference of the KL penalty follows the model at the rate $\gamma$, the old "
            r"weight tends to 0, and $S(l_0) - S(l) + \frac\zeta\gamma (l_0 - l_R) = \int P\,dt$ "
            r"with $S(l) = 2l + e^l - e^{-l}$. With an anchor $\nu$ on the reference it is held "
            r"as by a penalty $\zeta\nu / (\nu + \gamma)$.",
            "proved",
            ("TTTDiscover",),
            check_following_reference,
            grid=400,
        ),
        Result(
            "thm-overlap-holds",
            chapter,
            "Overlap: the same limits, and a threshold",
            r"For any two densities data, target and demonstrations hold as without overlap. A KL "
            r"penalty holds exactly if $\zeta > (1 - \rho) / \kappa_0$ with $\kappa_0 = "
            r"\mathrm{KL}(f_o \| f_n) + \mathrm{KL}(f_n \| p_0) - \mathrm{KL}(f_o \| p_0)$; below, "
            r"$b \sim 1 / ((1 - \rho - \zeta \kappa_0)\, t)$.",
            "proved",
            ("kl_weight_for", "TTTDiscover", "SDFT"),
            check_overlap_holds,
            grid=200,
        ),
        Result(
            "thm-half-times",
            chapter,
            "The time until half is gone",
            r"Without overlap: $\frac1{b_0} + \Delta$ on new data, with $\Delta = \log\frac{2 - "
            r"b_0}{1 - b_0}$; $\frac1{1-\rho}\big[\frac1{b_0} + \Delta + \rho\,(\Delta + "
            r"\frac{b_0}{(1 - b_0)(2 - b_0)})\big]$ under a reward without a penalty; $\lceil "
            r"\Delta\,\tau / G \rceil$ rounds of OAPL.",
            "proved",
            ("what_holds", "forgetting_time"),
            check_half_times,
            grid=400,
        ),
        Result(
            "prp-outcome-boundaries",
            chapter,
            "Boundaries of the phase diagram",
            r"With right components the old mass is $a + (b - a)\,\rho(a)$, with the clock rate "
            r"$\rho(a) = a(1-a) I(a)$. It is below $\frac a2$ exactly if $b < c = a\,(1 - \frac{1}"
            r"{2\rho(a)})$: never, if $\rho(a) \le \frac12$.",
            "proved",
            ("outcome", "old_mass", "critical_weight", "kl_weight_for", "forgetting_time"),
            check_outcome_boundaries,
            grid=200,
        ),
    ]
