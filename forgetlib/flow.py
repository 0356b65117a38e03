r"""Population dynamics: gradient flow, the limit of training with endless data.

:func:`gradient_flow` integrates

.. math:: \dot\theta = -\nabla L(\theta), \qquad \theta = (\operatorname{logit} b, m_o, m_n)

with a stiff integrator and the exact Hessian, in a few coordinates whatever the
dimension: when the metric is that of the covariance, the means never leave the span of
the differences they start with. The near-on-policy methods are flows too: TTT-Discover is an
objective, SDFT an objective whose target, the teacher, follows the student, and OAPL a
chain of objectives, a new one after each sync.

:func:`log_forgetting_time` solves the one flow that needs more than an integrator.
Forward KL on new data takes times like :math:`e^{2 D^2}`, which overflow at ``D = 19``.
But time is an integral over the logit, :math:`t = \int dl / L'(l)`, so its logarithm is
a log-domain quadrature at any scale. :class:`WeightFlow` is that flow between any two
densities on the line.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from forgetlib import _arguments
from forgetlib.logistic_normal import gauss_legendre
from forgetlib.methods import OAPL, SDFT, TTTDiscover
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import Gradient, Objective, check_compatible
from forgetlib.overlap import log_weight_slope

__all__ = ["Trajectory", "WeightFlow", "forgetting_time", "gradient_flow", "log_forgetting_time"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
LogDensity = Callable[[FloatArray], FloatArray]

PARAMETERS = ("weight", "old_mean", "new_mean")
_MOST_GRADIENTS = 100_000  # a flow that needs more is stuck; the plateau at D = 8 takes 10,000
_ONE_AT_A_TIME = threading.RLock()  # LSODA was not re-entrant before SciPy 1.17
_MOST_ROUNDS = 100_000  # of OAPL; each costs about a millisecond or more


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """Path of a gradient flow.

    Attributes
    ----------
    t : ndarray, shape (records,)
        Training time (learning rate times steps).
    old_weight, old_logit : ndarray, shape (records,)
        Weight of the old mode and its log-odds (nats). The logit keeps its digits where
        the weight has rounded to 0 or 1.
    old_mean, new_mean : ndarray, shape (records, d)
        Means of the two modes.
    covariance : ndarray, shape (d, d), or None
        Shared covariance; None is the identity.
    objective : Objective, SDFT, OAPL or None
        What the flow minimizes.
    whitened : bool
        Whether the means moved in the metric of the covariance.
    teacher : Trajectory or None
        Path of the teacher, for SDFT.
    """

    t: FloatArray
    old_weight: FloatArray
    old_logit: FloatArray
    old_mean: FloatArray
    new_mean: FloatArray
    covariance: FloatArray | None = None
    objective: Objective | SDFT | OAPL | None = None
    whitened: bool = False
    teacher: Trajectory | None = None

    def __repr__(self) -> str:
        return (
            f"Trajectory({self.t.size} records, t = {self.t[0]:.4g} to {self.t[-1]:.4g}, "
            f"old_weight = {self.old_weight[0]:.4g} to {self.old_weight[-1]:.4g})"
        )

    def model(self, record: int = -1) -> TwoModeMixture:
        """Mixture at one record, by default the last.

        Parameters
        ----------
        record : int

        Returns
        -------
        TwoModeMixture
        """
        return TwoModeMixture(
            _representable(float(self.old_weight[record])),
            self.old_mean[record],
            self.new_mean[record],
            self.covariance,
        )


def _representable(weight: float) -> float:
    """Nearest float strictly inside (0, 1)."""
    return min(max(weight, 1e-300), 1.0 - 2.0**-53)


def check_train(train: Iterable[str]) -> tuple[str, ...]:
    """Names of trained parameters, in canonical order.

    Parameters
    ----------
    train : iterable of str
        Any of ``"weight"``, ``"old_mean"``, ``"new_mean"``.

    Returns
    -------
    tuple of str

    Raises
    ------
    ValueError
        If a name is unknown, or there is none.
    """
    names = (train,) if isinstance(train, str) else tuple(train)
    unknown = [name for name in names if name not in PARAMETERS]
    if unknown or not names:
        raise ValueError(f"train must name some of {PARAMETERS}, got {train!r}")
    return tuple(name for name in PARAMETERS if name in names)


def _span(differences: FloatArray) -> FloatArray:
    """Orthonormal basis (d, K) of the columns, at least one column."""
    left, size, _ = np.linalg.svd(differences, full_matrices=False)
    rank = int((size > 1e-13 * max(size[0], 1e-300)).sum()) if size.size else 0
    return np.asarray(left[:, : max(1, rank)])


def _held(objective: Objective | SDFT | OAPL) -> dict[str, TwoModeMixture]:
    """The mixtures that an objective is made of; a field that is None is left out."""
    fields = {name: getattr(objective, name) for name in objective.mixtures}
    return {name: mixture for name, mixture in fields.items() if mixture is not None}


def gradient_flow(
    objective: Objective | SDFT | OAPL,
    start: TwoModeMixture,
    t: ArrayLike,
    train: Iterable[str] = PARAMETERS,
    precondition: bool = False,
    rtol: float = 1e-10,
    learning_rate: float = 1.0,
) -> Trajectory:
    r"""Gradient flow of an objective or method, :math:`\dot\theta = -\nabla L(\theta)`.

    Parameters
    ----------
    objective : Objective, SDFT or OAPL
        Such as :class:`~forgetlib.ForwardKL`, :class:`~forgetlib.ReverseKL` or
        :class:`~forgetlib.TTTDiscover`; :class:`~forgetlib.SDFT`, whose teacher moves with
        the student; :class:`~forgetlib.OAPL`, whose loss changes at each sync.
    start : TwoModeMixture
        Model at time 0.
    t : array_like
        Increasing times at which to record, from 0 or later; a single number ``T``
        records at 0 and at ``T``. Time is learning rate times steps.
    train : iterable of {"weight", "old_mean", "new_mean"}
        Parameters that move; the others stay as in ``start``.
    precondition : bool
        Multiply the gradients of the means by the covariance (flow in the Mahalanobis
        metric). It makes no difference when the covariance is the identity.
    rtol : float
        Relative tolerance of the integrator, in [1e-12, 0.01]. A picture needs 1e-5, and has
        it five times sooner.
    learning_rate : float
        Time that one step takes, > 0. Only OAPL counts steps: its lagged policy is renewed
        every ``learning_rate * sync_every`` units of time.

    Returns
    -------
    Trajectory
        For SDFT, its ``teacher`` is the teacher's path.

    Raises
    ------
    ValueError
        If ``start`` does not fit the objective, the times do not increase from 0 or
        later, a name in ``train`` is unknown, ``rtol`` or ``learning_rate`` is outside its
        range, or OAPL would take more than 100,000 rounds.
    RuntimeError
        If the integrator fails.

    Notes
    -----
    LSODA with the exact Hessian as its Jacobian (by differences for SDFT and for an adaptive
    temperature); the absolute tolerance is ``rtol / 1000``. Groups of a method play no part
    here: OAPL regresses on the exact value, as groups without end would.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    >>> path = fl.gradient_flow(fl.ReverseKL(target), target.replace(old_weight=0.9), 100.0)
    >>> round(float(path.old_weight[-1]), 4)
    0.75
    """
    if not isinstance(objective, Objective | SDFT | OAPL):
        raise ValueError(
            "objective must have mixtures, value, gradient and hessian, as ForwardKL, ReverseKL "
            f"and TTTDiscover do, or be an SDFT or an OAPL, got {objective!r}"
        )
    held = _held(objective)
    about = next(iter(held.values()))
    check_compatible(start, about, "start")
    names = check_train(train)
    times = _arguments.times("t", t)
    if np.ndim(t) == 0:
        times = _arguments.times("t", [0.0, float(times[0])])
    precondition = _arguments.flag("precondition", precondition)
    rtol = _arguments.number("rtol", rtol, "lie in [1e-12, 0.01]", lambda x: 1e-12 <= x <= 0.01)
    learning_rate = _arguments.positive("learning_rate", learning_rate)
    if isinstance(objective, OAPL):
        rounds = times[-1] / (learning_rate * objective.sync_every)
        if rounds > _MOST_ROUNDS:
            raise ValueError(
                f"t must end within {_MOST_ROUNDS} rounds of learning_rate * sync_every = "
                f"{learning_rate * objective.sync_every:.6g}, got {times[-1]:.6g}"
            )
    whitened = precondition or start.covariance is None

    if not (whitened and dataclasses.is_dataclass(objective)):
        if precondition and start.covariance is not None:
            raise ValueError(
                "objective must be a dataclass that names its mixtures to be preconditioned, "
                f"got {objective!r}"
            )
        inner = _integrate(objective, start, times, names, rtol, learning_rate)
        return dataclasses.replace(inner, objective=objective, whitened=whitened)

    # in the metric of the covariance the means stay in the span of their differences
    origin = about.old_mean
    everyone = [*held.values(), start]
    differences = np.stack(
        [mean - origin for one in everyone for mean in (one.old_mean, one.new_mean)]
    )
    basis = _span(about.whiten(differences).T)
    coordinates = (about.whiten(differences) @ basis).reshape(len(everyone), 2, -1)
    *small_held, small_start = (
        TwoModeMixture(one.old_weight, means[0], means[1])
        for one, means in zip(everyone, coordinates, strict=True)
    )
    fields: dict[str, Any] = dict(zip(held, small_held, strict=True))
    small = dataclasses.replace(objective, **fields)
    inner = _integrate(small, small_start, times, names, rtol, learning_rate)

    def lift(path: Trajectory) -> Trajectory:
        old_mean, new_mean = (
            np.asarray(origin + about.unwhiten(means @ basis.T))
            for means in (path.old_mean, path.new_mean)
        )
        return dataclasses.replace(
            path,
            old_mean=old_mean,
            new_mean=new_mean,
            covariance=about.covariance,
            objective=objective,
            whitened=True,
        )

    lifted = lift(inner)
    for name in ("old_mean", "new_mean"):
        if name not in names:
            getattr(lifted, name)[:] = getattr(start, name)
    if inner.teacher is not None:
        lifted = dataclasses.replace(lifted, teacher=lift(inner.teacher))
    return lifted


def _parameters(model: TwoModeMixture) -> FloatArray:
    """The parameters as one vector: log-odds, old mean, new mean."""
    return np.concatenate([[model.old_logit], model.old_mean, model.new_mean])


def _flat(gradient: Gradient) -> FloatArray:
    return np.concatenate([[gradient.logit], gradient.old_mean, gradient.new_mean])


def _model(theta: FloatArray, start: TwoModeMixture) -> TwoModeMixture:
    """Mixture with such parameters, and the covariance of another."""
    if not math.isfinite(theta.sum()):
        raise RuntimeError("gradient flow left the finite numbers")
    dim = start.dim
    weight = _representable(_sigmoid(float(theta[0])))
    return start._moved(weight, theta[1 : 1 + dim], theta[1 + dim :])


def _sigmoid(x: float) -> float:
    tail = math.exp(-abs(x))
    return (1.0 if x >= 0.0 else tail) / (1.0 + tail)


def _trajectory(times: FloatArray, path: FloatArray, start: TwoModeMixture) -> Trajectory:
    dim = start.dim
    return Trajectory(
        t=times,
        old_weight=np.asarray(scipy.special.expit(path[:, 0])),
        old_logit=path[:, 0].copy(),
        old_mean=path[:, 1 : 1 + dim].copy(),
        new_mean=path[:, 1 + dim : 1 + 2 * dim].copy(),
        covariance=start.covariance,
    )


def _integrate(
    objective: Objective | SDFT | OAPL,
    start: TwoModeMixture,
    times: FloatArray,
    names: tuple[str, ...],
    rtol: float,
    learning_rate: float,
) -> Trajectory:
    dim = start.dim
    where = {
        "weight": np.array([0]),
        "old_mean": np.arange(1, 1 + dim),
        "new_mean": np.arange(1 + dim, 1 + 2 * dim),
    }
    moving = np.concatenate([where[name] for name in names])
    if isinstance(objective, SDFT):
        return _follow_teacher(objective, start, times, moving, rtol)
    if isinstance(objective, OAPL):
        return _renew(objective, start, times, moving, rtol, learning_rate * objective.sync_every)
    path = _descend(objective, start, times, moving, rtol)
    return _trajectory(times, path, start)


def _descend(
    objective: Objective,
    start: TwoModeMixture,
    times: FloatArray,
    moving: IntArray,
    rtol: float,
) -> FloatArray:
    """Parameters at each time, shape (times, 1 + 2d), under the flow of one objective."""
    full = _parameters(start)

    def model(state: FloatArray) -> TwoModeMixture:
        theta = full.copy()
        theta[moving] = state
        return _model(theta, start)

    def velocity(_: float, state: FloatArray) -> FloatArray:
        return np.asarray(-_flat(objective.gradient(model(state)))[moving])

    def jacobian(_: float, state: FloatArray) -> FloatArray:
        return np.asarray(-objective.hessian(model(state))[np.ix_(moving, moving)])

    # a rule that adapts to the model has a gradient, but no objective and no Hessian
    adaptive = isinstance(objective, TTTDiscover) and objective.inverse_temperature == "adaptive"
    path = np.empty((times.size, full.size))
    path[:] = full
    path[:, moving] = _solve(velocity, full[moving], times, rtol, None if adaptive else jacobian)
    return path


def _follow_teacher(
    method: SDFT, start: TwoModeMixture, times: FloatArray, moving: IntArray, rtol: float
) -> Trajectory:
    """Student and teacher together: the state is the student's moving part, then the teacher."""
    full = _parameters(start)
    first = _parameters(method.initial_teacher(start))

    def velocity(_: float, state: FloatArray) -> FloatArray:
        theta = full.copy()
        theta[moving] = state[: moving.size]
        student = _model(theta, start)
        teacher = _model(state[moving.size :].copy(), start)
        descent = -_flat(method.loss(teacher).gradient(student))[moving]
        return np.concatenate([descent, _flat(method.teacher_velocity(student, teacher))])

    both = _solve(velocity, np.concatenate([full[moving], first]), times, rtol)
    path = np.empty((times.size, full.size))
    path[:] = full
    path[:, moving] = both[:, : moving.size]
    teacher = _trajectory(times, both[:, moving.size :], start)
    return dataclasses.replace(_trajectory(times, path, start), teacher=teacher)


