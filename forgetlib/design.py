r"""Numbers for practice: how long, how much replay, which batch, which KL weight, how many rounds.

Each function answers one question of somebody who trains a model and wants to keep what it
could do. It takes the overlap of the old and the new behavior, as estimated from
log-probabilities (:func:`forgetlib.estimate_overlap`) or as a separation in standard
deviations, and returns an :class:`Answer`: a number, its range over the confidence interval
of the overlap, and what the number rests on. The theorems behind the answers are those of
the chapters; nothing new is computed here.

    >>> import forgetlib as fl
    >>> print(fl.design.finetuning_half_life(4.0, old_weight=0.9, learning_rate=0.01))
    Steps of fine-tuning until half of the old mass is gone: 380
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from html import escape
from typing import Literal

import numpy as np
from scipy.special import expit, logit

from forgetlib import _arguments
from forgetlib._svg import number
from forgetlib.data_mixing import minimax_replay
from forgetlib.drift import drift_constant
from forgetlib.flow import forgetting_time
from forgetlib.log_probabilities import Interval, OverlapEstimate
from forgetlib.methods.oapl import OAPL
from forgetlib.mixture import TwoModeMixture
from forgetlib.overlap import misassignment_probability
from forgetlib.replay import batch_for_starvation, replay_for_starvation
from forgetlib.verdict import kl_weight_for

__all__ = [
    "Answer",
    "batch_size",
    "drift",
    "finetuning_half_life",
    "kl_weight",
    "lag_rounds",
    "misassignment",
    "replay_for_rare_old_samples",
    "replay_share",
]

_ANY = "true of any two densities"
_GAUSSIAN = "two Gaussian modes with one covariance stand for the two behaviors"
_WEIGHT_ONLY = "only the weight of the modes moves; what each can do stays as it is"
_EXACT = "population training: batches without noise"


@dataclasses.dataclass(frozen=True)
class Answer:
    """A number for a practitioner, with its range and its conditions.

    Attributes
    ----------
    question : str
        What was asked, in words.
    value : float
        The answer.
    low, high : float
        Its range while the overlap moves through its confidence interval; equal to
        ``value`` where the overlap was given, or plays no part.
    unit : str
        Of the value; empty for shares and probabilities.
    limits : tuple of str
        What the number rests on, one condition each.
    label : str
        Theorem that it comes from.

    Examples
    --------
    >>> import forgetlib as fl
    >>> found = fl.design.batch_size(0.05, 1000)
    >>> found.value, found.unit, found.label
    (225, 'samples', 'thm-starvation')
    """

    question: str
    value: float
    low: float
    high: float
    unit: str
    limits: tuple[str, ...]
    label: str

    def _numbers(self) -> str:
        text = number(self.value)
        if self.low < self.high:
            text += f" ({number(self.low)} to {number(self.high)})"
        return f"{text} {self.unit}".strip()

    def __str__(self) -> str:
        return f"{self.question}: {self._numbers()}"

    def _repr_html_(self) -> str:
        limits = "".join(f"<li>{escape(limit)}</li>" for limit in self.limits)
        return (
            f"<p>{escape(self.question)}: <strong>{escape(self._numbers())}</strong></p>"
            f"<p>This rests on:</p><ul>{limits}</ul>"
        )


def _separation(overlap: OverlapEstimate | float) -> Interval:
    """Separation and its range; warns through the limits, not here."""
    if isinstance(overlap, OverlapEstimate):
        return overlap.separation
    value = _arguments.distance("overlap", overlap)
    return Interval(value, value, value)


def _conditions(overlap: OverlapEstimate | float, *conditions: str) -> tuple[str, ...]:
    """The conditions of an answer, and what the samples say against them."""
    found = list(conditions)
    if not isinstance(overlap, OverlapEstimate):
        return tuple(found)
    if overlap.degenerate:
        found.append(
            "NOT MET: fewer than ten samples overlap; believe the range only, and draw more samples"
        )
    elif overlap.consistent is None:
        found.append(
            "NOT CHECKED: whether the log-probabilities belong to the samples; too few lie in "
            "the overlap"
        )
    elif not overlap.consistent:
        gap, stderr = overlap.normalization_gap
        found.append(
            f"NOT MET: the log-probabilities belong to the samples (normalization off by "
            f"{number(gap)} ± {number(2 * stderr)} nats: another temperature, or cut sampling?)"
        )
    if _GAUSSIAN in conditions:
        first, second = overlap.gaussian_ratio
        if not overlap.looks_gaussian:
            found.append(
                f"DOUBTFUL: the Gaussian reading; the variances of the log-ratios are "
                f"{number(first, 2)} and {number(second, 2)} times what it says"
            )
    return tuple(found)


def _over(
    overlap: OverlapEstimate | float, compute: Callable[[float], float]
) -> tuple[float, float, float]:
    """Value, and the range over the interval of a separation on which it is monotone."""
    separation = _separation(overlap)
    if not separation.value > 0.0:
        raise ValueError("overlap must be that of two different models, got a coefficient of 1")
    # the lower limit may be 0, where no design is better than another
    values = [compute(max(each, 0.01)) for each in separation]
    return values[0], min(values), max(values)


def _steps(time: float, learning_rate: float) -> float:
    """Whole steps that make a training time."""
    steps = time / learning_rate
    return steps if math.isinf(steps) else round(steps)


def _remaining(value: object) -> float:
    return _arguments.number(
        "remaining", value, "lie strictly between 0 and 1", lambda x: 0.0 < x < 1.0
    )


def misassignment(overlap: OverlapEstimate | float, old_weight: float) -> Answer:
    r"""How often is an old sample credited to the new behavior?

    .. math:: \varepsilon = E_o[1 - r]

    Parameters
    ----------
    overlap : OverlapEstimate or float
        Estimated from samples, or a separation ``D > 0`` in standard deviations.
    old_weight : float
        Weight of the old behavior in the model, in (0, 1).

    Returns
    -------
    Answer
        A probability.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``lem-misassignment``. From samples it holds for any two densities.

    Examples
    --------
    >>> import forgetlib as fl
    >>> print(fl.design.misassignment(4.0, 0.5))
    Probability that an old sample is credited to the new mode: 0.0343
    """
    weight = _arguments.weight("old_weight", old_weight)
    if isinstance(overlap, OverlapEstimate):
        value, low, high = overlap.misassignment(weight)
        limits = _conditions(overlap, _ANY)
    else:
        value = misassignment_probability(
            TwoModeMixture.separated(_arguments.positive("overlap", overlap), weight)
        )
        low = high = value
        limits = (_GAUSSIAN,)
    return Answer(
        "Probability that an old sample is credited to the new mode",
        value,
        low,
        high,
        "",
        limits,
        "lem-misassignment",
    )


def _sampled_time(overlap: OverlapEstimate, start: float, end: float, which: int) -> float:
    """Forgetting time with the overlap estimated at every weight on the way."""

    def integrand(l: float) -> float:
        b = float(expit(l))
        rate = 1.0 - overlap.gate(b)[which]
        return 1.0 / (b * rate) if rate > 0.0 else math.inf

    nodes, weights = np.polynomial.legendre.leggauss(24)
    middle, half = 0.5 * (logit(start) + logit(end)), 0.5 * (logit(start) - logit(end))
    return float(
        half * sum(w * integrand(middle + half * x) for x, w in zip(nodes, weights, strict=True))
    )


def finetuning_half_life(
    overlap: OverlapEstimate | float,
    old_weight: float,
    learning_rate: float,
    remaining: float = 0.5,
) -> Answer:
    r"""How many steps of fine-tuning on new data until half of the old mass is gone?

    .. math:: \frac1h \int \frac{dl}{b\,(1 - \kappa(b))}, \qquad
              \kappa(b) = \int \frac{f_o f_n}{q_b}

    Parameters
    ----------
    overlap : OverlapEstimate or float
        Estimated from samples, or a separation ``D > 0`` in standard deviations.
    old_weight : float
        Weight of the old behavior at the start, in (0, 1).
    learning_rate : float
        Step ``h > 0`` of the log-odds of the old behavior: how far one step of training moves
        them per unit of the gradient. To calibrate it, train one step on new data and divide
        the change of the log-odds by the old weight.
    remaining : float
        Share of the old mass that is left at the end, in (0, 1). The default is half.

    Returns
    -------
    Answer
        A number of steps.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-mass-forgetting``. From samples it holds for any two densities.

    Examples
    --------
    >>> import forgetlib as fl
    >>> round(fl.design.finetuning_half_life(4.0, 0.9, 0.01).value)
    380
    """
    weight = _arguments.weight("old_weight", old_weight)
    step, share = _arguments.positive("learning_rate", learning_rate), _remaining(remaining)
    if isinstance(overlap, OverlapEstimate):
        times = [_sampled_time(overlap, weight, share * weight, which) for which in range(3)]
        limits = _conditions(overlap, _ANY, _WEIGHT_ONLY, _EXACT)
    else:
        times = [forgetting_time(_separation(overlap).value, weight, share * weight)]
        limits = (_GAUSSIAN, _WEIGHT_ONLY, _EXACT)
    part = "half" if share == 0.5 else number(1.0 - share)
    return Answer(
        f"Steps of fine-tuning until {part} of the old mass is gone",
        _steps(times[0], step),
        _steps(min(times), step),
        _steps(max(times), step),
        "",
        limits,
        "thm-mass-forgetting",
    )


def drift(overlap: OverlapEstimate | float, old_weight: float) -> Answer:
    r"""How far does reinforcement learning push what the old behavior is?

    .. math:: \sqrt{\frac{\pi (1 - a)}{2 a}}\; B, \qquad B = e^{-D^2/8}

    Parameters
    ----------
    overlap : OverlapEstimate or float
        Estimated from samples, or a separation ``D > 0`` in standard deviations.
    old_weight : float
        Weight of the old behavior that the target keeps, in (0, 1).

    Returns
    -------
    Answer
        Standard deviations of the old mode.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-drift-constant``: the limit for modes far apart.

    Examples
    --------
    >>> import forgetlib as fl
    >>> print(fl.design.drift(5.0, 0.75))
    Largest drift of the old mode under reverse KL: 0.0318 standard deviations
    """
    constant = drift_constant(old_weight)
    if isinstance(overlap, OverlapEstimate):
        value, low, high = (constant * limit for limit in overlap.coefficient)
    else:
        value = constant * math.exp(-(_separation(overlap).value ** 2) / 8.0)
        low = high = value
    return Answer(
        "Largest drift of the old mode under reverse KL",
        value,
        low,
        high,
        "standard deviations",
        _conditions(
            overlap,
            _GAUSSIAN,
            "modes far apart: D of 4 or more",
            "start: old mode right, new mode on its far side",
            _EXACT,
            "no parameters shared between the behaviors: sharing moves more",
        ),
        "thm-drift-constant",
    )


def replay_share(
    overlap: OverlapEstimate | float, least_old_weight: float, largest_old_weight: float
) -> Answer:
    """How much replay, if it is only known between which bounds the right old weight lies?

    Parameters
    ----------
    overlap : OverlapEstimate or float
        Estimated from samples, or a separation ``D > 0`` in standard deviations; infinity
        means no overlap.
    least_old_weight, largest_old_weight : float
        Bounds of the old weight that the model will be wanted to have, in [0, 1].

    Returns
    -------
    Answer
        The share of old samples whose worst loss is least.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-minimax-replay``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> print(fl.design.replay_share(4.0, 0.1, 0.5))
    Share of replay with the least worst loss: 0.285
    """
    value, low, high = _over(
        overlap, lambda d: minimax_replay(least_old_weight, largest_old_weight, d).replay
    )
    return Answer(
        "Share of replay with the least worst loss",
        value,
        low,
        high,
        "",
        _conditions(
            overlap,
            _GAUSSIAN,
            "fine-tuning on new data mixed with old, run to its optimum",
            "no shortage of old samples",
        ),
        "thm-minimax-replay",
    )


def replay_for_rare_old_samples(
    weight_floor: float, batch_size: int, steps: int, failure: float = 0.01
) -> Answer:
    """How much replay, so that no batch of reinforcement learning lacks old samples?

    Parameters
    ----------
    weight_floor : float
        Old weight that the model keeps at every step, in [0, 1).
    batch_size : int
        Samples per batch, at least 1.
    steps : int
        Batches of the run, at least 1.
    failure : float
        Accepted probability of one batch or more without old samples, in (0, 1).

    Returns
    -------
    Answer
        The smallest share of replayed samples.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-starvation``. The overlap plays no part.

    Examples
    --------
    >>> import forgetlib as fl
    >>> print(fl.design.replay_for_rare_old_samples(0.05, 32, 1000))
    Smallest share of replay: 0.265
    """
    found = replay_for_starvation(weight_floor, batch_size, steps, failure)
    return Answer(
        "Smallest share of replay",
        found.replay,
        found.replay,
        found.replay,
        "",
        (_ANY, *found.assumptions),
        "thm-starvation",
    )


def batch_size(
    weight_floor: float, steps: int, replay: float = 0.0, failure: float = 0.01
) -> Answer:
    """Which batch size, so that no batch of reinforcement learning lacks old samples?

    Parameters
    ----------
    weight_floor : float
        Old weight that the model keeps at every step, in [0, 1); above 0 without replay.
    steps : int
        Batches of the run, at least 1.
    replay : float
        Share of replayed samples, in [0, 1).
    failure : float
        Accepted probability of one batch or more without old samples, in (0, 1).

    Returns
    -------
    Answer
        The smallest batch, in samples.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-starvation``. The overlap plays no part.

    Examples
    --------
    >>> import forgetlib as fl
    >>> print(fl.design.batch_size(0.05, 1000))
    Smallest batch: 225 samples
    """
    found = batch_for_starvation(weight_floor, replay, steps, failure)
    size = found.batch_size
    return Answer(
        "Smallest batch",
        size,
        size,
        size,
        "samples",
        (_ANY, *found.assumptions),
        "thm-starvation",
    )


def kl_weight(
    overlap: OverlapEstimate | float,
    old_weight: float,
    keep: float,
    reward_gap: float,
    inverse_temperature: float = 1.0,
    gate: Literal["soft", "hard"] = "soft",
) -> Answer:
    """Which KL weight keeps a given old weight while rewards favor the new behavior?

    Parameters
    ----------
    overlap : OverlapEstimate or float
        Estimated from samples, or a separation ``D > 0`` in standard deviations.
    old_weight : float
        Old weight of the reference that the penalty points to, in (0, 1).
    keep : float
        Old weight to be kept at the end, in [0, old_weight).
    reward_gap : float
        How much higher the reward of the new behavior is, > 0.
    inverse_temperature : float
        ``k > 0`` of the entropic objective.
    gate : {"soft", "hard"}
        Reward by responsibility, or by side of the boundary.

    Returns
    -------
    Answer
        Nats per nat.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-overlap-holds``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> print(fl.design.kl_weight(4.0, old_weight=0.9, keep=0.5, reward_gap=1.0))
    Smallest KL weight: 0.423
    """
    weight = _arguments.weight("old_weight", old_weight)

    def needed(separation: float) -> float:
        # beyond this separation the overlap is below rounding
        reference = TwoModeMixture.separated(min(separation, 40.0), weight)
        return kl_weight_for(reference, reward_gap, inverse_temperature, keep, gate)

    return Answer(
        "Smallest KL weight",
        *_over(overlap, needed),
        "",
        _conditions(overlap, _GAUSSIAN, _WEIGHT_ONLY, _EXACT, "run to the end of training"),
        "thm-overlap-holds",
    )


def lag_rounds(
    old_weight: float, reward_gap: float, temperature: float, remaining: float = 0.5
) -> Answer:
    r"""After how many synchronizations of a lagged policy is half of the old mass gone?

    .. math:: K = \lceil (\tau / G)(\operatorname{logit} b_0 - \operatorname{logit} b_K) \rceil

    Parameters
    ----------
    old_weight : float
        Old weight at the start, in (0, 1).
    reward_gap : float
        How much higher the reward of the new behavior is, > 0.
    temperature : float
        What multiplies the log-ratio in the regression, > 0.
    remaining : float
        Share of the old mass that is left at the end, in (0, 1). The default is half.

    Returns
    -------
    Answer
        A number of rounds.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-sync-decay``. For rounds run to their optimum, modes apart.

    Examples
    --------
    >>> import forgetlib as fl
    >>> print(fl.design.lag_rounds(0.8, reward_gap=0.8, temperature=1.0))
    Synchronizations until half of the old mass is gone: 3 rounds
    """
    weight, share = _arguments.weight("old_weight", old_weight), _remaining(remaining)
    gap = _arguments.positive("reward_gap", reward_gap)
    method = OAPL(TwoModeMixture.separated(40.0, weight), gap, temperature, 1)
    rounds = method.rounds_until(share * weight)
    part = "half" if share == 0.5 else number(1.0 - share)
    return Answer(
        f"Synchronizations until {part} of the old mass is gone",
        rounds,
        rounds,
        rounds,
        "rounds",
        (
            "each round runs to its optimum between two synchronizations",
            "the reward favors the new behavior by the same gap in every round",
            "no overlap; one temperature",
            _WEIGHT_ONLY,
        ),
        "thm-sync-decay",
    )
