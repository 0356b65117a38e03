r"""Checks of the chapter on SDFT: a student, its averaged teacher, and the anchor.

Setting: the student descends KL to the teacher, or from it, and :math:`\dot\tau =
\gamma(\theta - \tau) + \nu(\theta_* - \tau)`. Each printed formula is one small function
below, so that a test can break it and see the check fail.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_lyapunov
from scipy.special import expit, logit, rel_entr
from scipy.stats import binom

from forgetlib.ensemble import simulate
from forgetlib.flow import gradient_flow
from forgetlib.methods.sdft import SDFT, AnchoredBox, Direction, remixed_weight
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ForwardKL, Gradient, ReverseKL
from forgetlib.overlap import misassignment_probability
from forgetlib.results import Check, Result, Rng
from forgetlib.results._cases import SIGMAS, Cases, mean_and_error

__all__ = ["results"]

FloatArray = NDArray[np.float64]

_DIRECTIONS: tuple[Direction, ...] = ("reverse", "forward")
_K = math.sqrt(0.5 * math.pi)
_C = 0.80475  # log(1 + t) <= C sqrt(t)


class _Parameters(NamedTuple):
    """Log-odds and means on the line."""

    odds: float
    old: float
    new: float


# ---- the formulas, as printed ---------------------------------------------------------


def _rates(w: float, follow: float, anchor: float) -> tuple[float, float]:
    """Slow and fast rate of the linearized pair."""
    total = w + follow + anchor
    root = math.sqrt(total**2 - 4.0 * w * anchor)
    return 0.5 * (total - root), 0.5 * (total + root)


def _slow_bounds(w: float, follow: float, anchor: float) -> tuple[float, float]:
    """Bounds on the slow rate."""
    scale = w * anchor / (w + follow + anchor)
    return scale, 2.0 * scale


def _clock(b: float, separation: float) -> float:
    """rho(b) = b (1 - b) I(b), what hidden labels leave of the information."""
    model = TwoModeMixture.separated(separation, old_weight=b)
    return 1.0 - misassignment_probability(model) / (1.0 - b)


def _slope(b: float, c: float, separation: float, direction: Direction) -> float:
    """Gradient of the student's logit at weight b under a teacher of weight c."""
    if direction == "forward":
        return (b - c) * _clock(b, separation)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    odds = logit(c) + 0.5 * (logit(b) - logit(c)) * (1.0 + nodes)
    rates = np.array([_clock(float(expit(x)), separation) for x in odds])
    return float(b * (1.0 - b) * 0.5 * (logit(b) - logit(c)) * (weights @ rates))


def _pull_floor(low: float, high: float, separation: float) -> float:
    """Least pull, per nat, of a student to its teacher with both weights in [low, high]."""
    flat = min(low * (1.0 - low), high * (1.0 - high))
    return flat * min(_clock(low, separation), _clock(high, separation))


def _retention_bound(
    t: FloatArray, w: float, follow: float, anchor: float, gaps: tuple[float, float]
) -> FloatArray:
    """Bound on the distance of the student's log-odds to those of the demonstrations."""
    slow = 0.5 * (w + follow + anchor - math.sqrt((w + follow + anchor) ** 2 - 4.0 * w * anchor))
    return np.exp(-slow * t) * max(gaps[0], w / (w - slow) * gaps[1])


def _potential(odds: float) -> float:
    """Psi: 1 / (b (1 - b)), integrated over the log-odds."""
    return 2.0 * odds + 2.0 * math.sinh(odds)


def _meeting_point(w: float, follow: float, student: float, teacher: float) -> float:
    """Where the linearized student and teacher meet without an anchor."""
    return (follow * student + w * teacher) / (follow + w)


def _gap_factor(t: float, w: float, follow: float) -> float:
    """Bound on the share of the gap that is left without an anchor."""
    return math.exp(-(w + follow) * t)


def _stationary(w: float, follow: float, anchor: float, noise: float, h: float) -> float:
    """Stationary variance of the student, at step h."""
    away = follow + anchor
    top = 2.0 * (away**2 + w * anchor) - h * away * (away**2 + w * (away + 2.0 * anchor))
    top += h**2 * w * away**3
    first = w + away - h * w * away
    second = 4.0 - 2.0 * h * (w + away) + h**2 * w * (away + follow)
    return noise * top / (w * anchor * first * second)


def _stationary_limit(w: float, follow: float, anchor: float, noise: float) -> float:
    """The same for short steps."""
    total = w + follow + anchor
    return noise / (2.0 * w) * (follow * (follow + anchor) + anchor * total) / (anchor * total)


def _longest_step(w: float, follow: float, anchor: float) -> float:
    """Step at which the first of the two conditions fails."""
    away = follow + anchor
    half, square = w + away, w * (away + follow)
    root = half**2 - 4.0 * square
    second = 4.0 / (half + math.sqrt(root)) if root >= 0.0 else math.inf
    return min((w + away) / (w * away), second)


def _blow_up(w: float, follow: float, noise: float, h: float) -> float:
    """Limit of anchor times stationary variance, as the anchor tends to 0."""
    return follow**2 * noise / (2.0 * w * (w + follow - h * follow * w))


def _walk(w: float, follow: float, noise: float, h: float) -> float:
    """Variance per unit of time that the student gains forever without an anchor."""
    return (follow / (w + follow - h * follow * w)) ** 2 * noise


def _baseline_noise(w: float, baseline: float, h: float, batch_size: int) -> float:
    """Noise of a constant baseline where student and teacher agree."""
    return h * baseline**2 * w / batch_size


def _gain(follow: float, anchor: float) -> float:
    """Largest drift under a force of size 1."""
    return 1.0 + follow / anchor


def _reverse_force(student: TwoModeMixture, teacher: TwoModeMixture) -> FloatArray:
    """Force on the student's old mean, whitened, per unit of its spring."""
    ours, theirs = _gaps(student), _gaps(teacher)
    return np.asarray(
        _missed(teacher, student.old_mean, "old") * theirs
        - _missed(student, student.old_mean, "old") * ours
    )


def _forward_pull(student: TwoModeMixture, teacher: TwoModeMixture) -> tuple[float, FloatArray]:
    """Spring on the student's old mean under forward KL, and spring times force."""
    b = teacher.old_weight
    spring = b * (1.0 - _missed(student, teacher.old_mean, "old"))
    torn = b * _torn(student, teacher.old_mean) + (1.0 - b) * _torn(student, teacher.new_mean)
    pull = (1.0 - b) * _missed(student, teacher.new_mean, "new")
    return spring, np.asarray(pull * (teacher.new_mean - student.old_mean) - torn * _gaps(student))


def _reverse_force_bound(student: TwoModeMixture, teacher: TwoModeMixture) -> float:
    """Bound on the force under reverse KL, if the two gaps are within 60 degrees."""
    ours, theirs = _gaps(student), _gaps(teacher)
    shift = float(theirs @ (student.old_mean - teacher.old_mean))
    return _K * max(
        math.exp(-0.5 * student.old_logit - 0.125 * float(ours @ ours)),
        math.exp(-0.5 * teacher.old_logit - 0.125 * float(theirs @ theirs) + 0.5 * shift),
    )


def _forward_pull_bound(student: TwoModeMixture, teacher: TwoModeMixture) -> float:
    """Bound on spring times force under forward KL."""
    b = teacher.old_weight
    old = b * _missed(student, teacher.old_mean, "old")
    new = (1.0 - b) * _missed(student, teacher.new_mean, "new")
    wrong = float(np.linalg.norm(teacher.new_mean - student.new_mean))
    return new * wrong + float(np.linalg.norm(_gaps(student))) * max(old, new)


def _forward_gate(student: TwoModeMixture, teacher: TwoModeMixture) -> float:
    """Bound on the part of it that overlap gates, in closed form."""
    b, guide, gap = student.old_weight, teacher.old_weight, _gaps(student)
    ratio = math.sqrt((1.0 - b) / b)
    old = 0.5 * float(gap @ (teacher.old_mean - student.old_mean))
    new = -0.5 * float(gap @ (teacher.new_mean - student.new_mean))
    size = max((1.0 - guide) / ratio * math.exp(new), guide * ratio * math.exp(old))
    return _K * math.exp(-0.125 * float(gap @ gap)) * size


