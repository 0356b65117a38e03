r"""Every compiled loop of the simulations.

One step of training draws a batch ``y_1 .. y_N``, gives each sample a coefficient
``alpha_i``, and moves the parameters against

.. math:: \hat g = \frac1N \sum_i \alpha_i\, s(y_i), \qquad
   s = \big(r - b,\; r\,(y - m_o),\; (1 - r)\,(y - m_n)\big),

``s`` being the score of the model in whitened coordinates and ``r`` the responsibility of
its old mode. Forward KL has ``alpha = -1``; reverse KL has ``alpha = w (A - baseline)``
with ``A = log(q / p)``. The near-on-policy methods differ in ``alpha``, in what ``p`` is (a
teacher that follows the model, the first policy, the policy at the last sync: the
*companion*, where it moves), and in who draws the samples.

Fewer random numbers, the same law
----------------------------------
``alpha`` and ``r`` depend on a sample through three log-ratios that are affine in it, and
their normals, the *differences of means*

.. math:: m_n - m_o, \quad \mu_n - \mu_o, \quad m_n - \mu_n,

span a space ``S`` of dimension ``K <= 3`` (``K = 1`` for forward KL, which never asks the
target for a density; ``K <= 4`` for OAPL, whose reward has a gate of its own). Write a sample
as the mean of the component it is drawn from plus ``z``, and split ``z`` into its part in
``S`` and the rest. Given the parameters these two are independent, the coefficients are
functions of the first, and the rest is a standard normal of the orthogonal complement. Hence,
*given the coefficients*,

.. math:: \Big(\sum_i a_i z_i^\perp,\; \sum_i c_i z_i^\perp\Big)
   \sim N\Big(0, \begin{pmatrix} \sum a_i^2 & \sum a_i c_i \\
                                 \sum a_i c_i & \sum c_i^2 \end{pmatrix} \otimes P\Big),

with ``a = alpha r``, ``c = alpha (1 - r)`` and ``P`` the projector on the complement:
a fixed linear map of independent normals with fixed coefficients. So a step draws ``K``
normals per sample and one pair of vectors for all of them, and what it does to the
parameters has exactly the law that ``d`` normals per sample would give. Where nothing has
moved off a line or a plane, ``K`` is the dimension of that.

No work in the dimension between records
----------------------------------------
When all directions are scaled alike, the law of a step commutes with rotations. Let ``F``
hold the target's gap and the errors of both means at the last record (and those of the
companion: then there are four moving means, not two). Rotations that fix
``F`` then leave the law of everything since unchanged, so given the coordinates of the
means in ``F`` and the lengths and angle of their parts outside ``F``, the *directions* of
those parts are uniform. It is enough to follow them in a frame of two unnamed directions:
the noise in the remaining ``nu`` dimensions adds, by Bartlett's decomposition of a Wishart
matrix, the columns ``(chi_nu, 0)`` and ``(N(0, 1), chi_{nu - 1})``, after which the four
outer coordinates are rotated back into two (with a companion: six into four). The random
directions are drawn only when a record is due. The law of all records together is exact, and
a step costs the same in 10 dimensions and in 10 000.

The *direct* kernel draws all ``d`` normals of every sample: the same code with the
coordinate axes as its basis, so that no part of the reduction is used. Tests compare the
two.

Where the time goes
-------------------
After the reduction a step is its random numbers, two exponentials and a logarithm for each
sample. Hence:

* *Normals* come from many generators side by side, one in each lane of a vector register:
  NumPy's SFC64, word for word, then Box and Muller's map with its logarithm, sine and cosine
  as polynomials. The map has no table and no branch, so it fills the register; the ziggurat,
  which needs fewer operations, cannot. A store keeps what a step leaves over.
* *Labels* are counted, 64 at a time: the bits of random words are compared with the binary
  digits of the probability until every lane is decided, which takes about eight words.
* *Exponentials and logarithms* are polynomials, interpolated at Chebyshev's nodes to 13 digits,
  each in two halves, so that neither chain of products waits for the other.
* A loop over samples has no branch and no call, and does all it can with what it has loaded.
  Flags allow reassociation in sums only, and fused multiply-adds.
* A kernel is compiled for its rule, its mode and what moves (:class:`Variant`), when it is
  first needed: branches that it cannot take are not compiled. Its memory comes from outside,
  so no code counts references. ``numba``'s binomial and gamma are not used, because they take
  longer to compile than a kernel.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
WordArray = NDArray[np.uint64]
Row = int | np.int64
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(
    *flags: str, entry: bool = False, inline: bool = False
) -> Callable[[_Function], _Function]:
    """Compile; keep the result on disk where that is possible.

    Only an ``entry`` can be called from Python: the others, without the code for that, compile
    faster. Memory comes from outside, so that no code need count references to it. A short
    function of many arrays is put ``inline``, because it takes longer to call than to run.
    """
    options = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"contract", *flags},
        "no_cpython_wrapper": not entry,
        "no_cfunc_wrapper": True,
        "forceinline": inline,
        "_nrt": False,
    }

    def compile_function(function: _Function) -> _Function:
        njit: Callable[..., Any] = numba.njit
        try:
            compiled: _Function = njit(function, cache=True, **options)
        except RuntimeError:  # no directory in which a cache could be kept
            compiled = njit(function, **options)
        return compiled

    return compile_function


class Variant(NamedTuple):
    """What a kernel is compiled for."""

    rule: int  # how alpha is made, see below
    mode: int
    means_move: bool
    companion: bool  # the model is compared with a mixture that moves
    pathwise: bool  # mean gradients by reparametrization
    replayed: bool


class Plan(NamedTuple):
    """Numbers that do not change during a simulation."""

    train_weight: bool
    train_old: bool
    train_new: bool
    batch_size: int
    weight_rate: float
    replay: float
    fixed_logit: float  # log-odds of the mixture that errors are measured from
    constant: float  # alpha = w (A (1 + own w) - constant - shared sum(w A))
    own: float
    shared: float
    normalized: bool  # under replay: shared is 1 / sum(w)
    ema: float  # per step, the companion's pull to the model
    anchor: float  # and to the fixed mixture
    sync_every: int  # steps after which the companion becomes the model; 0 is never
    group_size: int
    reward_gap: float
    hard: bool  # gate of the reward
    inverse_temperature: float  # of e^{kR}; 0: chosen in each group to meet the budget
    budget: float
    temperature: float  # of the log-ratio: weight of KL, or the regression's


class Source(NamedTuple):
    """Random numbers of one block: generators in lanes, and normals not yet used."""

    state: WordArray  # (3, LANES + 1); the last lane is for single words
    counter: WordArray  # (2,): words drawn from each lane, and from the last one
    store: FloatArray  # (2 LANES,)
    used: IntArray  # (1,)


class Space(NamedTuple):
    """Working memory of one block."""

    vectors: FloatArray  # see the rows below; coordinates are those followed
    noise: FloatArray
    gradient: FloatArray
    basis: FloatArray
    slopes: FloatArray  # of the forms along the axes of the basis
    weighed: FloatArray  # sums of the samples' coordinates in the basis, times a and c
    old: FloatArray  # from here one number for each sample
    new: FloatArray
    a: FloatArray
    c: FloatArray
    weight: FloatArray
    alpha: FloatArray
    values: FloatArray  # of the affine forms
    normals: FloatArray
    end: IntArray  # of the pieces of the batch
    means: FloatArray  # of the forms, under each component
    sums: FloatArray  # of a and c, for each component
    squares: FloatArray
    guess: FloatArray  # of the next group's temperature
    full: FloatArray  # errors in all dimensions
    frame: FloatArray
    frame_coordinates: FloatArray
    turned: FloatArray
    turned_coordinates: FloatArray


# rules: alpha = -1 on data; A; 1 - 1/e^A; 1 - w + temperature A; the regression's residual
FORWARD, REVERSE, FORWARD_ON_POLICY, ENTROPIC, REGRESSION = 0, 1, 2, 3, 4
# modes: every normal of every sample; those in the span; unnamed directions between records
DIRECT, REDUCED, ROTATING = 0, 1, 2
# coordinates followed between records: three of the frame, two unnamed, two of fresh noise;
# with a companion five, four and two
FOLLOWED, FOLLOWED_WITH_COMPANION = 7, 11
# rows of the table of vectors; errors are the model's or the companion's means minus the
# fixed mixture's, differences the model's means minus the companion's
FIXED_GAP, NEW_ERROR, OLD_ERROR, NEW_COMPANION, OLD_COMPANION = 0, 1, 2, 3, 4
MODEL_GAP, COMPANION_GAP, NEW_DIFFERENCE, OLD_DIFFERENCE = 5, 6, 7, 8
# components that samples come from: of the model, then of what it is compared with
MODEL_OLD, MODEL_NEW, TARGET_OLD, TARGET_NEW = 0, 1, 2, 3
LANES = 128  # fills the registers, and state and store stay in the first cache
_MOST_INVERSE_TEMPERATURE = 1e6

# ---- polynomials ---------------------------------------------------------------------


def _coefficients(
    function: Callable[[FloatArray], FloatArray], low: float, high: float, degree: int
) -> tuple[float, ...]:
    """Power series of the Chebyshev interpolant, lowest power first."""
    interpolant = Chebyshev.interpolate(function, degree, [low, high])
    return tuple(map(float, interpolant.convert(kind=Polynomial).coef))


_LOG2E = 1.4426950408889634
_LN2 = 0.6931471805599453
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, kept in the low bits
_ROUND_BITS = np.int64(0x4338000000000000)
_ONE_BITS = np.uint64(0x3FF0000000000000)
_SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
_QUARTER = 0.25 * math.pi
# to 13 digits, which is plenty for random numbers and what is done with them
_EXP = _coefficients(np.exp, -0.5 * _LN2, 0.5 * _LN2, 9)
# of t = x^2: artanh(x) / x on |x| <= 1/3, and on |x| <= (sqrt(2) - 1) / (sqrt(2) + 1)
_ARTANH = _coefficients(lambda t: np.arctanh(np.sqrt(t)) / np.sqrt(t), 0.0, 1.0 / 9.0, 7)
_ARTANH_SHORT = _coefficients(lambda t: np.arctanh(np.sqrt(t)) / np.sqrt(t), 0.0, 0.02944, 5)
# sin(x) / x and cos(x) on |x| <= pi / 4
_SIN = _coefficients(lambda t: np.sin(np.sqrt(t)) / np.sqrt(t), 0.0, _QUARTER**2, 5)
_COS = _coefficients(lambda t: np.cos(np.sqrt(t)), 0.0, _QUARTER**2, 5)
_0, _1, _2, _3, _11, _12, _24, _40, _62, _63 = (
    np.uint64(n) for n in (0, 1, 2, 3, 11, 12, 24, 40, 62, 63)
)


@_compiled()
def polynomial(coefficients: tuple[float, ...], x: float) -> float:
    """A polynomial of odd degree, as two in x^2: neither chain of products waits for the other."""
    square = x * x
    odd, even = coefficients[-1], coefficients[-2]
    for k in range(len(coefficients) - 3, 0, -2):
        odd = coefficients[k] + square * odd
        even = coefficients[k - 1] + square * even
    return even + x * odd


@_compiled()
def exponential(x: float) -> float:
    """exp(x); arguments are clipped to +-708."""
    return power_of_two(max(min(x, 708.0), -708.0))


@_compiled()
def decay(x: float) -> float:
    """exp(-|x|); arguments are clipped to +-708."""
    return power_of_two(-min(abs(x), 708.0))


@_compiled()
def power_of_two(x: float) -> float:
    """exp(x) as a power of 2 times exp of what is left, at most log(2) / 2."""
    shifted = np.float64(x * _LOG2E + _ROUND)
    whole = shifted - _ROUND
    result = np.float64(polynomial(_EXP, x - whole * _LN2))
    # times 2**whole: add it to the exponent bits
    return np.int64(result.view(np.int64) + (shifted.view(np.int64) << 52)).view(np.float64)


@_compiled()
def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), accurate where it is small."""
    e = decay(x)
    inverse = 1.0 / (1.0 + e)
    return inverse if x >= 0.0 else e * inverse


