r"""The density of G(z): what `torch.distributions` lacks.

`torch.distributions.TransformedDistribution` wants a bijection whose inverse is known. A generator is no such
thing: it may fold, stretch and saturate, and nobody knows its inverse. In one dimension the density is still
within reach, branch by branch.
"""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from gan_theory.checks import check_elementwise, check_tensor, is_integer
from gan_theory.distributions import LEAST, Density, as_density

_GRID = 4096  # cells, the finer where the prior has more structure, on which the branches of G are looked for
_POLE = 1e6  # how far G may leap, in terms of its other values
_LEAP = 1e-9  # from which on G leaps where its slope jumps, in terms of its other values
_PROBES = 512  # points of the grid from one to the next at which G is looked at again
_MOST_BRANCHES = 256
_STEPS = 160  # of alternating Newton and bisection over the floats; the latter alone needs 64
_FARTHER = 1e8 ** torch.arange(13, dtype=torch.float64)  # as far as quadrature looks
_KNOTS = 64  # from which quadrature starts
_NEGLIGIBLE_MASS = 1e-30  # of a branch that only adds to others
_FLAT_MASS = 1e-12  # prior mass on which G may be constant without being refused
_INTEGER_MIN = torch.iinfo(torch.int64).min


class Pushforward(Distribution):
    r"""The distribution of x = G(z) for z from a prior, on the real line.

    .. math:: p_g(x) = \sum_{z : G(z) = x} \frac{p_z(z)}{|G'(z)|}

    The sum runs over every branch of the inverse, found numerically between the points where G turns. Where
    G' vanishes at a single point, the density is infinite there and integrable; next to such an x (unless it
    is 0) float64 runs out of digits: an integral is good to 3e-9 where G turns or leaps, and to 1e-7 where it
    halts.

    Args:
        prior: one-dimensional, unbatched, continuous distribution of z, supported on an interval.
        G: elementwise and piecewise smooth, a tensor (n, 1) of z to a tensor (n, 1) of x: a function such as
            `torch.sin`, or a network with one input and one output. A module is evaluated in float64. The
            branches are those of G as it is now: after a training step, make a new distribution.

    Raises:
        TypeError: if the prior is not a distribution, or G not callable.
        ValueError: if the prior is not as above; if G is not elementwise, or not finite, on the prior's
            support; or if G(z) has no density, because G is constant on a set of positive prior mass; or if
            it turns more than 256 times. Folds finer than the 4096 cells of the grid may be missed.

    Source:
        The area formula in one dimension; Evans and Gariepy 2015, Theorem 3.9.

    >>> square = Pushforward(torch.distributions.Normal(0.0, 1.0), torch.square)
    >>> chi2 = torch.distributions.Chi2(torch.tensor(1.0, dtype=torch.float64))
    >>> x = torch.tensor([0.1, 1.0, 9.0], dtype=torch.float64)
    >>> torch.allclose(square.log_prob(x), chi2.log_prob(x), rtol=1e-12)
    True
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, prior: Distribution, G: Callable[[Tensor], Tensor]) -> None:
        if torch.is_inference_mode_enabled():
            raise RuntimeError(
                "Pushforward needs the derivative of G: use torch.no_grad, not torch.inference_mode"
            )
        self.prior, self.G = prior, G
        self._prior = as_density(prior, "prior")
        if len(self._prior.support) != 1:
            raise ValueError(f"prior must be supported on one interval, got {prior!r}")
        if not callable(G):
            raise TypeError(f"G must be callable, got {type(G).__name__}")
        super().__init__()
        with torch.no_grad():
            self._find_branches()

    @property
    def support(self) -> constraints.Constraint:
        """The hull of the images of all branches."""
        ends = [end for image in self.density().support for end in image]
        return constraints.interval(min(ends), max(ends))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Independent draws G(z) of the given shape, float64, without a gradient.

        Raises:
            ValueError: if the shape is not one.
        """
        if not isinstance(sample_shape, Sequence) or not all(is_integer(size, 0) for size in sample_shape):
            raise ValueError(f"sample_shape must be a sequence of sizes, none negative, got {sample_shape!r}")
        with torch.no_grad():
            z = self.prior.sample(torch.Size(sample_shape))
            return self._generate(z.double().reshape(-1)).reshape(z.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        r"""The log density :math:`\log p_g(x)`, summed over the branches in log space.

        Args:
            x: points of any shape.

        Returns:
            log p_g(x), float64, of the shape of x, in nats; -inf where no z leads, +inf at a critical value,
            NaN where x is. Differentiable in x and in the parameters of G and of the prior.

        Raises:
            TypeError: if x is not a tensor of real numbers.
            RuntimeError: if G has changed since the distribution was made.
        """
        check_tensor(x, "x")
        probes = self._generate(self._z[::_PROBES])
        if not torch.allclose(probes.detach(), self._probes, rtol=1e-10, atol=1e-12):
            raise RuntimeError("G has changed since this Pushforward was made: make a new one")
        flat = x.double().reshape(-1)
        wanted = torch.is_grad_enabled() and (probes.requires_grad or flat.requires_grad)
        branch, cell, target = self._cells(flat.detach())
        terms = torch.full((len(self._branches), len(flat)), -math.inf, dtype=torch.float64)
        if len(target):
            root = self._invert(flat.detach()[target], cell)
            terms = terms.index_put((branch, target), self._log_prob_at(root, flat[target], cell, wanted))
        singular, somewhere = (terms == math.inf).any(0), (terms > -math.inf).any(0)
        plain = somewhere & ~singular
        total = terms.where(plain, 0.0).logsumexp(0)
        elsewhere = torch.where(singular, math.inf, -math.inf).where(~flat.isnan(), math.nan)
        return torch.where(plain, total, elsewhere).reshape(x.shape)

    def density(self) -> Density:
        """What quadrature must know: the branches' images as support, critical values as singular points."""
        kinks = self._at_kinks()
        bent = {z.item(): x for z, x in zip(self._kinks[1], kinks, strict=True)}
        critical = {
            z.item(): bent.get(z.item(), x)
            for z, x in zip(self._critical, self._generate(self._critical), strict=True)
        }
        at_ends = self._generate(torch.stack([end.nan_to_num() for end in self._prior.support[0]]))
        support = []
        for first, last in self._branches:
            image = []
            for i, outwards in ((first, -1), (last, 1)):
                side, z = (1 + outwards) // 2, self._z[i].item()
                if z in critical:
                    image.append(critical[z])
                elif 0 < i < len(self._z) - 1:  # G leaps there
                    image.append(self._x[i])
                else:
                    finite = torch.isfinite(self._prior.support[0][side])
                    image.append(at_ends[side] if finite else self._limit(i, outwards))
            support.append((torch.minimum(*image), torch.maximum(*image)))
        singular = [*critical.values(), *(end for image in support for end in image)]
        low, high = (torch.stack(ends).detach() for ends in zip(*support, strict=True))
        seen = [self._x[first : last + 1] for first, last in self._branches]
        least, largest = torch.stack([x.min() for x in seen]), torch.stack([x.max() for x in seen])

        def log_prob(x: Tensor) -> Tensor:
            log_p, column = self.log_prob(x), x.unsqueeze(1)
            unseen = ((low < column) & (column < least)) | ((largest < column) & (column < high))
            # Where only a z can lead that is too far out to be looked at, the density is positive, too.
            return torch.where(unseen.any(1) & (log_p == -math.inf), LEAST, log_p)

        return Density(
            log_prob,
            support,
            knots=self._x[:: len(self._x) // _KNOTS].numpy(),
            singular=[point for point in singular if torch.isfinite(point)],
            has_tails=True,
            jumps=[x for z, x in bent.items() if z not in critical],
            closest=self._closest(),
        )

    def _closest(self) -> float:
        """How near to a critical value x no longer tells z: where z has spent six of its digits."""
        beside = self._generate(self._critical * (1 + 1e-6)) - self._generate(self._critical)
        return beside.detach().abs().max().item() if len(beside) else 0.0

    def _at_kinks(self) -> Tensor:
        """G where its slope jumps, (k,): attached to how the kink moves, which both sides of it tell."""
        low, high = self._kinks
        if not len(low):
            return low
        at_low, at_high = self._generate(low), self._generate(high)
        slope_low, slope_high = (self._generate_with_slope(z)[1] for z in (low, high))
        apart = at_high - at_low
        return at_low + slope_low * (apart - apart.detach()) / (slope_low - slope_high)

    def _limit(self, i: int, outwards: int) -> Tensor:
        """Where G tends on an outer branch: its last steps, to points ever farther off, shrink or do not."""
        last, step = self._generate(self._z[[i]])[0], (self._x[i] - self._x[i - outwards])
        shrinks = step.abs() < (self._x[i - outwards] - self._x[i - 2 * outwards]).abs() / 2
        return torch.where(shrinks | (step == 0), last, step.sign() * math.inf)

    def _generate(self, z: Tensor) -> Tensor:
        """G on a float64 tensor (n,), a module's parameters taken in float64."""
        column = z.unsqueeze(1)
        if isinstance(self.G, torch.nn.Module):
            state = {**dict(self.G.named_parameters()), **dict(self.G.named_buffers())}
            double = {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
            x = torch.func.functional_call(self.G, double, (column,))
        else:
            x = self.G(column)
        check_elementwise(x, column, "G")
        return x.double().squeeze(1)

    def _generate_with_slope(self, z: Tensor, wanted: bool = False) -> tuple[Tensor, Tensor]:
        """G(z) and G'(z), (n,) each; attached to z and to the parameters of G where that is wanted."""
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            x = self._generate(z)
            if not x.requires_grad:  # G is piecewise constant, or leaves autograd
                return x, torch.zeros_like(x)
            (slope,) = torch.autograd.grad(x.sum(), z, create_graph=wanted, materialize_grads=True)
        return (x, slope) if wanted else (x.detach(), slope)

    def _find_branches(self) -> None:
        """Cut the support of the prior where G turns or stands still, by its slope on a grid."""
        z = self._grid()
        x, slope = self._generate_with_slope(z)
        some = torch.arange(len(z) - 1, -1, -7)
        if not torch.allclose(self._generate(z[some]), x[some], rtol=1e-9, atol=1e-12):
            raise ValueError("G must be elementwise: G at one z must not depend on the other z")
        mass = (self._prior.log_prob(z).exp()[1:] + self._prior.log_prob(z).exp()[:-1]) / 2 * z.diff()
        atom = (slope[1:] == 0) & (slope[:-1] == 0)
        held = mass[atom].sum().item()
        if held > _FLAT_MASS:
            at_z, at_x = z[:-1][atom][0].item(), x[:-1][atom][0].item()
            raise ValueError(
                f"G(z) must have a density, but its slope is 0 on a set of prior mass {held:.3g}, near z = "
                f"{at_z:.4g}, G(z) = {at_x:.4g}: there is an atom, or something that autograd cannot follow"
            )
        bends = slope.diff().abs()
        neighbours = torch.minimum(torch.roll(bends, 1), torch.roll(bends, -1))
        bent = torch.where((bends > 4 * neighbours) & (bends > 1e-9 * slope.abs().max()))[0]
        low, high = self._narrow_kinks(z[bent], z[bent + 1], slope.abs().max())
        (at_low, slope_low), (at_high, slope_high) = map(self._generate_with_slope, (low, high))
        steps = (high - low) * (slope_low.abs() + slope_high.abs())  # large beside a pole at which G turns
        apart = (at_high - at_low).abs() > _LEAP * x.abs().median() + steps
        self._kinks = low[~apart], high[~apart]
        against = (x.diff() * slope[1:] < 0) & (x.diff() * slope[:-1] < 0)
        back = self._narrow(z[:-1][against], z[1:][against], self._goes_on)
        leaps = [torch.cat(parts).unique() for parts in zip((low[apart], high[apart]), back, strict=True)]
        beside = self._generate(torch.cat(leaps)).abs()
        if len(beside) and not beside.max() < _POLE * (1 + x.abs().median()):
            raise ValueError(
                f"G must be finite on the support of the prior, got a pole at z = {leaps[0][0].item():.6g}"
            )

        before, here, after = slope[:-2], slope[1:-1], slope[2:]
        stands = torch.where((here == 0) & (before != 0) & (after != 0))[0] + 1
        turns = torch.where(slope[:-1] * slope[1:] < 0)[0]
        least = (here.abs() < before.abs()) & (here.abs() < after.abs()) & (here != 0)
        dips = torch.where(least & (before * after > 0))[0] + 1
        turning = self._narrow(z[turns], z[turns + 1], self._on_the_same_side)[1]
        for kink in self._kinks[1]:  # where G turns at a kink, both were found, to the last digit but one
            turning = torch.where((turning - kink).abs() < 1e-14, kink, turning)
        turning = turning[((turning[:, None] - leaps[1]).abs() > 1e-14).all(1)]
        around = z[dips + 1] - z[dips - 1]
        standing = self._narrow(
            z[dips - 1], z[dips + 1], lambda z, _: self._falls_towards_zero(z, (z.abs() + around) * 1e-7)
        )[1]
        standing = standing[self._generate_with_slope(standing)[1].abs() < 1e-9 * slope.abs().median()]
        self._critical = torch.cat((z[stands], turning, standing)).unique()
        if len(self._critical) + len(leaps[0]) > _MOST_BRANCHES:
            raise ValueError(
                f"G must turn at most {_MOST_BRANCHES} times on the support of the prior, got more"
            )

        self._z = torch.cat((z, self._beyond(z), self._critical, *self._kinks, *leaps)).unique()
        self._x, self._slope = self._generate_with_slope(self._z)
        self._probes = self._generate(self._z[::_PROBES])
        firsts, lasts = [0], []
        for i in torch.where(torch.isin(self._z, torch.cat((self._critical, leaps[0]))))[0].tolist():
            lasts.append(i)
            firsts.append(i + 1 if self._z[i] in leaps[0] else i)
        branches = [(a, b) for a, b in zip(firsts, [*lasts, len(self._z) - 1], strict=True) if a < b]
        self._branches = self._worth_keeping(branches)

    def _worth_keeping(self, branches: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Without the branches of next to no prior mass that only add to where another one has much more."""
        found = []
        for first, last in branches:
            z, x = (v[first : last + 1] for v in (self._z, self._x))
            found.append(
                (torch.trapezoid(self._prior.log_prob(z).exp(), z).item(), x.min().item(), x.max().item())
            )
        large = [(low, high) for mass, low, high in found if mass > 0.01]
        return [
            branch
            for branch, (mass, low, high) in zip(branches, found, strict=True)
            if mass > _NEGLIGIBLE_MASS or not any(a <= low and high <= b for a, b in large)
        ]

    def _grid(self) -> Tensor:
        """Points z, ascending, fine where the prior has structure."""
        low, high = (end.item() for end in self._prior.support[0])
        edges = np.unique(np.r_[[end for end in (low, high) if math.isfinite(end)], self._prior.knots])
        edges = edges[(edges >= low) & (edges <= high)]
        pieces = -(-_GRID // (len(edges) - 1))
        inner = np.interp(np.arange((len(edges) - 1) * pieces + 1) / pieces, np.arange(len(edges)), edges)
        z = torch.from_numpy(np.unique(inner))
        x = self._generate(z)
        finite = torch.isfinite(x)
        lost = ~finite & (self._prior.log_prob(z) > math.log(_FLAT_MASS))
        if lost.any():
            at_z, at_x = z[lost][0].item(), x[lost][0].item()
            raise ValueError(f"G must be finite on the support of the prior, got {at_x} at z = {at_z:.6g}")
        return z[finite]

    def _beyond(self, z: Tensor) -> Tensor:
        """Points ever farther out, where the prior goes on and G with it: they show where G tends."""
        low, high = self._prior.support[0]
        found = []
        for end, at, outwards in ((low, z[:1], -1), (high, z[-1:], 1)):
            beyond = at + outwards * (z[-1] - z[0]) * _FARTHER
            values, slopes = self._generate_with_slope(beyond)
            onwards = (slopes * self._generate_with_slope(at)[1] > 0) | (slopes == 0)  # where G saturates
            goes_on = torch.isfinite(values) & onwards & torch.isinf(end)
            found.append(beyond[goes_on.long().cumprod(0).bool()])
        return torch.cat(found)

    def _cells(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where G(z) = x: branches, cells (between z[cell] and z[cell + 1]) and indices of x, (k,) each."""
        found = []
        for i, (first, last) in enumerate(self._branches):
            values = self._x[first : last + 1]
            rising = bool(values[-1] > values[0])
            values = values if rising else values.flip(0)
            inside = torch.where((x >= values[0]) & (x <= values[-1]))[0]
            step = torch.searchsorted(values.cummax(0).values, x[inside]).clamp(min=1) - 1
            found.append((torch.full_like(inside, i), first + step if rising else last - 1 - step, inside))
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    def _invert(self, x: Tensor, cell: Tensor) -> Tensor:
        """The z in a cell with G(z) = x, (n,): bracketed Newton, from a power law through the cell's ends."""
        a, b, at_a, at_b = self._z[cell], self._z[cell + 1], self._x[cell], self._x[cell + 1]
        flat = (
            self._slope[cell].abs() < self._slope[cell + 1].abs()
        )  # at a, where G - G(a) may go like a power
        origin, other = torch.where(flat, a, b), torch.where(flat, b, a)
        rise = torch.where(flat, at_b - at_a, at_a - at_b)
        steepness = torch.where(flat, self._slope[cell + 1], self._slope[cell])
        power = (steepness * (other - origin) / rise).nan_to_num(1.0).clamp(1.0, 16.0)
        part = ((x - torch.where(flat, at_a, at_b)) / rise).nan_to_num(0.5).clamp(0.0, 1.0)
        z = origin + (other - origin) * part ** (1 / power)
        low, high = torch.where(at_a < at_b, a, b), torch.where(at_a < at_b, b, a)
        for step in range(_STEPS):  # pragma: no branch  (all roots have settled long before the last step)
            value, slope = self._generate_with_slope(z)
            low, high = torch.where(value < x, z, low), torch.where(value < x, high, z)
            newton = z - (value - x) / slope
            settled = (value == x) | ((newton - z).abs() <= 1e-13 * z.abs())
            between = (newton - low) * (newton - high) < 0
            following = torch.where(between & (step % 4 < 3), newton, _middle(low, high))
            settled |= (following == low) | (following == high)
            z = torch.where(settled, z, following)
            if settled.all():
                break
        return z

    def _log_prob_at(self, root: Tensor, x: Tensor, cell: Tensor, wanted: bool) -> Tensor:
        """Log p_z(z) - log |G'(z)| at the roots z; -inf where G jumps over x."""
        value, slope = self._generate_with_slope(root, wanted)
        reached = (value - x).detach().abs() <= 1e-9 * (
            (self._x[cell + 1] - self._x[cell]).abs() + x.detach().abs()
        )
        if wanted:  # a Newton step leaves the root where it is, and gives it the derivatives of the inverse
            root = root + torch.where(slope == 0, 0.0, (x - value) / slope.where(slope != 0, 1.0).detach())
            _, slope = self._generate_with_slope(root, wanted)
        at_root = self._prior.log_prob(root) - slope.where(slope != 0, 1.0).abs().log()
        return torch.where(slope == 0, math.inf, at_root).where(reached, -math.inf)

    def _narrow(
        self, low: Tensor, high: Tensor, lies_above: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Bisection down to neighbouring floats: `lies_above(z, low)` says whether the sought is above z."""
        if not len(low):  # the most common case, and no reason to ask G 64 times
            return low, high
        start = low
        for _ in range(64):
            middle = _middle(low, high)
            above = lies_above(middle, start)
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return low, high

    def _narrow_kinks(self, low: Tensor, high: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """The neighbouring floats between which the slope of G jumps, where it does."""
        slopes = [self._generate_with_slope(z)[1] for z in (low, high)]

        def lies_above(z: Tensor, _: Tensor) -> Tensor:
            slope = self._generate_with_slope(z)[1]
            return (slope - slopes[0]).abs() < (slope - slopes[1]).abs()

        low, high = self._narrow(low, high, lies_above)
        leap = self._generate_with_slope(high)[1] - self._generate_with_slope(low)[1]
        jumps = leap.abs() > 1e-6 * scale
        return low[jumps], high[jumps]

    def _goes_on(self, z: Tensor, start: Tensor) -> Tensor:
        at_start, slope = self._generate_with_slope(start)
        return (self._generate(z).detach() - at_start) * slope >= 0  # 0 at the start, where G may leap

    def _on_the_same_side(self, z: Tensor, start: Tensor) -> Tensor:
        return self._generate_with_slope(z)[1] * self._generate_with_slope(start)[1] > 0

    def _falls_towards_zero(self, z: Tensor, nudge: Tensor) -> Tensor:
        sizes = [self._generate_with_slope(at)[1].abs() for at in (z - nudge, z + nudge)]
        return sizes[1] < sizes[0]


def _middle(low: Tensor, high: Tensor) -> Tensor:
    """The float64 half way between two others in the order of floats, so that 64 halvings reach any float."""
    a, b = (torch.where(i < 0, _INTEGER_MIN - i, i) for i in (low.view(torch.int64), high.view(torch.int64)))
    middle = (a >> 1) + (b >> 1) + (a & b & 1)
    return torch.where(middle < 0, _INTEGER_MIN - middle, middle).view(torch.float64)
