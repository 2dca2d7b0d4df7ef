"""The ring of modes, and what is counted on it."""

import math

import pytest
import torch
from scipy import stats

from gan_theory.ring import Coverage, Ring


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("modes", [1, 2, 5, 8])
def test_centres_are_the_roots_of_unity(modes):
    centres = Ring(modes=modes, radius=3.0).centres.double()
    z = torch.complex(centres[:, 0], centres[:, 1]) / 3
    assert torch.allclose(z**modes, torch.ones_like(z), atol=1e-5)
    if modes > 1:
        gaps = torch.cdist(centres, centres).fill_diagonal_(math.inf).min(dim=1).values
        assert gaps.tolist() == pytest.approx([6 * math.sin(math.pi / modes)] * modes, rel=1e-5)


def test_samples_come_from_the_mixture():
    ring = Ring()
    samples = ring.sample(40_000, generator())
    distance, nearest = torch.cdist(samples, ring.centres).min(dim=1)
    assert stats.chisquare(torch.bincount(nearest, minlength=8)).pvalue > 1e-3
    assert stats.kstest(distance / ring.scale, stats.rayleigh.cdf).pvalue > 1e-3
    assert ring.sample(0, generator()).shape == (0, 2)
    assert not torch.equal(ring.sample(5, generator(1)), ring.sample(5, generator(2)))
    assert torch.equal(ring.sample(5, generator(1)), ring.sample(5, generator(1)))


def test_the_ring_covers_itself():
    modes_hit, high_quality = Ring().coverage(Ring().sample(40_000, generator()))
    assert modes_hit == 8
    assert high_quality == pytest.approx(1 - math.exp(-4.5), abs=5 * 0.105 / 200)  # five standard errors


def test_what_counts_as_near_and_as_hit():
    at_the_edge = torch.tensor([[2.75, 0.0]])  # of three standard deviations, in numbers that are exact
    assert Ring(radius=2.0, scale=0.25).coverage(at_the_edge, least=1) == Coverage(1, 1.0)
    ring = Ring(radius=2.0, scale=0.2)
    inside, outside = torch.tensor([[2.599, 0.0]]), torch.tensor([[2.601, 0.0]])
    at_left = torch.tensor([[-2.0, 0.0]])
    assert ring.coverage(inside, least=1) == Coverage(1, 1.0)
    assert ring.coverage(outside, least=1) == Coverage(0, 0.0)
    samples = torch.cat([inside.repeat(20, 1), at_left.repeat(19, 1), outside])
    assert ring.coverage(samples) == Coverage(1, 39 / 40)
    assert ring.coverage(samples, least=19) == Coverage(2, 39 / 40)
    assert ring.coverage(samples.double()) == ring.coverage(samples.half()) == Coverage(1, 39 / 40)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modes": 0}, "modes must be a positive integer, got 0"),
        ({"modes": 2.0}, "modes must be a positive integer, got 2.0"),
        ({"radius": -1.0}, "radius must be positive and finite, got -1.0"),
        ({"scale": 0.0}, "scale must be positive and finite, got 0.0"),
        ({"scale": math.nan}, "scale must be positive and finite, got nan"),
    ],
)
def test_no_ring(arguments, message):
    with pytest.raises(ValueError, match=message):
        Ring(**arguments)


@pytest.mark.parametrize(
    ("samples", "least", "message"),
    [
        (torch.zeros(0, 2), 1, "samples must have shape"),
        (torch.zeros(2), 1, r"samples must have shape \(n, 2\), n at least 1, got \(2,\)"),
        (torch.full((3, 2), math.nan), 1, "samples must be finite"),
        (torch.zeros(3, 2), 0, "least must be a positive integer, got 0"),
    ],
)
def test_nothing_to_count(samples, least, message):
    with pytest.raises(ValueError, match=message):
        Ring().coverage(samples, least=least)