@_compiled()
def weights(logit: float) -> tuple[float, float, float]:
    """Weights of the old and of the new mode, and the logarithm of the new one."""
    e = math.exp(-abs(logit))
    large, small = 1.0 / (1.0 + e), e / (1.0 + e)
    log_new = -max(logit, 0.0) - math.log1p(e)
    return (large, small, log_new) if logit >= 0.0 else (small, large, log_new)


# ---- random numbers --------------------------------------------------------------------


def new_source(stream: np.random.SeedSequence) -> Source:
    """A source that :func:`seed` makes ready: the last lane is seeded as NumPy seeds SFC64."""
    memory = np.zeros(5 * LANES + 3)  # in one piece, see new_space
    state = memory[2 * LANES :].view(np.uint64).reshape(3, LANES + 1)
    state[:, LANES] = stream.generate_state(3, np.uint64)
    return Source(
        state, np.ones(2, dtype=np.uint64), memory[: 2 * LANES], np.zeros(1, dtype=np.int64)
    )


@_compiled()
def seed(source: Source) -> None:
    """Give each lane three words of the last one, and discard what NumPy discards, twelve words."""
    for _ in range(12):
        next_word(source)
    for j in range(LANES):
        for i in range(3):
            source.state[i, j] = next_word(source)
    for _ in range(6):
        refill(source)
    source.used[0] = source.store.size


