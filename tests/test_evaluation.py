"""The measures of digits: Parzen windows, Fréchet distance, classes, against oracles of their own."""

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from sklearn.neighbors import KernelDensity
from torch.nn.functional import batch_norm, conv2d, max_pool2d

from gan_theory.likelihood import ParzenWindow, parzen_sigma
from gan_theory.mnist import load_mnist
from gan_theory.mnist.classifier import Classifier, Seen, load_classifier, train_classifier
from gan_theory.mnist.evaluation import (
    Judge,
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


def test_the_width_is_one_of_ten_and_then_of_25_around_the_best_of_them(digits):
    samples, held_out = digits[:200], digits[200:250]
    best = lambda widths: max(widths, key=lambda w: ParzenWindow(samples, w).log_prob(held_out).mean())
    ninths = [0.1 * 10 ** (i / 9) for i in range(10)]
    around = [best(ninths) * 10 ** (i / 108) for i in range(-12, 13)]
    assert parzen(samples, held_out, digits[600:602]).sigma == pytest.approx(best(around), rel=1e-12)


@pytest.mark.parametrize("scale", [0.01, 9.0])
def test_a_width_beyond_a_tenth_or_one_is_not_looked_for(scale, dice):
    samples, held_out, test = scale * torch.randn(3, 200, 2, 2, generator=dice)
    with pytest.raises(ValueError, match=r"at the edge of the grid, which goes from 0\.1 to 1; widen"):
        parzen(samples, held_out, test)


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


@pytest.mark.parametrize("unit", [1.0, 1e-70, 1e70 / 7])
def test_two_points_each_have_a_frechet_distance(unit):
    x = unit * torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    exact = (16 + 2) * unit**2  # (4 - 0)^2, and (2 - 1)^2 times 2
    assert frechet_distance(x, 2 * x + 3 * unit) == pytest.approx(exact, rel=1e-6, abs=0)


@pytest.mark.parametrize(
    ("x", "y"),
    [((5, 2), (5, 3)), ((1, 2), (5, 2)), ((5,), (5,)), ((5, 2), (5, 2, 2)), ((5, 2, 2), (5, 2))],
)
def test_frechet_distance_refuses_other_shapes(x, y):
    with pytest.raises(ValueError, match="x and y must be"):
        frechet_distance(torch.zeros(x), torch.zeros(y))


# Classes, sharpness, neighbours.


def test_class_divergence_is_that_of_scipy(dice):
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    classes = torch.randint(3, (500,), generator=dice)
    found = torch.bincount(classes, minlength=4) / 500
    assert class_divergence(classes, shares) == pytest.approx(stats.entropy(found, shares), rel=1e-6)


def test_class_divergence_is_0_where_the_shares_agree_whatever_their_precision():
    assert class_divergence(torch.arange(10), torch.full((10,), 0.1)) == 0
    assert class_divergence(torch.tensor([0] + [1] * 9), torch.tensor([0.1, 0.9])) == pytest.approx(
        0, abs=1e-14
    )


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


def test_sharpness_is_the_mean_over_all_pairs_of_neighbours():
    # Four pairs side by side, three above each other.
    stripes = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]])
    assert sharpness(stripes) == pytest.approx(3 / 7)
    assert sharpness(stripes.mT) == pytest.approx(3 / 7)
    assert sharpness(torch.tensor([[[0.25, 1.0]]])) == 0.75
    with pytest.raises(ValueError, match="two pixels or more"):
        sharpness(torch.ones(2, 1, 1))


def test_the_nearest_digit_of_a_digit_is_itself(digits):
    chosen = torch.tensor([3, 1, 2])
    assert nearest(digits[chosen] + 0.01, digits).tolist() == chosen.tolist()
    assert nearest(digits[:1], digits[:1]).tolist() == [0]


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


