r"""Local geometry at the optimum: how fast training ends, and what comes last.

At ``q = p`` forward KL on data ``p`` and reverse KL to ``p`` have the same Hessian, the Fisher
information of the mixture. With :math:`w = a (1 - a)` and the misassignment probability
:math:`\varepsilon`, in whitened coordinates ``(logit, m_o, m_n)`` it is

.. math:: F = \operatorname{diag}(w,\, a I,\, (1-a) I) - E_p[r (1-r)\, \psi \psi^\top],
          \qquad \psi = (1,\ y - \mu_o,\ \mu_n - y),

the information of labeled samples minus what is lost with the labels (label
``thm-fisher-geometry``). It splits into a 3 x 3 block along the line of the means and the same
2 x 2 block for each perpendicular direction, so everything here costs the same in any dimension.

Whitened coordinates are those in which the covariance is the identity. They belong to training
with ``precondition=True``; for a mixture with identity covariance that is plain training.

How the numbers are computed
----------------------------
At small separation the smallest eigenvalue is of order ``D**6``, far below the rounding errors
of the entries of ``F``. So the block is assembled in a basis of directions that move the first,
the second and the third moment of the mixture and, to leading order, nothing else. In it the
scores have closed forms without cancellation, and the Gram matrix is well scaled: all
eigenvalues come out to about 13 digits for ``1e-3 <= D <= 50`` and weights down to 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forgetlib import _arguments
from forgetlib.flow import PARAMETERS, check_train
from forgetlib.mixture import TwoModeMixture, check_mixture
from forgetlib.overlap import log_weight_slope, misassignment_probability

__all__ = [
    "Direction",
    "FisherEigenvalues",
    "condition_number",
    "fisher_eigenvalues",
    "mean_square_factor",
    "slowest_direction",
    "slowest_rate",
    "slowest_rate_bounds",
    "stationary_variance",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CLOSEST = 1e-30  # D**8 must be a number
_FAR = 50.0  # from here on labels hide nothing: a share of exp(-D**2 / 8) < 1e-135
_HALF_WIDTH = 9.5  # in standard deviations; exp(-9.5**2 / 2) = 3e-20


class FisherEigenvalues(NamedTuple):
    """Eigenvalues of the Fisher information, in whitened coordinates.

    Attributes
    ----------
    value : ndarray, shape (3,) or (5,)
        In increasing order; 3 for d = 1. Rates of training, per unit of training time.
    multiplicity : ndarray of int, of the same shape
        1 for the three directions along the line of the means, ``d - 1`` for the two
        perpendicular values. They add up to ``1 + 2 d``.
    """

    value: FloatArray
    multiplicity: IntArray


class Direction(NamedTuple):
    """A direction in the space of the parameters, in the original coordinates.

    Attributes
    ----------
    logit : float
        Component along the log-odds of the old weight.
    old_mean, new_mean : ndarray, shape (d,)
        Components along the two means.
    """

    logit: float
    old_mean: FloatArray
    new_mean: FloatArray


class _Line(NamedTuple):
    """Scores at the nodes of a quadrature along the line of the means, whitened.

    ``basis`` has as columns the directions, in (logit, old mean, new mean), that move the
    mean, the variance and the skewness of the mixture; its determinant is -1.
    """

    weight: FloatArray  # of each node under the mixture
    responsibility: FloatArray
    rest: FloatArray  # 1 - responsibility
    position: FloatArray  # measured from half-way between the means
    scores: FloatArray  # (3, nodes) along the columns of the basis
    basis: FloatArray


def _checked(mixture: TwoModeMixture) -> float:
    """Separation, if the modes are distinct."""
    check_mixture("mixture", mixture)
    separation = mixture.separation
    if not separation >= _CLOSEST:
        raise ValueError(
            f"mixture must have two distinct modes (separation >= {_CLOSEST:g}), "
            f"got separation {separation:g}"
        )
    return separation


def _sinh_excess(x: FloatArray) -> FloatArray:
    """(x cosh x - sinh x) exp(-|x|), to full relative accuracy."""
    size = np.abs(x)
    decay = np.exp(-2.0 * size)
    far = 0.5 * (size * (1.0 + decay) - (1.0 - decay))
    # sum of 2 k x^(2 k + 1) / (2 k + 1)!; both branches are evaluated everywhere
    near_size = np.minimum(size, 1.0)
    near = np.zeros_like(size)
    term = near_size.copy()
    for k in range(1, 10):
        term = term * near_size**2 / (2 * k * (2 * k + 1))
        near += 2 * k * term
    return np.asarray(np.sign(x) * np.where(size < 1.0, near * np.exp(-near_size), far))


def _line(separation: float, old_weight: float) -> _Line:
    """Trapezoid rule for the mixture on its line; it converges geometrically.

    The responsibility has its poles at a distance of ``pi / D`` from the line.
    """
    a, distance = old_weight, separation
    w = a * (1.0 - a)
    step = min(0.45 / distance, 0.5)
    count = int(np.ceil((0.5 * distance + _HALF_WIDTH) / step))
    y: FloatArray = step * np.arange(-count, count + 1, dtype=np.float64)
    x: FloatArray = 0.5 * distance * y
    size = np.abs(x)
    # f_o and f_n share the factor phi(y) exp(|x| - D^2 / 8)
    old, new = np.exp(-x - size), np.exp(x - size)
    both = a * old + (1.0 - a) * new
    log_density = -0.5 * y**2 - 0.125 * distance**2 + size - 0.5 * np.log(2.0 * np.pi)
    responsibility, rest = a * old / both, (1.0 - a) * new / both
    half = 0.5 * distance
    sinh = -0.5 * np.sign(x) * np.expm1(-2.0 * size)  # times exp(-|x|), like old and new
    scores = np.stack(
        [
            responsibility * (y + half) + rest * (y - half),
            w * (half * (old + new) - 2.0 * y * sinh) / both,
            2.0 * w * (_sinh_excess(x) - half**2 * sinh) / both,
        ]
    )
    basis = np.array([[0.0, 0.0, 1.0], [1.0, 1.0 - a, (1.0 - a) * half], [1.0, -a, a * half]])
    return _Line(step * np.exp(log_density) * both, responsibility, rest, y, scores, basis)


class _Block(NamedTuple):
    """Eigenvalues, in increasing order, and slowest direction of the block on the line."""

    values: FloatArray
    slowest: FloatArray


def _line_block(separation: float, old_weight: float) -> _Block:
    if separation > _FAR:
        a = old_weight
        labeled = np.sort([a * (1.0 - a), a, 1.0 - a])
        return _Block(labeled, np.array([1.0, 0.0, 0.0]))
    line = _line(separation, old_weight)
    gram = (line.scores * line.weight) @ line.scores.T
    scale = np.sqrt(np.diag(gram))
    root = np.linalg.cholesky(gram / np.outer(scale, scale))
    # F^{-1} = W^T W, and its largest eigenvalue does not suffer from the others
    inverse_root = np.linalg.solve(root, (line.basis / scale).T)
    _, singular, right = np.linalg.svd(inverse_root)
    smallest, slowest = singular[0] ** -2, right[0]
    back = np.linalg.inv(line.basis)
    largest = np.linalg.eigvalsh(back.T @ gram @ back)[-1]
    determinant = np.prod(np.diag(root) * scale) ** 2
    values = np.array([smallest, determinant / (smallest * largest), largest])
    return _Block(values, slowest * np.sign(slowest[0]))


def _across(mixture: TwoModeMixture) -> FloatArray:
    """The two eigenvalues of the block of a perpendicular direction."""
    a = mixture.old_weight
    if mixture.separation > _FAR:
        return np.sort([a, 1.0 - a])
    lost = a * misassignment_probability(mixture)  # E_p[r (1 - r)]
    largest = 0.5 - lost + np.hypot(a - 0.5, lost)
    return np.array([_weight_information(mixture) / largest, largest])


def _weight_information(mixture: TwoModeMixture) -> float:
    """Information in the logit alone, a (1 - a - epsilon), without cancellation."""
    slope = float(log_weight_slope(mixture.separation, mixture.old_logit))
    return float((1.0 - mixture.old_weight) * np.exp(slope))


def fisher_eigenvalues(mixture: TwoModeMixture) -> FisherEigenvalues:
    r"""All eigenvalues of the Fisher information, with multiplicity.

    They are the rates at which gradient flow ends its way to the optimum, for forward KL
    with data from the mixture and for reverse KL to it.

    Parameters
    ----------
    mixture : TwoModeMixture
        The optimum. Two distinct modes.

    Returns
    -------
    FisherEigenvalues
        In whitened coordinates ``(logit, old_mean, new_mean)``. The perpendicular ones are
        :math:`\tfrac12 - s \pm \sqrt{(a - \tfrac12)^2 + s^2}` with :math:`s = a
        \varepsilon`. All are at most ``max(a, 1 - a)``.

    Raises
    ------
    ValueError
        If the modes coincide.

    Notes
    -----
    Label ``thm-fisher-geometry``. The cost does not depend on the dimension.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(4.0, old_weight=0.75, dim=100)
    >>> eigenvalues = fl.fisher_eigenvalues(target)
    >>> eigenvalues.value.round(4).tolist()
    [0.1505, 0.213, 0.2351, 0.6835, 0.7359]
    >>> eigenvalues.multiplicity.tolist()
    [1, 1, 99, 1, 99]
    """
    values = _line_block(_checked(mixture), mixture.old_weight).values
    multiplicity = np.ones(3, dtype=np.int64)
    if mixture.dim > 1:
        values = np.concatenate([values, _across(mixture)])
        multiplicity = np.array([1, 1, 1, mixture.dim - 1, mixture.dim - 1], dtype=np.int64)
    order = np.argsort(values)
    return FisherEigenvalues(values[order], multiplicity[order])


def condition_number(mixture: TwoModeMixture) -> float:
    r"""Largest over smallest eigenvalue of the Fisher information.

    It tends to :math:`1/\min(a, 1-a)` as the separation grows, and grows like ``D**-6`` as
    it falls.

    Parameters
    ----------
    mixture : TwoModeMixture
        The optimum. Two distinct modes.

    Returns
    -------
    float
        At least 1, in whitened coordinates. It depends on the dimension only in that it
        differs between ``d = 1`` and ``d >= 2``.

    Raises
    ------
    ValueError
        If the modes coincide.

    Notes
    -----
    Labels ``thm-separated-conditioning`` and ``thm-small-separation``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(2.0, old_weight=0.75, dim=2)
    >>> round(fl.condition_number(target), 1)
    32.6
    """
    values = fisher_eigenvalues(mixture).value
    return float(values[-1] / values[0])


def slowest_rate(mixture: TwoModeMixture) -> float:
    r"""Smallest eigenvalue of the Fisher information: the rate that training ends with.

    Parameters
    ----------
    mixture : TwoModeMixture
        The optimum. Two distinct modes.

    Returns
    -------
    float
        :math:`\lambda_{\min}`, per unit of training time, in (0, a (1 - a)). Near the optimum
        errors of the parameters fall like :math:`e^{-\lambda_{\min} t}`, the loss like its
        square. It is the same in every dimension, and always belongs to a direction along
        the line of the means.

    Raises
    ------
    ValueError
        If the modes coincide.

    Notes
    -----
    Labels ``thm-fisher-geometry`` and ``thm-exponential-convergence``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> round(fl.slowest_rate(fl.TwoModeMixture.separated(3.0, old_weight=0.75)), 5)
    0.08216
    """
    return float(_line_block(_checked(mixture), mixture.old_weight).values[0])


def slowest_direction(mixture: TwoModeMixture) -> Direction:
    r"""Combination of weight and means that training gets right last.

    At small separation it tends to :math:`(1,\ \tfrac{1-a}{2} (\mu_n - \mu_o),\ \tfrac a2
    (\mu_n - \mu_o))`: more old weight, and both means moved so that mean and variance of the
    mixture stay. The skewness is the first moment that changes. At large separation it is
    the weight alone.

    Parameters
    ----------
    mixture : TwoModeMixture
        The optimum. Two distinct modes.

    Returns
    -------
    Direction
        Of length 1 in whitened coordinates, with positive ``logit``.

    Raises
    ------
    ValueError
        If the modes coincide.

    Notes
    -----
    Label ``thm-small-separation``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> direction = fl.slowest_direction(fl.TwoModeMixture.separated(1.0, old_weight=0.5))
    >>> round(direction.logit, 3), direction.old_mean.round(3).tolist()
    (0.943, [0.235])
    """
    separation = _checked(mixture)
    logit, old, new = _line_block(separation, mixture.old_weight).slowest
    along = (mixture.new_mean - mixture.old_mean) / separation
    return Direction(float(logit), old * along, new * along)


def slowest_rate_bounds(mixture: TwoModeMixture) -> tuple[float, float]:
    r"""Proved bounds on :func:`slowest_rate` that need no integral but :math:`\varepsilon`.

    The lower one is what the first three moments of the samples know about the parameters;
    it is sharp as ``D`` falls, and positive for every ``D > 0``. At large ``D`` a second
    lower bound, through :math:`\varepsilon`, takes over. The upper one is the smaller of
    :math:`a (1 - a - \varepsilon)` and a bound that is sharp as ``D`` falls.

    Parameters
    ----------
    mixture : TwoModeMixture
        The optimum. Two distinct modes.

    Returns
    -------
    lower, upper : float
        Per unit of training time; attained up to rounding where modes are very close or far.

    Raises
    ------
    ValueError
        If the modes coincide.

    Notes
    -----
    Labels ``thm-small-separation`` and ``thm-separated-conditioning``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(1.0, old_weight=0.5)
    >>> lower, upper = fl.slowest_rate_bounds(target)
    >>> lower < fl.slowest_rate(target) < upper
    True
    """
    distance = _checked(mixture)
    a = mixture.old_weight
    w = a * (1.0 - a)
    if distance > _FAR:
        hidden = 0.5 * np.sqrt(w) * (1.0 + 0.5 * distance**2) * np.exp(-0.125 * distance**2)
        return float(max(0.0, w - hidden)), w
    weight_alone = _weight_information(mixture)
    lower = _moment_bound(distance, a)
    # t < g: what the labels hide of the means is less than the gap to the next eigenvalue
    hidden = np.sqrt(w) * (1.0 + 0.25 * distance**2) * np.exp(-0.125 * distance**2)
    gap = min(a, 1.0 - a) ** 2
    if hidden < gap:
        lost = a * misassignment_probability(mixture)
        lower = max(lower, w - lost * gap / (gap - hidden))
    growth = (1.0 + 0.5 * w) * distance**2
    if growth > 700.0:
        return float(lower), weight_alone
    small = w**2 * distance**6 / 24.0 * np.exp(growth)
    spread = 1.0 + 0.25 * (1.0 - 2.0 * w) * distance**2  # squared length of the direction
    return float(lower), float(min(weight_alone, small / spread))


def _moment_bound(distance: float, a: float) -> float:
    """Information in the first three moments, and its smallest eigenvalue."""
    w = a * (1.0 - a)
    # central moments of the position of the mean of a sample's mode
    m2, m3, m4, m5, m6 = (
        w * distance**j * ((-1.0) ** j * (1.0 - a) ** (j - 1) + a ** (j - 1)) for j in range(2, 7)
    )
    # covariance of the first three Hermite polynomials of a sample
    covariance = np.array(
        [
            [1.0 + m2, m3, m4 + 3.0 * m2],
            [m3, 2.0 + 4.0 * m2 + m4 - m2**2, m5 + 6.0 * m3 - m2 * m3],
            [
                m4 + 3.0 * m2,
                m5 + 6.0 * m3 - m2 * m3,
                6.0 + 18.0 * m2 + 9.0 * m4 + m6 - m3**2,
            ],
        ]
    )
    # inverse of the moments that the three directions of the basis move
    steer = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, -0.5 / (w * distance), 0.0],
            [
                -6.0 / distance,
                3.0 * (1.0 - 2.0 * a) / (w * distance**2),
                2.0 / (w * distance**3),
            ],
        ]
    )
    half = 0.5 * distance
    basis = np.array([[0.0, 0.0, 1.0], [1.0, 1.0 - a, (1.0 - a) * half], [1.0, -a, a * half]])
    scale = np.sqrt(np.diag(covariance))  # correlations keep the digits that moments lose
    root = scale[:, None] * np.linalg.cholesky(covariance / np.outer(scale, scale))
    spread = basis @ steer @ root
    return float(np.linalg.norm(spread, 2) ** -2)


def mean_square_factor(
    mixture: TwoModeMixture,
    learning_rate: float,
    batch_size: int,
    train: Iterable[str] = PARAMETERS,
) -> float:
    r"""Factor by which a step of mini-batch reverse KL shrinks the mean squared error.

    Near the optimum a step of the score-function estimator without baseline is
    :math:`x \leftarrow (I - \tfrac hN \sum_i s_i s_i^\top)\, x` with the scores :math:`s_i` of
    the batch. So the second moments ``X`` of the error follow

    .. math:: X \leftarrow X - h (F X + X F) + h^2 \big[(1 - \tfrac1N) F X F
              + \tfrac1N E\, s s^\top X s s^\top\big],

    and this is the largest eigenvalue of that map. Below 1 the linearized training converges
    in mean square. The mean error itself shrinks by :math:`1 - h \lambda_{\min}`.

    Parameters
    ----------
    mixture : TwoModeMixture
        The optimum. Two distinct modes, separation at most 50.
    learning_rate : float
        Step size ``h > 0``.
    batch_size : int
        Samples per step ``N``, at least 1.
    train : iterable of {"weight", "old_mean", "new_mean"}
        Parameters that move; the others are right. Training is whitened.

    Returns
    -------
    float
        Positive; at least :math:`(1 - h \lambda_{\min})^2` with :math:`\lambda_{\min}` of the
        trained parameters.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-stochastic-rate``. In ``d`` dimensions symmetry leaves 9 numbers of ``X``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    >>> round(fl.mean_square_factor(target, 1.0, 1, train="weight"), 4)
    0.7261
    """
    distance = _checked(mixture)
    if distance > _FAR:
        raise ValueError(f"mixture must have a separation of at most {_FAR:g}, got {distance:g}")
    h = _arguments.positive("learning_rate", learning_rate)
    batch_size = _arguments.integer("batch_size", batch_size, 1)
    names = check_train(train)
    line = _line(distance, mixture.old_weight)
    chosen = [PARAMETERS.index(name) for name in names]
    scores = (np.linalg.inv(line.basis).T @ line.scores)[chosen]
    # scores of a perpendicular direction are (r, 1 - r) times a standard normal
    across = np.stack([line.responsibility, line.rest])[[i - 1 for i in chosen if i > 0]]
    others = mixture.dim - 1
    if others == 0:
        across = across[:0]
    information = (scores * line.weight) @ scores.T
    information_across = (across * line.weight) @ across.T

    def apply(along: FloatArray, beside: FloatArray) -> tuple[FloatArray, FloatArray]:
        """One step for second moments that are ``along`` (+) ``beside`` in each direction."""
        size = np.einsum("in,ij,jn->n", scores, along, scores)
        size_across = np.einsum("in,ij,jn->n", across, beside, across)
        mixed = (scores * (line.weight * (size + others * size_across))) @ scores.T
        # E[|z|^2 z_1^2] = (d - 1) + 2
        mixed_across = (across * (line.weight * (size + (others + 2) * size_across))) @ across.T
        result = []
        for second, fisher, noise in (
            (along, information, mixed),
            (beside, information_across, mixed_across),
        ):
            product = fisher @ second
            drift = product + product.T
            once = fisher @ second @ fisher
            result.append(second - h * drift + h * h * (once + (noise - once) / batch_size))
        return result[0], result[1]

    size, size_across = len(scores), len(across)
    upper = np.triu_indices(size)
    upper_across = np.triu_indices(size_across)
    columns = []
    for index in range(upper[0].size + upper_across[0].size):
        along, beside = np.zeros((size, size)), np.zeros((size_across, size_across))
        if index < upper[0].size:
            i, j = upper[0][index], upper[1][index]
            along[i, j] = along[j, i] = 1.0
        else:
            index -= upper[0].size
            i, j = upper_across[0][index], upper_across[1][index]
            beside[i, j] = beside[j, i] = 1.0
        along, beside = apply(along, beside)
        columns.append(np.concatenate([along[upper], beside[upper_across]]))
    return float(np.abs(np.linalg.eigvals(np.array(columns).T)).max())


def stationary_variance(
    mixture: TwoModeMixture, learning_rate: float, batch_size: int
) -> FloatArray:
    r"""Variance that mini-batch forward KL keeps forever, in each eigendirection.

    Replay at the right share makes the data the mixture itself. A batch then has the noise
    :math:`F / N`, the Hessian is ``F`` too, and the linearized training at a constant step
    settles at the covariance

    .. math:: C = \frac hN (2 I - h F)^{-1} \approx \frac{h}{2N} I .

    Parameters
    ----------
    mixture : TwoModeMixture
        The optimum: the law of the data. Two distinct modes.
    learning_rate : float
        Step size ``h``, above 0 and below :math:`2 / \lambda_{\max}`.
    batch_size : int
        Samples per step ``N``, at least 1.

    Returns
    -------
    ndarray
        One variance for each entry of :func:`fisher_eigenvalues`, in whitened coordinates.

    Raises
    ------
    ValueError
        If an argument is outside its range, or the step is too long to settle.

    Notes
    -----
    Label ``thm-stationary-noise``. Real training has a bias of order ``h / N`` as well, which
    exceeds this noise where modes are close: see "Where it stops holding" in the chapter.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    >>> fl.stationary_variance(target, 0.1, 50).round(6).tolist()
    [0.001008, 0.001011, 0.001035]
    """
    values = fisher_eigenvalues(mixture).value
    longest = 2.0 / values[-1]
    h = _arguments.number(
        "learning_rate",
        learning_rate,
        f"be > 0 and below {longest:.6g}, where training stops to settle",
        lambda x: 0.0 < x < longest,
    )
    batch_size = _arguments.integer("batch_size", batch_size, 1)
    return np.asarray(h / (batch_size * (2.0 - h * values)))
