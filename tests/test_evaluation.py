"""The measures of digits: Parzen windows, Fréchet distance, classes, against oracles of their own."""

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from sklearn.neighbors import KernelDensity

from gan_theory.likelihood import ParzenWindow, parzen_sigma
from gan_theory.mnist import load_mnist
from gan_theory.mnist.classifier import Classifier, train_classifier
from gan_theory.mnist.evaluation import (
    averaged,
    blurred,
    centroids,
    class_divergence,
    frechet_distance,
    nearest,
    parzen,
    sharpness,
)


@pytest.fixture(scope="module")
def digits():
    return torch.from_numpy(load_mnist().x_train[:3000]).double() / 255


@pytest.fixture
def dice():
    return torch.Generator().manual_seed(0)


# Parzen windows.


def test_digits_have_the_density_that_scikit_learn_finds(digits):
    samples, x = digits[:400], digits[400:450]
    theirs = KernelDensity(bandwidth=0.2, leaf_size=400).fit(samples.flatten(1)).score_samples(x.flatten(1))
    np.testing.assert_allclose(ParzenWindow(samples, 0.2).log_prob(x), theirs, rtol=1e-10)


def test_one_window_is_a_normal_density(digits):
    (centre,), x = digits[:1], digits[1:4]
    exact = stats.norm.logpdf(x, centre, 0.3).sum(axis=(1, 2))
    np.testing.assert_allclose(ParzenWindow(digits[:1], 0.3).log_prob(x), exact, rtol=1e-12)


def test_neither_the_order_nor_the_parts_of_the_images_matter(digits, dice, monkeypatch):
    samples, held_out, test = digits[:500], digits[500:600], digits[600:800]
    whole = parzen(samples, held_out, test)
    shuffled = parzen(
        *(part[torch.randperm(len(part), generator=dice)] for part in (samples, held_out, test))
    )
    monkeypatch.setattr("gan_theory.likelihood._CHUNK", 7 * 500)
    in_parts = parzen(samples, held_out, test)
    np.testing.assert_allclose([shuffled, in_parts], [whole, whole], rtol=1e-9)


def test_the_width_is_the_most_likely_one_on_the_held_out_images(digits):
    samples, held_out = digits[:500], digits[500:600]
    widths = [0.15, 0.2, 0.25, 0.3, 0.4]
    means = [ParzenWindow(samples, width).log_prob(held_out).mean() for width in widths]
    assert parzen_sigma(samples, held_out, widths) == widths[int(np.argmax(means))]
    found = parzen(samples, held_out, digits[600:700])
    near = [ParzenWindow(samples, found.sigma * f).log_prob(held_out).mean() for f in (0.95, 1.0, 1.05)]
    assert near[1] > near[0] and near[1] > near[2]


def test_the_error_is_that_of_the_mean_over_the_test_images(digits):
    samples, held_out, test = digits[:500], digits[500:600], digits[600:700]
    found = parzen(samples, held_out, test)
    each = ParzenWindow(samples, found.sigma).log_prob(test)
    np.testing.assert_allclose(found[:2], [each.mean(), stats.sem(each)], rtol=1e-12)


@pytest.mark.parametrize("widths", [[0.3, 0.5, 0.7], [0.05, 0.1, 0.15]])
def test_a_best_width_at_the_edge_is_refused(digits, widths):
    with pytest.raises(
        ValueError, match=f"at the edge of the grid, which goes from {widths[0]} to {widths[-1]}; widen"
    ):
        parzen_sigma(digits[:500], digits[500:600], widths)


@pytest.mark.parametrize("widths", [[], [0.1, 0.2], [0.1, 0.3, 0.2], [0.1, 0.1, 0.2], [0.0, 0.1, 0.2]])
def test_a_grid_that_is_none_is_refused(digits, widths):
    with pytest.raises(ValueError, match="sigmas must be three or more ascending numbers"):
        parzen_sigma(digits[:5], digits[5:9], widths)


@pytest.mark.parametrize("held_out", [torch.zeros(0, 28, 28), torch.zeros(3, 27, 28)])
def test_held_out_images_of_another_shape_are_refused(digits, held_out):
    with pytest.raises(ValueError, match=r"held_out must have shape \(m,\) \+ \(28, 28\) with m >= 1"):
        parzen_sigma(digits[:5], held_out, [0.1, 0.2, 0.3])


# The Fréchet distance.


