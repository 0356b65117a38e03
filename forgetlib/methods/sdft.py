r"""SDFT: self-distillation fine-tuning, with a teacher that follows its student.

The student :math:`\theta` descends a KL divergence to the teacher :math:`\tau`. The teacher is
a slow average of the student, pulled to a demonstration mixture :math:`\theta_*`:

.. math:: \dot\theta = -\nabla_\theta KL(q_\theta \,\|\, q_\tau), \qquad
          \dot\tau = \gamma\,(\theta - \tau) + \nu\,(\theta_* - \tau),

in the parameters :math:`\theta = (\operatorname{logit} b, m_o, m_n)`, with the EMA rate
:math:`\gamma` and the anchor :math:`\nu`. The algorithm is that of arXiv:2601.19897; this model
of it is in the setting of arXiv:2603.12163.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from forgetlib import _arguments
from forgetlib.mixture import TwoModeMixture, check_mixture
from forgetlib.objective import ForwardKL, Gradient, ReverseKL, check_compatible
from forgetlib.overlap import LOG_BY_ROOT, SHARP, log_weight_slope

__all__ = ["SDFT", "AnchoredBox", "Rates", "RemixedWeight", "Retention", "remixed_weight"]

FloatArray = NDArray[np.float64]
Direction = Literal["reverse", "forward"]
Baseline = Literal["batch_mean"] | None

_ROOM = 1.0 + 1e-10  # rounding cannot break an inequality that holds with this much to spare


class Rates(NamedTuple):
    """The two rates of the linearized student and teacher, per unit of training time.

    Attributes
    ----------
    slow, fast : float
        ``slow`` is at most the anchor and at most the student's own rate, ``fast`` at least
        both. Without an anchor ``slow`` is 0.
    """

    slow: float
    fast: float


class Retention(NamedTuple):
    r"""What an anchor promises for the old weight, with right and fixed means.

    Attributes
    ----------
    low, high : float
        The old weights of student and teacher never leave [low, high].
    curvature : float
        Lower bound :math:`w` on the student's pull to its teacher there, per nat.
    rate : float
        The distance of the log-odds to those of the demonstrations falls at least like
        ``exp(-rate * t)``. 0 without an anchor.
    factor : float
        Factor of the teacher's initial distance in that bound; infinite without a bound.
    """

    low: float
    high: float
    curvature: float
    rate: float
    factor: float


class RemixedWeight(NamedTuple):
    """Law of the old weight when each student imitates a mix of student and demonstrations.

    Attributes
    ----------
    mean, variance : float
        Over independent chains of rounds.
    """

    mean: float
    variance: float


@dataclasses.dataclass(frozen=True)
class AnchoredBox:
    """Students and teachers that never leave a neighborhood of the demonstrations.

    Attributes
    ----------
    old_radius, new_radius : float
        Largest errors of the student's means, in standard deviations (Mahalanobis).
    logit_low, logit_high : float
        Range of the student's log-odds of the old mode, in nats.
    teacher_old_radius, teacher_new_radius : float
        The same for the teacher's means.
    teacher_logit_low, teacher_logit_high : float
        The same for the teacher's log-odds.
    slack : float
        What the overlap may add to the goal of the student's log-odds, in nats.
    """

    old_radius: float
    new_radius: float
    logit_low: float
    logit_high: float
    teacher_old_radius: float
    teacher_new_radius: float
    teacher_logit_low: float
    teacher_logit_high: float
    slack: float

    @property
    def old_weight_floor(self) -> float:
        """Smallest old weight of a student in the box."""
        return float(scipy.special.expit(self.logit_low))


@dataclasses.dataclass(frozen=True)
class SDFT:
    r"""Self-distillation with an averaged teacher that is anchored to demonstrations.

    Parameters
    ----------
    demonstration : TwoModeMixture
        What the demonstrations say, :math:`\theta_*`; its old weight is :math:`a_*`.
    ema_rate : float
        Rate :math:`\gamma \ge 0` at which the teacher follows the student, per unit of training
        time (learning rate times steps). The coefficient of the moving average in one step
        is ``learning_rate * ema_rate``. 0: the teacher does not see the student.
    anchor : float
        Rate :math:`\nu \ge 0` at which the teacher is pulled to the demonstrations.
    direction : {"reverse", "forward"}
        ``KL(student || teacher)`` or ``KL(teacher || student)``.
    teacher : TwoModeMixture or None
        Where the teacher starts; None is a copy of the student's start.

    Raises
    ------
    ValueError
        If an argument is not of that kind, or the teacher does not share the space and the
        covariance of the demonstrations.

    Notes
    -----
    Labels ``thm-anchored-retention`` and ``prp-anchored-rates``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> demonstration = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    >>> method = fl.SDFT(demonstration, ema_rate=0.1, anchor=0.02)
    >>> round(method.rates(0.18).slow, 4)
    0.0125
    """

    mixtures: ClassVar[tuple[str, ...]] = ("demonstration", "teacher")
    demonstration: TwoModeMixture
    ema_rate: float
    anchor: float
    direction: Direction = "reverse"
    teacher: TwoModeMixture | None = None

    def __post_init__(self) -> None:
        check_mixture("demonstration", self.demonstration)
        for name in ("ema_rate", "anchor"):
            value = _arguments.number(
                name, getattr(self, name), "be a finite number >= 0", lambda x: 0.0 <= x < math.inf
            )
            object.__setattr__(self, name, value)
        if self.direction not in ("reverse", "forward"):
            raise ValueError(f"direction must be 'reverse' or 'forward', got {self.direction!r}")
        if self.teacher is not None:
            check_compatible(self.teacher, self.demonstration, "teacher")

    def initial_teacher(self, start: TwoModeMixture) -> TwoModeMixture:
        """Teacher at time 0, for a student that begins at ``start``.

        Parameters
        ----------
        start : TwoModeMixture

        Returns
        -------
        TwoModeMixture
        """
        return start if self.teacher is None else self.teacher

    def loss(self, teacher: TwoModeMixture) -> ReverseKL | ForwardKL:
        """What the student descends while the teacher is here.

        Parameters
        ----------
        teacher : TwoModeMixture

        Returns
        -------
        ReverseKL or ForwardKL
            ``KL(student || teacher)``, or ``KL(teacher || student)``: data drawn from the
            teacher are forward KL with the teacher's own share of old samples.
        """
        if self.direction == "reverse":
            return ReverseKL(teacher)
        return ForwardKL(teacher, replay=teacher.old_weight)

    def teacher_velocity(self, student: TwoModeMixture, teacher: TwoModeMixture) -> Gradient:
        r"""Velocity of the teacher's parameters.

        .. math:: \dot\tau = \gamma\,(\theta - \tau) + \nu\,(\theta_* - \tau)

        Parameters
        ----------
        student, teacher : TwoModeMixture

        Returns
        -------
        Gradient
            Of the log-odds and of the two means, per unit of training time.
        """
        follow, anchor, goal = self.ema_rate, self.anchor, self.demonstration
        return Gradient(
            follow * (student.old_logit - teacher.old_logit)
            + anchor * (goal.old_logit - teacher.old_logit),
            follow * (student.old_mean - teacher.old_mean)
            + anchor * (goal.old_mean - teacher.old_mean),
            follow * (student.new_mean - teacher.new_mean)
            + anchor * (goal.new_mean - teacher.new_mean),
        )

    def rates(self, student_rate: float) -> Rates:
        r"""Rates at which student and teacher settle together, linearized.

        .. math:: s = \tfrac12 \big[S \mp \sqrt{S^2 - 4 w \nu}\big], \qquad S = w + \gamma + \nu

        Parameters
        ----------
        student_rate : float
            Rate :math:`w > 0` at which the student settles under a teacher at rest: an
            eigenvalue of the Fisher information, such as ``b (1 - b)`` for the log-odds
            without overlap.

        Returns
        -------
        Rates
            Per unit of training time.

        Raises
        ------
        ValueError
            If the student's rate is not a finite number > 0.

        Notes
        -----
        Label ``prp-anchored-rates``.
        """
        w = _arguments.positive("student_rate", student_rate)
        total = w + self.ema_rate + self.anchor
        fast = 0.5 * (total + self._root(w))
        return Rates(w * self.anchor / fast, fast)

    def _root(self, w: float) -> float:
        """Difference of the rates: S^2 - 4 w anchor is a sum of terms >= 0."""
        follow, anchor = self.ema_rate, self.anchor
        return math.sqrt((w - anchor) ** 2 + follow * (follow + 2.0 * (w + anchor)))

    def stationary_variance(
        self, student_rate: float, noise: float, learning_rate: float = 0.0
    ) -> float:
        r"""Variance that gradient noise keeps in the student forever, linearized.

        .. math:: \frac{\sigma^2}{2w}\,
                  \frac{\gamma(\gamma+\nu) + \nu(w+\gamma+\nu)}{\nu\,(w+\gamma+\nu)}
                  \quad\text{as the learning rate tends to 0},

        which grows like :math:`\sigma^2\gamma^2 / (2 w \nu (w + \gamma))` as the anchor
        :math:`\nu` tends to 0.

        Parameters
        ----------
        student_rate : float
            Rate :math:`w > 0`; see :meth:`rates`.
        noise : float
            Variance :math:`\sigma^2 \ge 0` that gradient noise adds to the parameter per unit of
            training time: the learning rate times the variance of one gradient.
        learning_rate : float
            Step size :math:`h \ge 0`. 0 is the limit of short steps; otherwise the variance is
            that of the recursion itself, in which the teacher moves after the student.

        Returns
        -------
        float
            Infinite without an anchor (unless there is no noise, or the teacher stands still).

        Raises
        ------
        ValueError
            If an argument is outside its range, or the step is too long to settle.

        Notes
        -----
        Label ``thm-anchored-variance``.

        Examples
        --------
        >>> import forgetlib as fl
        >>> demonstration = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
        >>> for anchor in (0.1, 0.01, 0.0):
        ...     method = fl.SDFT(demonstration, ema_rate=0.1, anchor=anchor)
        ...     print(round(method.stationary_variance(0.18, 0.01), 4))
        0.0424
        0.1331
        inf
        """
        w = _arguments.positive("student_rate", student_rate)
        noise = _arguments.number(
            "noise", noise, "be a finite number >= 0", lambda x: 0.0 <= x < math.inf
        )
        follow, anchor = self.ema_rate, self.anchor
        away = follow + anchor
        h = _arguments.number(
            "learning_rate",
            learning_rate,
            "be >= 0 and short enough for student and teacher to settle",
            lambda x: (
                0.0 <= x < math.inf
                and w + away > x * w * away
                and 4.0 + x * x * w * (away + follow) > 2.0 * x * (w + away)
            ),
        )
        if noise == 0.0:
            return 0.0
        if follow == 0.0:  # the teacher does not hear the student
            return noise / (w * (2.0 - h * w))
        if anchor == 0.0:
            return math.inf
        top = 2.0 * (away * away + w * anchor)
        top += h * away * (h * w * away * away - away * away - w * (away + 2.0 * anchor))
        bottom = (w + away - h * w * away) * (
            4.0 - 2.0 * h * (w + away) + h * h * w * (away + follow)
        )
        return noise * top / (w * anchor * bottom)

    def variance(self, student_rate: float, noise: float, t: float) -> float:
        r"""Variance of the student at one time, from a certain start, linearized.

        Parameters
        ----------
        student_rate, noise : float
            As for :meth:`stationary_variance`.
        t : float
            Training time, >= 0 and finite.

        Returns
        -------
        float
            In the limit of short steps. Without an anchor it grows forever, in the end like
            :math:`\sigma^2 \gamma^2 t / (w + \gamma)^2`.

        Raises
        ------
        ValueError
            If an argument is outside its range.

        Notes
        -----
        Label ``thm-anchored-variance``.
        """
        w = _arguments.positive("student_rate", student_rate)
        noise = _arguments.number(
            "noise", noise, "be a finite number >= 0", lambda x: 0.0 <= x < math.inf
        )
        t = _arguments.number("t", t, "be a finite number >= 0", lambda x: 0.0 <= x < math.inf)
        if self.ema_rate == 0.0:
            return noise * _integral(2.0 * w, t)
        slow, fast = self.rates(w)
        root = self._root(w)
        # shares of both rates in the memory of a kick; their product is w * ema_rate / root^2
        lean = self.ema_rate + self.anchor - w
        larger = 0.5 * (1.0 + abs(lean) / root)
        smaller = w * self.ema_rate / (root * root * larger)
        kept, lost = (larger, smaller) if lean >= 0.0 else (smaller, larger)
        return noise * (
            kept * kept * _integral(2.0 * slow, t)
            + 2.0 * kept * lost * _integral(slow + fast, t)
            + lost * lost * _integral(2.0 * fast, t)
        )

    def drift_gain(self) -> float:
        r"""Factor by which a teacher that follows its student multiplies a lasting force.

        Returns
        -------
        float
            :math:`1 + \gamma/\nu`: 1 for a teacher that does not follow, infinite without an
            anchor.

        Notes
        -----
        Label ``thm-anchored-drift``.

        Examples
        --------
        >>> import forgetlib as fl
        >>> demonstration = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
        >>> fl.SDFT(demonstration, ema_rate=0.5, anchor=0.125).drift_gain()
        5.0
        """
        if self.ema_rate == 0.0:
            return 1.0
        return math.inf if self.anchor == 0.0 else 1.0 + self.ema_rate / self.anchor

    def _fixed_means(self, start: TwoModeMixture) -> TwoModeMixture:
        """Teacher at the start, if both have the means of the demonstrations."""
        goal = self.demonstration
        check_compatible(start, goal, "start")
        teacher = self.initial_teacher(start)
        for name, one in (("start", start), ("teacher", teacher)):
            gaps = np.stack([one.old_mean - goal.old_mean, one.new_mean - goal.new_mean])
            if np.abs(goal.whiten(gaps)).max() > 1e-9:
                raise ValueError(
                    f"{name} must have the means of the demonstration (the weights alone are "
                    f"trained here), got {one!r}"
                )
        if goal.separation == 0.0:
            raise ValueError("demonstration must have two distinct modes, got separation 0")
        return teacher

    def retention(self, start: TwoModeMixture) -> Retention:
        r"""What is certain about the old weight, if the means are right and fixed.

        The old weights of student and teacher stay between the smallest and the largest of
        :math:`b_0, b_{\tau,0}, a_*`, and

        .. math:: |l - l_*| \le e^{-st} \max\Big\{|l_0 - l_*|,\
                  \tfrac{w}{w - s}\,|l_{\tau,0} - l_*|\Big\},

        where :math:`s` is the slow rate at the least curvature :math:`w` on that interval
        (:math:`s = w/2` for a teacher that does not follow, with an anchor of at least :math:`w`).

        Parameters
        ----------
        start : TwoModeMixture
            Student at time 0, with the means of the demonstrations.

        Returns
        -------
        Retention

        Raises
        ------
        ValueError
            If ``start`` or the teacher has other means than the demonstrations, or the modes
            coincide.

        Notes
        -----
        Label ``thm-anchored-retention``. For both directions, and any overlap.

        Examples
        --------
        >>> import forgetlib as fl
        >>> demonstration = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
        >>> method = fl.SDFT(demonstration, ema_rate=0.1, anchor=0.02)
        >>> kept = method.retention(demonstration.replace(old_weight=0.95))
        >>> round(kept.low, 6), kept.rate > 0
        (0.75, True)
        """
        teacher = self._fixed_means(start)
        weights = [one.old_weight for one in (start, teacher, self.demonstration)]
        odds = np.array([one.old_logit for one in (start, teacher, self.demonstration)])
        ends = np.array([odds.min(), odds.max()])
        # b (1 - b) and its factor rho(b) are least at an end: both are concave in b
        flat = np.exp(scipy.special.log_expit(ends) + scipy.special.log_expit(-ends)).min()
        hidden = np.exp(
            log_weight_slope(self.demonstration.separation, ends) - scipy.special.log_expit(ends)
        )
        curvature = float(flat * hidden.min())
        if curvature == 0.0:
            return Retention(min(weights), max(weights), 0.0, 0.0, math.inf)
        low, high = min(weights), max(weights)
        if self.anchor == 0.0:
            return Retention(low, high, curvature, 0.0, math.inf)
        if self.ema_rate == 0.0 and self.anchor >= curvature:
            # every rate below w is promised, with a factor that has no bound: take half of it
            return Retention(low, high, curvature, 0.5 * curvature, 2.0)
        slow = self.rates(curvature).slow
        gap = curvature - slow
        factor = curvature / gap if gap > 0.0 else math.inf
        return Retention(low, high, curvature, slow, factor)

    def safe_learning_rate(self, start: TwoModeMixture, baseline: Baseline = None) -> float:
        r"""Largest step for which no batch can carry the student past its teacher.

        With the score function, right and fixed means, and samples of the student. For a
        shorter step the old weight never falls below the smallest of
        :math:`b_0, b_{\tau,0}, a_*`, on any path and with any batch size. Reverse KL: 1, with
        the batch mean 4. Forward KL: :math:`4 e^{-|l|}`, with the batch mean
        :math:`16\, b (1 - b)`, at the extreme log-odds of the three.

        Parameters
        ----------
        start : TwoModeMixture
            Student at time 0, with the means of the demonstrations.
        baseline : {None, "batch_mean"}

        Returns
        -------
        float
            At most ``1 / (ema_rate + anchor)``, so that the teacher does not overshoot either.

        Raises
        ------
        ValueError
            As for :meth:`retention`, or if the baseline is another.

        Notes
        -----
        Label ``thm-teacher-batches``.
        """
        if baseline not in (None, "batch_mean"):
            raise ValueError(f"baseline must be None or 'batch_mean', got {baseline!r}")
        teacher = self._fixed_means(start)
        far = max(abs(one.old_logit) for one in (start, teacher, self.demonstration))
        if self.direction == "reverse":
            step = 1.0 if baseline is None else 4.0
        elif baseline is None:
            step = 4.0 * math.exp(-far)
        else:
            step = 16.0 * math.exp(
                float(scipy.special.log_expit(far) + scipy.special.log_expit(-far))
            )
        away = self.ema_rate + self.anchor
        return min(step, 1.0 / away) if away > 0.0 else step

    def swapped(self) -> tuple[TwoModeMixture, TwoModeMixture]:
        r"""Student and teacher at the other stable fixed point, where labels are exchanged.

        With :math:`\varsigma = \nu / (\nu + 2\gamma)` the teacher's log-odds are
        :math:`\varsigma\, l_*`, and its means are the demonstrations' means, moved toward their
        middle until the separation is :math:`\varsigma D`. The student is the same density with
        the names of its modes exchanged.

        Returns
        -------
        student, teacher : TwoModeMixture

        Raises
        ------
        ValueError
            Without an anchor, or if the modes of the demonstrations coincide.

        Notes
        -----
        Label ``thm-swapped-labels``.

        Examples
        --------
        >>> import forgetlib as fl
        >>> demonstration = fl.TwoModeMixture.separated(6.0, old_weight=0.75)
        >>> student, teacher = fl.SDFT(demonstration, ema_rate=0.05, anchor=0.05).swapped()
        >>> round(student.old_weight, 3), student.old_mean[0].item(), student.new_mean[0].item()
        (0.409, 4.0, 2.0)
        """
        if self.anchor == 0.0:
            raise ValueError("anchor must be > 0 for an isolated fixed point, got 0.0")
        goal = self.demonstration
        if goal.separation == 0.0:
            raise ValueError("demonstration must have two distinct modes, got separation 0")
        share = self.anchor / (self.anchor + 2.0 * self.ema_rate)
        middle, half = 0.5 * (goal.old_mean + goal.new_mean), 0.5 * (goal.new_mean - goal.old_mean)
        teacher = goal.replace(
            old_weight=float(scipy.special.expit(share * goal.old_logit)),
            old_mean=middle - share * half,
            new_mean=middle + share * half,
        )
        student = teacher.replace(
            old_weight=float(scipy.special.expit(-share * goal.old_logit)),
            old_mean=teacher.new_mean,
            new_mean=teacher.old_mean,
        )
        return student, teacher

    def box(self, start: TwoModeMixture) -> AnchoredBox | None:
        r"""Box that student and teacher never leave, with everything trained (reverse KL).

        Parameters
        ----------
        start : TwoModeMixture
            Student at time 0.

        Returns
        -------
        AnchoredBox or None
            None if no box was found: the start is too far from the demonstrations, the anchor
            too weak for such a start, or the modes too close.

        Raises
        ------
        ValueError
            If the direction is forward, there is no anchor, or ``start`` does not share the
            demonstrations' space and covariance.

        Notes
        -----
        Label ``thm-anchored-box``, for the whitened flow. Every right-hand side grows with
        every size, so iterating from the start climbs to the least solution, or out of range.

        Examples
        --------
        >>> import forgetlib as fl
        >>> demonstration = fl.TwoModeMixture.separated(10.0, old_weight=0.75)
        >>> method = fl.SDFT(demonstration, ema_rate=0.1, anchor=0.1)
        >>> box = method.box(demonstration.replace(old_weight=0.6, new_mean=[10.5]))
        >>> box.old_radius < 1e-4, box.old_weight_floor > 0.5
        (True, True)
        """
        goal = self.demonstration
        check_compatible(start, goal, "start")
        if self.direction != "reverse":
            raise ValueError(f"direction must be 'reverse' for a box, got {self.direction!r}")
        if self.anchor == 0.0:
            raise ValueError("anchor must be > 0 for a box, got 0.0")
        teacher = self.initial_teacher(start)
        gain = self.drift_gain()
        share = 1.0 - 1.0 / gain  # of the student's error that a teacher at rest has
        distance, center = goal.separation, goal.old_logit

        def length(gap: FloatArray) -> float:
            return float(np.linalg.norm(goal.whiten(gap)))

        olds = [length(one.old_mean - goal.old_mean) for one in (start, teacher)]
        news = [length(one.new_mean - goal.new_mean) for one in (start, teacher)]
        odds = [one.old_logit - center for one in (start, teacher)]

        def pair(first: list[float], push: float) -> tuple[float, float]:
            """Least sizes of student and teacher under a push."""
            size = _ROOM * max(first[0], first[1] + push, gain * push)
            return size, max(first[1], share * size)

        def power(exponent: float) -> float:
            return math.exp(min(exponent, 700.0))  # so large is out of range anyway

        push_old = push_new = slack = 0.0
        for _ in range(10_000):
            old, old_teacher = pair(olds, push_old)
            new, new_teacher = pair(news, push_new)
            near, near_teacher = distance - old - new, distance - old_teacher - new_teacher
            apart = max(old + old_teacher, new + new_teacher)
            reach = old + new + old_teacher + new_teacher
            if near <= 0.0 or reach > 0.5 * math.sqrt(3.0) * near_teacher:
                return None
            if near_teacher < 2.0 * apart:
                return None
            up = 0.5 * (new + new_teacher) ** 2 + slack
            down = 0.5 * (old + old_teacher) ** 2 + slack
            high, high_teacher = pair([max(0.0, x) for x in odds], up)
            low, low_teacher = pair([max(0.0, -x) for x in odds], down)
            # misassignment of old and new samples: by the student, and by the teacher
            ours, theirs = -0.125 * near**2, -0.125 * near_teacher**2
            model_old = power(0.5 * (low - center) + ours)
            model_new = power(0.5 * (center + high) + ours)
            shift_old = 0.5 * near_teacher * (old + old_teacher)
            shift_new = 0.5 * near_teacher * (new + new_teacher)
            guide_old = power(0.5 * (low_teacher - center) + theirs + shift_old)
            guide_new = power(0.5 * (center + high_teacher) + theirs + shift_new)
            wanted = (
                _ROOM * SHARP * max(model_old, guide_old),
                _ROOM * SHARP * max(model_new, guide_new),
                _ROOM * LOG_BY_ROOT * max(model_old + guide_new, guide_old + model_new),
            )
            if all(
                w <= s * (1.0 + 1e-12)
                for w, s in zip(wanted, (push_old, push_new, slack), strict=True)
            ):
                return AnchoredBox(
                    old_radius=old,
                    new_radius=new,
                    logit_low=center - low,
                    logit_high=center + high,
                    teacher_old_radius=old_teacher,
                    teacher_new_radius=new_teacher,
                    teacher_logit_low=center - low_teacher,
                    teacher_logit_high=center + high_teacher,
                    slack=slack,
                )
            push_old, push_new, slack = wanted
        return None


def _integral(rate: float, t: float) -> float:
    """Integral of exp(-rate * s) over [0, t]."""
    return t if rate == 0.0 else -math.expm1(-rate * t) / rate


def remixed_weight(
    demonstration_weight: float,
    start_weight: float,
    share: float,
    rounds: int,
    batch_size: int | None = None,
) -> RemixedWeight:
    r"""Old weight after rounds of imitating a mix of oneself and the demonstrations.

    In each round the teacher is the density :math:`(1-\lambda)\, q_k + \lambda\, p_*`, and the
    next student has the share of old samples in a batch from it (a batch without end: the
    teacher itself). The modes do not overlap, or samples come with labels.

    .. math:: E[b_k] - a_* = (1 - \lambda)^k (b_0 - a_*)

    Parameters
    ----------
    demonstration_weight, start_weight : float
        Old weights :math:`a_*` of the demonstrations and :math:`b_0` of the first student, in
        (0, 1).
    share : float
        Share :math:`\lambda` of demonstrations in the teacher, in [0, 1].
    rounds : int
        Number of rounds ``k``, at least 0.
    batch_size : int or None
        Samples per round ``N``, at least 1; None is without end.

    Returns
    -------
    RemixedWeight

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-teacher-density``. The variance tends to :math:`a_*(1-a_*) / (N - (N-1)
    (1-\lambda)^2)` for :math:`\lambda > 0`. For :math:`\lambda = 0` it tends to
    :math:`b_0 (1 - b_0)`: every chain ends with one mode only.

    Examples
    --------
    >>> import forgetlib as fl
    >>> law = fl.remixed_weight(0.75, 0.95, 0.1, 30)
    >>> round(law.mean, 4), law.variance
    (0.7585, 0.0)
    """
    a = _arguments.weight("demonstration_weight", demonstration_weight)
    b = _arguments.weight("start_weight", start_weight)
    share = _arguments.number("share", share, "lie in [0, 1]", lambda x: 0.0 <= x <= 1.0)
    rounds = _arguments.integer("rounds", rounds, 0)
    kept = (1.0 - share) ** rounds
    mean = a + kept * (b - a)
    if batch_size is None or rounds == 0:
        return RemixedWeight(mean, 0.0)
    size = _arguments.integer("batch_size", batch_size, 1)
    # V' = r V + c (1 - c) / N with c the teacher's mean weight and r = (1 - share)^2 (1 - 1/N);
    # c (1 - c) is a constant plus a multiple of (1 - share)^k plus one of (1 - share)^{2 k}
    decay = 1.0 - share
    factor = decay * decay * (1.0 - 1.0 / size)
    gap = b - a

    def geometric(other: float) -> float:
        """Sum over rounds i = 1..k of other^i factor^(k - i)."""
        if abs(other - factor) <= 1e-9 * max(other, factor):
            return float(rounds * other**rounds)
        return float(other * (other**rounds - factor**rounds) / (other - factor))

    total = a * (1.0 - a) * geometric(1.0) + (1.0 - 2.0 * a) * gap * geometric(decay)
    return RemixedWeight(mean, (total - gap * gap * geometric(decay * decay)) / size)
