r"""Finite-batch dynamics: many runs of stochastic gradient descent, exact in law.

:func:`simulate` trains ``replicates`` independent models by plain stochastic gradient
descent at a constant learning rate, :math:`\theta \leftarrow \theta - h\, \hat g`, on
``(logit b, m_o, m_n)``, and returns an :class:`Ensemble` of their paths. As ``h`` falls the
paths approach :func:`forgetlib.gradient_flow` at time ``h * step``.

Write ``s`` for the score of the model ``q``, that is

.. math:: s_l = r - b, \quad s_{m_o} = r\, \Sigma^{-1}(y - m_o), \quad
          s_{m_n} = (1 - r)\, \Sigma^{-1}(y - m_n),

with ``r`` the responsibility of the old mode, and :math:`A = \log(q / p)`.

Forward KL
    Samples come from the data: :math:`\hat g = -\frac1N \sum_i s(y_i)`.

Reverse KL, ``estimator="score"``
    Samples come from the model, or under replay from
    :math:`(1-\lambda) q + \lambda f_o` with importance weight ``w`` (1 without replay):

    .. math:: \hat g = \frac1N \sum_i w_i\, s(y_i)\, (A_i - B_i).

Reverse KL, ``estimator="pathwise"``
    The logit as above. The means by reparametrization: a sample of the old mode is
    ``y = m_o + z``, so its loss moves with the mean through ``grad A``; in place of the
    label stands its conditional expectation given the sample, which never has the larger
    variance, and works under replay too:

    .. math:: \hat g_{m_o} = \frac1N \sum_i w_i\, r_i\, \nabla A(y_i), \quad
              \hat g_{m_n} = \frac1N \sum_i w_i\, (1 - r_i)\, \nabla A(y_i).

    With :math:`\nabla A = \Sigma^{-1}[(m_n - \mu_n) - r (m_n - m_o) + r_p (\mu_n - \mu_o)]`
    it is bounded, and zero where the model is the target. The term
    :math:`E_q[\partial_\theta \log q] = 0` is left out.

Baselines ``B_i``, for the score function:

========================  ==============================================  ===============
``baseline``              ``B_i``                                         bias
========================  ==============================================  ===============
``None``                  0                                               none
a number                  that number                                     none
``"leave_one_out"``       mean of ``w_j A_j`` over the others             none
``"batch_mean"``          mean of ``w_j A_j`` over the batch              factor ``1 - 1/N``
``"self_normalized"``     ``sum_j w_j A_j / sum_j w_j``                   of order ``1/N``
========================  ==============================================  ===============

The near-on-policy methods put other coefficients in the place of :math:`A_i - B_i`:

SDFT, ``direction="reverse"``
    Reverse KL with the teacher as its target; after each step the teacher moves.
SDFT, ``direction="forward"``
    :math:`1 - e^{-A_i} - B_i`, samples of the student: :math:`e^{-A}` is teacher over student.
TTT-Discover
    :math:`1 - w_i + \lambda (A_i - \bar A)`, with :math:`w_i` the sample's :math:`e^{kR}` over
    its mean among the others of the group, and :math:`A = \log(q / p_0)`.
OAPL
    :math:`2 \tau (\tau A_i - (R_i - \hat V))`, samples of the lagged policy, with
    :math:`A = \log(q / q_{\text{lag}})` and :math:`\hat V` the group's estimate of the value.

The bias of the batch mean is exact without replay; with it the mean of the estimate is
:math:`E_q[s A] - \frac1N E_q[w s A]`. Leave-one-out without replay is the batch mean times
``N / (N - 1)``; the self-normalized mean without replay is the batch mean.
Under replay the batch mean and leave-one-out can move a starved batch the wrong way; no
baseline and the self-normalized mean cannot (label ``prp-starved-batch``).
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import math
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forgetlib import _arguments
from forgetlib.flow import PARAMETERS, check_train
from forgetlib.logistic_normal import sigmoid
from forgetlib.methods import OAPL, SDFT, TTTDiscover
from forgetlib.mixture import Rng, TwoModeMixture
from forgetlib.objective import ForwardKL, ReverseKL, check_compatible

__all__ = ["Ensemble", "simulate"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Estimator = Literal["score", "pathwise"]
Baseline = float | Literal["batch_mean", "leave_one_out", "self_normalized"] | None

_BATCH_BASELINES = ("batch_mean", "leave_one_out", "self_normalized")
_BLOCK = 16  # replicates that share one random stream; part of the definition of a result
_SMALL_DIM = 5  # up to here nothing is gained by leaving directions unnamed
_SMALL_DIM_WITH_COMPANION = 9

Trainable = ForwardKL | ReverseKL | SDFT | TTTDiscover | OAPL


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Ensemble:
    """Paths of many independent training runs.

    Attributes
    ----------
    step : ndarray of int, shape (records,)
        Steps taken at each record. The first is 0, the last is the number of steps.
    old_weight, old_logit : ndarray, shape (replicates, records)
        Weight of the old mode, and its log-odds (nats), which keep their digits where the
        weight has rounded to 0 or 1.
    old_mean, new_mean : ndarray, shape (replicates, records, d)
        Means of the two modes, in the original coordinates. A mean that is not trained
        takes no memory (all entries are views of one vector).
    starved : ndarray of int, shape (replicates,)
        Number of batches, out of ``step[-1]``, that held no sample of the old mode. What
        counts is the label of the component a sample was drawn from (under replay, a
        replayed sample is old), not its responsibility: a batch of ``N`` is starved with
        probability ``(1 - b)**N`` on-policy, ``((1 - replay) * (1 - b))**N`` with replay,
        and ``(1 - replay)**N`` for forward KL, whose data without replay hold no old
        sample at all. OAPL draws from the lagged policy, whose weight then counts.
    teacher_weight, teacher_logit : ndarray, shape (replicates, records), or None
        The teacher's weight of the old mode and its log-odds, for SDFT.
    settings : dict
        Arguments that give this ensemble again: ``simulate(**ensemble.settings)``.
    """

    step: IntArray
    old_weight: FloatArray
    old_logit: FloatArray
    old_mean: FloatArray
    new_mean: FloatArray
    starved: IntArray
    settings: dict[str, Any]
    teacher_weight: FloatArray | None = None
    teacher_logit: FloatArray | None = None

    def __repr__(self) -> str:
        replicates, records = self.old_logit.shape
        last = self.old_weight[:, -1]
        low, middle, high = np.quantile(last, [0.05, 0.5, 0.95])
        return (
            f"Ensemble({type(self.settings['objective']).__name__}, {replicates} replicates, "
            f"{self.step[-1]} steps, {records} records, dim={self.old_mean.shape[-1]}; "
            f"final old_weight: median {middle:.4g}, 5% to 95% {low:.4g} to {high:.4g}; "
            f"starved batches: {self.starved.mean() / self.step[-1]:.3g} of all)"
        )


def _seed(rng: Rng) -> int:
    """One integer that stands for all randomness of an ensemble."""
    if rng is None:
        entropy = np.random.SeedSequence().entropy
        assert isinstance(entropy, int)
        return entropy
    if isinstance(rng, np.random.Generator):
        return int.from_bytes(rng.bytes(16), "little")
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0:
        raise ValueError(
            f"rng must be an integer >= 0, a numpy.random.Generator or None, got {rng!r}"
        )
    return int(rng)


def _baseline(
    objective: Trainable, estimator: Any, baseline: Any, batch_size: int
) -> tuple[float, float, float]:
    """Constant, own and shared part of the baseline (see ``_kernels.Plan``)."""
    if estimator not in ("score", "pathwise"):
        raise ValueError(f"estimator must be 'score' or 'pathwise', got {estimator!r}")
    name = type(objective).__name__
    if estimator == "pathwise" and not isinstance(objective, ReverseKL):
        if not isinstance(objective, SDFT):
            raise ValueError(
                f"estimator must be 'score' for {name} (its loss is no function that each "
                f"sample could descend), got {estimator!r}"
            )
        if objective.direction != "reverse":
            raise ValueError(
                "estimator must be 'score' for SDFT with direction 'forward', got 'pathwise'"
            )
    if isinstance(objective, ForwardKL | TTTDiscover | OAPL) and baseline is not None:
        reason = "nothing to subtract" if isinstance(objective, ForwardKL) else "it has its own"
        raise ValueError(f"baseline must be None for {name} ({reason}), got {baseline!r}")
    if baseline is None:
        return 0.0, 0.0, 0.0
    if isinstance(baseline, str) and baseline in _BATCH_BASELINES:
        if batch_size < 2:
            raise ValueError(
                f"batch_size must be an integer >= 2 for baseline {baseline!r}, got {batch_size}"
            )
        if baseline != "leave_one_out":
            return 0.0, 0.0, 1.0 / batch_size
        return 0.0, 1.0 / (batch_size - 1), 1.0 / (batch_size - 1)
    try:
        constant = math.nan if isinstance(baseline, str | bool) else float(baseline)
    except (TypeError, ValueError):
        constant = math.nan
    if not math.isfinite(constant):
        raise ValueError(
            f"baseline must be None, one of {_BATCH_BASELINES} or a finite number, got {baseline!r}"
        )
    return constant, 0.0, 0.0


def _group_size(objective: Trainable, batch_size: int) -> int:
    """Samples in a group: of the method, or the batch."""
    if not isinstance(objective, TTTDiscover | OAPL):
        return batch_size
    size = batch_size if objective.group_size is None else objective.group_size
    if batch_size % size:
        raise ValueError(
            f"batch_size must be a multiple of the method's group_size {size}, got {batch_size}"
        )
    if size < 2 and isinstance(objective, TTTDiscover):
        raise ValueError(
            "batch_size must be an integer >= 2 for TTTDiscover (the others in the group "
            f"normalize), got {batch_size}"
        )
    return size


def _rule(objective: Trainable, learning_rate: float) -> dict[str, Any]:
    """The part of ``_kernels.Plan`` that the objective or method decides."""
    from forgetlib import _kernels  # numba is imported on first use

    rule: dict[str, Any] = dict.fromkeys(
        ("replay", "ema", "anchor", "reward_gap", "inverse_temperature", "budget", "temperature"),
        0.0,
    )
    rule.update(rule=_kernels.REVERSE, sync_every=0, hard=False)
    if isinstance(objective, SDFT):
        ema, anchor = learning_rate * objective.ema_rate, learning_rate * objective.anchor
        if ema + anchor > 1.0:
            raise ValueError(
                "learning_rate times (ema_rate + anchor) must be at most 1, got "
                f"{learning_rate!r} times {objective.ema_rate + objective.anchor:.6g}"
            )
        rule.update(ema=ema, anchor=anchor)
        if objective.direction == "forward":
            rule["rule"] = _kernels.FORWARD_ON_POLICY
    elif isinstance(objective, TTTDiscover):
        k = objective.inverse_temperature
        rule.update(
            rule=_kernels.ENTROPIC,
            reward_gap=objective.reward_gap,
            hard=objective.gate == "hard",
            inverse_temperature=0.0 if isinstance(k, str) else k,
            budget=objective.budget,
            temperature=objective.kl_weight,
        )
    elif isinstance(objective, OAPL):
        value_temperature = objective.value_temperature
        rule.update(
            rule=_kernels.REGRESSION,
            sync_every=objective.sync_every,
            reward_gap=objective.reward_gap,
            hard=objective.gate == "hard",
            inverse_temperature=1.0 / (value_temperature or objective.temperature),
            temperature=objective.temperature,
        )
    else:
        rule["replay"] = objective.replay
        if isinstance(objective, ForwardKL):
            rule["rule"] = _kernels.FORWARD
    return rule


def _free_memory() -> float:
    """Bytes that can still be used, as far as the system tells; infinity otherwise."""
    free = math.inf
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = 1024.0 * int(line.split()[1])
    except (OSError, ValueError):  # not Linux
        with contextlib.suppress(AttributeError, OSError, ValueError):
            free = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):  # a container may allow less
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = (group / "memory.current").read_text(encoding="ascii").strip()
        if limit != "max":
            free = min(free, float(int(limit) - int(used)))
    return free


def _check_memory(
    steps: int, record_every: int, replicates: int, numbers: int, batch_size: int, threads: int
) -> None:
    """Refuse an ensemble of ``numbers`` floats per replicate and record that cannot fit."""
    each = 8.0 * replicates * numbers
    records = steps // record_every + 2
    free = 0.9 * _free_memory()
    buffers = 8.0 * 14 * batch_size * threads
    if buffers > 0.5 * free:
        raise ValueError(
            f"batch_size must be small enough for {threads} batches in memory, got "
            f"{batch_size}: they take {buffers / 2**30:.3g} GiB of {free / 2**30:.3g} GiB free"
        )
    free -= buffers
    if each * records <= free:
        return
    allowed = int(free // each) - 2
    if allowed >= 1:
        advice = f"record_every >= {-(-steps // allowed)} would make it fit"
    else:
        advice = "no record_every makes it fit: lower replicates"
    raise ValueError(
        f"record_every must be large enough for the ensemble to fit in memory, got "
        f"{record_every}: {replicates} replicates x {records} records x {numbers} numbers "
        f"take {each * records / 2**30:.3g} GiB of {free / 2**30:.3g} GiB free; {advice}"
    )


def _companion(objective: Trainable, start: TwoModeMixture) -> TwoModeMixture | None:
    """What moves beside the model: a teacher, or the policy at the last sync."""
    if isinstance(objective, SDFT):
        return objective.initial_teacher(start)
    return objective.lagged if isinstance(objective, OAPL) else None


def _whitening(target: TwoModeMixture) -> tuple[FloatArray, FloatArray | None]:
    """Eigenvalues and eigenvectors of the covariance (None for the identity)."""
    if target.covariance is None:
        return np.ones(target.dim), None
    values, vectors = np.linalg.eigh(target.covariance)
    return values, vectors


def _available_workers() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def simulate(
    objective: Trainable,
    start: TwoModeMixture,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    replicates: int,
    rng: Rng = 7,
    estimator: Estimator = "score",
    baseline: Baseline = None,
    workers: int | None = None,
    record_every: int = 1,
    train: Iterable[str] = PARAMETERS,
    precondition: bool = False,
) -> Ensemble:
    r"""Train many models by stochastic gradient descent, exactly in law.

    Parameters
    ----------
    objective : ForwardKL, ReverseKL, SDFT, TTTDiscover or OAPL
        An objective with its replay share, of the data (forward KL) or of the batches, with
        importance weights (reverse KL); or a near-on-policy method.
    start : TwoModeMixture
        Model at step 0; all replicates start there.
    steps : int
        Number of steps, at least 1.
    batch_size : int
        Samples per step ``N``, at least 1; at least 2 for the baselines of the batch. A
        multiple of the method's ``group_size``, if it has one.
    learning_rate : float
        Step size ``h > 0``, the same for all parameters.
    replicates : int
        Independent runs, at least 1.
    rng : int, numpy.random.Generator or None
        Seed; a generator gives one; None draws fresh entropy.
    estimator : {"score", "pathwise"}
        Gradient estimator, see :mod:`forgetlib.ensemble`: ``"pathwise"`` for reverse KL,
        also to a teacher.
    baseline : None, "batch_mean", "leave_one_out", "self_normalized" or float
        What the score function subtracts (reverse KL and SDFT).
    workers : int or None
        Threads; None takes one per available core. Results do not depend on it.
    record_every : int
        Steps between records, at least 1. Step 0 and the last step are always recorded.
    train : iterable of {"weight", "old_mean", "new_mean"}
        Parameters that move; the others stay as in ``start``.
    precondition : bool
        Multiply the gradients of the means by the covariance. It makes no difference when
        the covariance is the identity.

    Returns
    -------
    Ensemble

    Raises
    ------
    ValueError
        If an argument is outside its range, or the ensemble would not fit in memory.
    FloatingPointError
        If a run diverges. Lower the learning rate.

    Notes
    -----
    Label ``thm-sure-retention``: with correct means and only the weight trained, reverse KL
    by the score function moves every path's logit monotonically to the target's if
    ``learning_rate`` is at most 1 (4 with ``"batch_mean"``, ``1 - replay`` under replay).

    A longer run with the same seed is another run, not the continuation of this one.

    A step draws at most three normals per sample in any dimension (four for OAPL), and does no work in the
    dimension between records if all directions are scaled alike (identity covariance, or
    ``precondition``). The law is that of drawing every sample in full.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(4.0, old_weight=0.75, dim=2)
    >>> ensemble = fl.simulate(
    ...     fl.ReverseKL(target), target.replace(old_weight=0.9), steps=200, batch_size=16,
    ...     learning_rate=0.1, replicates=50, record_every=50, train="weight")
    >>> ensemble.old_weight.shape
    (50, 5)
    >>> bool((ensemble.old_weight >= 0.75).all())  # retention on every path
    True
    """
    settings = {name: value for name, value in locals().items() if name != "workers"}
    return _simulate(settings, workers)


def _simulate(
    settings: dict[str, Any],
    workers: int | None = None,
    kernel: Literal["auto", "reduced", "direct"] = "auto",
) -> Ensemble:
    """Simulate with a choice of kernel: tests compare them."""
    objective, start = settings["objective"], settings["start"]
    if not isinstance(objective, Trainable):
        raise ValueError(
            "objective must be a ForwardKL, ReverseKL, SDFT, TTTDiscover or OAPL, "
            f"got {type(objective).__name__}"
        )
    target: TwoModeMixture = getattr(objective, objective.mixtures[0])
    check_compatible(start, target, "start")
    steps = _arguments.integer("steps", settings["steps"], 1)
    batch_size = _arguments.integer("batch_size", settings["batch_size"], 1)
    learning_rate = _arguments.positive("learning_rate", settings["learning_rate"])
    replicates = _arguments.integer("replicates", settings["replicates"], 1)
    record_every = min(steps, _arguments.integer("record_every", settings["record_every"], 1))
    constant, own, shared = _baseline(
        objective, settings["estimator"], settings["baseline"], batch_size
    )
    group_size = _group_size(objective, batch_size)
    threads = _available_workers() if workers is None else _arguments.integer("workers", workers, 1)
    names = check_train(settings["train"])
    precondition = _arguments.flag("precondition", settings["precondition"])
    seed = _seed(settings["rng"])

    dim = start.dim
    trained = [name for name in ("old_mean", "new_mean") if name in names]
    companion = _companion(objective, start)
    numbers = 2 + dim * len(trained) + (0 if companion is None else 2)
    _check_memory(steps, record_every, replicates, numbers, batch_size, threads)
    rule = _rule(objective, learning_rate)

    variances, axes = _whitening(target)
    rates = np.full(dim, learning_rate) if precondition else learning_rate / variances
    alike = bool((rates == rates[0]).all())
    small = _SMALL_DIM if companion is None else _SMALL_DIM_WITH_COMPANION
    rotating = kernel == "auto" and alike and dim > small
    # where noise fills all of a small space, there is nothing to reduce
    full = dim <= 2 and bool(trained) and settings["estimator"] == "score"
    direct = kernel == "direct" or (
        kernel == "auto" and full and not isinstance(objective, ForwardKL)
    )

    from forgetlib import _kernels  # numba is imported on first use

    mode = _kernels.REDUCED
    if direct:
        mode = _kernels.DIRECT
    elif rotating:
        mode = _kernels.ROTATING
    variant = _kernels.Variant(
        rule=rule.pop("rule"),
        mode=mode,
        means_move=bool(trained),
        companion=companion is not None,
        pathwise=settings["estimator"] == "pathwise",
        replayed=rule["replay"] > 0.0,
    )
    plan = _kernels.Plan(
        train_weight="weight" in names,
        train_old="old_mean" in names,
        train_new="new_mean" in names,
        batch_size=batch_size,
        weight_rate=learning_rate / batch_size,
        fixed_logit=target.old_logit,
        constant=constant,
        own=own,
        shared=shared,
        normalized=settings["baseline"] == "self_normalized",
        group_size=group_size,
        **rule,
    )

    def whiten(vector: FloatArray) -> FloatArray:
        if axes is None:
            return vector
        return np.asarray((vector @ axes) / np.sqrt(variances))

    step = np.arange(0, steps + record_every, record_every, dtype=np.int64)
    step[-1] = steps
    logit = np.empty((replicates, step.size))
    means = {
        name: np.empty((replicates, step.size, dim)) if name in names else np.empty((0, 0, 0))
        for name in ("old_mean", "new_mean")
    }
    origin = {"old_mean": target.old_mean, "new_mean": target.new_mean}
    starved = np.zeros(replicates, dtype=np.int64)
    rows = [target.new_mean - target.old_mean]
    for mixture in (start, companion):
        if mixture is not None:
            rows += [mixture.new_mean - target.new_mean, mixture.old_mean - target.old_mean]
    vectors = np.stack([whiten(row) for row in rows])
    companion_logit = np.empty((replicates, 0 if companion is None else step.size))
    if rotating:
        rates = np.full(_kernels.FOLLOWED_WITH_COMPANION, rates[0])
    scaled_rates = rates / batch_size
    stop = np.zeros(2, dtype=np.int64)
    blocks = [
        slice(first, min(first + _BLOCK, replicates)) for first in range(0, replicates, _BLOCK)
    ]
    waiting = collections.deque(
        zip(blocks, np.random.SeedSequence(seed).spawn(len(blocks)), strict=True)
    )

    def run(block: slice, stream: np.random.SeedSequence, space: _kernels.Space) -> None:
        _kernels.run_block(
            variant,
            stream,
            plan,
            space,
            start.old_logit,
            0.0 if companion is None else companion.old_logit,
            vectors,
            scaled_rates,
            step,
            logit[block],
            companion_logit[block],
            means["old_mean"][block],
            means["new_mean"][block],
            starved[block],
            stop,
        )
        if stop[0] != 0:
            return
        for name in trained:
            part = means[name][block]
            if axes is not None:
                part *= np.sqrt(variances)
                part[:] = part @ axes.T
            part += origin[name]
            part[:, 0] = getattr(start, name)

    def work() -> None:
        space = _kernels.new_space(variant, plan, *vectors.shape)
        while waiting:
            try:
                block, stream = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            run(block, stream, space)

    threads = min(threads, len(blocks))
    if threads == 1 and threading.current_thread() is not threading.main_thread():
        work()  # interrupts come to the main thread, which therefore leaves the work to others
    else:
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(work) for _ in range(threads)]
            try:
                for future in futures:
                    future.result()
            except BaseException:  # Ctrl-C too: running blocks see the flag at their next step
                stop[0] = 2
                waiting.clear()
                raise
    if stop[0] != 0:
        raise FloatingPointError(
            f"a run diverged at step {stop[1]}: its parameters left the finite range; "
            f"learning_rate {learning_rate:.6g} is too large for batch_size {batch_size}"
        )

    weight = sigmoid(logit)
    weight[:, 0] = start.old_weight
    shape = (replicates, step.size, dim)
    for name in ("old_mean", "new_mean"):
        if name not in names:
            means[name] = np.broadcast_to(getattr(start, name), shape)
    teacher = {}
    if isinstance(objective, SDFT):
        teacher = {"teacher_weight": sigmoid(companion_logit), "teacher_logit": companion_logit}
    for array in (
        *(step, weight, logit, means["old_mean"], means["new_mean"], starved),
        *teacher.values(),
    ):
        array.flags.writeable = False
    return Ensemble(
        step=step,
        old_weight=weight,
        old_logit=logit,
        old_mean=means["old_mean"],
        new_mean=means["new_mean"],
        starved=starved,
        settings={**settings, "train": names, "rng": seed},
        **teacher,
    )