@_compiled()
def refill(source: Source) -> None:
    """Two words from each lane make two normals: a radius and an angle.

    The angle is uniform on a quarter of the circle; two low bits of its word turn it.
    """
    counter = source.counter[0]
    a, b, c = source.state[0], source.state[1], source.state[2]
    first, second = source.store[:LANES], source.store[LANES:]
    for j in range(LANES):
        word = a[j] + b[j] + counter
        x = b[j] ^ (b[j] >> _11)
        y = c[j] + (c[j] << _3)
        z = ((c[j] << _24) | (c[j] >> _40)) + word
        # radius sqrt(-2 log(u)), u in (0, 1], from 52 bits; u = 2^exponent mantissa
        bits = np.float64(2.0 - np.uint64((word >> _12) | _ONE_BITS).view(np.float64)).view(
            np.int64
        )
        exponent = (bits - _SQRT_HALF_BITS) >> 52
        mantissa = np.int64(bits - (exponent << 52)).view(np.float64)
        whole = np.int64(exponent + _ROUND_BITS).view(np.float64) - _ROUND
        ratio = (mantissa - 1.0) / (mantissa + 1.0)
        log = whole * _LN2 + 2.0 * ratio * polynomial(_ARTANH_SHORT, ratio * ratio)
        radius = np.float64(math.sqrt(max(-2.0 * log, 0.0)))
        word = x + y + (counter + _1)
        a[j] = y ^ (y >> _11)
        b[j] = z + (z << _3)
        c[j] = ((z << _24) | (z >> _40)) + word
        unit = np.uint64((word >> _12) | _ONE_BITS).view(np.float64)
        angle = (unit - 1.5) * (2.0 * _QUARTER)
        square = angle * angle
        radius = np.uint64(radius.view(np.uint64) ^ ((word & _2) << _62)).view(np.float64)
        along = radius * polynomial(_COS, square)
        across = radius * (angle * polynomial(_SIN, square))
        turned = (word & _1) == _0
        first[j] = along if turned else across
        second[j] = across if turned else along
    source.counter[0] = counter + _2
    source.used[0] = 0


@_compiled(inline=True)
def next_word(source: Source) -> Any:
    """64 random bits, from the last lane."""
    state, j = source.state, LANES
    word = state[0, j] + state[1, j] + source.counter[1]
    source.counter[1] += _1
    state[0, j] = state[1, j] ^ (state[1, j] >> _11)
    state[1, j] = state[2, j] + (state[2, j] << _3)
    state[2, j] = ((state[2, j] << _24) | (state[2, j] >> _40)) + word
    return word


@_compiled(inline=True)
def draw_normals(source: Source, out: FloatArray) -> None:
    done = 0
    while done < out.size:
        used = source.used[0]
        if used == source.store.size:
            refill(source)
            used = 0
        n = min(out.size - done, source.store.size - used)
        copy(source.store[used : used + n], out[done : done + n])
        source.used[0] = used + n
        done += n


@_compiled()
def draw_normal(source: Source) -> float:
    if source.used[0] == source.store.size:
        refill(source)
    source.used[0] += 1
    normal: float = source.store[source.used[0] - 1]
    return normal


@_compiled(inline=True)
def draw_binomial(source: Source, size: int, probability: float) -> int:
    """Count of ``size`` uniforms below the probability, 64 of them at a time, bit by bit.

    A lane is decided at the first binary digit in which its uniform and the probability
    differ. Digits beyond the 64th are 0.
    """
    if probability >= 1.0:
        return size
    digits = np.uint64(probability * 2.0**64)
    count = _0
    for done in range(0, size, 64):
        open_lanes = ~_0 >> np.uint64(64 - min(64, size - done))
        below = _0
        digit = _63
        while open_lanes != _0:
            word = next_word(source)
            if (digits >> digit) & _1 == _1:
                below |= open_lanes & ~word
                open_lanes &= word
            else:
                open_lanes &= ~word
            if digit == _0:
                break
            digit -= _1
        count += population(below)
    result: int = np.int64(count)  # type: ignore[assignment]
    return result


@_compiled()
def population(word: Any) -> Any:
    """Number of bits that are 1, summed in fields of 2, 4 and 8 bits."""
    word = word - ((word >> _1) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> _2) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@_compiled()
def draw_chi(source: Source, freedom: int) -> float:
    """Square root of a chi-squared number: Marsaglia and Tsang's rejection for its half."""
    if freedom == 0:
        return 0.0
    if freedom == 1:
        return abs(draw_normal(source))
    d = 0.5 * freedom - 1.0 / 3.0
    while True:
        x = draw_normal(source)
        v = (1.0 + x / math.sqrt(9.0 * d)) ** 3
        if v <= 0.0:
            continue
        u = (np.float64(next_word(source) >> _12) + 0.5) * 2.0**-52
        if math.log(u) < 0.5 * x * x + d - d * v + d * math.log(v):
            return math.sqrt(2.0 * d * v)


# ---- vectors -----------------------------------------------------------------------------


@_compiled("reassoc", "nsz")
def total(x: FloatArray) -> float:
    result = 0.0
    for i in range(x.size):
        result += x[i]
    return result


@_compiled("reassoc", "nsz")
def dot(x: FloatArray, y: FloatArray) -> float:
    result = 0.0
    for i in range(x.size):
        result += x[i] * y[i]
    return result


@_compiled()
def fill(value: float, out: FloatArray) -> None:
    for i in range(out.size):
        out[i] = value


@_compiled()
def copy(x: FloatArray, out: FloatArray) -> None:
    for i in range(x.size):
        out[i] = x[i]


@_compiled()
def add_multiple(factor: float, x: FloatArray, out: FloatArray) -> None:
    for i in range(out.size):
        out[i] += factor * x[i]


@_compiled()
def extend(
    basis: FloatArray, rank: int, vector: FloatArray, length: int, coordinates: FloatArray
) -> int:
    """Gram-Schmidt: add what is new in a vector to an orthonormal basis.

    Writes the vector's coordinates and returns the new rank. Two sweeps keep the basis
    orthonormal to rounding when vectors are nearly parallel. A remainder below 1e-13 of
    the vector is rounding and is dropped.
    """
    work = basis[rank, :length]
    copy(vector[:length], work)
    fill(0.0, coordinates)
    before = math.sqrt(dot(work, work))
    for _ in range(2):
        for k in range(rank):
            part = dot(basis[k, :length], work)
            coordinates[k] += part
            add_multiple(-part, basis[k, :length], work)
    after = math.sqrt(dot(work, work))
    if after <= 1e-13 * before:
        return rank
    coordinates[rank] = after
    for i in range(length):
        work[i] /= after
    return rank + 1