def _renew(
    method: OAPL,
    start: TwoModeMixture,
    times: FloatArray,
    moving: IntArray,
    rtol: float,
    interval: float,
) -> Trajectory:
    """One flow for each round; the lagged policy is the model at the end of the last."""
    path = np.empty((times.size, 1 + 2 * start.dim))
    model, lagged, done = start, method.lagged, 0
    for number in range(_MOST_ROUNDS + 1):
        begin, end = number * interval, (number + 1) * interval
        last = int(np.searchsorted(times, end, side="right"))
        grid = np.append(np.minimum(times[done:last] - begin, interval), interval)
        if grid.size > 1 and grid[-2] == interval:
            grid = grid[:-1]
        part = _descend(method.round(lagged), model, grid, moving, rtol)
        path[done:last] = part[: last - done]
        done = last
        if done == times.size:
            break
        model = lagged = _model(part[-1], start)
    return _trajectory(times, path, start)


def _solve(
    velocity: Callable[[float, FloatArray], FloatArray],
    start: FloatArray,
    times: FloatArray,
    rtol: float,
    jacobian: Callable[[float, FloatArray], FloatArray] | None = None,
) -> FloatArray:
    """States at the times, shape (times, size), from the state at time 0."""
    calls = 0

    def counted(time: float, state: FloatArray) -> FloatArray:
        nonlocal calls
        calls += 1
        if calls > _MOST_GRADIENTS:
            raise RuntimeError(
                f"gradient flow failed: {_MOST_GRADIENTS} gradients took it only to t = {time:.4g}"
            )
        return velocity(time, state)

    first = int(times[0] > 0.0)  # the integrator wants to hear of time 0
    if times.size + first == 1:
        return start[None].copy()
    with _ONE_AT_A_TIME:
        try:
            # solve_ivp has the same integrator, and takes four times as long around it
            path, report = scipy.integrate.odeint(
                counted,
                start,
                np.concatenate([np.zeros(first), times]),
                Dfun=jacobian,
                rtol=rtol,
                atol=1e-3 * rtol,
                mxstep=_MOST_GRADIENTS,
                tfirst=True,
                full_output=True,
            )
            message = report["message"]
        except scipy.integrate.ODEintWarning as warning:  # where warnings are errors
            message = str(warning)
    if message != "Integration successful.":
        raise RuntimeError(f"gradient flow failed: {message}")
    return np.asarray(path[first:])