def _goal(student: TwoModeMixture, teacher: TwoModeMixture) -> float:
    """Log-odds that the student heads for under reverse KL, without overlap."""
    old = float(np.sum((student.old_mean - teacher.old_mean) ** 2))
    new = float(np.sum((student.new_mean - teacher.new_mean) ** 2))
    return teacher.old_logit + 0.5 * new - 0.5 * old


def _box_pulls(box: AnchoredBox, goal: TwoModeMixture) -> tuple[float, float, float]:
    """Bounds in the box: forces on the old and the new mean, and shift of the log-odds."""
    near = goal.separation - box.old_radius - box.new_radius
    near_teacher = goal.separation - box.teacher_old_radius - box.teacher_new_radius
    apart_old = box.old_radius + box.teacher_old_radius
    apart_new = box.new_radius + box.teacher_new_radius
    model_old = math.exp(-0.5 * box.logit_low - near**2 / 8.0)
    model_new = math.exp(0.5 * box.logit_high - near**2 / 8.0)
    guide = -(near_teacher**2) / 8.0
    guide_old = math.exp(-0.5 * box.teacher_logit_low + guide + 0.5 * near_teacher * apart_old)
    guide_new = math.exp(0.5 * box.teacher_logit_high + guide + 0.5 * near_teacher * apart_new)
    return (
        _K * max(model_old, guide_old),
        _K * max(model_new, guide_new),
        _C * max(model_old + guide_new, guide_old + model_new),
    )


def _box_sizes(
    box: AnchoredBox,
    method: SDFT,
    errors: tuple[FloatArray, FloatArray],
) -> FloatArray:
    """Right-hand sides of the conditions on a box, in the order of its fields."""
    goal = method.demonstration
    share = method.ema_rate / (method.ema_rate + method.anchor)
    push_old, push_new, slack = _box_pulls(box, goal)
    up = 0.5 * (box.new_radius + box.teacher_new_radius) ** 2 + slack
    down = 0.5 * (box.old_radius + box.teacher_old_radius) ** 2 + slack
    student, teacher = errors
    center = goal.old_logit
    return np.array(
        [
            max(student[1], box.teacher_old_radius + push_old),
            max(student[2], box.teacher_new_radius + push_new),
            max(-student[0], center - box.teacher_logit_low + down),
            max(student[0], box.teacher_logit_high - center + up),
            max(teacher[1], share * box.old_radius),
            max(teacher[2], share * box.new_radius),
            max(0.0, -teacher[0], share * (center - box.logit_low)),
            max(0.0, teacher[0], share * (box.logit_high - center)),
            slack,
        ]
    )


def _swapped(goal: _Parameters, follow: float, anchor: float) -> tuple[_Parameters, _Parameters]:
    """Student and teacher at the fixed point with exchanged labels."""
    share = anchor / (anchor + 2.0 * follow)
    middle, half = 0.5 * (goal.old + goal.new), 0.5 * (goal.new - goal.old)
    teacher = _Parameters(share * goal.odds, middle - share * half, middle + share * half)
    return _Parameters(-teacher.odds, teacher.new, teacher.old), teacher


def _remixed(start: FloatArray, goal: FloatArray, share: float, rounds: int) -> FloatArray:
    """Density after rounds in which the student becomes its teacher."""
    return np.asarray(goal + (1.0 - share) ** rounds * (start - goal))


def _remixed_error(first: float, error: float, share: float, rounds: int) -> float:
    """Bound on the distance of a probability, with errors in every round."""
    kept = (1.0 - share) ** rounds
    return kept * first + error / share * (1.0 - kept)


def _remixed_variance(goal: float, share: float, batch_size: int) -> float:
    """Stationary variance of the old weight, with batches."""
    kept = (1.0 - share) ** 2
    return goal * (1.0 - goal) / (batch_size - (batch_size - 1) * kept)


def _forward_gradient(b: float, c: float, r: FloatArray) -> FloatArray:
    """Gradient of the logit from one sample, forward KL on student samples."""
    return np.asarray((b - c) * (r - b) ** 2 / (b * (1.0 - b)))


def _forward_share(b: float, c: float) -> float:
    """Largest share of the way to the teacher that a sample goes at unit step."""
    return abs(b - c) * math.exp(abs(float(logit(b)))) / abs(float(logit(b) - logit(c)))


def _forward_share_mean(b: float, c: float, batch_size: int) -> float:
    """The same for a batch, with its mean as baseline."""
    spread = (batch_size**2 // 4) / batch_size**2
    return spread * abs(b - c) / (b * (1.0 - b) * abs(float(logit(b) - logit(c))))


def _forward_step(far: float) -> float:
    """Step that is safe while all log-odds are within [-far, far], no baseline."""
    return 4.0 * math.exp(-far)


def _forward_step_mean(far: float) -> float:
    """The same with the batch mean."""
    return 16.0 * float(expit(far) * expit(-far))


def _relative_noise(b: float) -> float:
    """Variance of one forward gradient over its squared mean, no overlap."""
    return 1.0 / (b * (1.0 - b)) - 4.0


def _token_gradient(
    student: TwoModeMixture, teacher: TwoModeMixture, old_share: float, direction: Direction
) -> Gradient:
    """Gradient of the per-token loss from a batch with this share of old samples."""
    b, c = student.old_weight, teacher.old_weight
    odds = b - c if direction == "forward" else b * (1.0 - b) * float(logit(b) - logit(c))
    return Gradient(
        odds,
        old_share * (student.old_mean - teacher.old_mean),
        (1.0 - old_share) * (student.new_mean - teacher.new_mean),
    )


def _dropped(student: TwoModeMixture, teacher: TwoModeMixture) -> float:
    """What the per-token gradient of the logit leaves out under reverse KL."""
    b = student.old_weight
    old = float(np.sum((student.old_mean - teacher.old_mean) ** 2))
    new = float(np.sum((student.new_mean - teacher.new_mean) ** 2))
    return 0.5 * b * (1.0 - b) * (old - new)


def _whole_gradient(
    student: TwoModeMixture, teacher: TwoModeMixture, direction: Direction
) -> Gradient:
    """Gradient of the divergence of whole answers, from that of tokens."""
    if direction == "forward":
        return _token_gradient(student, teacher, teacher.old_weight, direction)
    mean = _token_gradient(student, teacher, student.old_weight, direction)
    return mean._replace(logit=mean.logit + _dropped(student, teacher))


def _recovery(b0: float, b1: float, c: float, direction: Direction) -> tuple[float, float]:
    """Bounds on the time from b0 to b1 under a fixed teacher of weight c, b0 < b1 < c."""
    l0, l1 = float(logit(b0)), float(logit(b1))
    if direction == "forward":
        return (l1 - l0) / (c - b0), (l1 - l0) / (c - b1)
    way = _potential(l1) - _potential(l0)
    return way / (float(logit(c)) - l0), way / (float(logit(c)) - l1)


# ---- checks ---------------------------------------------------------------------------


def _gaps(model: TwoModeMixture) -> FloatArray:
    return np.asarray(model.new_mean - model.old_mean)


# the trapezoid rule converges geometrically: the poles of r are at a distance of pi / D
_NODES = np.arange(-25.0, 25.0, 0.04)
_WEIGHTS = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()


def _odds_at(model: TwoModeMixture, mean: FloatArray) -> FloatArray:
    """Log-odds of old at quadrature nodes of N(mean, I)."""
    return np.asarray(float(model.log_odds(mean)) + model.separation * _NODES)


def _missed(model: TwoModeMixture, mean: FloatArray, side: str) -> float:
    """Probability that the model gives a sample of N(mean, I) to the other mode."""
    odds = _odds_at(model, mean)
    return float(_WEIGHTS @ expit(-odds if side == "old" else odds))


def _torn(model: TwoModeMixture, mean: FloatArray) -> float:
    """E[r (1 - r)] under N(mean, I)."""
    odds = _odds_at(model, mean)
    return float(_WEIGHTS @ (expit(odds) * expit(-odds)))


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(generator.uniform(math.log(low), math.log(high))))