@_compiled()
def fold(full: FloatArray, frame: FloatArray, coordinates: FloatArray, vectors: FloatArray) -> int:
    """New frame from the vectors at a record; returns its rank."""
    rows = full.shape[0]
    rank = 0
    for row in range(rows):
        rank = extend(frame, rank, full[row], full.shape[1], coordinates)
        fill(0.0, vectors[row])
        copy(coordinates[:rows], vectors[row])
    return rank


@_compiled()
def unfold(
    source: Source,
    rank: int,
    frame: FloatArray,
    coordinates: FloatArray,
    vectors: FloatArray,
    full: FloatArray,
) -> None:
    """All errors in all dimensions: the outer directions get names, at random."""
    outer = full.shape[0] - 1
    for k in range(rank, rank + outer):
        draw_normals(source, full[NEW_ERROR])
        extend(frame, k, full[NEW_ERROR], full.shape[1], coordinates)
    for row in range(NEW_ERROR, NEW_ERROR + outer):
        fill(0.0, full[row])
        for k in range(rank + outer):
            add_multiple(vectors[row, k], frame[k], full[row])


@_compiled()
def rotate(
    vectors: FloatArray, first: int, width: int, basis: FloatArray, coordinates: FloatArray
) -> None:
    """Turn the outer parts of the errors, of that width, into as few axes as there are errors."""
    outer = width - 2
    rank = 0
    for row in (OLD_ERROR, NEW_ERROR, OLD_COMPANION, NEW_COMPANION):
        if row <= outer:
            part = vectors[row, first : first + width]
            rank = extend(basis, rank, part, width, coordinates)
            fill(0.0, part)
            copy(coordinates[:outer], part[:outer])


@_compiled("reassoc", "nsz")
def product(vectors: FloatArray, row: Row, other: Row, n: int) -> float:
    """Scalar product of two rows."""
    result = 0.0
    for i in range(n):
        result += vectors[row, i] * vectors[other, i]
    return result


@_compiled()
def size_of_errors(vectors: FloatArray, n: int) -> float:
    old, new = np.int64(OLD_ERROR), np.int64(NEW_ERROR)
    return product(vectors, old, old, n) + product(vectors, new, new, n)


@_compiled(inline=True)
def combine(
    vectors: FloatArray,
    rows: tuple[int, int, int],
    factors: tuple[float, float, float],
    n: int,
    out: FloatArray,
) -> None:
    """out[:n] = the rows times the factors."""
    (u, v, w), (x, y, z) = rows, factors
    for i in range(n):
        out[i] = x * vectors[u, i] + y * vectors[v, i] + z * vectors[w, i]


@_compiled(inline=True)
def add_rows(factors: FloatArray, basis: FloatArray, rank: int, n: int, out: FloatArray) -> None:
    """out[:n] += factors[:rank] @ basis[:rank, :n]."""
    for k in range(rank):
        factor = factors[k]
        for i in range(n):
            out[i] += factor * basis[k, i]


@_compiled(inline=True)
def descend(
    rate: FloatArray, gradient: FloatArray, plan: Plan, n: int, vectors: FloatArray
) -> None:
    """One step of the means that are trained."""
    for i in range(n):
        if plan.train_old:
            vectors[OLD_ERROR, i] -= rate[i] * gradient[0, i]
        if plan.train_new:
            vectors[NEW_ERROR, i] -= rate[i] * gradient[1, i]


@_compiled()
def approach(
    vectors: FloatArray, row: int, companion: int, n: int, ema: float, anchor: float
) -> None:
    """Move the companion's error toward the model's and toward 0, the fixed mixture's."""
    for i in range(n):
        error = vectors[companion, i]
        vectors[companion, i] = error + ema * (vectors[row, i] - error) - anchor * error


@_compiled()
def add_orthogonal_noise(
    source: Source,
    squares: FloatArray,
    basis: FloatArray,
    rank: int,
    n: int,
    unnamed: int,
    noise: FloatArray,
    gradient: FloatArray,
) -> int:
    """Add the part of both sums of samples that is orthogonal to the basis.

    ``squares`` holds the sums of a^2, a c and c^2; ``unnamed`` counts the dimensions beyond
    the ``n`` that are followed: if there are any, their noise goes to two more coordinates.
    Returns the number of coordinates.
    """
    for row in range(2):
        xi = noise[row, :n]
        draw_normals(source, xi)
        for k in range(rank):
            add_multiple(-dot(basis[k, :n], xi), basis[k, :n], xi)
    width = n
    if unnamed > 0:
        width = n + 2
        noise[0, n] = draw_chi(source, unnamed)
        noise[0, n + 1] = 0.0
        noise[1, n] = draw_normal(source)
        noise[1, n + 1] = draw_chi(source, unnamed - 1)
        for row in range(2):
            gradient[row, n] = 0.0
            gradient[row, n + 1] = 0.0
    # Cholesky factor of the matrix of the three sums
    first = math.sqrt(squares[0])
    shared = squares[1] / first if first > 0.0 else 0.0
    second = math.sqrt(max(squares[2] - shared * shared, 0.0))
    for i in range(width):
        gradient[0, i] += first * noise[0, i]
        gradient[1, i] += shared * noise[0, i] + second * noise[1, i]
    return width