_PANEL_WIDTH = 2.0
_PANEL_ORDER = 12
_PANELS_AT_ONCE = 32  # bounds the memory
_REACH = 46.0  # below logit 0 the integrand falls like exp(-distance) from its low end


def _log_panel_sum(separation: float, low: float, high: float) -> float:
    """log of the integral of dl / slope over [low, high]."""
    count = max(1, int(np.ceil((high - low) / _PANEL_WIDTH)))
    edges = np.linspace(low, high, count + 1)
    nodes, weights = gauss_legendre(_PANEL_ORDER)
    half = 0.5 * (edges[1] - edges[0])
    logits = 0.5 * (edges[:-1] + edges[1:])[:, None] + half * nodes
    log_weights = np.log(half * weights)
    total = -np.inf
    for first in range(0, count, _PANELS_AT_ONCE):
        some = logits[first : first + _PANELS_AT_ONCE]
        log_terms = log_weights - log_weight_slope(separation, some)
        total = float(np.logaddexp(total, np.logaddexp.reduce(log_terms, axis=None)))
    return total


def log_forgetting_time(separation: float, start_logit: float, logit: ArrayLike) -> FloatArray:
    r"""Log of the time that forward KL on new data takes to forget.

    .. math:: t = \int_{l}^{l_0} \frac{dl'}{b(l')^2 (1 - b(l')) I(b(l'))}

    is the time the logit flow needs from log-odds ``l_0`` down to ``l``, at correct and
    fixed means.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes; infinity means no overlap.
    start_logit : float
        Log-odds ``l_0`` of the old mode at time 0, in nats.
    logit : array_like
        Log-odds to be reached, in nats, each below ``start_logit``.

    Returns
    -------
    ndarray
        Natural logarithm of the time, of the shape of ``logit``. It overflows nowhere:
        at ``D = 40`` the last regime begins at log time 3200.

    Raises
    ------
    ValueError
        If the separation is not positive, or a logit is not finite or not below the
        start.

    Notes
    -----
    Labels ``thm-mass-forgetting`` and ``thm-forgetting-profile``.

    Examples
    --------
    >>> import numpy as np
    >>> import forgetlib as fl
    >>> nine_to_one = np.log(9.0)
    >>> t = np.exp(fl.log_forgetting_time(4.0, nine_to_one, -nine_to_one))
    >>> round(float(t), 1)  # from old weight 0.9 down to 0.1
    14.5
    """
    start_logit = _arguments.number(
        "start_logit", start_logit, "be finite and at most 10000", lambda x: abs(x) <= 1e4
    )
    logits = np.asarray(logit)
    if logits.dtype.kind not in "fiu" or not (np.isfinite(logits) & (logits < start_logit)).all():
        raise ValueError(
            f"logit must be finite and below start_logit {start_logit!r}, got {logit!r}"
        )
    log_weight_slope(separation, start_logit)  # checks the separation
    logits = logits.astype(np.float64)
    flat = np.unique(logits)[::-1]
    answer = np.empty(flat.size)
    total, upper = -np.inf, float(start_logit)
    for index, lower in enumerate(flat.tolist()):
        # 1 / slope is at least 1 above logit 0, where all of it counts; below, it grows so
        # fast toward the low end that only the last stretch does
        pieces = [(max(lower, 0.0), upper), (lower, min(upper, 0.0, lower + _REACH))]
        for low, high in pieces:
            if low < high:
                total = float(np.logaddexp(total, _log_panel_sum(separation, low, high)))
        answer[index] = total
        upper = lower
    return np.asarray(answer[np.searchsorted(-flat, -logits)])


