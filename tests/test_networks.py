"""The networks: what they compute, how they start, and that a generator alone decides the start."""

import pytest
import torch
from torch import nn

from gan_theory.networks import mlp, mnist_discriminator, mnist_generator


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_mlp_is_affine_maps_with_activations_between():
    network = mlp(2, 5, 3, generator=seeded())
    first, second = network[0], network[2]
    x = torch.randn(7, 2, generator=seeded(1))
    by_hand = torch.tanh(x @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(network(x), by_hand)
    assert [type(layer) for layer in network] == [nn.Linear, nn.Tanh, nn.Linear]


def test_hidden_units_are_normalised_over_the_batch():
    network, x = mlp(2, 5, 3, batch_norm=True, generator=seeded()), torch.randn(7, 2, generator=seeded(1))
    assert [type(layer) for layer in network] == [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Linear]
    first, norm, _, second = network
    nn.init.uniform_(norm.weight, generator=seeded(2))
    nn.init.uniform_(norm.bias, generator=seeded(3))
    hidden = x @ first.weight.T + first.bias
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + norm.eps).sqrt()
    by_hand = torch.tanh(hidden * norm.weight + norm.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(network(x), by_hand)


def test_mlp_starts_as_pytorch_does():
    """With no generator given, parameters are those of `nn.Linear` after the same global seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = mlp(784, 256, 1)
        torch.manual_seed(0)
        theirs = nn.Sequential(nn.Linear(784, 256), nn.Tanh(), nn.Linear(256, 1))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_generator_alone_decides_the_start():
    before = torch.get_rng_state()
    a, b, c = (mnist_generator(generator=seeded(seed)).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state()), "the global generator was used"
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not any(torch.equal(a[name], c[name]) for name in a)


def test_seed_recipe_discriminator():
    D = mnist_discriminator(generator=seeded())
    assert [tuple(p.shape) for p in D.parameters()] == [
        (256, 784),
        (256,),
        (256, 256),
        (256,),
        (1, 256),
        (1,),
    ]
    slopes = [layer.negative_slope for layer in D if isinstance(layer, nn.LeakyReLU)]
    assert slopes == [0.2, 0.2]
    assert isinstance(D[-1], nn.Linear), "D must end in a logit"


def test_seed_recipe_generator():
    G = mnist_generator(generator=seeded())
    assert [tuple(p.shape) for p in G.parameters()] == [
        (256, 100),
        (256,),
        (256, 256),
        (256,),
        (784, 256),
        (784,),
    ]
    assert sum(isinstance(layer, nn.ReLU) for layer in G) == 2
    samples = G(1e3 * torch.randn(16, 100, generator=seeded(1)))
    assert samples.shape == (16, 784)
    assert samples.abs().max() == 1.0, "tanh must bound the pixels"


@pytest.mark.parametrize("widths", [(), (3,), (3, 0, 1), (3, -1), (3, 2.0)])
def test_widths_are_checked(widths):
    with pytest.raises(ValueError, match="widths must be two or more positive integers"):
        mlp(*widths)