@_compiled()
def relate(
    vectors: FloatArray, n: int, companion: bool, gate: bool, fixed_logit: float, means: FloatArray
) -> None:
    """Differences of means, and the mean of each affine form under each component.

    The forms are log-odds of old under the model and under what it is compared with (the first
    two still lack their logits), the log-ratio of their new components, and log-odds of old for
    the gate of a reward, whose samples are the companion's.
    """
    # integers of one type: a function is compiled anew for each constant it is called with
    fixed, q, t_o, t_n = (
        np.int64(FIXED_GAP),
        np.int64(MODEL_GAP),
        np.int64(OLD_COMPANION),
        np.int64(NEW_COMPANION),
    )
    p, e_o, e_n = fixed, np.int64(OLD_ERROR), np.int64(NEW_ERROR)
    if companion:
        p, e_o, e_n = np.int64(COMPANION_GAP), np.int64(OLD_DIFFERENCE), np.int64(NEW_DIFFERENCE)
        for i in range(n):
            old_companion, new_companion = vectors[t_o, i], vectors[t_n, i]
            vectors[e_o, i] = vectors[OLD_ERROR, i] - old_companion
            vectors[e_n, i] = vectors[NEW_ERROR, i] - new_companion
            vectors[p, i] = vectors[fixed, i] + (new_companion - old_companion)
    for i in range(n):
        vectors[q, i] = vectors[p, i] + (vectors[e_n, i] - vectors[e_o, i])
    half_qq, half_pp = 0.5 * product(vectors, q, q, n), 0.5 * product(vectors, p, p, n)
    half_nn, cross = 0.5 * product(vectors, e_n, e_n, n), product(vectors, e_n, p, n)
    means[0, MODEL_OLD] = half_qq
    means[0, MODEL_NEW] = -half_qq
    means[0, TARGET_OLD] = half_qq + product(vectors, q, e_o, n)
    means[0, TARGET_NEW] = -half_qq + product(vectors, q, e_n, n)
    means[1, MODEL_OLD] = half_pp - product(vectors, p, e_o, n)
    means[1, MODEL_NEW] = -half_pp - cross
    means[1, TARGET_OLD] = half_pp
    means[1, TARGET_NEW] = -half_pp
    means[2, MODEL_OLD] = product(vectors, e_n, e_o, n) - cross - half_nn
    means[2, MODEL_NEW] = half_nn
    means[2, TARGET_OLD] = -cross - half_nn
    means[2, TARGET_NEW] = -half_nn
    if gate:
        half_gg = 0.5 * product(vectors, fixed, fixed, n)
        old_shift = product(vectors, fixed, t_o, n)
        new_shift = product(vectors, fixed, t_n, n)
        means[3, TARGET_OLD] = fixed_logit + half_gg - old_shift
        means[3, TARGET_NEW] = fixed_logit - half_gg - new_shift


# ---- passes over the batch -----------------------------------------------------------------


@_compiled(inline=True)
def fill_pieces(
    means: FloatArray,
    logit: float,
    target_logit: float,
    sources: tuple[int, ...],
    end: IntArray,
    values: FloatArray,
) -> None:
    """Each form of each sample starts at its mean under the component that drew the sample."""
    for form in range(values.shape[0]):
        shift = 0.0
        if form == 0:
            shift = logit
        elif form == 1:
            shift = target_logit
        first, piece = 0, 0
        while piece < end.size:
            for component in sources:
                mean = means[form, component] + shift
                part = values[form, first : end[piece]]
                for i in range(part.size):
                    part[i] = mean
                first = end[piece]
                piece += 1


@_compiled(inline=True)
def sum_pieces(
    a: FloatArray, c: FloatArray, sources: tuple[int, ...], end: IntArray, sums: FloatArray
) -> None:
    """Sums of a and of c over the samples of each component."""
    for component in range(4):
        sums[0, component] = 0.0
        sums[1, component] = 0.0
    first, piece = 0, 0
    while piece < end.size:
        for component in sources:
            sums[0, component] += total(a[first : end[piece]])
            sums[1, component] += total(c[first : end[piece]])
            first = end[piece]
            piece += 1


@_compiled("reassoc", "nsz")
def weigh_normals(
    a: FloatArray, c: FloatArray, rank: int, normals: FloatArray, out: FloatArray
) -> None:
    """out = (a, c) @ normals[:rank].T, three rows at a time."""
    for k in range(0, rank, 3):
        second, third = min(k + 1, rank - 1), min(k + 2, rank - 1)
        u, v, w = normals[k], normals[second], normals[third]
        au, av, aw, cu, cv, cw = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(a.size):
            au += a[i] * u[i]
            av += a[i] * v[i]
            aw += a[i] * w[i]
            cu += c[i] * u[i]
            cv += c[i] * v[i]
            cw += c[i] * w[i]
        # an absent row is a repeated one, and writes what that one wrote
        out[0, k], out[0, second], out[0, third] = au, av, aw
        out[1, k], out[1, second], out[1, third] = cu, cv, cw


@_compiled()
def split(log_odds: FloatArray, old: FloatArray, new: FloatArray) -> None:
    """Responsibilities of both modes, accurate where they are small."""
    for i in range(log_odds.size):
        x = log_odds[i]
        e = decay(x)
        large = 1.0 / (1.0 + e)
        small = e * large
        old[i] = large if x >= 0.0 else small
        new[i] = small if x >= 0.0 else large


@_compiled()
def log_ratios(
    values: FloatArray,
    slopes: FloatArray,
    normals: FloatArray,
    rank: int,
    constant: float,
    old: FloatArray,
    new: FloatArray,
) -> None:
    """From log-odds under both and the log-ratio of the new components, the whole log-ratio.

    The forms are completed first: ``slopes`` times the first three normals. In place of a
    row of normals that is not there stands one that is, with slopes 0. Writes the log-ratio over
    that of the new components, and the model's responsibilities.
    """
    u, v, w = normals[0], normals[min(1, rank - 1)], normals[min(2, rank - 1)]
    ours, theirs, advantage = values[0], values[1], values[2]
    xu, xv, xw = slopes[0, 0], slopes[0, 1], slopes[0, 2]
    yu, yv, yw = slopes[1, 0], slopes[1, 1], slopes[1, 2]
    au, av, aw = slopes[2, 0], slopes[2, 1], slopes[2, 2]
    for i in range(old.size):
        x = ours[i] + xu * u[i] + xv * v[i] + xw * w[i]
        y = theirs[i] + yu * u[i] + yv * v[i] + yw * w[i]
        theirs[i] = y
        e, f = decay(x), decay(y)
        # log((1 + e) / (1 + f)) = 2 artanh(ratio); one division for it and for 1 / (1 + e)
        one, both = 1.0 + e, 2.0 + e + f
        inverse = 1.0 / (one * both)
        ratio = (e - f) * one * inverse
        tail = ratio * polynomial(_ARTANH, ratio * ratio)
        straight = advantage[i] + au * u[i] + av * v[i] + aw * w[i]
        advantage[i] = straight + (constant + (max(x, 0.0) - max(y, 0.0))) + 2.0 * tail
        large = both * inverse
        small = e * large
        old[i] = large if x >= 0.0 else small
        new[i] = small if x >= 0.0 else large


@_compiled()
def importance_weights(
    advantage: FloatArray,
    theirs: FloatArray,
    replay: float,
    target_log_weight: float,
    out: FloatArray,
) -> None:
    """out = q / ((1 - replay) q + replay f_old), from log(q / p) and p's log-odds."""
    for i in range(out.size):
        # f_old / q = (p / q) r_p / a
        f = decay(theirs[i])
        density = exponential(min(theirs[i], 0.0) - advantage[i] - target_log_weight)
        out[i] = 1.0 / ((1.0 - replay) + replay * density / (1.0 + f))