def _weight(generator: np.random.Generator, reach: float = 3.0) -> float:
    return float(expit(generator.uniform(-reach, reach)))


def _nearby(
    generator: np.random.Generator, goal: TwoModeMixture, size: float, reach: float = 2.0
) -> TwoModeMixture:
    """A mixture whose means are off by about ``size``."""
    return TwoModeMixture(
        _weight(generator, reach),
        goal.old_mean + size * generator.uniform(-1.0, 1.0, goal.dim),
        goal.new_mean + size * generator.uniform(-1.0, 1.0, goal.dim),
    )


def _linear(
    generator: np.random.Generator,
    rates: tuple[float, float, float],
    start: tuple[float, float],
    h: float,
    steps: int,
    chains: int,
    noise: float = 1.0,
    together: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Many runs of the linear recursion; the teacher moves after the student, or with it."""
    w, follow, anchor = rates
    x, y = np.full(chains, start[0]), np.full(chains, start[1])
    for _ in range(steps):
        before = x
        x = x - h * w * (x - y) + math.sqrt(h * noise) * generator.standard_normal(chains)
        y = y + h * (follow * ((before if together else x) - y) - anchor * y)
    return x, y


def check_anchored_rates(configurations: int = 60, rng: Rng = 51) -> Check:
    """Eigenvalues of student and teacher at the demonstrations, from the exact Hessian.

    Parameters
    ----------
    configurations : int
        Random demonstrations, rates and directions.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        goal = TwoModeMixture.separated(
            float(generator.uniform(1.5, 7.0)),
            _weight(generator, 2.0),
            int(generator.integers(1, 4)),
        )
        follow, anchor = (_log_uniform(generator, 0.01, 2.0) for _ in range(2))
        method = SDFT(goal, follow, anchor, _DIRECTIONS[int(generator.integers(2))])
        curvature = method.loss(goal).hessian(goal)
        one = np.eye(curvature.shape[0])
        matrix = np.block([[curvature, -curvature], [-follow * one, (follow + anchor) * one]])
        values = np.sort(np.linalg.eigvals(matrix).real)
        pairs = [_rates(w, follow, anchor) for w in np.linalg.eigvalsh(curvature).tolist()]
        cases.within(np.sort(np.ravel(pairs)) - values, 1e-6 * values)
        for w, (slow, fast) in zip(np.linalg.eigvalsh(curvature).tolist(), pairs, strict=True):
            low, high = _slow_bounds(w, follow, anchor)
            cases.at_most(low, slow)
            cases.at_most(slow, min(high, w, anchor))
            cases.at_most(max(w, follow + anchor), fast)
            cases.equal(method.rates(w).slow, slow, 1e-7)
            cases.equal(method.rates(w).fast, fast, 1e-9)
        # both bounds are attained: a weak anchor, and a student alone as fast as its anchor
        weak = _slow_bounds(anchor, follow, 1e-7)[0]
        cases.equal(SDFT(goal, follow, 1e-7).rates(anchor).slow, weak, 1e-4)
        cases.equal(
            SDFT(goal, 0.0, anchor).rates(anchor).slow, _slow_bounds(anchor, 0.0, anchor)[1], 1e-7
        )

    # noisy pairs that start along the slow direction shrink by 1 - h s a step, on average
    rates, h, steps = (0.2, 0.3, 0.1), 0.5, 12
    slow = _rates(*rates)[0]
    start = (10.0, 10.0 * (1.0 - slow / rates[0]))
    x, _ = _linear(cases.generator, rates, start, h, steps, 150_000, together=True)
    estimate, stderr = mean_and_error(x)
    return cases.conclude(
        estimate,
        10.0 * (1.0 - h * slow) ** steps,
        stderr,
        "eigenvalues of the linearized training from the exact Hessian, both directions; Monte "
        "Carlo: mean of noisy pairs that start along the slow direction",
    )


def check_anchored_retention(configurations: int = 5, rng: Rng = 52) -> Check:
    """Weights stay in the interval and approach the anchor at the promised rate.

    Parameters
    ----------
    configurations : int
        Random demonstrations, starts, rates and directions, each one flow.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    t = np.linspace(0.0, 30.0, 16)
    for generator in cases:
        separation = float(generator.uniform(1.0, 6.0))
        a, b, c = (_weight(generator) for _ in range(3))
        goal = TwoModeMixture.separated(separation, old_weight=a)
        follow, anchor = (_log_uniform(generator, 0.02, 1.0) for _ in range(2))
        direction = _DIRECTIONS[int(generator.integers(2))]
        method = SDFT(goal, follow, anchor, direction, goal.replace(old_weight=c))
        start = goal.replace(old_weight=b)
        low, high = min(a, b, c), max(a, b, c)
        slope = method.loss(goal.replace(old_weight=c)).gradient(start).logit
        cases.equal(_slope(b, c, separation, direction), slope, 1e-7)
        floor = _pull_floor(low, high, separation)
        cases.at_most(floor, slope / (float(logit(b)) - float(logit(c))))
        # on a short interval the floor is the curvature itself
        cases.equal(_pull_floor(a, a, separation), ReverseKL(goal).hessian(goal)[0, 0], 1e-7)
        kept = method.retention(start)
        cases.equal(kept.curvature, floor, 1e-7)
        cases.equal(kept.low, low, 1e-12)
        cases.equal(kept.high, high, 1e-12)
        gaps = abs(start.old_logit - goal.old_logit), abs(float(logit(c)) - goal.old_logit)
        path = gradient_flow(method, start, t, train="weight", rtol=1e-8)
        assert path.teacher is not None
        for one in (path, path.teacher):
            cases.within(np.minimum(one.old_weight - low, 0.0), 1e-7)
            cases.within(np.maximum(one.old_weight - high, 0.0), 1e-7)
        bound = _retention_bound(t, floor, follow, anchor, gaps)
        cases.at_most(np.abs(path.old_logit - goal.old_logit), bound + 1e-7)
        if gaps[0] >= kept.factor * gaps[1]:  # then the bound starts at the student
            cases.equal(bound[0], gaps[0], 1e-9)
        # the teacher's factor: a start along the slow direction uses all of it
        own = SDFT(goal, follow, anchor)
        slow = own.rates(floor).slow
        teacher_gap = 1.0 - slow / floor
        exact = math.exp(-slow * 3.0)
        cases.equal(
            _retention_bound(np.array([3.0]), floor, follow, anchor, (0.0, teacher_gap))[0],
            exact,
            1e-7,
        )

    # one step of a student far from its teacher
    separation, b, c = 2.0, 0.5, 0.9
    goal = TwoModeMixture.separated(separation, old_weight=0.7)
    method = SDFT(goal, 0.1, 0.1, "forward", goal.replace(old_weight=c))
    run = simulate(
        method,
        goal.replace(old_weight=b),
        steps=1,
        batch_size=100,
        learning_rate=0.1,
        replicates=4000,
        train="weight",
        rng=cases.generator,
    )
    estimate, stderr = mean_and_error(run.old_logit[:, 1] / 0.1)
    return cases.conclude(
        estimate,
        -_slope(b, c, separation, "forward"),
        stderr,
        "student and teacher weights along flows of both directions, against the interval and "
        "the rate; Monte Carlo: one forward step on samples of the student",
    )


def check_neutral_line(configurations: int = 3, rng: Rng = 53) -> Check:
    """Without an anchor student and teacher meet, at a point that the start decides.

    Parameters
    ----------
    configurations : int
        Random starts, rates and directions, each one flow; the first three serve for all parts.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b, c = _weight(generator, 2.0), _weight(generator, 2.0)
        l0, m0 = float(logit(b)), float(logit(c))
        follow = _log_uniform(generator, 0.1, 1.0)
        separation = float(generator.uniform(1.0, 6.0))
        goal = TwoModeMixture.separated(separation, old_weight=0.5)
        direction = _DIRECTIONS[int(generator.integers(2))]
        t = float(generator.uniform(0.5, 5.0))
        which, every = cases.count % 3, cases.count < 3  # then one part each
        if every or which == 0:
            # no overlap, reverse: exact conserved quantity
            far = TwoModeMixture.separated(30.0, old_weight=0.5)
            method = SDFT(far, follow, 0.0, teacher=far.replace(old_weight=c))
            path = gradient_flow(
                method, far.replace(old_weight=b), 100.0, train="weight", rtol=1e-7
            )
            assert path.teacher is not None
            met, teacher = float(path.old_logit[-1]), float(path.teacher.old_logit[-1])
            cases.within(met - teacher, 1e-4)
            before = follow * _potential(l0) + m0
            cases.within(follow * _potential(met) + teacher - before, 1e-5 * (1.0 + abs(before)))
        if every or which == 1:
            # any overlap, either direction: the gap falls at least at the promised rate
            method = SDFT(goal, follow, 0.0, direction, goal.replace(old_weight=c))
            path = gradient_flow(
                method, goal.replace(old_weight=b), [0.0, t, 15.0], train="weight", rtol=1e-7
            )
            assert path.teacher is not None
            gap = path.old_logit - path.teacher.old_logit
            floor = _pull_floor(min(b, c), max(b, c), separation)
            cases.at_most(gap[1] / gap[0], _gap_factor(t, floor, follow) + 1e-6 / abs(gap[0]))
            cases.within(np.maximum(path.old_weight - max(b, c), 0.0), 1e-7)
            cases.within(np.minimum(path.old_weight - min(b, c), 0.0), 1e-7)
        if every or which == 2:
            # linearized: where they meet, with the exact curvature, and how fast
            w = float(ReverseKL(goal).hessian(goal)[0, 0])
            push = 1e-4
            method = SDFT(goal, follow, 0.0, direction, goal)
            path = gradient_flow(
                method,
                goal.replace(old_weight=float(expit(push))),
                [t, 60.0],
                train="weight",
                rtol=1e-7,
            )
            assert path.teacher is not None
            cases.equal(_meeting_point(w, follow, push, 0.0), path.old_logit[1], 1e-3)
            left = (path.old_logit[0] - path.teacher.old_logit[0]) / push
            cases.equal(_gap_factor(t, w, follow), left, 1e-3)

    # noise moves single pairs along the line; on average the meeting point stays
    rates, h = (0.2, 0.3, 0.0), 0.5
    x, _ = _linear(cases.generator, rates, (10.0, 4.0), h, 40, 60_000, noise=0.5, together=True)
    estimate, stderr = mean_and_error(x)
    return cases.conclude(
        estimate,
        _meeting_point(*rates[:2], 10.0, 4.0),
        stderr,
        "flows without an anchor: conserved quantity, shrinking gap, meeting point; Monte Carlo: "
        "mean of noisy linear pairs",
    )


def check_anchored_variance(configurations: int = 150, rng: Rng = 54) -> Check:
    """Stationary variance against the Lyapunov equation, its blow-up, and the walk without anchor.

    Parameters
    ----------
    configurations : int
        Random rates and steps.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    goal = TwoModeMixture.separated(4.0)
    for generator in cases:
        w, follow, anchor = (_log_uniform(generator, 0.02, 1.0) for _ in range(3))
        noise, h = _log_uniform(generator, 0.1, 10.0), float(generator.uniform(0.01, 0.9))
        step = np.array([[1.0 - h * w, h * w], [0.0, 0.0]])
        step[1] = h * follow * step[0] + np.array([0.0, 1.0 - h * (follow + anchor)])
        kick = np.array([1.0, h * follow])
        exact = solve_discrete_lyapunov(step, h * noise * np.outer(kick, kick))[0, 0]
        method = SDFT(goal, follow, anchor)
        cases.equal(_stationary(w, follow, anchor, noise, h), exact, 1e-8)
        cases.equal(method.stationary_variance(w, noise, h), exact, 1e-8)
        limit = _stationary_limit(w, follow, anchor, noise)
        cases.equal(_stationary(w, follow, anchor, noise, 1e-9), limit, 1e-7)
        cases.equal(method.stationary_variance(w, noise), limit, 1e-9)
        weak = SDFT(goal, follow, 1e-9).stationary_variance(w, noise, h) * 1e-9
        cases.equal(_blow_up(w, follow, noise, h), weak, 1e-5)
        # without an anchor: two records of the exact recursion for the covariance
        free = np.array([step[0], h * follow * step[0] + np.array([0.0, 1.0 - h * follow])])
        records: list[float] = []
        doubled, source = free, h * noise * np.outer(kick, kick)
        for _ in range(24):  # 2^24 steps by doubling
            source = source + doubled @ source @ doubled.T
            doubled = doubled @ doubled
            records.append(float(source[0, 0]))
        growth = (records[-1] - records[-2]) / (h * 2.0**23)
        cases.equal(_walk(w, follow, noise, h), growth, 1e-5)
        if h < 0.1:
            late = SDFT(goal, follow, 0.0)
            slope = (late.variance(w, noise, 2e6) - late.variance(w, noise, 1e6)) / 1e6
            cases.equal(_walk(w, follow, noise, 0.0), slope, 1e-6)
        # a longer step than the longest leaves no law with a finite variance
        limit = _longest_step(w, follow, anchor)
        for factor in (0.995, 1.005):
            long = factor * limit
            row = np.array([1.0 - long * w, long * w])
            other = long * follow * row + np.array([0.0, 1.0 - long * (follow + anchor)])
            radius = np.abs(np.linalg.eigvals(np.array([row, other]))).max()
            cases.must((radius < 1.0) == (factor < 1.0))
        # the noise of a constant baseline: variance of r - b under the model
        model = TwoModeMixture.separated(
            float(generator.uniform(1.5, 6.0)), _weight(generator, 2.0)
        )
        odds = np.concatenate([_odds_at(model, model.old_mean), _odds_at(model, model.new_mean)])
        weights = np.concatenate([model.old_weight * _WEIGHTS, (1.0 - model.old_weight) * _WEIGHTS])
        spread = float(weights @ (expit(odds) - model.old_weight) ** 2)
        curvature = float(ReverseKL(model).hessian(model)[0, 0])
        cases.equal(_baseline_noise(curvature, 2.0, h, 7), h * 4.0 * spread / 7.0, 1e-7)

    # the method itself, near agreement: constant baseline, and a teacher that moves last
    curvature = float(ReverseKL(goal).hessian(goal)[0, 0])
    follow, anchor, h, batch = 0.6, 0.3, 1.0, 256
    run = simulate(
        SDFT(goal, follow, anchor),
        goal,
        steps=120,
        batch_size=batch,
        learning_rate=h,
        replicates=200,
        baseline=1.0,
        train="weight",
        record_every=4,
        rng=cases.generator,
    )
    late = ((run.old_logit[:, 15:] - goal.old_logit) ** 2).mean(axis=1)
    estimate, stderr = mean_and_error(late)
    noise = _baseline_noise(curvature, 1.0, h, batch)
    law = _stationary(curvature, follow, anchor, noise, h)
    cases.within(estimate - law, SIGMAS * stderr + 0.01 * law)  # the law is linear

    rates, h = (1.2, 1.0, 1.5), 0.5
    x, _ = _linear(cases.generator, rates, (0.0, 0.0), h, 14, 460_000)
    estimate, stderr = mean_and_error(x**2)
    return cases.conclude(
        estimate,
        _stationary(*rates, 1.0, h),
        stderr,
        "random rates and steps against the Lyapunov equation; Monte Carlo: variance of noisy "
        "pairs",
    )


def check_anchored_drift(configurations: int = 60, rng: Rng = 55) -> Check:
    """Forces on the old mean, their bounds, and the gain of a teacher that follows.

    Parameters
    ----------
    configurations : int
        Random students and teachers, and random forces.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        goal = TwoModeMixture.separated(float(generator.uniform(3.0, 6.0)), dim=2)
        student, teacher = _nearby(generator, goal, 0.5), _nearby(generator, goal, 0.5)
        apart = student.old_mean - teacher.old_mean
        b = student.old_weight
        force = _reverse_force(student, teacher)
        reverse = ReverseKL(teacher).gradient(student).old_mean
        scale = float(np.abs(reverse).max())
        cases.within(b * (apart - force) - reverse, 1e-7 * scale)
        spring, pull = _forward_pull(student, teacher)
        forward = ForwardKL(teacher, replay=teacher.old_weight).gradient(student).old_mean
        cases.within(spring * apart - pull - forward, 1e-7 * float(np.abs(forward).max()))
        # away from the mean of the teacher the force alone must be right, too
        level = student.replace(old_mean=teacher.old_mean)
        alone = -ReverseKL(teacher).gradient(level).old_mean / b
        cases.within(_reverse_force(level, teacher) - alone, 1e-6 * float(np.abs(alone).max()))
        spring, pull = _forward_pull(level, teacher)
        alone = -ForwardKL(teacher, replay=teacher.old_weight).gradient(level).old_mean
        cases.within(pull - alone, 1e-6 * float(np.abs(alone).max()))
        cases.at_most(float(np.linalg.norm(pull)), _forward_pull_bound(level, teacher))
        size = float(np.linalg.norm(_forward_pull(student, teacher)[1]))
        cases.at_most(size, _forward_pull_bound(student, teacher))
        b_teacher = teacher.old_weight
        missed = max(
            b_teacher * _missed(student, teacher.old_mean, "old"),
            (1.0 - b_teacher) * _missed(student, teacher.new_mean, "new"),
        )
        gated = student.separation * missed
        cases.at_most(gated, _forward_gate(student, teacher))
        cases.at_most(float(np.linalg.norm(force)), _reverse_force_bound(student, teacher))
        # a lasting force attains the gain, a changing one stays below
        follow, anchor = (_log_uniform(generator, 0.2, 2.0) for _ in range(2))
        method, gain = SDFT(goal, follow, anchor), _gain(follow, anchor)
        cases.equal(method.drift_gain(), gain, 1e-12)
        phases = generator.uniform(0.0, 2.0 * math.pi, 3)
        speeds = generator.uniform(0.0, 1.0, 3) ** 2
        e: FloatArray = np.zeros(2)  # student and teacher
        dt, worst, total = 0.05, 0.0, 0.0
        for number in range(400):
            spring = 0.5 + 0.4 * math.sin(speeds[0] * number * dt + phases[0])
            push = math.cos(speeds[1] * number * dt + phases[1])
            e = e + dt * np.array(
                [-spring * (e[0] - e[1] - push), follow * (e[0] - e[1]) - anchor * e[1]]
            )
            worst, total = max(worst, float(abs(e[0]))), total + dt * spring * abs(push)
            cases.must(abs(e[0]) <= total + 1e-12)
        cases.at_most(worst, gain)
        rest = np.array([[1.0, -1.0], [follow, -follow - anchor]])
        lasting = np.linalg.solve(rest, [1.0, 0.0])
        cases.equal(lasting[0], gain, 1e-9)
    # tightness of the two bounds in the limit: far apart, and nearly all of one weight
    wide = TwoModeMixture.separated(45.0, old_weight=0.5)
    for one, other in ((0.3, 0.9999999), (0.9999999, 0.3)):
        pair = wide.replace(old_weight=one), wide.replace(old_weight=other)
        size = abs(float(_exact_force(*pair)[0]))
        cases.equal(_reverse_force_bound(*pair), size, 3e-3)
        for old, new in ((0.0, -0.02), (0.02, 0.0)):  # the larger: new samples, old samples
            moved = pair[1].replace(old_mean=[old], new_mean=[45.0 + new], old_weight=0.5)
            level = pair[0].replace(old_weight=0.5)
            missed = max(
                0.5 * _missed(level, moved.old_mean, "old"),
                0.5 * _missed(level, moved.new_mean, "new"),
            )
            cases.equal(_forward_gate(level, moved), 45.0 * missed, 3e-3)
    # and nearly coincident modes, with a teacher whose new mode is far away
    pair = TwoModeMixture(0.4, [0.0], [1e-3]), TwoModeMixture(0.3, [0.0], [3.0])
    cases.equal(_forward_pull_bound(*pair), float(np.linalg.norm(_forward_pull(*pair)[1])), 2e-3)
    near = TwoModeMixture.separated(3.0, old_weight=1.0 - 2.0**-50)
    bound = _forward_pull_bound(near, near.replace(old_weight=0.5))
    cases.equal(
        bound, float(np.linalg.norm(_forward_pull(near, near.replace(old_weight=0.5))[1])), 1e-6
    )

    # the pathwise force at right means, with weights that differ
    separation, b, c = 1.5, 0.3, 0.8
    goal = TwoModeMixture.separated(separation)
    student, teacher = goal.replace(old_weight=b), goal.replace(old_weight=c)
    y = cases.generator.standard_normal(400_000)
    pull = separation * (student.responsibility(y) - teacher.responsibility(y))
    estimate, stderr = mean_and_error(pull)
    return cases.conclude(
        estimate,
        float(_reverse_force(student, teacher)[0]),
        stderr,
        "forces against exact gradients of both directions and against their bounds, and the "
        "gain under random forces; Monte Carlo: force of a teacher with right means",
    )


def _exact_force(student: TwoModeMixture, teacher: TwoModeMixture) -> FloatArray:
    """Force under reverse KL at equal old means, from the library's exact gradient."""
    return -ReverseKL(teacher).gradient(student).old_mean / student.old_weight


def _pulls_inside(cases: Cases, method: SDFT, box: AnchoredBox, share: FloatArray) -> FloatArray:
    """Velocity of student and teacher at a point of a box, 0 and 1 being its faces.

    The forces and the shift there are held against their bounds.
    """
    goal = method.demonstration
    low = goal.separation * np.array([0.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    high = low.copy()
    low[[0, 3]] = [box.logit_low, box.teacher_logit_low]
    high[[0, 3]] = [box.logit_high, box.teacher_logit_high]
    sizes = [box.old_radius, box.new_radius, box.teacher_old_radius, box.teacher_new_radius]
    low[[1, 2, 4, 5]] -= sizes
    high[[1, 2, 4, 5]] += sizes
    point = low + share * (high - low)
    student, teacher = (
        TwoModeMixture(float(expit(p[0])), p[1], p[2]) for p in (point[:3], point[3:])
    )
    slope = ReverseKL(teacher).gradient(student)
    b, gap = student.old_weight, point[:3] - point[3:]
    pulls = (
        gap[1] - slope.old_mean[0] / b,
        gap[2] - slope.new_mean[0] / (1.0 - b),
        slope.logit / (b * (1.0 - b)) - student.old_logit + _goal(student, teacher),
    )
    for pull, bound in zip(pulls, _box_pulls(box, goal), strict=True):
        cases.at_most(abs(float(pull)), bound + 1e-11)
    moving = method.teacher_velocity(student, teacher)
    return np.array(
        [
            -slope.logit,
            -slope.old_mean[0],
            -slope.new_mean[0],
            moving.logit,
            moving.old_mean[0],
            moving.new_mean[0],
        ]
    )


def check_anchored_box(configurations: int = 4, rng: Rng = 56) -> Check:
    """The box solves its inequalities with nothing to spare, and the flow stays inside.

    Parameters
    ----------
    configurations : int
        Random demonstrations, starts and rates with a box, each one flow.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        box = None
        while box is None:
            separation = float(generator.uniform(7.0, 12.0))
            goal = TwoModeMixture.separated(separation, _weight(generator, 1.5))
            method = SDFT(
                goal, _log_uniform(generator, 0.02, 0.3), _log_uniform(generator, 0.02, 0.3)
            )
            start = goal.replace(
                old_weight=_weight(generator, 2.0),
                old_mean=[generator.uniform(-0.2, 0.2) * generator.integers(2)],
                new_mean=[separation + generator.uniform(-0.4, 0.4)],
            )
            box = method.box(start)
        center = goal.old_logit
        error = np.array(
            [
                start.old_logit - center,
                abs(float(start.old_mean[0])),
                abs(float(start.new_mean[0]) - separation),
            ]
        )
        held = np.array(
            [
                box.old_radius,
                box.new_radius,
                center - box.logit_low,
                box.logit_high - center,
                box.teacher_old_radius,
                box.teacher_new_radius,
                center - box.teacher_logit_low,
                box.teacher_logit_high - center,
                box.slack,
            ]
        )
        wanted = _box_sizes(box, method, (error, error))
        cases.within(np.maximum(wanted - held, 0.0), 1e-12 + 1e-9 * held)
        cases.within(np.maximum(held - wanted, 0.0), 1e-12 + 1e-7 * held)
        for side in range(12):  # on every face, all else at random, the velocity points inwards
            row, end = side // 2, side % 2
            share = generator.random(6)
            share[row] = end
            velocity = _pulls_inside(cases, method, box, share)
            cases.must(velocity[row] * (1 if end else -1) <= 1e-12)
        path = gradient_flow(method, start, np.linspace(0.0, 60.0, 61), rtol=1e-8)
        assert path.teacher is not None
        for one, sizes in ((path, held[:4]), (path.teacher, held[4:8])):
            seen = [
                np.abs(one.old_mean).max(),
                np.abs(one.new_mean - separation).max(),
                (center - one.old_logit).max(),
                (one.old_logit - center).max(),
            ]
            cases.at_most(np.maximum(seen, 0.0), sizes + 1e-7)

    # small boxes, at whose corners the forces are nearly as large as their bounds
    for a, b in ((0.8, 0.1), (0.2, 0.9)):
        goal = TwoModeMixture.separated(9.0, old_weight=a)
        method = SDFT(goal, 0.01, 1.0, teacher=goal)
        box = method.box(goal.replace(old_weight=b))
        assert box is not None
        for number in range(64):
            corner = np.array([float(number >> bit & 1) for bit in range(6)])
            _pulls_inside(cases, method, box, corner)

    # where the log-odds head for: the difference of the losses of old and new samples
    student = TwoModeMixture(0.4, [0.3], [9.5])
    teacher = TwoModeMixture(0.7, [-0.1], [9.3])
    z = cases.generator.standard_normal((2, 250_000))
    losses = [
        (student.logpdf(mean + row) - teacher.logpdf(mean + row))
        for mean, row in zip((student.old_mean, student.new_mean), z, strict=True)
    ]
    estimate, stderr = mean_and_error(student.old_logit - (losses[0] - losses[1]))
    return cases.conclude(
        estimate,
        _goal(student, teacher),
        stderr,
        "random boxes: their inequalities, and flows inside; Monte Carlo: where the log-odds head "
        "for with wrong means",
    )


def check_swapped_labels(configurations: int = 12, rng: Rng = 57) -> Check:
    """With exchanged labels there is another fixed point, and it is stable.

    Parameters
    ----------
    configurations : int
        Random demonstrations, rates and directions.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        separation = float(generator.uniform(1.5, 6.0))
        goal = TwoModeMixture.separated(separation, _weight(generator, 2.0))
        follow, anchor = (_log_uniform(generator, 0.02, 1.0) for _ in range(2))
        method = SDFT(goal, follow, anchor, _DIRECTIONS[int(generator.integers(2))])
        student, teacher = _swapped(_Parameters(goal.old_logit, 0.0, separation), follow, anchor)
        for one, printed in zip(method.swapped(), (student, teacher), strict=True):
            cases.within(one.old_logit - printed.odds, 1e-9 * (1.0 + abs(printed.odds)))
            cases.equal(one.old_mean[0], printed.old, 1e-9)
            cases.equal(one.new_mean[0], printed.new, 1e-9)
        state = np.array([*student, *teacher])

        def velocity(state: FloatArray, method: SDFT = method) -> FloatArray:
            one, other = (
                TwoModeMixture(float(expit(p[0])), p[1], p[2]) for p in (state[:3], state[3:])
            )
            descent = method.loss(other).gradient(one)
            teaching = method.teacher_velocity(one, other)
            return np.array(
                [
                    -descent.logit,
                    -descent.old_mean[0],
                    -descent.new_mean[0],
                    teaching.logit,
                    teaching.old_mean[0],
                    teaching.new_mean[0],
                ]
            )

        cases.within(velocity(state), 1e-9)
        jacobian = np.stack(
            [(velocity(state + d) - velocity(state - d)) / 2e-5 for d in 1e-5 * np.eye(6)], axis=1
        )
        # what the proof says about the spectrum: student and teacher in the same labels
        near = TwoModeMixture(float(expit(teacher.odds)), teacher.old, teacher.new)
        curvature = ReverseKL(near).hessian(near)
        swap = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        unit = np.eye(3)
        exact = np.block([[-curvature, curvature], [follow * swap, -(follow + anchor) * unit]])
        found = np.sort_complex(np.linalg.eigvals(jacobian))
        cases.within(np.abs(found - np.sort_complex(np.linalg.eigvals(exact))), 2e-4)
        cases.must(np.linalg.eigvals(exact).real.max() < 0.0)

    goal = TwoModeMixture.separated(6.0, old_weight=0.75)
    other, _ = SDFT(goal, 0.05, 0.05).swapped()
    y, _ = other.rvs(600_000, cases.generator)
    estimate, stderr = mean_and_error(other.logpdf(y) - goal.logpdf(y))
    return cases.conclude(
        estimate,
        ReverseKL(goal).value(other),
        stderr,
        "random fixed points: no velocity, and the spectrum of the linearized training; Monte "
        "Carlo: divergence of the swapped student from the demonstrations",
    )


def check_teacher_density(configurations: int = 60, rng: Rng = 58) -> Check:
    """A teacher that is a mixture of densities: exact decay, errors, and batches.

    Parameters
    ----------
    configurations : int
        Random densities on twelve points, shares, errors and batch sizes.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        goal, start = generator.dirichlet(np.full(12, 0.7), 2)
        share, rounds = float(generator.uniform(0.05, 0.6)), int(generator.integers(1, 12))
        region = generator.random(12) < 0.5
        error = _log_uniform(generator, 1e-3, 0.05)
        exact = noisy = start
        for _ in range(rounds):
            exact = (1.0 - share) * exact + share * goal
            noisy = (1.0 - share) * noisy + share * goal
            # move a mass of at most ``error`` out of the region, as an unlucky student would
            moved = min(error, 0.99 * float(noisy[region].sum()))
            if region.any() and not region.all() and moved > 0.0:
                inside, outside = noisy * region, noisy * ~region
                inside = inside * (1.0 - moved / inside.sum())
                outside = outside + moved * ~region / (~region).sum()
                noisy = inside + outside
            cases.must(exact >= share * goal)
        cases.within(exact - _remixed(start, goal, share, rounds), 1e-12)
        if goal.min() > 0.0:
            left, right = rel_entr(exact, goal).sum(), rel_entr(start, goal).sum()
            cases.at_most(left, (1.0 - share) ** rounds * right + 1e-12)
        first = abs(float((start - goal)[region].sum()))
        bound = _remixed_error(first, error, share, rounds)
        cases.at_most(abs(float((noisy - goal)[region].sum())), bound + 1e-12)
        # attained by errors that always lead the same way
        gap = first
        for _ in range(rounds):
            gap = (1.0 - share) * gap + error
        cases.equal(bound, gap, 1e-9)
        # batches: the exact chain on 0, ..., N
        size, a = int(generator.integers(2, 9)), _weight(generator, 2.0)
        counts = np.arange(size + 1)
        teacher = (1.0 - share) * counts / size + share * a
        chain: FloatArray = np.asarray(binom.pmf(counts, size, teacher[:, None]))
        law = np.linalg.matrix_power(chain, 2000)[0]
        variance = float(law @ (counts / size - a) ** 2)
        cases.equal(_remixed_variance(a, share, size), variance, 1e-8)
        late = remixed_weight(a, 0.5, share, 2000, size)
        cases.equal(late.variance, variance, 1e-8)
        alone: FloatArray = np.asarray(binom.pmf(counts, size, (counts / size)[:, None]))
        lost = np.linalg.matrix_power(alone, 4000)[:, 0]
        cases.within(lost - (1.0 - counts / size), 1e-7)
        cases.must(float(chain[:, 0].max()) <= (1.0 - share * a) ** size + 1e-12)

    a, share, size, rounds = 0.75, 0.3, 16, 12
    weights = np.full(60_000, 0.95)
    for _ in range(rounds):
        weights = cases.generator.binomial(size, (1.0 - share) * weights + share * a) / size
    estimate, stderr = mean_and_error(weights)
    return cases.conclude(
        estimate,
        remixed_weight(a, 0.95, share, rounds, size).mean,
        stderr,
        "random densities, regions and errors, and exact chains of batches; Monte Carlo: mean "
        "weight after rounds with batches",
    )


def check_teacher_batches(configurations: int = 150, rng: Rng = 59) -> Check:
    """Every batch leads to the teacher, up to a step that the forward direction shortens.

    Parameters
    ----------
    configurations : int
        Random weights and batches, with the extreme samples.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b, c = _weight(generator, 4.0), _weight(generator, 4.0)
        gap = float(logit(b) - logit(c))
        size = int(generator.integers(2, 10))
        log_ratio = generator.uniform(0.5, 20.0) * generator.standard_normal(size)
        r = expit(logit(b) + log_ratio)

        def losses(log_ratio: FloatArray, b: float = b, c: float = c) -> FloatArray:
            log_q = np.logaddexp(np.log1p(-b), np.log(b) + log_ratio)
            return np.asarray(log_q - np.logaddexp(np.log1p(-c), np.log(c) + log_ratio))

        values = -np.expm1(-losses(log_ratio))
        single = (r - b) * values
        cases.within(single - _forward_gradient(b, c, r), 1e-9 * np.abs(single).max())
        # a sample half-way, where nothing can hide behind a limit
        half = np.array([0.5 * (1.0 + b)])
        between = (half - b) * -np.expm1(-losses(logit(half) - logit(b)))
        cases.equal(_forward_gradient(b, c, half), between, 1e-7)
        centered = float(np.mean((r - b) * (values - values.mean())))
        cases.must(single * gap >= 0.0)
        cases.must(centered * gap >= -1e-15)
        cases.at_most(single / gap, _forward_share(b, c))
        cases.at_most(centered / gap, _forward_share_mean(b, c, size))
        ends = np.array([-600.0, 600.0])
        extreme = (expit(logit(b) + ends) - b) * -np.expm1(-losses(ends)) / gap
        cases.equal(extreme.max(), _forward_share(b, c), 1e-8)
        mixed = np.where(np.arange(size) < size // 2, 600.0, -600.0)
        worst = -np.expm1(-losses(mixed))
        share = np.mean((expit(logit(b) + mixed) - b) * (worst - worst.mean())) / gap
        cases.equal(share, _forward_share_mean(b, c, size), 1e-8)
        # the safe steps, from the extreme log-odds
        far = max(abs(float(logit(b))), abs(float(logit(c))))
        goal = TwoModeMixture.separated(4.0, old_weight=b)
        method = SDFT(goal, 0.0, 0.0, "forward", goal.replace(old_weight=c))
        step, step_mean = (method.safe_learning_rate(goal, kind) for kind in (None, "batch_mean"))
        cases.equal(_forward_step(far), step, 1e-9)
        cases.equal(_forward_step_mean(far), step_mean, 1e-9)
        cases.must(step * _forward_share(b, c) <= 1.0 + 1e-9)
        cases.must(step_mean * _forward_share_mean(b, c, 2) <= 1.0 + 1e-9)
    # whole runs at the safe step: nobody leaves the interval
    goal = TwoModeMixture.separated(3.0, old_weight=0.4)
    for direction in _DIRECTIONS:
        method = SDFT(goal, 0.3, 0.05, direction, goal.replace(old_weight=0.8))
        start = goal.replace(old_weight=0.1)
        step = method.safe_learning_rate(start)
        run = simulate(
            method,
            start,
            steps=150,
            batch_size=1,
            learning_rate=step,
            replicates=40,
            train="weight",
            rng=cases.generator,
        )
        assert run.teacher_weight is not None
        for weights in (run.old_weight, run.teacher_weight):
            cases.must((weights >= 0.1 - 1e-9) & (weights <= 0.8 + 1e-9))

    b, c = 0.2, 0.6
    far_apart = TwoModeMixture.separated(14.0, old_weight=b)
    old = cases.generator.random(2_000_000) < b
    r = far_apart.responsibility(14.0 * ~old + cases.generator.standard_normal(old.size))
    samples = _forward_gradient(b, c, r) / (b - c)
    estimate, stderr = mean_and_error(samples**2 - 1.0)
    return cases.conclude(
        estimate,
        _relative_noise(b),
        stderr,
        "random and extreme batches of both kinds, and runs at the safe step; Monte Carlo: "
        "relative variance of a forward gradient",
    )


def check_token_gradient(configurations: int = 60, rng: Rng = 60) -> Check:
    """The per-token loss on student prefixes, differentiated, and how fast it recovers.

    Parameters
    ----------
    configurations : int
        Random students, teachers and batches.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    for generator in cases:
        goal = TwoModeMixture.separated(float(generator.uniform(1.0, 6.0)))
        student, teacher = _nearby(generator, goal, 0.7), _nearby(generator, goal, 0.7)
        share = float(generator.random())
        for direction in _DIRECTIONS:

            def loss(
                odds: float,
                old: float,
                new: float,
                teacher: TwoModeMixture = teacher,
                share: float = share,
                direction: Direction = direction,
            ) -> float:
                pair = np.array([expit(odds), expit(-odds)])
                guide = np.array([teacher.old_weight, 1.0 - teacher.old_weight])
                first = rel_entr(pair, guide) if direction == "reverse" else rel_entr(guide, pair)
                rest = 0.5 * share * (old - float(teacher.old_mean[0])) ** 2
                rest += 0.5 * (1.0 - share) * (new - float(teacher.new_mean[0])) ** 2
                return float(first.sum()) + rest

            point = np.array([student.old_logit, student.old_mean[0], student.new_mean[0]])
            slopes = [(loss(*(point + d)) - loss(*(point - d))) / 2e-5 for d in 1e-5 * np.eye(3)]
            printed = np.hstack(_token_gradient(student, teacher, share, direction))
            cases.within(printed - slopes, 1e-8 + 1e-5 * np.abs(slopes))

            def whole(
                odds: float,
                old: float,
                new: float,
                teacher: TwoModeMixture = teacher,
                direction: Direction = direction,
            ) -> float:
                pair = np.array([expit(odds), expit(-odds)])
                guide = np.array([teacher.old_weight, 1.0 - teacher.old_weight])
                if direction == "forward":
                    pair, guide = guide, pair
                means = [old - float(teacher.old_mean[0]), new - float(teacher.new_mean[0])]
                return float(rel_entr(pair, guide).sum() + pair @ np.square(means) / 2.0)

            slopes = [(whole(*(point + d)) - whole(*(point - d))) / 2e-5 for d in 1e-5 * np.eye(3)]
            printed = np.hstack(_whole_gradient(student, teacher, direction))
            cases.within(printed - slopes, 1e-8 + 1e-5 * np.abs(slopes))
            # a run of batches from wrong means: the weight does not notice them
            follow, anchor = (_log_uniform(generator, 0.02, 0.5) for _ in range(2))
            one, other = (
                np.copy(point),
                np.array([teacher.old_logit, teacher.old_mean[0], teacher.new_mean[0]]),
            )
            aim = np.array([goal.old_logit, goal.old_mean[0], goal.new_mean[0]])
            odds = np.array([one[0], other[0], aim[0]])
            far = float(np.abs(odds).max())  # the weight b (1 - b) is least there
            floor = float(expit(far) * expit(-far))
            gaps = abs(one[0] - aim[0]), abs(other[0] - aim[0])
            bound = _retention_bound(0.5 * np.arange(1.0, 13.0), floor, follow, anchor, gaps)
            for limit in bound:
                pair_now = [TwoModeMixture(float(expit(p[0])), p[1], p[2]) for p in (one, other)]
                slope = _token_gradient(
                    pair_now[0], pair_now[1], generator.binomial(8, expit(one[0])) / 8, direction
                )
                one = one - 0.5 * np.hstack(slope)
                other = other + 0.5 * (follow * (one - other) + anchor * (aim - other))
                cases.must((odds.min() - 1e-9 <= one[0]) & (one[0] <= odds.max() + 1e-9))
                cases.at_most(abs(one[0] - aim[0]), limit)
        # how long a nearly lost mode takes, by quadrature in the log-odds
        c = _weight(generator, 1.0)
        b1 = c * float(generator.uniform(0.2, 0.8))
        b0 = b1 * float(generator.uniform(0.01, 0.9))
        for direction in _DIRECTIONS:
            for near in (b0, b1 * (1.0 - 1e-4)):
                l0, l1 = float(logit(near)), float(logit(b1))
                odds = l0 + 0.5 * (l1 - l0) * (1.0 + nodes)
                b = expit(odds)
                pull = c - b if direction == "forward" else b * (1.0 - b) * (logit(c) - odds)
                time = float(0.5 * (l1 - l0) * (weights / pull).sum())
                low, high = _recovery(near, b1, c, direction)
                cases.at_most(low, time)
                cases.at_most(time, high)
                if near > b0:  # on a short way the bounds meet
                    cases.equal(low, high, 1e-3)
                    cases.equal(low, time, 1e-3)

    # whole answers, labels seen: the score gradient on samples of the student
    student = TwoModeMixture(0.6, [1.0], [5.0])
    teacher = TwoModeMixture(0.2, [0.0], [5.0])
    old = cases.generator.random(1_000_000) < student.old_weight
    z = cases.generator.standard_normal(old.size)
    gaps = student.old_mean[0] - teacher.old_mean[0], student.new_mean[0] - teacher.new_mean[0]
    shift = np.where(old, gaps[0], gaps[1])
    first = np.where(
        old,
        math.log(student.old_weight / teacher.old_weight),
        math.log((1.0 - student.old_weight) / (1.0 - teacher.old_weight)),
    )
    ratio = first + shift * z + 0.5 * shift**2  # log of student over teacher
    estimate, stderr = mean_and_error((old - student.old_weight) * (ratio - 0.5))
    return cases.conclude(
        estimate,
        _whole_gradient(student, teacher, "reverse").logit,
        stderr,
        "the loss of tokens and of whole answers by differences, runs from wrong means, recovery "
        "times by quadrature; Monte Carlo: score gradient of whole answers",
    )


def results() -> list[Result]:
    """Ledger entries of the chapter, in its order.

    Returns
    -------
    list of Result
    """
    chapter = "sdft"
    return [
        Result(
            "prp-anchored-rates",
            chapter,
            "Two rates",
            r"Near the demonstrations each direction of curvature $w$ settles at the rates "
            r"$\frac12[S \mp \sqrt{S^2 - 4w\nu}]$, $S = w + \gamma + \nu$. The slow one lies "
            r"between $w\nu/S$ and $\min\{2w\nu/S, w, \nu\}$.",
            "proved",
            ("SDFT",),
            check_anchored_rates,
        ),
        Result(
            "thm-anchored-retention",
            chapter,
            "An anchor keeps what it contains",
            r"With right and fixed means, any overlap and either direction, the weights of student "
            r"and teacher never leave the interval of $b_0$, $b_{\tau,0}$ and $a_*$. With an "
            r"anchor both reach $a_*$, at the slow rate of the least curvature on the way.",
            "proved",
            ("SDFT",),
            check_anchored_retention,
            grid=200,
        ),
        Result(
            "prp-neutral-line",
            chapter,
            "No anchor: a line of fixed points",
            r"With $\nu = 0$ student and teacher meet between their starts. Without overlap, under "
            r"reverse KL, $\gamma(2l + 2\sinh l) + l_\tau$ is conserved; linearized, $\gamma\theta "
            r"+ F\tau$.",
            "proved",
            ("SDFT",),
            check_neutral_line,
            grid=200,
        ),
        Result(
            "thm-anchored-variance",
            chapter,
            "What noise leaves",
            r"Noise $\sigma^2$ per unit of time keeps the variance $\frac{\sigma^2}{2w} "
            r"\frac{\gamma(\gamma+\nu) + \nu S}{\nu S}$ in the student. It grows like "
            r"$\frac{\sigma^2\gamma^2}{2w\nu(w+\gamma)}$ as $\nu \to 0$; without an anchor, like "
            r"$\frac{\sigma^2\gamma^2}{(w+\gamma)^2}\,t$.",
            "proved",
            ("SDFT",),
            check_anchored_variance,
            grid=1000,
        ),
        Result(
            "thm-anchored-drift",
            chapter,
            "Forces on the old mean, and their gain",
            r"A teacher exerts a spring and a force $\varphi$ that overlap gates. From right means "
            r"the drift is at most $(1 + \gamma/\nu)\sup|\varphi|$, and this is attained; for "
            r"every $\nu \ge 0$ it is at most the integral of the force.",
            "proved",
            ("SDFT", "ReverseKL", "ForwardKL"),
            check_anchored_drift,
            grid=300,
        ),
        Result(
            "thm-anchored-box",
            chapter,
            "Retention and drift with everything trained",
            r"If nine explicit inequalities have a solution, student and teacher stay in a box "
            r"around the demonstrations forever: the old mean within $\rho$, the old weight above "
            r"$\sigma(l_-)$.",
            "proved",
            ("SDFT",),
            check_anchored_box,
            grid=200,
        ),
        Result(
            "thm-swapped-labels",
            chapter,
            "Exchanged labels",
            r"Whatever $\gamma > 0$ and $\nu > 0$ are, there is a second stable fixed point: a "
            r"student with exchanged labels, and a teacher whose modes have moved together, to the "
            r"separation $D\nu/(\nu + 2\gamma)$.",
            "proved",
            ("SDFT",),
            check_swapped_labels,
            grid=500,
        ),
        Result(
            "thm-teacher-density",
            chapter,
            "Averaging densities",
            r"If the teacher is $(1-\lambda) q_k + \lambda p_*$ and the student becomes it, every "
            r"probability obeys $Q_k - P_* = (1-\lambda)^k (Q_0 - P_*)$. Errors add up to at most "
            r"$\delta/\lambda$; batches leave the variance $\frac{a_*(1-a_*)}{N - "
            r"(N-1)(1-\lambda)^2}$.",
            "proved",
            ("remixed_weight",),
            check_teacher_density,
            grid=1000,
        ),
        Result(
            "thm-teacher-batches",
            chapter,
            "Every batch leads to the teacher",
            r"With right means every batch of student samples moves the student toward its "
            r"teacher, in both directions; not past it for $h \le 1$ (reverse) and $h \le "
            r"4e^{-|l|}$ (forward). One forward gradient is exactly $(b - b_\tau)(r-b)^2 / "
            r"(b(1-b))$.",
            "proved",
            ("SDFT", "simulate"),
            check_teacher_batches,
        ),
        Result(
            "prp-token-gradient",
            chapter,
            "The first token decides",
            r"If the first token names the mode, the per-token gradient of the weight has no "
            r"sampling noise: $b - b_\tau$ (forward) or $b(1-b)(l - l_\tau)$ (reverse). A mode of "
            r"weight $b_0$ returns in a time of order $\log\frac1{b_0}$, or $\frac1{b_0\log(1/b_0)}$.",
            "proved",
            ("SDFT",),
            check_token_gradient,
        ),
    ]
