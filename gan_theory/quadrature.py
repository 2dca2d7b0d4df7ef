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

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from gan_theory.distributions import Density, as_density

_ORDER = 20
_NODES, _WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(_ORDER))
_FRACTIONS = (_NODES + 1) / 2
# (order, order): values at the nodes -> Legendre coefficients.
_TO_LEGENDRE = (
    torch.from_numpy(np.polynomial.legendre.legvander(_NODES.numpy(), _ORDER - 1)).T
    * _WEIGHTS
    * (torch.arange(_ORDER) + 0.5).unsqueeze(1)
)
# (order, order): values at the nodes -> integrals from -1 to each node.
_CUMULATE = (
    torch.from_numpy(
        np.stack(
            [np.polynomial.Legendre.basis(k).integ(lbnd=-1)(_NODES.numpy()) for k in range(_ORDER)], axis=1
        )
    )
    @ _TO_LEGENDRE
)
_EPSILON = torch.finfo(torch.float64).eps
_SIGNS = (-1.0) ** torch.arange(_ORDER)  # of the Legendre polynomials at -1
_LEAP = 1e-7  # a jump times the panel it is in, relative to the integral, at which it is closed in on
_RESOLVED = 1e-11  # size of the last three coefficients, relative to the integral, at which a panel is done
_RELATIVE, _ABSOLUTE = 1e-9, 1e-12  # the error that is promised
_CUTS = torch.linspace(0, 1, 9, dtype=torch.float64).unsqueeze(1)  # of a panel that is too coarse
_OUTERMOST = torch.tensor(
    [0.0, 0.1, 0.2, 0.3], dtype=torch.float64
)  # fractions of a panel that show its tail
_ROUNDS = 20  # of cutting: enough to close in on a jump down to the spacing of float64
_MOST_PANELS = 2000  # that are too coarse at one time
_FARTHEST = 1e100  # distance of the last node: its square still fits into float64
_FLAT = 1e-11  # an exponent that rounding does not tell from 0
_CLOSEST = 1e-140  # distance of the last node from a singular point at 0: its inverse square fits too
_NEAREST = 1e-11  # relative distance from a singular point within which x has lost its digits


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
        TypeError: if a distribution is not one.
        ValueError: if a distribution is batched, discrete, or of unknown place and scale.
        ArithmeticError: if the integrand is NaN somewhere, or cannot be resolved.

    >>> standard_normal = torch.distributions.Normal(0.0, 1.0)
    >>> round(integrate(lambda x: x**2 * standard_normal.log_prob(x).exp(), standard_normal).item(), 12)
    1.0
    """
    panels = Panels(g, *(as_density(d, f"distribution {i + 1}") for i, d in enumerate(distributions)))
    values = panels.evaluate(g)
    total = (values * panels.weights).sum()
    if total.isnan():
        raise ArithmeticError("the integral cannot be decided: it is infinite with both signs")
    if total.isinf():
        return total.detach()
    before, after = panels.remainders(g, (values * panels.weights).abs().sum().item())
    return total + before.sum() + after.sum()


class Panels:
    """Panels over the union of the supports of some densities, fine enough for an integrand.

    A panel holds x = t (side 0), or x = anchor + side exp(t) where it reaches for infinity or for a singular
    point, with t between `start` and `stop` such that x rises. Ends of supports stay attached to parameters.

    Args:
        g: the integrand that is to be resolved, float64 (n,) -> (n,).
        *densities: what says where to look.

    Attributes:
        x: nodes, (m, order), in ascending order.
        weights: quadrature weights, (m, order).
    """

    def __init__(self, g: Callable[[Tensor], Tensor], *densities: Density) -> None:
        rows, splits, self._open, segments = _layout(densities)
        self._segment = torch.tensor(segments)
        self._start, self._stop, self._anchor, self._side = (_column(c) for c in zip(*rows, strict=True))
        panel, low, high = (torch.tensor(c, dtype=torch.float64) for c in zip(*splits, strict=True))
        panel, low, high = self._refine(g, panel.long(), low, high)
        order = torch.argsort(panel + low)
        self._panel, self._low, self._high = panel[order], low[order], high[order]
        self.x, self.weights = self._nodes(self._panel, self._low, self._high)

    def evaluate(self, g: Callable[[Tensor], Tensor]) -> Tensor:
        """The values of g at the nodes, (m, order)."""
        return g(self.x.reshape(-1)).reshape(self.x.shape)

    def integrate_primitive(self, g: Callable[[Tensor], Tensor], centre: float) -> Tensor:
        r"""The integral of |H|, with :math:`H(x) = \int_{-\infty}^x g` for a g whose whole integral is 0.

        By parts on each panel: :math:`\int H = [(x - m) H] - \int (x - m) g` with m its end towards the
        middle, H summed from the nearer end of the line, so that both tails keep their digits. Only where H
        changes its sign within a panel is H itself laid through the nodes.

        Args:
            g: x (n,) -> g(x) (n,), resolved by these panels also with the factor x - centre.
            centre: a point in the middle of things.
        """
        terms = self.evaluate(g) * self.weights
        before, after = self.remainders(g, math.inf)
        moment = (terms * (self.x - centre)).abs().sum().item()
        moment_before, moment_after = self.remainders(lambda x: (x - centre) * g(x), moment)
        whole = before + terms.sum(1) + after
        size = terms.detach().abs().sum(1).cumsum(0)
        right = size > size[-1] / 2
        from_left, from_right = whole.cumsum(0), -whole.flip(0).cumsum(0).flip(0)
        at_low = torch.where(right, from_right, from_left - whole) + before
        at_high = torch.where(right, from_right + whole, from_left) - after
        edges = (self._position(self._panel, u.unsqueeze(1))[0] for u in (self._low, self._high))
        low, high = (edge.squeeze(1) for edge in edges)
        middle = torch.where(right, low, high)
        moments = (terms * (self.x - middle.unsqueeze(1))).sum(1)
        areas = ((high - middle) * at_high - (low - middle) * at_low - moments).abs()

        primitive = at_low.unsqueeze(1) + (terms / _WEIGHTS) @ _CUMULATE.T
        changes = (primitive.detach().amin(1) < 0) & (primitive.detach().amax(1) > 0)
        matters = (areas + (high - low) * at_low.abs()).detach() > 0.1 * _ABSOLUTE
        for i in torch.where(changes & matters)[0]:
            heights = primitive[i] * self.weights[i] / _WEIGHTS
            areas = areas.index_put((i,), _rule_of_absolute(heights) @ heights)
        left_tail = moment_before[0] - (low[0] - centre) * before[0]
        right_tail = moment_after[-1] - (high[-1] - centre) * after[-1]
        return areas.sum() + left_tail.abs() + right_tail.abs()

    def remainders(self, g: Callable[[Tensor], Tensor], total: float) -> tuple[Tensor, Tensor]:
        """What lies beyond the last nodes at open ends: before each panel, and after it, (m,) each.

        Seen there as a power law of the distance, with a slowly changing exponent (for logarithms).
        """
        beyond = [torch.zeros(len(self.x), dtype=torch.float64) for _ in range(2)]
        if not self._open:
            return beyond[0], beyond[1]
        rows, at = torch.tensor(self._open).T
        spans = (self._stop - self._start).detach().abs()[rows]
        x, slope = self._position(rows, at.unsqueeze(1) + (1 - 2 * at).unsqueeze(1) * _OUTERMOST)
        masses = g(x.reshape(-1)).reshape(x.shape) * slope / spans.unsqueeze(1)
        for (row, end), at_x, span, mass in zip(self._open, x[:, 0], spans.tolist(), masses, strict=True):
            if mass[0].item() == 0:
                continue
            rest, doubt = _power_law(_OUTERMOST[1].item() * span, mass)
            if doubt > _RELATIVE * (total + abs(rest.item())) + _ABSOLUTE:
                raise ArithmeticError(
                    f"the integral cannot be decided: beyond x = {at_x.item():.6g} it falls like no power law"
                )
            i = torch.where((self._panel == row) & ((self._high == 1) if end else (self._low == 0)))[0]
            beyond[end] = beyond[end].index_put((i,), rest)
        return beyond[0], beyond[1]

    def _nodes(self, panel: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes and quadrature weights, (m, order) each, on pieces from `low` to `high` of panels (m,)."""
        length = (high - low).unsqueeze(1)
        x, slope = self._position(panel, low.unsqueeze(1) + length * _FRACTIONS)
        return x, slope * length / 2 * _WEIGHTS

    def _position(self, panel: Tensor, fraction: Tensor) -> tuple[Tensor, Tensor]:
        """Points x and slopes dx/d(fraction), (m, k) each, at fractions (m, k) of the panels (m,)."""
        start, stop, anchor, side = (
            c[panel].unsqueeze(1) for c in (self._start, self._stop, self._anchor, self._side)
        )
        t = start + (stop - start) * fraction
        linear = side == 0
        distance = side * t.where(~linear, 0.0).exp()
        return torch.where(linear, t, anchor + distance), torch.where(linear, 1.0, distance) * (stop - start)

    def _leap_between(self, panel: Tensor, low: Tensor, high: Tensor, values: Tensor) -> Tensor:
        """By how much values leap from each piece to its neighbours, (m,): a jump between outermost nodes."""
        coefficients = values @ _TO_LEGENDRE.T
        at_low, at_high = (coefficients * _SIGNS).sum(1), coefficients.sum(1)
        within = (panel[1:] == panel[:-1]) & (low[1:] == high[:-1])
        across = (panel[1:] == panel[:-1] + 1) & (high[:-1] == 1) & (low[1:] == 0)
        across &= self._segment[panel[1:]] == self._segment[panel[:-1]]
        leap = torch.where(within | across, (at_low[1:] - at_high[:-1]).abs(), 0.0)
        return torch.maximum(torch.nn.functional.pad(leap, (0, 1)), torch.nn.functional.pad(leap, (1, 0)))

    @torch.no_grad()
    def _refine(self, g: Callable, panel: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut panels until the last Legendre coefficients of the integrand are negligible on each."""
        done: list[tuple[Tensor, Tensor, Tensor]] = []
        settled = doubtful = 0.0
        for _ in range(_ROUNDS):
            x, weights = self._nodes(panel, low, high)
            values = g(x.reshape(-1)).reshape(x.shape)
            if values.isnan().any():
                raise ArithmeticError(
                    f"the integrand is not a number at x = {x[values.isnan()][0].item():.6g}"
                )
            terms = values * weights
            size = terms.abs().sum(1)
            total = settled + size.sum().item()
            if math.isinf(total):
                done.append((panel, low, high))
                break
            last = ((terms / _WEIGHTS) @ _TO_LEGENDRE[-3:].T).abs().sum(1)
            leap = self._leap_between(panel, low, high, values) * weights.sum(1)
            tolerance = max(_RESOLVED * total, 0.01 * _ABSOLUTE)
            # How the spacing of float64 in x is felt by an integrand that varies on the panel's scale.
            distance = (x - self._anchor[panel].unsqueeze(1)).abs()
            scale = torch.where(self._side[panel].unsqueeze(1) == 0, x[:, -1:] - x[:, :1], distance)
            rounding = (terms * x / scale).abs().sum(1) * 16 * _EPSILON
            coarse = (last > rounding.clamp(min=tolerance)) | (leap > _LEAP * total + _ABSOLUTE)
            settled += size[~coarse].sum().item()
            doubtful += last[~coarse & (last > tolerance)].sum().item()
            done.append((panel[~coarse], low[~coarse], high[~coarse]))
            if not coarse.any():
                break
            if coarse.sum() > _MOST_PANELS:
                doubtful = math.inf
                break
            panel, low, high = panel[coarse], low[coarse], high[coarse]
            edges = low + (high - low) * _CUTS
            panel = panel.repeat_interleave(len(_CUTS) - 1)
            low, high = edges[:-1].T.reshape(-1), edges[1:].T.reshape(-1)
        else:
            doubtful = math.inf
        if doubtful > _RELATIVE * total + _ABSOLUTE:
            raise ArithmeticError(
                f"the integral cannot be decided: the integrand is not resolved near x = {x[0, 0].item():.6g}"
            )
        return tuple(torch.cat(parts) for parts in zip(*done, strict=True))


def _rule_of_absolute(values: Tensor) -> Tensor:
    """Weights (order,) for the integral of |f|, exact for the polynomial through these values of f."""
    series = np.polynomial.Legendre((_TO_LEGENDRE @ values.detach()).numpy())
    roots = series.roots()
    edges = np.r_[-1.0, np.sort(roots[(roots.imag == 0) & (np.abs(roots.real) < 1)].real), 1.0]
    signs = np.sign(series((edges[1:] + edges[:-1]) / 2))
    # (2k + 1) P_k is the derivative of P_{k+1} - P_{k-1}.
    legendre = np.polynomial.legendre.legvander(edges, _ORDER)
    primitives = np.c_[edges, (legendre[:, 2:] - legendre[:, :-2]) / (2 * np.arange(1, _ORDER) + 1)]
    return torch.from_numpy(signs @ np.diff(primitives, axis=0)) @ _TO_LEGENDRE


def _power_law(step: float, mass: Tensor) -> tuple[Tensor, float]:
    r"""The integral of m(s) over s < 0, from m at s = 0, 1, 2 and 3 steps; and how far it may be off.

    Near an open end m(s) = (A + B s) exp(k s): a power of the distance, times its logarithm where B is not 0.
    Three values determine it, the fourth shows how well it holds.
    """
    if bool((mass.sign() != mass[0].sign()).any()):
        return mass[0], float(mass.detach().abs().max())
    first, second, _ = mass.abs().log().diff() / step
    noise = 1e3 * _EPSILON / step  # log-densities are of the order of -700 far out
    if max(first.item(), second.item()) <= _FLAT:
        return mass[0].detach().sign() * math.inf, 0.0
    if (first - second).detach().abs() < 2 * noise:
        k, slope = (first + second) / 2, 0.0
    else:  # m(0) r^2 - 2 m(1) r + m(2) = 0 for r = exp(k step); the logarithm rises outwards: the larger root
        root = (1 - ((second - first) * step).exp()).clamp(min=0.0).sqrt()
        k = first + torch.log1p(root) / step
        slope = (mass[1] * (-k * step).exp() - mass[0]) / step
    rest = mass[0] / k - slope / k**2
    predicted = (mass[0] + 3 * slope * step) * (3 * k * step).exp()
    doubt = (rest * (0.1 * (mass[3] / predicted - 1).abs() + noise / k)).detach().abs()
    return rest, doubt.item() if k > 0 else math.inf


def _layout(densities: Sequence[Density]) -> tuple[list, list, list, list]:
    """Panels (start, stop, anchor, side), first pieces (panel, from, to), open ends (panel, at), segments.

    A segment is what lies between two ends of supports (or singular points): where the integrand may jump.
    """
    singular = {point.item(): point for d in densities for point in d.singular}
    cuts = {end.item(): end for d in densities for ends in d.support for end in ends} | singular
    knots = np.unique(np.concatenate([d.knots for d in densities]))
    knots = knots[np.abs(knots) < _FARTHEST / 1e15]
    rows: list[tuple] = []
    splits: list[tuple[int, float, float]] = []
    open_ends: list[tuple[int, int]] = []
    segments: list[int] = []

    def add_end(end: Tensor, knot: float, length: float, at: int) -> None:
        """The panel from a cut below the knot (at = 0), or above it (at = 1)."""
        side = 1 - 2 * at
        if math.isinf(end.item()):
            if not any(d.has_tails for d in densities):
                return
            anchor, side = knot + side * length, -side
            far, near = math.log(_FARTHEST), math.log(length)
        elif end.item() in singular:
            anchor = end
            far, near = math.log(max(_NEAREST * abs(end.item()), _CLOSEST)), ((knot - end) * side).log()
        else:
            splits.append((len(rows), 0.0, 1.0))
            rows.append((knot, end, 0.0, 0.0) if at else (end, knot, 0.0, 0.0))
            return
        span = abs((near.item() if isinstance(near, Tensor) else near) - far)
        steps = [0.0, *(step / span for step in 2.0 ** np.arange(1, 12) - 1 if step < span), 1.0]
        steps = steps if at else [1 - step for step in reversed(steps)]
        splits.extend((len(rows), a, b) for a, b in pairwise(steps))
        open_ends.append((len(rows), at))
        rows.append((near, far, anchor, side) if at else (far, near, anchor, side))

    for low, high in pairwise(sorted(cuts)):
        if not any(a <= low and high <= b for d in densities for a, b in d.support):
            continue
        margins = (
            0.0 if math.isinf(end) else 100 * max(_NEAREST * abs(end), _CLOSEST) for end in (low, high)
        )
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
    return rows, splits, open_ends, segments


def _between(low: float, high: float) -> float:
    """A point of an interval that holds no knot."""
    if math.isinf(low):
        return high - 1.0 if math.isfinite(high) else 0.0
    return (low + high) / 2 if math.isfinite(high) else low + 1.0


def _column(values: Sequence[float | Tensor]) -> Tensor:
    """Floats and 0-d tensors as one float64 tensor, attached to the tensors that need a gradient."""
    column = torch.tensor([v.item() if isinstance(v, Tensor) else v for v in values], dtype=torch.float64)
    moving = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
    if not moving:
        return column
    return column.index_put((torch.tensor(moving),), torch.stack([values[i] for i in moving]))