@_compiled("reassoc", "nsz")
def share(
    alpha: FloatArray,
    scale: float,
    subtract: float,
    old: FloatArray,
    new: FloatArray,
    a: FloatArray,
    c: FloatArray,
    squares: FloatArray,
) -> None:
    """a, c = (scale alpha - subtract) times both responsibilities, and their sums of products."""
    aa, ac, cc = 0.0, 0.0, 0.0
    for i in range(alpha.size):
        x = scale * alpha[i] - subtract
        y, z = x * old[i], x * new[i]
        a[i] = y
        c[i] = z
        aa += y * y
        ac += y * z
        cc += z * z
    squares[0], squares[1], squares[2] = aa, ac, cc


@_compiled()
def gated_reward(log_odds: FloatArray, gap: float, hard: bool, out: FloatArray) -> None:
    """out = gap (1 - r), or gap where r < 1/2, from the gate's log-odds."""
    if hard:
        for i in range(out.size):
            out[i] = gap if log_odds[i] < 0.0 else 0.0
    else:
        for i in range(out.size):
            out[i] = gap * sigmoid(-log_odds[i])


@_compiled()
def temper(reward: FloatArray, k: float, top: float, out: FloatArray) -> None:
    """out = exp(k (reward - top))."""
    for i in range(out.size):
        out[i] = exponential(k * (reward[i] - top))


@_compiled("reassoc", "nsz")
def centered_moments(x: FloatArray, top: float, weight: FloatArray) -> tuple[float, float, float]:
    """Sums of weight, weight (x - top) and weight (x - top)^2."""
    zeroth, first, second = 0.0, 0.0, 0.0
    for i in range(x.size):
        gap = x[i] - top
        zeroth += weight[i]
        first += weight[i] * gap
        second += weight[i] * gap * gap
    return zeroth, first, second


@_compiled()
def budget_temperature(
    reward: FloatArray,
    top: float,
    budget: float,
    guess: float,
    out: FloatArray,
) -> float:
    """Inverse temperature k at which KL(softmax(k reward) || uniform) is the budget.

    Newton's method within a bracket, from a guess (0 for none), for the root of the
    divergence, which is nearly proportional to k; the divergence has slope k Var(reward).
    Where the budget is out of reach, the largest k allowed. Leaves exp(k (reward - top)) in
    ``out``.
    """
    n = reward.size
    low, high = 0.0, _MOST_INVERSE_TEMPERATURE
    k = guess
    if k == 0.0:
        fill(1.0, out)
        mass, first, second = centered_moments(reward, top, out)
        spread = second / mass - (first / mass) ** 2
        k = high
        if spread > 1e-30:
            k = min(math.sqrt(2.0 * budget / spread), high)
    for _ in range(200):
        temper(reward, k, top, out)
        mass, first, second = centered_moments(reward, top, out)
        mean = first / mass
        divergence = math.log(n / mass) + k * mean
        excess = divergence - budget
        if abs(excess) <= 1e-8 or (excess < 0.0 and k == _MOST_INVERSE_TEMPERATURE):
            break
        if excess > 0.0:
            high = k
        else:
            low = k
        slope = k * (second / mass - mean * mean)
        following = -1.0
        if slope > 0.0 and divergence > 0.0:
            root = math.sqrt(divergence)
            following = k - 2.0 * root * (root - math.sqrt(budget)) / slope
        if not low < following < high:
            if high == _MOST_INVERSE_TEMPERATURE:
                following = min(8.0 * k, high)
            else:
                following = math.sqrt(low * high) if low > 0.0 else 0.125 * high
        if following == k:
            break
        k = following
    return k


@_compiled()
def entropic_coefficients(
    plan: Plan,
    reward: FloatArray,
    advantage: FloatArray,
    guess: FloatArray,
    out: FloatArray,
    tilt: FloatArray,
) -> None:
    """out = 1 - w + temperature (A - mean A), w = e^{kR} over its mean in the rest of the group.

    The mean is that of exp(k (R - max R)), plus 1e-12, as published: a lone winner far ahead of
    its group would divide by 0.
    """
    n = plan.group_size
    for first in range(0, reward.size, n):
        rewards, weights = reward[first : first + n], tilt[first : first + n]
        best = 0
        for i in range(n):
            if rewards[i] > rewards[best]:
                best = i
        top = rewards[best]
        k = plan.inverse_temperature
        if k > 0.0:
            temper(rewards, k, top, weights)
        else:  # groups are alike: the temperature of one is a good guess for the next
            k = budget_temperature(rewards, top, plan.budget, guess[0], weights)
            guess[0] = k if k * abs(plan.reward_gap) < 100.0 else 0.0
        # without the best first: its own weight is 1 and would swamp the others
        own = weights[best]
        weights[best] = 0.0
        others = total(weights)
        weights[best] = own
        mass = others + own
        for i in range(n):
            out[first + i] = 1.0 - weights[i] / ((mass - weights[i]) / (n - 1) + 1e-12)
        out[first + best] = 1.0 - own / (others / (n - 1) + 1e-12)
    if plan.temperature != 0.0:
        center = total(advantage) / advantage.size
        for i in range(out.size):
            out[i] += plan.temperature * (advantage[i] - center)


@_compiled()
def regression_coefficients(
    plan: Plan,
    reward: FloatArray,
    advantage: FloatArray,
    out: FloatArray,
    tilt: FloatArray,
) -> None:
    """out = 2 tau (tau A - (R - V)), V = log(mean of e^{kR} in the group) / k."""
    n = plan.group_size
    k, tau = plan.inverse_temperature, plan.temperature
    top = max(plan.reward_gap, 0.0)
    mild = k * abs(plan.reward_gap) < 500.0  # then no exponential underflows: one for all groups
    if mild:
        temper(reward, k, top, tilt)
    for first in range(0, reward.size, n):
        if not mild:
            rewards = reward[first : first + n]
            top = rewards[0]
            for i in range(n):
                top = max(top, rewards[i])
            temper(rewards, k, top, tilt[first : first + n])
        value = top + math.log(total(tilt[first : first + n]) / n) / k
        for i in range(first, first + n):
            out[i] = 2.0 * tau * (tau * advantage[i] - (reward[i] - value))


def forms_of(rule: int) -> int:
    """Number of affine forms that a rule needs of a sample."""
    return {FORWARD: 1, REGRESSION: 4}.get(rule, 3)


