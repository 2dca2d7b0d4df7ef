"""The networks: what they compute, how they start, and that a generator alone decides the start."""

import pytest
import torch
from torch import nn

from gan_theory.mnist import RECIPES
from gan_theory.networks import (
    Affine,
    Conditional,
    Dropout,
    Maxout,
    mlp,
    mnist_discriminator,
    mnist_generator,
    paper_discriminator,
    paper_generator,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_mlp_is_affine_maps_with_activations_between():
    network = mlp(2, 5, 3, generator=seeded())
    first, second = network[0], network[2]
    x = torch.randn(7, 2, generator=seeded(1))
    by_hand = torch.tanh(x @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(network(x), by_hand)
    assert [type(layer) for layer in network] == [nn.Linear, nn.Tanh, nn.Linear]


def test_mlp_of_two_widths_is_one_affine_map():
    (layer,) = mlp(2, 3, generator=seeded())
    assert isinstance(layer, nn.Linear)


def test_hidden_units_are_normalised_over_the_batch():
    network, x = mlp(2, 5, 3, batch_norm=True, generator=seeded()), torch.randn(7, 2, generator=seeded(1))
    assert [type(layer) for layer in network] == [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Linear]
    first, norm, _, second = network
    nn.init.uniform_(norm.weight, generator=seeded(2))
    nn.init.uniform_(norm.bias, generator=seeded(3))
    assert first.bias is None, "normalisation would take it off"
    hidden = x @ first.weight.T
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


def players(recipe, seed=0):
    random = seeded(seed)
    return RECIPES[recipe].generator(generator=random), RECIPES[recipe].discriminator(generator=random)


def told(layer):
    """What decides a layer: its kind, its sizes, whether it has a shift of its own, and its constants."""
    match layer:
        case nn.Linear():
            numbers = layer.in_features, layer.out_features, layer.bias is not None
        case nn.Conv2d() | nn.ConvTranspose2d():
            (size, _), (stride, _), (padding, _) = layer.kernel_size, layer.stride, layer.padding
            numbers = layer.in_channels, layer.out_channels, size, stride, padding, layer.bias is not None
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            numbers = (layer.num_features,)
        case nn.LeakyReLU():
            numbers = (layer.negative_slope,)
        case nn.Unflatten():
            numbers = tuple(layer.unflattened_size)
        case Dropout():
            numbers = (1 - layer.keep,)
        case Maxout():
            numbers = layer.affine.in_features, layer.affine.out_features // layer.pieces, layer.pieces
        case Affine():
            numbers = layer.scale, layer.shift
        case _:
            numbers = ()
    return type(layer).__name__, *numbers


def perceptrons(labels):
    """The players of `book`, and of `cgan`, in which both are told the label."""
    G = [("Linear", 100 + labels, 512, False), ("BatchNorm1d", 512), ("ReLU",)]
    G += [("Linear", 512, 512, False), ("BatchNorm1d", 512), ("ReLU",), ("Linear", 512, 784, True), ("Tanh",)]
    D = [("Linear", 784 + labels, 512, True), ("LeakyReLU", 0.2), ("Linear", 512, 256, True)]
    return G, [*D, ("LeakyReLU", 0.2), ("Linear", 256, 1, True)]


LAYERS = {
    "book": perceptrons(0),
    "cgan": perceptrons(10),
    "dcgan": (
        [
            *[("Linear", 100, 2048, False), ("BatchNorm1d", 2048), ("ReLU",), ("Unflatten", 128, 4, 4)],
            *[("ConvTranspose2d", 128, 48, 3, 2, 1, False), ("BatchNorm2d", 48), ("ReLU",)],
            *[("ConvTranspose2d", 48, 24, 4, 2, 1, False), ("BatchNorm2d", 24), ("ReLU",)],
            *[("ConvTranspose2d", 24, 1, 4, 2, 1, True), ("Tanh",), ("Flatten",)],
        ],
        [
            *[("Unflatten", 1, 28, 28), ("Conv2d", 1, 24, 4, 2, 1, True), ("LeakyReLU", 0.2)],
            *[("Conv2d", 24, 48, 4, 2, 1, True), ("LeakyReLU", 0.2)],
            *[("Conv2d", 48, 128, 3, 2, 1, True), ("LeakyReLU", 0.2)],
            *[("Flatten",), ("Linear", 2048, 1, True)],
        ],
    ),
    "paper": (
        [
            *[("Linear", 100, 1200, True), ("ReLU",), ("Linear", 1200, 1200, True), ("ReLU",)],
            *[("Linear", 1200, 784, True), ("Sigmoid",), ("Affine", 2.0, -1.0)],
        ],
        [
            *[("Affine", 0.5, 0.5), ("Dropout", 0.2), ("Maxout", 784, 240, 5)],
            *[("Dropout", 0.5), ("Maxout", 240, 240, 5), ("Dropout", 0.5), ("Linear", 240, 1, True)],
        ],
    ),
}


@pytest.mark.parametrize("recipe", LAYERS)
def test_layers_are_those_of_the_recipe(recipe):
    for network, layers in zip(players(recipe), LAYERS[recipe], strict=True):
        own = network.generator if isinstance(network, Conditional) else network
        for layer, (kind, *numbers) in zip(own, layers, strict=True):
            assert told(layer) == (kind, *map(pytest.approx, numbers))


def test_a_conditional_generator_hands_the_label_on():
    z = torch.randn(5, 4, generator=seeded())
    for labels in (1, 3):
        torch.testing.assert_close(
            Conditional(nn.Tanh(), labels)(z), torch.cat([z.tanh(), z[:, -labels:]], dim=1)
        )


@pytest.mark.parametrize("recipe", RECIPES)
def test_players_speak_of_784_pixels_between_minus_one_and_one(recipe):
    G, D = players(recipe)
    conditional, dimensions = RECIPES[recipe].conditional, RECIPES[recipe].noise_dimensions
    z = torch.randn(6, dimensions + 10 * conditional, generator=seeded(1))
    samples = G(30 * z)
    assert samples.shape == (6, 784 + 10 * conditional)
    assert samples[:, :784].abs().max() <= 1 and samples[:, :784].std() > 0.01
    assert D(samples).shape == (6, 1)
    if conditional:
        torch.testing.assert_close(samples[:, 784:], 30 * z[:, dimensions:], rtol=0, atol=0)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_discriminator_judges_each_image_alone(recipe):
    _, D = players(recipe)
    D.eval()
    x = torch.rand(6, 784 + 10 * RECIPES[recipe].conditional, generator=seeded(1)) * 2 - 1
    torch.testing.assert_close(D(x), torch.cat([D(image[None]) for image in x]), rtol=1e-4, atol=1e-6)
    D.train()
    assert not any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in D.modules())


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_generator_given_decides_the_start_of_every_player(recipe):
    before = torch.get_rng_state()
    first, again, other = (players(recipe, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state()), "the global generator was used"
    for a, b, c in zip(first, again, other, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
        assert not torch.equal(next(iter(a.parameters())), next(iter(c.parameters())))


def test_dcgan_starts_at_normal_weights():
    for network in players("dcgan"):
        for layer in network:
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.25)
                assert layer.weight.mean().item() == pytest.approx(0.0, abs=0.005)
                assert layer.bias is None or not layer.bias.any()


def test_paper_starts_as_the_authors_do():
    for network, scale in ((paper_generator, 0.05), (paper_discriminator, 0.005)):
        for layer in network(generator=seeded()).modules():
            if isinstance(layer, nn.Linear):
                assert 0.9 * scale < layer.weight.abs().max() <= scale and not layer.bias.any()


def test_maxout_is_the_largest_of_its_pieces():
    layer, x = Maxout(3, 4, 5, scale=1.0, generator=seeded()), torch.randn(7, 3, generator=seeded(1))
    pieces = torch.stack([
        x @ layer.affine.weight[i::5].T + layer.affine.bias[i::5] for i in range(5)
    ])  # fmt: skip
    torch.testing.assert_close(layer(x), pieces.max(0).values)


def test_dropout_keeps_the_mean_and_stands_aside_in_use():
    x = torch.ones(400, 500)
    dropped = Dropout(0.2, generator=seeded())(x)
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(Dropout(0.2, generator=seeded())(x), dropped)
    assert torch.equal(Dropout(0.2).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert set(Dropout(0.5)(x).unique().tolist()) == {0.0, 2.0}, "PyTorch's global generator serves as well"


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_maxout_must_start_somewhere(scale):
    with pytest.raises(ValueError, match=f"scale must be positive and finite, not {scale}"):
        Maxout(3, 4, 5, scale=scale)