def test_each_time_an_image_is_seen_it_is_shifted_by_up_to_two_pixels(digits, dice, monkeypatch):
    seen = []

    def look(classifier, images):
        seen.append(images)
        return Seen(images, classifier.classes(images.flatten(1)[:, :128]))

    monkeypatch.setattr(Classifier, "forward", look)
    digit = digits[:1].float()  # with more than two pixels of paper around it
    list(train_classifier(digit, torch.tensor([5]), epochs=400, random=dice))
    shifted = [digit.roll((down, right), (1, 2)) for down in range(-2, 3) for right in range(-2, 3)]
    assert {(x.shape, x.numpy().tobytes()) for x in seen} == {(x.shape, x.numpy().tobytes()) for x in shifted}


def test_the_learning_rate_rises_to_0003_and_falls_to_0(digits, dice, monkeypatch):
    adam, made = torch.optim.Adam, []
    monkeypatch.setattr(torch.optim, "Adam", lambda *a, **more: made.append(adam(*a, **more)) or made[-1])
    steps = train_classifier(digits[:5].float(), torch.arange(5), epochs=20, random=dice)
    rates = [made[0].param_groups[0]["lr"] for _ in steps][:-1]  # after a step: the rate of the next one
    highest = rates.index(max(rates))
    assert rates[highest] == pytest.approx(0.003)
    assert rates == sorted(rates[:highest]) + sorted(rates[highest:], reverse=True)
    assert rates[-1] < 1e-6