def sources_of(variant: Variant) -> tuple[int, ...]:
    """Components that samples come from. A batch is a row of pieces, one for each (and group)."""
    if variant.rule in (FORWARD, REGRESSION):
        return TARGET_OLD, TARGET_NEW
    return (MODEL_OLD, MODEL_NEW, TARGET_OLD) if variant.replayed else (MODEL_OLD, MODEL_NEW)


def new_space(variant: Variant, plan: Plan, rows: int, dim: int) -> Space:
    """Memory for a block whose table of start vectors has that shape.

    Vectors that meet in a loop share one piece of memory: before such a loop runs, it compares
    addresses, and its two versions may round differently.
    """
    rotating, direct = variant.mode == ROTATING, variant.mode == DIRECT
    length = dim
    if rotating:
        length = FOLLOWED_WITH_COMPANION if variant.companion else FOLLOWED
    axes = dim if direct else 4
    forms = forms_of(variant.rule)
    vectors = np.zeros((13 + axes, length))
    batch = np.zeros((6 + forms + axes, plan.batch_size))
    groups = 1
    if variant.rule in (ENTROPIC, REGRESSION):
        groups = plan.batch_size // plan.group_size
    outer = 2 * rows - 1
    return Space(
        vectors=vectors[:9],
        noise=vectors[9:11],
        gradient=vectors[11:13],
        basis=vectors[13:],
        slopes=np.zeros((4, max(axes, 3))),
        weighed=np.zeros((2, axes)),
        old=batch[0],
        new=batch[1],
        a=batch[2],
        c=batch[3],
        weight=batch[4],
        alpha=batch[5],
        values=batch[6 : 6 + forms],
        normals=batch[6 + forms :],
        end=np.zeros(groups * len(sources_of(variant)), dtype=np.int64),
        means=np.zeros((4, 4)),
        sums=np.zeros((2, 4)),
        squares=np.zeros(3),
        guess=np.zeros(1),
        full=np.zeros((rows, dim)),
        frame=np.zeros((outer if rotating else 0, dim)),
        frame_coordinates=np.zeros(outer),
        turned=np.zeros((4, 6)),
        turned_coordinates=np.zeros(4),
    )