def test_frechet_distance_against_the_matrix_root_of_scipy(dice):
    x = torch.randn(500, 6, generator=dice) @ torch.randn(6, 6, generator=dice)
    y = 1 + torch.randn(300, 6, generator=dice) @ torch.randn(6, 6, generator=dice)
    covariances = [np.cov(z.double().numpy(), rowvar=False) for z in (x, y)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    means = (x.double().mean(0) - y.double().mean(0)).square().sum()
    exact = means.item() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(exact, rel=1e-8)
    assert frechet_distance(y, x) == pytest.approx(exact, rel=1e-8)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-8)


def test_frechet_distance_on_the_line_is_that_of_means_and_scales(dice):
    x, y = torch.randn(1000, 1, generator=dice), 2 + 3 * torch.randn(1000, 1, generator=dice)
    exact = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert frechet_distance(x, y) == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize(("x", "y"), [((5, 2), (5, 3)), ((1, 2), (5, 2)), ((5,), (5,))])
def test_frechet_distance_refuses_other_shapes(x, y):
    with pytest.raises(ValueError, match="x and y must be"):
        frechet_distance(torch.zeros(x), torch.zeros(y))


# Classes, sharpness, neighbours.


def test_class_divergence_is_that_of_scipy(dice):
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    classes = torch.randint(3, (500,), generator=dice)
    found = torch.bincount(classes, minlength=4) / 500
    assert class_divergence(classes, shares) == pytest.approx(stats.entropy(found, shares), rel=1e-6)


@pytest.mark.parametrize(
    ("classes", "shares", "message"),
    [
        ([], [0.5, 0.5], "at least one"),
        ([0, 2], [0.5, 0.5], "from 0 to 1"),
        ([-1], [0.5, 0.5], "from 0 to 1"),
        ([0], [0.5, 0.6], "sum 1"),
        ([0], [1.0, 0.0], "positive"),
    ],
)
def test_class_divergence_refuses(classes, shares, message):
    with pytest.raises(ValueError, match=message):
        class_divergence(torch.tensor(classes, dtype=torch.long), torch.tensor(shares))


def test_blurred_digits_are_less_sharp(digits):
    assert 0 < sharpness(blurred(digits[:100])) < 0.8 * sharpness(digits[:100])
    assert sharpness(torch.ones(2, 5, 5)) == 0


def test_the_nearest_digit_of_a_digit_is_itself(digits):
    chosen = torch.tensor([3, 1, 2])
    assert nearest(digits[chosen] + 0.01, digits).tolist() == chosen.tolist()


# The classifier.


def test_a_classifier_learns_digits_and_can_be_repeated(digits):
    labels, images = torch.from_numpy(load_mnist().y_train[:3000]).long(), digits.float()

    def look(number, epochs):
        random = torch.Generator().manual_seed(0)
        *_, (classifier, _) = train_classifier(images[:number], labels[:number], epochs=epochs, random=random)
        return classifier.look(images[2000:])

    learnt = look(2000, epochs=4)
    assert (learnt.logits.argmax(1) == labels[2000:]).float().mean() > 0.9
    assert learnt.features.shape == (1000, 128)
    torch.testing.assert_close(look(300, epochs=2).logits, look(300, epochs=2).logits, rtol=0, atol=0)


def test_a_look_does_not_depend_on_the_parts(digits):
    classifier = Classifier(torch.Generator().manual_seed(0))
    looks = [classifier.look(digits[:50].float(), batch_size=size) for size in (50, 7)]
    torch.testing.assert_close(looks[0].logits, looks[1].logits)


# What no GAN has made.


def test_a_blur_spreads_the_ink_of_a_pixel_over_nine():
    dot = torch.zeros(1, 5, 5)
    dot[0, 2, 1] = 9.0
    expected = torch.zeros(1, 5, 5)
    expected[0, 1:4, 0:3] = 1.0
    torch.testing.assert_close(blurred(dot), expected)


def test_averages_are_of_the_nearest():
    images = torch.tensor([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])[:, None, None].expand(6, 2, 2)
    found = averaged(images, neighbours=2)[:, 0, 0].tolist()
    assert found == pytest.approx([1, 1, 1, 11, 11, 11])


def test_centroids_are_the_means_of_what_is_nearest_to_them(dice):
    groups = torch.tensor([-20.0, 0.0, 20.0]).repeat_interleave(50)
    images = (groups[:, None] + torch.randn(150, 4, generator=dice)).unflatten(1, (2, 2))
    found = centroids(images, 3, seed=1)
    nearest_one = nearest(images, found)
    for i in range(3):
        torch.testing.assert_close(found[i], images[nearest_one == i].mean(0), rtol=1e-4, atol=1e-4)