def forgetting_time(
    separation: float, start_weight: float, old_weight: float, replay: float = 0.0
) -> float:
    r"""Time that forward KL takes from one old weight to another.

    .. math:: t = \int \frac{dl}{(b - \lambda)\, \rho(b)}, \qquad \rho(b) = b (1 - b)\, I(b),

    on data with a share :math:`\lambda` of old samples, at correct and fixed means.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes; infinity means no overlap.
    start_weight, old_weight : float
        Old weight at time 0 and old weight to be reached, in (0, 1): the second lies
        strictly between the first and ``replay``.
    replay : float
        Share of old samples, in [0, 1). The default, 0, is training on new data only.

    Returns
    -------
    float
        Time of the logit flow at unit rate (learning rate times steps). Infinity where
        it exceeds 1e308; see :func:`log_forgetting_time`.

    Raises
    ------
    ValueError
        If an argument is outside its range, or the flow never reaches ``old_weight``.

    Notes
    -----
    Labels ``thm-mass-forgetting`` and, with replay, ``thm-data-mixing``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> round(fl.forgetting_time(4.0, 0.9, 0.01), 1)
    126.9
    >>> round(fl.forgetting_time(4.0, 0.9, 0.3, replay=0.25), 2)
    12.83
    """
    start_weight = _arguments.weight("start_weight", start_weight)
    old_weight = _arguments.weight("old_weight", old_weight)
    replay = _arguments.share("replay", replay)
    if not (replay < old_weight < start_weight or start_weight < old_weight < replay):
        rest = f"replay {replay!r}" if replay else "0"
        raise ValueError(
            f"old_weight must lie strictly between {rest} and start_weight {start_weight!r}, "
            f"got {old_weight!r}"
        )
    start, end = (float(np.log(w) - np.log1p(-w)) for w in (start_weight, old_weight))
    if replay == 0.0:
        with np.errstate(over="ignore"):
            return float(np.exp(log_forgetting_time(separation, start, end)))
    # in the log of the distance from the share the integrand is smooth up to the share
    goal = float(np.log(replay) - np.log1p(-replay))
    side = 1.0 if start > goal else -1.0
    first, last = np.log(side * (end - goal)), np.log(side * (start - goal))
    edges = np.linspace(first, last, int(np.ceil(2.0 * (last - first))) + 1)
    half = 0.5 * (edges[1] - edges[0])
    nodes, weights = gauss_legendre(16)
    offset = side * np.exp(0.5 * (edges[:-1] + edges[1:])[:, None] + half * nodes)
    # b - replay = b (1 - replay) (1 - exp(-offset)); the slope without replay is b rho(b)
    brake = (1.0 - replay) * -np.expm1(-offset)
    slope = np.exp(log_weight_slope(separation, goal + offset))
    with np.errstate(over="ignore", divide="ignore"):
        return float(half * np.sum(weights * offset / (brake * slope)))


