r"""The one place that integrates.

An integral over the real line is cut into *panels* where the distributions themselves say that something
happens, each with a Gauss-Legendre rule, and cut until the rule resolves the integrand. Towards infinity,
and towards a point where a density may be singular, a panel lives in the logarithm of the distance, in which
a power law is an exponential; what lies beyond its last node is closed with the power law seen there, or is
infinite where that law says so. Where neither can be told, there is an error and not a number.

All in float64, and differentiable in the parameters of integrand and distributions: nodes are fixed, except
that they move with the ends of a support.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import ModuleType

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from gan_theory.checks import check_elementwise
from gan_theory.distributions import Density, as_density

Array = np.ndarray

_ORDER = 20
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(_ORDER)
_FRACTIONS = (_NODES + 1) / 2
# (order, order): values at the nodes -> Legendre coefficients.
_TO_LEGENDRE = (
    np.polynomial.legendre.legvander(_NODES, _ORDER - 1).T * _WEIGHTS * (np.arange(_ORDER) + 0.5)[:, None]
)
_AT_LOW, _AT_HIGH = (-1.0) ** np.arange(_ORDER) @ _TO_LEGENDRE, _TO_LEGENDRE.sum(0)  # values at -1 and at 1
# (order, order): values at the nodes -> integrals from -1 to each node.
_CUMULATE = (
    np.stack([np.polynomial.Legendre.basis(k).integ(lbnd=-1)(_NODES) for k in range(_ORDER)], axis=1)
    @ _TO_LEGENDRE
)
_EPSILON = np.finfo(np.float64).eps
_RESOLVED = 1e-11  # size of the last three coefficients, relative to the integral, at which a panel is done
_LEAP = 1e-7  # a jump times the panel it is in, relative to the integral, at which it is closed in on
_RELATIVE, _ABSOLUTE = 1e-9, 1e-12  # the error that is promised
_CUTS = np.linspace(0, 1, 9)  # of a panel that is too coarse
_ROUNDS = 20  # of cutting: enough to close in on a jump down to the spacing of float64
_MOST_PANELS = 2000  # that are too coarse at one time
_OUTERMOST = np.array([0.0, 0.1, 0.2, 0.3])  # fractions of a panel that show its tail
_FARTHEST = 1e100  # distance of the last node: its square still fits into float64
_CLOSEST = 1e-140  # distance of the last node from a singular point at 0: its inverse square fits too
_NEAREST = 1e-11  # relative distance from a singular point within which x has lost its digits
_NARROW = 1e-13  # relative width of an interval that is none
_FLAT = 1e-11  # an exponent that rounding does not tell from 0


def integrate(g: Callable[[Tensor], Tensor], *distributions: Distribution | Density) -> Tensor:
    r"""The integral :math:`\int g(x)\,dx` over the union of the supports of the distributions.

    The distributions only say where to look: g itself must bring the density as a factor.

    Args:
        g: the integrand, float64 (n,) -> (n,); piecewise smooth.
        *distributions: one or more one-dimensional, unbatched, continuous distributions.

    Returns:
        0-d float64 tensor, to 1e-9 relative or 1e-12 absolute; plus or minus infinity where the integral
        diverges.

    Raises:
        TypeError: if g is not callable, there is no distribution, or one is not a distribution.
        ValueError: if a distribution is batched, discrete, or of unknown place and scale; or g not
            elementwise.
        ArithmeticError: if the integrand is NaN somewhere, or cannot be resolved.

    >>> standard_normal = torch.distributions.Normal(0.0, 1.0)
    >>> round(integrate(lambda x: x**2 * standard_normal.log_prob(x).exp(), standard_normal).item(), 12)
    1.0
    """
    if not callable(g):
        raise TypeError(f"g must be callable, got {type(g).__name__}")
    if not distributions:
        raise TypeError("distributions must be one or more, got none")
    panels = Panels(g, *(as_density(d, f"distribution {i + 1}") for i, d in enumerate(distributions)))
    needs_gradient = torch.is_grad_enabled() and (panels.x.requires_grad or g(panels.x[:, 0]).requires_grad)
    terms = panels.terms(g) if needs_gradient else panels.resolved
    total = terms.sum()
    if total.isnan():
        raise ArithmeticError("the integral cannot be decided: it is infinite with both signs")
    if total.isinf():
        return total.detach()
    before, after = panels.remainders(g, terms.detach().abs().sum().item())
    total = total + before.sum() + after.sum() + panels.cut_off(g)
    return total.detach() if total.isinf() else total


class Panels:
    """Panels over the union of the supports of some densities, fine enough for an integrand.

    A panel holds x = t (side 0), or x = anchor + side exp(t) where it reaches for infinity or for a singular
    point, with t between `start` and `stop` such that x rises. They are refined in NumPy; where the integrand
    needs a gradient, it is then evaluated once more at nodes that are attached to the ends of the supports.

    Args:
        g: the integrand that is to be resolved, float64 (n,) -> (n,).
        *densities: what says where to look.

    Attributes:
        x: nodes, (m, order), in ascending order.
        weights: quadrature weights, (m, order).
        resolved: what the nodes contribute to the integral of g, (m, order), without a gradient.
    """

    def __init__(self, g: Callable[[Tensor], Tensor], *densities: Density) -> None:
        rows, pieces, self._open, self._shut, segment = _layout(densities)
        columns = list(zip(*rows, strict=True))
        self._floats = [np.array([_float(v) for v in column]) for column in columns]
        self._tensors = [_attached(f, column) for f, column in zip(self._floats, columns, strict=True)]
        self._segment = np.array(segment)
        panel, low, high = (np.array(c) for c in zip(*pieces, strict=True))
        panel, low, high, terms = self._refine(g, panel, low, high)
        order = np.lexsort((low, panel))
        self._panel, self._low, self._high = panel[order], low[order], high[order]
        self.resolved = torch.from_numpy(terms[order])
        if any(column.requires_grad for column in self._tensors):
            pieces = (torch.from_numpy(v) for v in (self._panel, self._low, self._high))
            self.x, self.weights = self._nodes(torch, *pieces)
        else:
            x, weights = self._nodes(np, self._panel, self._low, self._high)
            self.x, self.weights = torch.from_numpy(x), torch.from_numpy(weights)

    def terms(self, g: Callable[[Tensor], Tensor]) -> Tensor:
        """What the nodes contribute to the integral of g, (m, order)."""
        return g(self.x.reshape(-1)).reshape(self.x.shape) * self.weights

    def integrate_primitive(self, g: Callable[[Tensor], Tensor], centre: float) -> Tensor:
        r"""The integral of :math:`|H|`, :math:`H(x) = \int_{-\infty}^x g`, for a g whose whole integral is 0.

        By parts on each panel: :math:`\int H = [(x - m) H] - \int (x - m) g` with m its end towards the
        middle, H summed from the nearer end of the line, so that both tails keep their digits. Only where H
        changes its sign within a panel is H itself laid through the nodes.

        Args:
            g: x (n,) -> g(x) (n,), resolved by these panels also with the factor x - centre.
            centre: a point in the middle of things.
        """
        terms = self.terms(g)
        before, after = self.remainders(g, math.inf)
        moment = (terms * (self.x - centre)).detach().abs().sum().item()
        moment_before, moment_after = self.remainders(lambda x: (x - centre) * g(x), moment)
        whole = before + terms.sum(1) + after
        size = terms.detach().abs().sum(1).cumsum(0)
        right = size > size[-1] / 2
        from_left, from_right = whole.cumsum(0), -whole.flip(0).cumsum(0).flip(0)
        at_low = torch.where(right, from_right, from_left - whole) + before
        at_high = torch.where(right, from_right + whole, from_left) - after
        panel = torch.from_numpy(self._panel)
        edges = (
            self._position(torch, panel, torch.from_numpy(u)[:, None])[0] for u in (self._low, self._high)
        )
        low, high = (edge.squeeze(1) for edge in edges)
        middle = torch.where(right, low, high)
        moments = (terms * (self.x - middle[:, None])).sum(1)
        areas = ((high - middle) * at_high - (low - middle) * at_low - moments).abs()

        steps = self.weights / torch.from_numpy(_WEIGHTS)
        primitive = at_low[:, None] + (terms / torch.from_numpy(_WEIGHTS)) @ torch.from_numpy(_CUMULATE).T
        changes = (primitive.detach().amin(1) < 0) & (primitive.detach().amax(1) > 0)
        matters = (primitive * self.weights).detach().abs().sum(1) > 0.1 * _ABSOLUTE
        for i in torch.where(changes & matters)[0]:
            heights = primitive[i] * steps[i]
            areas = areas.index_put((i,), _rule_of_absolute(heights) @ heights)
        gaps = (low[1:] - high[:-1]) * (at_low[1:] - before[1:]).abs()  # nothing lies there, but H is not 0
        left_tail = moment_before[0] - (low[0] - centre) * before[0]
        right_tail = moment_after[-1] - (high[-1] - centre) * after[-1]
        return areas.sum() + gaps.clamp(min=0.0).sum() + left_tail.abs() + right_tail.abs()

    def cut_off(self, g: Callable[[Tensor], Tensor]) -> float:
        """What the integrand has beyond an end at which the densities are used up: 0, or infinity.

        Raises:
            ArithmeticError: if it is neither: it falls, but has not fallen off there.
        """
        total = self.resolved.abs().sum().item()
        for row, end in self._shut:
            piece = np.flatnonzero(self._panel == row)[-1 if end else 0]
            if self.resolved[piece].abs().sum() <= _RELATIVE * total + _ABSOLUTE:
                continue
            inner, outer = (self.x[piece, i].detach().reshape(1) for i in ((0, -1) if end else (-1, 0)))
            with torch.no_grad():
                at_inner, at_outer = g(inner).item(), g(outer).item()
            if abs(at_outer) >= abs(at_inner):
                return math.copysign(math.inf, at_outer)
            raise ArithmeticError(
                f"the integral cannot be decided: beyond x = {outer.item():.6g} only the densities fall off"
            )
        return 0.0

    def remainders(self, g: Callable[[Tensor], Tensor], total: float) -> tuple[Tensor, Tensor]:
        """What lies beyond the last nodes at open ends: before each piece, and after it, (m,) each.

        Seen there as a power law of the distance, with a slowly changing exponent (for logarithms).
        """
        beyond = [torch.zeros(len(self.x), dtype=torch.float64) for _ in range(2)]
        if not self._open:
            return tuple(beyond)
        rows, at = np.array(self._open).T
        fractions = torch.from_numpy(at[:, None] + (1 - 2 * at)[:, None] * _OUTERMOST)
        x, slope = self._position(torch, torch.from_numpy(rows), fractions)
        masses = g(x.reshape(-1)).reshape(x.shape) * slope * _OUTERMOST[1]
        for (row, end), at_x, mass in zip(self._open, x[:, 0], masses, strict=True):
            if mass[0].item() == 0:
                continue
            # Log-densities far out are of order -700; close to an anchor other than 0, x has lost its digits.
            anchor = self._floats[2][row]
            distance = abs(at_x.item() - anchor)
            noise = max(1e3, abs(anchor) / distance / 8) * _EPSILON
            at_a_singular_point = self._floats[end][row] < math.log(_FARTHEST)
            rest, doubt = _power_law(mass, noise, fades=at_a_singular_point)
            if doubt > _RELATIVE * (total + abs(rest.item())) + _ABSOLUTE:
                raise ArithmeticError(
                    f"the integral cannot be decided: beyond x = {at_x.item():.6g} it falls like no power law"
                )
            outermost = (self._panel == row) & ((self._high == 1) if end else (self._low == 0))
            beyond[end] = beyond[end].index_put((torch.from_numpy(np.flatnonzero(outermost)),), rest)
        return tuple(beyond)

    def _nodes(self, xp: ModuleType, panel: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """Nodes and weights, (m, order) each, on pieces from `low` to `high` of panels, by NumPy or torch."""
        length = (high - low)[:, None]
        x, slope = self._position(xp, panel, low[:, None] + length * xp.asarray(_FRACTIONS))
        return x, slope * (length / 2 * xp.asarray(_WEIGHTS))

    def _position(self, xp: ModuleType, panel: Array, fraction: Array) -> tuple[Array, Array]:
        """Points x and slopes ``dx/d(fraction)``, (m, k) each, at fractions (m, k) of the panels (m,)."""
        columns = self._floats if xp is np else self._tensors
        start, stop, anchor, side = (column[panel][:, None] for column in columns)
        t = start + (stop - start) * fraction
        linear = side == 0
        distance = side * xp.exp(xp.where(linear, 0.0, t))
        return xp.where(linear, t, anchor + distance), xp.where(linear, 1.0, distance) * (stop - start)

    @torch.no_grad()
    @np.errstate(all="ignore")  # what overflows is looked at below
    def _refine(self, g: Callable, panel: Array, low: Array, high: Array) -> tuple[Array, ...]:
        """Cut panels until the last Legendre coefficients of the integrand are negligible on each."""
        done: list[tuple[Array, ...]] = []
        settled = doubtful = 0.0
        for _ in range(_ROUNDS):
            x, weights = self._nodes(np, panel, low, high)
            points = torch.from_numpy(x.ravel())
            values = g(points)
            check_elementwise(values, points, "g")
            values = values.numpy().reshape(x.shape)
            if np.isnan(values).any():
                raise ArithmeticError(f"the integrand is not a number at x = {x[np.isnan(values)][0]:.6g}")
            terms = values * weights
            size = np.abs(terms).sum(1)
            total = settled + size.sum()
            if np.isinf(total):
                done.append((panel, low, high, terms))
                break
            last = np.abs((terms / _WEIGHTS) @ _TO_LEGENDRE[-3:].T).sum(1)
            leap = self._leap_between(panel, low, high, values) * weights.sum(1)
            tolerance = max(_RESOLVED * total, 0.01 * _ABSOLUTE)
            # How the spacing of float64 in x is felt by an integrand that varies on the panel's scale.
            linear = self._floats[3][panel][:, None] == 0
            distance = np.abs(x - self._floats[2][panel][:, None])
            scale = np.where(linear, x[:, -1:] - x[:, :1], distance)
            rounding = np.abs(terms * x / scale).sum(1) * 16 * _EPSILON
            coarse = (last > np.maximum(rounding, tolerance)) | (leap > _LEAP * total + _ABSOLUTE)
            settled += size[~coarse].sum()
            doubtful += last[~coarse & (last > tolerance)].sum()
            done.append((panel[~coarse], low[~coarse], high[~coarse], terms[~coarse]))
            if not coarse.any():
                break
            if coarse.sum() > _MOST_PANELS:
                doubtful = math.inf
                break
            edges = (low + (high - low) * _CUTS[:, None])[:, coarse]
            panel = np.repeat(panel[coarse], len(_CUTS) - 1)
            low, high = edges[:-1].T.ravel(), edges[1:].T.ravel()
        else:
            doubtful = math.inf
        if doubtful > _RELATIVE * total + _ABSOLUTE:
            raise ArithmeticError(
                f"the integral cannot be decided: the integrand is not resolved near x = {x[0, 0]:.6g}"
            )
        return tuple(np.concatenate(parts) for parts in zip(*done, strict=True))

    def _leap_between(self, panel: Array, low: Array, high: Array, values: Array) -> Array:
        """By how much values leap from each piece to its neighbours, (m,): a jump between outermost nodes."""
        within = (panel[1:] == panel[:-1]) & (low[1:] == high[:-1])
        across = (panel[1:] == panel[:-1] + 1) & (high[:-1] == 1) & (low[1:] == 0)
        across &= self._segment[panel[1:]] == self._segment[panel[:-1]]
        leap = np.where(within | across, np.abs(values[1:] @ _AT_LOW - values[:-1] @ _AT_HIGH), 0.0)
        return np.maximum(np.r_[leap, 0.0], np.r_[0.0, leap])


def _rule_of_absolute(values: Tensor) -> Tensor:
    """Weights (order,) for the integral of |f|, exact for the polynomial through these values of f."""
    series = np.polynomial.Legendre(_TO_LEGENDRE @ values.detach().numpy())
    roots = series.roots()
    edges = np.r_[-1.0, np.sort(roots[(roots.imag == 0) & (np.abs(roots.real) < 1)].real), 1.0]
    signs = np.sign(series((edges[1:] + edges[:-1]) / 2))
    # (2k + 1) P_k is the derivative of P_{k+1} - P_{k-1}.
    legendre = np.polynomial.legendre.legvander(edges, _ORDER)
    primitives = np.c_[edges, (legendre[:, 2:] - legendre[:, :-2]) / (2 * np.arange(1, _ORDER) + 1)]
    return torch.from_numpy(signs @ np.diff(primitives, axis=0) @ _TO_LEGENDRE)


def _power_law(mass: Tensor, noise: float, *, fades: bool) -> tuple[Tensor, float]:
    r"""The integral of m(s) over s < 0, from m at s = 0, 1, 2 and 3; and how far it may be off.

    Near an open end m(s) = (A + B s) exp(k s): a power of the distance, times its logarithm where B is not 0.
    Three values determine it, the fourth shows how well it holds; `noise` is the relative error of each. What
    disturbs it may last up to infinity; towards a singular point it `fades`, a higher power of the distance.
    """
    if bool((mass.sign() != mass[0].sign()).any()):
        return mass[0], float(mass.detach().abs().max())
    first, second, _ = mass.abs().log().diff()
    rises = max(first.item(), second.item()) <= _FLAT
    if rises and not fades:
        return mass[0].detach().sign() * math.inf, 0.0
    rounding = 20 * noise  # tells nothing
    if (first - second).detach().abs() < rounding:
        k, slope = (first + second) / 2, 0.0
    else:  # m(0) r^2 - 2 m(1) r + m(2) = 0 for r = exp(k); the logarithm rises outwards: the larger root
        root = (1 - (second - first).exp()).clamp(min=0.0).sqrt()
        k = first + torch.log1p(root)
        slope = mass[1] * (-k).exp() - mass[0]
    rest = mass[0] / k - slope / k**2
    missed = (mass[3] / ((mass[0] + 3 * slope) * (3 * k).exp()) - 1).abs() - rounding
    if rises:  # for ever, or for a while, where a logarithm has just left its zero?
        for_ever = bool(k <= 1e-3 and missed < 1e-3)
        return (mass[0].detach().sign() * math.inf, 0.0) if for_ever else (mass[0], math.inf)
    # To first order: what is missed, if it lasts as a cubic that is 0 at the three has it; their own error.
    lasting = 0.1 if fades else 1 / (3 * k) + 1 / k**2 + 1 / k**3
    doubt = rest * (missed.clamp(min=0.0) * lasting + noise * (1 + 1 / k))
    return rest, doubt.detach().abs().item() if k > 0 else math.inf


def _layout(densities: Sequence[Density]) -> tuple[list, list, list, list, list]:  # noqa: C901 - one walk along the line
    """Panels (start, stop, anchor, side), first pieces (panel, from, to), ends (panel, at), segments.

    Open ends go on to infinity or to a singular point; at a shut one the densities are used up. A segment is
    what lies between two points where the integrand may jump.
    """
    singular = {point.item(): point for d in densities for point in d.singular}
    cuts = {end.item(): end for d in densities for ends in (d.jumps, *d.support) for end in ends} | singular
    knots = np.unique(np.concatenate([d.knots for d in densities]))
    knots = knots[np.abs(knots) < _FARTHEST / 1e15]
    rows: list[tuple] = []
    splits: list[tuple[int, float, float]] = []
    open_ends: list[tuple[int, int]] = []
    shut_ends: list[tuple[int, int]] = []
    segments: list[int] = []

    def closeness(point: float) -> float:
        return max(_NEAREST * abs(point), _CLOSEST, *(d.closest for d in densities))

    def add_end(end: Tensor, knot: float, length: float, at: int) -> None:
        """The panel from a cut below the knot (at = 0), or above it (at = 1)."""
        side = 1 - 2 * at
        if math.isinf(end.item()):
            if not any(d.has_tails for d in densities):
                shut_ends.append((len(rows) - at, at))
                return
            anchor, side = knot + side * length, -side
            far, near = math.log(_FARTHEST), math.log(length)
        elif end.item() in singular and abs(knot - end.item()) > closeness(end.item()):
            anchor = end
            far, near = math.log(closeness(end.item())), ((knot - end) * side).log()
        else:
            splits.append((len(rows), 0.0, 1.0))
            rows.append((knot, end, 0.0, 0.0) if at else (end, knot, 0.0, 0.0))
            return
        span = abs(_float(near) - far)
        steps = [0.0, *(step / span for step in 2.0 ** np.arange(1, 12) - 1 if step < span), 1.0]
        steps = steps if at else [1 - step for step in reversed(steps)]
        splits.extend((len(rows), a, b) for a, b in pairwise(steps))
        open_ends.append((len(rows), at))
        rows.append((near, far, anchor, side) if at else (far, near, anchor, side))

    for low, high in pairwise(sorted(cuts)):
        if not any(a <= low and high <= b for d in densities for a, b in d.support):
            continue
        if math.isclose(low, high, rel_tol=_NARROW, abs_tol=_CLOSEST):  # one end, but for rounding
            continue
        margins = (0.0 if math.isinf(end) else 100 * closeness(end) for end in (low, high))
        inner = knots[(knots > low + next(margins)) & (knots < high - next(margins))]
        if not inner.size:
            inner = np.array([_between(low, high)])
        length = float(np.ptp(inner)) if inner.size > 1 else 1.0
        add_end(cuts[low], inner[0], length, at=0)
        for a, b in pairwise(inner):
            splits.append((len(rows), 0.0, 1.0))
            rows.append((a, b, 0.0, 0.0))
        add_end(cuts[high], inner[-1], length, at=1)
        segments += [len(segments)] * (len(rows) - len(segments))
    return rows, splits, open_ends, shut_ends, segments


def _between(low: float, high: float) -> float:
    """A point of an interval that holds no knot."""
    if math.isinf(low):
        return high - 1.0 if math.isfinite(high) else 0.0
    return (low + high) / 2 if math.isfinite(high) else low + 1.0


def _float(value: float | Tensor) -> float:
    return value.item() if isinstance(value, Tensor) else value


def _attached(floats: Array, column: Sequence[float | Tensor]) -> Tensor:
    """The floats as a tensor, attached to those values of the column that need a gradient."""
    moving = [i for i, v in enumerate(column) if isinstance(v, Tensor) and v.requires_grad]
    tensor = torch.from_numpy(floats)
    return (
        tensor.index_put((torch.tensor(moving),), torch.stack([column[i] for i in moving]))
        if moving
        else tensor
    )