@functools.cache
def block_kernel(variant: Variant) -> Callable[..., None]:
    """The compiled run of a block of replicates, one after the other.

    Its arguments are whitened; ``mean_rate`` is the step per coordinate (alike if rotating);
    ``start`` holds the fixed mixture's gap and the errors of the new and of the old mean, then
    those of the companion if there is one. ``logits`` and, with a companion,
    ``companion_logits`` have shape (replicates, records); ``old_errors`` and
    ``new_errors``, of shape (replicates, records, d), are written where the mean is
    trained. ``stop[0]`` not 0 ends the run early. A parameter that leaves the finite range
    sets it to 1, and ``stop[1]`` to the step.
    """
    # plain names: the compiler drops branches on constants that it finds in the closure
    rule, mode, means_move, companion, pathwise, replayed = variant
    direct, rotating = mode == DIRECT, mode == ROTATING
    forward, entropic, regression = rule == FORWARD, rule == ENTROPIC, rule == REGRESSION
    grouped = entropic or regression
    reweighted = rule == FORWARD_ON_POLICY
    orthogonal = means_move and not direct and not pathwise
    forms, sources = forms_of(rule), sources_of(variant)
    # the vectors that the affine forms hang on
    compared = (COMPANION_GAP, NEW_DIFFERENCE, OLD_DIFFERENCE)
    if not companion:
        compared = (FIXED_GAP, NEW_ERROR, OLD_ERROR)
    order = (MODEL_GAP, compared[0], compared[1], FIXED_GAP)
    old_difference = compared[2]

    @_compiled(entry=True)
    def simulate_block(
        source: Source,
        plan: Plan,
        space: Space,
        start_logit: float,
        companion_logit: float,
        start: FloatArray,
        mean_rate: FloatArray,
        record_steps: IntArray,
        logits: FloatArray,
        companion_logits: FloatArray,
        old_errors: FloatArray,
        new_errors: FloatArray,
        starved: IntArray,
        stop: IntArray,
    ) -> None:
        seed(source)
        vectors, basis, slopes = space.vectors, space.basis, space.slopes
        noise, gradient, weighed = space.noise, space.gradient, space.weighed
        frame, full, turned, means = space.frame, space.full, space.turned, space.means
        normals, values, end = space.normals, space.values, space.end
        old, new, a, c, weight, alpha = (
            space.old,
            space.new,
            space.a,
            space.c,
            space.weight,
            space.alpha,
        )
        squares, sums = space.squares, space.sums
        rows, dim = start.shape
        size = plan.batch_size
        groups = end.size // len(sources)
        ours = values[0]
        if not forward:
            theirs, advantage = values[1], values[2]
        if direct:
            for k in range(dim):
                basis[k, k] = 1.0
        log_fixed_old = weights(-plan.fixed_logit)[2]
        log_target_new = weights(plan.fixed_logit)[2]

        for replicate in range(starved.size):
            logit = start_logit
            target_logit = companion_logit if companion else plan.fixed_logit
            n = dim
            rank = dim
            for row in range(rows):
                copy(start[row], full[row])
            if rotating:
                frame_rank = fold(full, frame, space.frame_coordinates, vectors)
                n = frame_rank + rows - 1
            else:
                for row in range(rows):
                    copy(full[row], vectors[row])
            record = 0
            if entropic:
                space.guess[0] = 0.0
            for step in range(record_steps[-1] + 1):
                if stop[0] != 0:
                    return
                if step == record_steps[record]:
                    logits[replicate, record] = logit
                    if companion:
                        companion_logits[replicate, record] = target_logit
                    if means_move:
                        if rotating:
                            if step > 0:
                                unfold(
                                    source,
                                    frame_rank,
                                    frame,
                                    space.frame_coordinates,
                                    vectors,
                                    full,
                                )
                                frame_rank = fold(full, frame, space.frame_coordinates, vectors)
                                n = frame_rank + rows - 1
                        else:
                            copy(vectors[OLD_ERROR], full[OLD_ERROR])
                            copy(vectors[NEW_ERROR], full[NEW_ERROR])
                        if plan.train_old:
                            copy(full[OLD_ERROR], old_errors[replicate, record])
                        if plan.train_new:
                            copy(full[NEW_ERROR], new_errors[replicate, record])
                    record += 1
                    if record == record_steps.size:
                        break

                # ---- geometry -----------------------------------------------------------
                if means_move or companion or step == 0:
                    relate(vectors, n, companion, regression, plan.fixed_logit, means)
                    for form in range(forms):
                        if direct:
                            copy(vectors[order[form]], slopes[form])
                        else:
                            if form == 0:
                                rank = 0
                            rank = extend(basis, rank, vectors[order[form]], n, slopes[form])
                        if form != 2:
                            for k in range(rank):
                                slopes[form, k] = -slopes[form, k]

                # ---- the batch, sorted by the component that each sample comes from -----
                model_old, model_new, log_new = weights(logit)
                if companion:
                    target_old, _, log_target_new = weights(target_logit)
                replayed_count = 0
                if replayed:
                    replayed_count = draw_binomial(source, size, plan.replay)
                drawn_old = replayed_count
                if grouped:
                    chance = model_old
                    if regression:
                        chance = target_old
                    for group in range(groups):
                        count = draw_binomial(source, plan.group_size, chance)
                        drawn_old += count
                        end[2 * group] = group * plan.group_size + count
                        end[2 * group + 1] = (group + 1) * plan.group_size
                elif forward:
                    end[0] = drawn_old
                    end[1] = size
                else:
                    count = draw_binomial(source, size - replayed_count, model_old)
                    drawn_old += count
                    end[0] = count
                    end[1] = size - replayed_count
                    end[-1] = size
                if drawn_old == 0:
                    starved[replicate] += 1
                for k in range(rank):
                    draw_normals(source, normals[k])

                # ---- affine forms, responsibilities and coefficients ---------------------
                fill_pieces(means, logit, target_logit, sources, end, values)
                for form in range(forms):
                    # log_ratios adds the first normals to the first forms
                    done = 0 if forward or form == 3 else 3
                    for k in range(done, rank):
                        add_multiple(slopes[form, k], normals[k], values[form])
                if forward:
                    split(ours, old, new)
                    share(ours, 0.0, 1.0, old, new, a, c, squares)  # alpha is -1
                else:
                    constant = log_new - log_target_new
                    log_ratios(values, slopes, normals, rank, constant, old, new)
                    if reweighted:
                        for i in range(size):
                            advantage[i] = 1.0 - exponential(-advantage[i])
                    if grouped:
                        if entropic:
                            gated_reward(theirs, plan.reward_gap, plan.hard, weight)
                            entropic_coefficients(plan, weight, advantage, space.guess, alpha, a)
                        else:
                            gated_reward(values[-1], plan.reward_gap, plan.hard, weight)
                            regression_coefficients(plan, weight, advantage, alpha, a)
                        share(alpha, 1.0, 0.0, old, new, a, c, squares)
                    elif replayed:
                        importance_weights(advantage, theirs, plan.replay, log_fixed_old, weight)
                        shared = plan.shared
                        if plan.normalized:
                            mass = total(weight)
                            shared = 1.0 / mass if mass > 0.0 else 0.0
                        subtract = plan.constant
                        if shared != 0.0:
                            subtract += shared * dot(weight, advantage)
                        for i in range(size):
                            own = 1.0 + plan.own * weight[i]
                            alpha[i] = weight[i] * (advantage[i] * own - subtract)
                        share(alpha, 1.0, 0.0, old, new, a, c, squares)
                    else:
                        subtract = plan.constant
                        if plan.shared != 0.0:
                            subtract += plan.shared * total(advantage)
                        share(advantage, 1.0 + plan.own, subtract, old, new, a, c, squares)

                # ---- gradients ------------------------------------------------------------
                sum_pieces(a, c, sources, end, sums)
                a_total, c_total = total(sums[0]), total(sums[1])
                logit_gradient = model_new * a_total - model_old * c_total
                width = n
                if means_move:
                    if pathwise:
                        # w r and w (1 - r), each against grad A = e_n - r q + r_p p
                        for i in range(size):
                            a[i] = weight[i] * old[i] if replayed else old[i]
                            c[i] = weight[i] * new[i] if replayed else new[i]
                        target_responsibility = advantage  # not needed any more
                        split(theirs, target_responsibility, ours)
                        chain = (order[2], MODEL_GAP, order[1])
                        factors = (total(a), -dot(a, old), dot(a, target_responsibility))
                        combine(vectors, chain, factors, n, gradient[0])
                        factors = (total(c), -dot(c, old), dot(c, target_responsibility))
                        combine(vectors, chain, factors, n, gradient[1])
                    else:
                        # a sample is the mean of its component and its normals
                        shifts = (order[2], MODEL_GAP, old_difference)
                        new_a = sums[0, MODEL_NEW] + sums[0, TARGET_NEW]
                        old_c = sums[1, MODEL_OLD] + sums[1, TARGET_OLD]
                        factors = (-sums[0, TARGET_NEW], new_a, -sums[0, TARGET_OLD])
                        combine(vectors, shifts, factors, n, gradient[0])
                        factors = (-sums[1, TARGET_NEW], -old_c, -sums[1, TARGET_OLD])
                        combine(vectors, shifts, factors, n, gradient[1])
                        weigh_normals(a, c, rank, normals, weighed)
                        for which in range(2):
                            add_rows(weighed[which], basis, rank, n, gradient[which])
                        if orthogonal and (rotating or rank < n):
                            width = add_orthogonal_noise(
                                source, squares, basis, rank, n, dim - n, noise, gradient
                            )
                    descend(mean_rate, gradient, plan, width, vectors)
                if plan.train_weight:
                    logit -= plan.weight_rate * logit_gradient
                if companion:
                    if plan.sync_every > 0:
                        if (step + 1) % plan.sync_every == 0:
                            target_logit = logit
                            copy(vectors[OLD_ERROR], vectors[OLD_COMPANION])
                            copy(vectors[NEW_ERROR], vectors[NEW_COMPANION])
                    else:
                        target_logit += plan.ema * (logit - target_logit) + plan.anchor * (
                            plan.fixed_logit - target_logit
                        )
                        ema, anchor = plan.ema, plan.anchor
                        approach(vectors, OLD_ERROR, OLD_COMPANION, width, ema, anchor)
                        approach(vectors, NEW_ERROR, NEW_COMPANION, width, ema, anchor)
                if rotating and width > n:
                    rotate(vectors, frame_rank, rows + 1, turned, space.turned_coordinates)
                # NaN and infinity fail both comparisons
                if not (abs(logit) < 1e100 and size_of_errors(vectors, n) < 1e100):
                    stop[1] = step + 1
                    stop[0] = 1
                    return

    return simulate_block


def run_block(
    variant: Variant, stream: np.random.SeedSequence, plan: Plan, space: Space, *arguments: Any
) -> None:
    """Run a block with its own random stream; for the arguments see :func:`block_kernel`."""
    kernel, source = block_kernel(variant), new_source(stream)
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        with np.errstate(over="ignore"):  # words are numbers modulo 2**64
            kernel(source, plan, space, *arguments)
    else:
        kernel(source, plan, space, *arguments)