_GRID_STEP = 0.004  # of the quadrature in asinh(y); the trapezoid rule needs no finer


class WeightFlow:
    r"""Forward-KL flow of the weight between any two densities on the line.

    The data are ``f_n``, the model is :math:`q_b = b f_o + (1 - b) f_n`, and the log-odds
    :math:`l` of ``b`` follow :math:`l' = -dL/dl` with :math:`L = KL(f_n \| q_b)`.

    Parameters
    ----------
    log_old, log_new : callable
        Log densities of the old and of the new mode (nats): each takes an array of
        points, shape (n,), and returns an array of that shape. Minus infinity is allowed.
    low : float
        Lowest log-odds (nats) that is tabulated.
    high : float
        Highest log-odds (nats) that is tabulated, the start of the flow; above ``low``.
    reach : float
        Half-width of the quadrature in ``asinh(y)``, in (0, 300]; 14 reaches
        ``|y| = 6e5``, which heavy tails need.

    Attributes
    ----------
    logit : ndarray, shape (n,)
        Log-odds, from ``high`` down to ``low`` in equal steps of at most 1.
    slope : ndarray, shape (n,)
        :math:`g = dL/dl = b - E_n[r] = b^2 (1 - b) \int (f_o - f_n)^2 / q_b`.
    time : ndarray, shape (n,)
        Time from ``high`` down to each log-odds, :math:`\int dl / g`; 0 at the start.
    divergence : ndarray, shape (n,)
        :math:`KL(f_n \| q_b)` in nats.
    exponent : ndarray, shape (n,)
        :math:`\kappa = d \ln g / dl`, between :math:`1 - 2b` and 2.

    Raises
    ------
    ValueError
        If ``low < high`` does not hold for finite numbers, ``reach`` is outside its range,
        ``log_old`` or ``log_new`` does not return the log of a density that the grid
        resolves (its integral must be 1 to one per cent), or the two densities are equal.

    Notes
    -----
    Label ``thm-forgetting-detection``. The trapezoid rule in ``asinh(y)`` resolves light
    and heavy tails alike, around the origin: features narrower than 0.02 there, or than
    0.02 times their distance from it, are lost. The slope is computed from its third
    form, whose integrand is positive. ``exponent`` is a difference, and loses digits where
    ``slope`` is below 1e-10.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> import forgetlib as fl
    >>> flow = fl.WeightFlow(norm(0, 1).logpdf, norm(2, 1).logpdf, low=0.0)
    >>> bool(np.isclose(flow.time[-1], fl.forgetting_time(2.0, 0.9, 0.5)))
    True
    >>> bool(0.25 < flow.time[-1] * flow.divergence[-1])
    True
    """

    logit: FloatArray
    slope: FloatArray
    time: FloatArray
    divergence: FloatArray
    exponent: FloatArray

    def __init__(
        self,
        log_old: LogDensity,
        log_new: LogDensity,
        low: float = -16.0,
        high: float = float(np.log(9.0)),
        reach: float = 14.0,
    ) -> None:
        low, high = (
            _arguments.number(name, value, "lie in [-300, 300]", lambda x: abs(x) <= 300.0)
            for name, value in (("low", low), ("high", high))
        )
        if not low < high:
            raise ValueError(f"low must be below high, got {low!r} and {high!r}")
        reach = _arguments.number("reach", reach, "lie in (0, 300]", lambda x: 0.0 < x <= 300.0)
        z = np.arange(-reach, reach, _GRID_STEP)
        y, log_step = np.sinh(z), np.log(_GRID_STEP) + np.log(np.cosh(z))
        old = _checked_log_density("log_old", log_old, y, log_step)
        new = _checked_log_density("log_new", log_new, y, log_step)
        if np.array_equal(old, new):
            raise ValueError("log_old and log_new must be different densities, got two equal ones")
        somewhere = np.maximum(old, new) > -np.inf
        self._old, self._new = old[somewhere], new[somewhere]
        self._log_step = log_step[somewhere]
        with np.errstate(divide="ignore"):  # where the densities cross, log 0 is right
            gap = np.log(-np.expm1(-np.abs(self._old - self._new)))
        self._log_square = 2.0 * (np.maximum(self._old, self._new) + gap) + self._log_step

        panels = int(np.ceil(high - low))
        self.logit = np.linspace(high, low, panels + 1)
        nodes, weights = gauss_legendre(8)
        half = 0.5 * (self.logit[0] - self.logit[1])
        inside = self.logit[:-1, None] - half * (1.0 + nodes)
        log_slope = self._log_slope(inside.ravel()).reshape(inside.shape)
        log_weight = np.log(half * weights)
        steps = np.exp(scipy.special.logsumexp(log_weight - log_slope, axis=1))
        falls = np.exp(scipy.special.logsumexp(log_weight + log_slope, axis=1))
        self.time = np.concatenate([[0.0], np.cumsum(steps)])
        rest = self._divergence(float(self.logit[-1]))
        self.divergence = rest + np.concatenate([np.cumsum(falls[::-1])[::-1], [0.0]])
        self.slope = np.exp(self._log_slope(self.logit))
        self.exponent = self._curvature(self.logit) / self.slope

    def __repr__(self) -> str:
        return (
            f"WeightFlow({self.logit.size} records, logit = {self.logit[0]:.4g} to "
            f"{self.logit[-1]:.4g}, time = 0 to {self.time[-1]:.4g})"
        )

    def _mixture(self, old_logit: FloatArray) -> FloatArray:
        """Log density of q_b on the quadrature grid, one row per log-odds."""
        l = old_logit[:, None]
        return np.logaddexp(
            scipy.special.log_expit(l) + self._old, scipy.special.log_expit(-l) + self._new
        )

    def _log_slope(self, old_logit: FloatArray) -> FloatArray:
        """Log of dL/dl at each log-odds."""
        log_information = scipy.special.logsumexp(
            self._log_square - self._mixture(old_logit), axis=1
        )
        return np.asarray(
            2.0 * scipy.special.log_expit(old_logit)
            + scipy.special.log_expit(-old_logit)
            + log_information
        )

    def _curvature(self, old_logit: FloatArray) -> FloatArray:
        """d^2 L / dl^2 = b (1 - b) - E_n[r (1 - r)]."""
        log_odds = old_logit[:, None] + self._old - self._new
        slopes = np.exp(
            self._new
            + self._log_step
            + scipy.special.log_expit(log_odds)
            + scipy.special.log_expit(-log_odds)
        )
        return np.asarray(
            scipy.special.expit(old_logit) * scipy.special.expit(-old_logit) - slopes.sum(axis=1)
        )

    def _divergence(self, old_logit: float) -> float:
        """KL(f_n || q_b), the integral of q_b - f_n - f_n log(q_b / f_n) >= 0."""
        log_q = self._mixture(np.array([old_logit]))[0]
        log_ratio = log_q - self._new
        near = np.clip(log_ratio, -1.0, 1.0)
        # w - 1 - log w with w = q_b / f_n, by its series where it would cancel
        excess = np.where(
            np.abs(near) < 1e-3,
            near**2 * (0.5 + near / 6.0 + near**2 / 24.0),
            np.expm1(near) - near,
        )
        # -log_ratio is at most -log(1 - b), and where log_ratio is large, f_n is small
        f_new = np.exp(self._new)
        product = f_new * np.where(f_new > 0.0, log_ratio, 0.0)
        integrand = np.where(
            np.abs(log_ratio) <= 1.0, f_new * excess, np.exp(log_q) - f_new - product
        )
        return float(np.sum(np.exp(self._log_step) * integrand))


def _checked_log_density(
    name: str, log_density: LogDensity, y: FloatArray, log_step: FloatArray
) -> FloatArray:
    """Values of a log density on the grid, after a check that it integrates to one."""
    if not callable(log_density):
        raise ValueError(f"{name} must be callable, got {log_density!r}")
    values = np.asarray(log_density(y), dtype=np.float64)
    if values.shape != y.shape or np.isnan(values).any() or (values == np.inf).any():
        raise ValueError(
            f"{name} must return one number below infinity for each point, "
            f"got shape {values.shape} for {y.shape} points"
        )
    total = float(np.exp(scipy.special.logsumexp(values + log_step)))
    if not abs(total - 1.0) <= 0.01:
        raise ValueError(
            f"{name} must be the log of a density that the grid resolves: its integral is "
            f"{total:.6g}, not 1"
        )
    return values