def test_a_look_is_two_convolutions_that_keep_the_size_and_two_layers(digits):
    classifier, x = load_classifier(), digits[:20].float()
    p, y = classifier.state_dict(), x[:, None]
    for i in (0, 4):
        y = conv2d(y, p[f"convolutions.{i}.weight"], p[f"convolutions.{i}.bias"], padding="same")
        names = [f"convolutions.{i + 1}.{name}" for name in ("running_mean", "running_var", "weight", "bias")]
        y = max_pool2d(batch_norm(y, *(p[name] for name in names)).relu(), 2)
    features = (y.flatten(1) @ p["hidden.weight"].T + p["hidden.bias"]).relu()
    torch.testing.assert_close(classifier.look(x).features, features, rtol=1e-4, atol=1e-4)
    logits = features @ p["classes.weight"].T + p["classes.bias"]
    torch.testing.assert_close(classifier.look(x).logits, logits, rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_images_may_be_of_any_precision(digits, precision):
    few = digits[:20].float()
    rounded, exact = few.to(precision), few.to(precision).double()
    for function in (lambda x: nearest(x, few), averaged, lambda x: centroids(x, 3)):
        wanted = function(exact)
        torch.testing.assert_close(function(rounded.requires_grad_()).to(wanted), wanted, rtol=0, atol=0.01)


def test_distances_have_the_precision_of_the_images():
    """Differences that float32 does not tell."""
    data = 0.5 + torch.tensor([3e-9, 1e-9, 2e-9, 0.5]).double()[:, None, None].expand(4, 2, 2)
    middle = torch.full((1, 2, 2), 0.5).double()
    assert nearest(middle, data).tolist() == nearest(middle.float(), data).tolist() == [1]
    assert averaged(data, 1)[0].mean().item() == pytest.approx(0.5 + 2.5e-9, abs=1e-12)


def test_averages_are_of_the_nearest():
    images = torch.tensor([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])[:, None, None].expand(6, 2, 2)
    found = averaged(images, neighbours=2)[:, 0, 0].tolist()
    assert found == pytest.approx([1, 1, 1, 11, 11, 11])
    torch.testing.assert_close(averaged(images, neighbours=0), images)
    # Of six, if nothing is said.
    torch.testing.assert_close(averaged(images), images.mean(0).expand(6, 2, 2))


def test_centroids_are_the_means_of_what_is_nearest_to_them(dice):
    groups = torch.tensor([-20.0, 0.0, 20.0]).repeat_interleave(50)
    images = (groups[:, None] + torch.randn(150, 4, generator=dice)).unflatten(1, (2, 2))
    found = centroids(images, 3, seed=1)
    nearest_one = nearest(images, found)
    for i in range(3):
        torch.testing.assert_close(found[i], images[nearest_one == i].mean(0), rtol=1e-4, atol=1e-4)


def test_centroids_may_be_one_or_as_many_as_the_images(digits):
    torch.testing.assert_close(centroids(digits[:9], 1)[0], digits[:9].mean(0).float())
    torch.testing.assert_close(centroids(digits[:1], 1), digits[:1].float())
    found = centroids(digits[:9], 9)
    assert nearest(digits[:9].float(), found).sort().values.tolist() == list(range(9))
    seeded = [centroids(digits[:50], 5, seed=seed) for seed in (0, 1, 2**32 - 1)]
    assert torch.equal(centroids(digits[:50], 5), seeded[0])
    assert not any(torch.equal(one, seeded[0]) for one in seeded[1:])


# The judge.


@pytest.fixture(scope="module")
def mnist():
    whole = load_mnist()
    return whole._replace(x_train=whole.x_train[:53_010], x_test=whole.x_test[:200])


@pytest.fixture(scope="module")
def classifier():
    return Classifier(torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def judge(mnist, classifier):
    return Judge(mnist, classifier)


def test_the_test_digits_judge_and_the_first_thousand_held_out_give_the_width(mnist, classifier, judge):
    pixels = lambda images: torch.tensor(images / np.float32(255))
    torch.testing.assert_close(judge.held_out, pixels(mnist.x_train[50_000:51_000]), rtol=0, atol=0)
    torch.testing.assert_close(judge.judging, pixels(mnist.x_test), rtol=0, atol=0)
    torch.testing.assert_close(judge.features, classifier.look(judge.judging).features)
    np.testing.assert_allclose(judge.shares, np.unique(mnist.y_train, return_counts=True)[1] / 60_000)


def test_where_the_test_digits_are_not_to_be_seen_others_judge(mnist, classifier):
    judge = Judge(mnist, classifier, on_test=False)
    held_out = torch.tensor(mnist.x_train[50_000:] / np.float32(255))
    torch.testing.assert_close(judge.judging, held_out[1000:3000], rtol=0, atol=0)
    assert len(judge.features) == len(held_out)
    torch.testing.assert_close(judge.features[::300], classifier.look(held_out[::300]).features)


def test_1002_digits_must_be_held_out(mnist, classifier):
    fewest = mnist._replace(x_train=mnist.x_train[:51_002])
    assert len(Judge(fewest, classifier, on_test=False).judging) == 2
    with pytest.raises(ValueError, match=r"1,002 or more held out, not 1001"):
        Judge(mnist._replace(x_train=mnist.x_train[:51_001]), classifier)


def test_a_row_says_what_each_measure_says(classifier, judge, digits):
    samples = digits[:300].float()
    row, seen = judge.row(samples), classifier.look(samples)
    classes = seen.logits.argmax(1)
    assert row == {
        **parzen(samples, judge.held_out, judge.judging)._asdict(),
        "fid": frechet_distance(seen.features, judge.features),
        "classes": [(classes == i).sum().item() for i in range(10)],
        "class_divergence": class_divergence(classes, judge.shares),
        "sharpness": sharpness(samples),
    }


def test_a_row_is_of_two_images_or_more_which_rounding_may_have_led_out_of_the_unit_interval(judge, digits):
    samples = digits[:2].float()
    beyond = samples.clone()
    beyond[0, 0, 0], beyond[1, 0, 0] = -5e-7, 1 + 5e-7
    assert sum(judge.row(beyond)["classes"]) == 2
    for wrong in (samples - 2e-6, samples + 2e-6, samples[:, 1:], samples[:, :, 1:]):
        with pytest.raises(ValueError, match=r"samples must be of shape \(n, 28, 28\), in \[0, 1\]"):
            judge.row(wrong)
