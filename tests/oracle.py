"""Population values at 40 digits, by adaptive Gauss-Legendre quadrature in mpmath.

Written straight from the formulas of the chapters and sharing no code with forgetlib:
covariances are solved in multiple precision, integrals are split at their kinks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath as mp
import numpy as np

from forgetlib import TwoModeMixture

mp.mp.dps = 40

Number = Any  # mpmath has no types


def sigmoid(x: Number) -> Number:
    return 1 / (1 + mp.exp(-x))


def softplus(x: Number) -> Number:
    return mp.log1p(mp.exp(x)) if x < 90 else x + mp.exp(-x)


def mean(g: Callable[[Number], Number], mu: Number, s: Number) -> Number:
    """E[g(mu + s Z)]."""
    mu, s = mp.mpf(mu), mp.mpf(s)
    if s == 0:
        return g(mu)
    kink = -mu / s
    points = {mp.mpf(k) for k in (-90, -40, -20, -9, -3, 0, 3, 9, 20, 40, 90)}
    points |= {kink + k / s for k in (-90, -30, -12, -3, 0, 3, 12, 30, 90)}
    points |= {k * s + m for k in (-1, 1) for m in (-6, 0, 6)}
    inside = sorted(p for p in points if -90 <= p <= 90)

    def integrand(z: Number) -> Number:
        return mp.npdf(z) * g(mu + s * z)

    # quad stops at an absolute error: measure in units of the peak
    unit = max(abs(integrand(z)) for z in inside)
    return unit * mp.quad(lambda z: integrand(z) / unit, inside)


class Geometry:
    """Differences of means and their products in the inverse covariance."""

    def __init__(self, q: TwoModeMixture, p: TwoModeMixture) -> None:
        self.v = {
            "uq": _difference(q.new_mean, q.old_mean),
            "up": _difference(p.new_mean, p.old_mean),
            "eo": _difference(q.old_mean, p.old_mean),
            "en": _difference(q.new_mean, p.new_mean),
        }
        if q.covariance is None:
            self.w = dict(self.v)
        else:
            matrix = mp.matrix(q.covariance.tolist())
            self.w = {k: list(mp.lu_solve(matrix, mp.matrix(v))) for k, v in self.v.items()}
        self.b, self.a = mp.mpf(q.old_weight), mp.mpf(p.old_weight)
        self.logit = mp.log(self.b / (1 - self.b))
        self.target_logit = mp.log(self.a / (1 - self.a))

    def dot(self, first: str, second: str) -> Number:
        return sum(x * y for x, y in zip(self.v[first], self.w[second], strict=True))


def _difference(x: Sequence[float], y: Sequence[float]) -> list[Number]:
    return [mp.mpf(float(a)) - mp.mpf(float(b)) for a, b in zip(x, y, strict=True)]


def misassignment(model: TwoModeMixture, side: str) -> Number:
    """Misassignment probability, from the sech integral."""
    geometry = Geometry(model, model)
    distance = mp.sqrt(geometry.dot("uq", "uq"))
    c = -geometry.logit if side == "old" else geometry.logit
    points = {mp.mpf(k) for k in (-300, -100, -60, -30, -15, -8, -4, -2, -1, 0)}
    points |= {-k for k in points}
    points |= {c + k * distance for k in (-20, -12, -8, -4, -2, -1, 0, 1, 2, 4, 8, 12, 20)}
    integral = mp.quad(
        lambda u: mp.exp(-((u - c) ** 2) / (2 * distance**2)) / (2 * mp.cosh(u / 2)),
        sorted(points),
    )
    return mp.exp(-(distance**2) / 8 + c / 2) / (distance * mp.sqrt(2 * mp.pi)) * integral


def reverse_kl(q: TwoModeMixture, p: TwoModeMixture) -> tuple[Number, list[Number]]:
    """Value and gradient of KL(q || p)."""
    o = Geometry(q, p)
    dq, dp = mp.sqrt(o.dot("uq", "uq")), mp.sqrt(o.dot("up", "up"))
    old = (o.logit + dq**2 / 2, o.target_logit + dp**2 / 2 - o.dot("up", "eo"))
    new = (o.logit - dq**2 / 2, o.target_logit - dp**2 / 2 - o.dot("up", "en"))
    e_old = mp.log(o.b / o.a) + o.dot("eo", "eo") / 2
    e_old += mean(softplus, -old[0], dq) - mean(softplus, -old[1], dp)
    e_new = mp.log((1 - o.b) / (1 - o.a)) + o.dot("en", "en") / 2
    e_new += mean(softplus, new[0], dq) - mean(softplus, new[1], dp)
    eps_q, eps_p = mean(sigmoid, -old[0], dq), mean(sigmoid, -old[1], dp)
    eta_q, eta_p = mean(sigmoid, new[0], dq), mean(sigmoid, new[1], dp)
    gradient = [o.b * (1 - o.b) * (e_old - e_new)]
    gradient += [
        o.b * (e + eps_q * u - eps_p * t)
        for e, u, t in zip(o.w["eo"], o.w["uq"], o.w["up"], strict=True)
    ]
    gradient += [
        (1 - o.b) * (e - eta_q * u + eta_p * t)
        for e, u, t in zip(o.w["en"], o.w["uq"], o.w["up"], strict=True)
    ]
    return o.b * e_old + (1 - o.b) * e_new, gradient


def forward_kl(q: TwoModeMixture, p: TwoModeMixture, replay: float) -> tuple[Number, list[Number]]:
    """Value and gradient of KL(replay f_o + (1 - replay) f_n || q)."""
    o = Geometry(q, p)
    dq, dp = mp.sqrt(o.dot("uq", "uq")), mp.sqrt(o.dot("up", "up"))
    value = logit = mp.mpf(0)
    old = [mp.mpf(0)] * q.dim
    new = [mp.mpf(0)] * q.dim
    for w, source in ((mp.mpf(replay), "eo"), (1 - mp.mpf(replay), "en")):
        if w == 0:
            continue
        if source == "eo":
            m, own, sign = o.logit + dq**2 / 2 + o.dot("uq", "eo"), mp.log(o.b), -1
        else:
            m, own, sign = o.logit - dq**2 / 2 + o.dot("uq", "en"), mp.log(1 - o.b), 1
        data = 0 if w == 1 else mean(softplus, mp.log((1 - w) / w) - dp**2 / 2, dp)
        value += w * (mp.log(w) - own + o.dot(source, source) / 2 + data)
        value -= w * mean(softplus, sign * m, dq)
        r, rest = mean(sigmoid, m, dq), mean(sigmoid, -m, dq)
        slope = mean(lambda x: sigmoid(x) * sigmoid(-x), m, dq)
        logit += w * (o.b - r)
        for i in range(q.dim):
            miss, gap = -o.w[source][i], o.w["uq"][i]
            to_old = miss if source == "eo" else miss + gap
            to_new = miss - gap if source == "eo" else miss
            old[i] -= w * (r * to_old - slope * gap)
            new[i] -= w * (rest * to_new + slope * gap)
    return value, [logit, *old, *new]


def random_case(
    rng: np.random.Generator, dim: int, with_covariance: bool
) -> tuple[TwoModeMixture, TwoModeMixture]:
    """Model and target at a random separation in [0.05, 50], extreme weights included."""
    separation = 10 ** rng.uniform(np.log10(0.05), np.log10(50.0))
    covariance = None
    if with_covariance:
        rotation, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
        spectrum = 10 ** rng.uniform(-3, 3, dim)
        if dim > 1:
            spectrum[[0, -1]] = 1e-3, 1e3  # condition number 1e6
        covariance = (rotation * spectrum) @ rotation.T
        covariance = 0.5 * (covariance + covariance.T)

    def weight() -> float:
        light = 10 ** rng.uniform(-12, -0.3)
        return float(light if rng.random() < 0.5 else 1 - light)

    gap = rng.standard_normal(dim)
    unit = 1 / TwoModeMixture(0.5, np.zeros(dim), gap, covariance).separation
    gap *= separation * unit
    centre = 3 * rng.standard_normal(dim)
    size = 0.5 * unit * min(separation, 5.0)
    target = TwoModeMixture(weight(), centre, centre + gap, covariance)
    model = TwoModeMixture(
        weight(),
        centre + size * rng.standard_normal(dim),
        centre + gap + size * rng.standard_normal(dim),
        covariance,
    )
    return model, target
