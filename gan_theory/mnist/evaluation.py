"""How good digits are: Parzen windows as in the paper's Table 1, MNIST-FID, and what a classifier sees."""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gan_theory.checks import check_flag, check_tensor, describe, is_integer
from gan_theory.likelihood import ParzenWindow, parzen_sigma
from gan_theory.mnist.classifier import Classifier
from gan_theory.mnist.data import MNIST, TRAINED_ON

__all__ = [
    "Judge",
    "Parzen",
    "averaged",
    "blurred",
    "centroids",
    "class_divergence",
    "frechet_distance",
    "nearest",
    "parzen",
    "sharpness",
]


class Parzen(NamedTuple):
    """The mean log-likelihood of the test images in nats, its standard error, and the width chosen."""

    log_likelihood: float
    standard_error: float
    sigma: float


def parzen(samples: Tensor, held_out: Tensor, test: Tensor) -> Parzen:
    r"""The log-likelihood of test images under Parzen windows on samples, as in the paper's Table 1.

    The width σ is chosen on held-out images: first from ten values between 0.1 and 1, as the authors did,
    then from 25 around the best of them.

    Args:
        samples: (n, 28, 28), in [0, 1].
        held_out: (m, 28, 28), images that G has not been trained on, and none of the test images.
        test: (k, 28, 28), the images that are judged, k ≥ 2.

    Returns:
        Mean over the test images, standard error of that mean (not the spread of runs), and σ.

    Raises:
        TypeError, ValueError: As `parzen_sigma`, in particular if the best σ is at the edge of the first
            grid; and if test is not as said, or not finite.

    Source:
        Goodfellow et al. 2014, Section 5 and their released code.
    """
    _check_images(test, "test", least=2)
    coarse = np.logspace(-1, 0, 10)
    middle = list(coarse).index(parzen_sigma(samples, held_out, list(coarse)))
    fine = np.geomspace(coarse[middle - 1], coarse[middle + 1], 25)
    sigma = parzen_sigma(samples, held_out, list(fine))
    log_probs = ParzenWindow(samples, sigma).log_prob(test)
    return Parzen(log_probs.mean().item(), (log_probs.std() / len(test) ** 0.5).item(), sigma)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    r"""The squared Wasserstein-2 distance of two normal distributions with the moments of two samples.

    .. math::
        \Vert \mu_x - \mu_y \Vert^2
        + \operatorname{tr} \big( \Sigma_x + \Sigma_y - 2 (\Sigma_x \Sigma_y)^{1/2} \big).

    Of a classifier's features this is the FID, here of our own classifier of digits: comparable within this
    book, and with nothing else.

    Args:
        x: (n, d), n ≥ 2.
        y: (m, d), m ≥ 2.

    Returns:
        At least 0, up to rounding, in the squared unit of x.

    Raises:
        TypeError: If x or y is not a tensor of real numbers.
        ValueError: If the shapes are not as said, or x or y is not finite, or above 1e70 in size.

    Source:
        Heusel et al. 2017, Equation 6.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> frechet_distance(x, x + 3)
    9.0
    """
    for name, sample in (("x", x), ("y", y)):
        check_tensor(sample, name)
        if not (sample.double().abs() <= 1e70).all():  # the fourth power of it is a float
            raise ValueError(f"{name} must be finite and at most 1e70 in size, got {sample.abs().max():.4g}")
    if x.dim() != 2 or y.dim() != 2 or not x.shape[1] == y.shape[1] > 0 or min(len(x), len(y)) < 2:
        raise ValueError(
            f"x and y must be (n, d) and (m, d) with n, m ≥ 2, not {tuple(x.shape)} and {tuple(y.shape)}"
        )
    x, y = x.double(), y.double()
    covariance_x, covariance_y = (torch.atleast_2d(z.T.cov()) for z in (x, y))
    values, vectors = torch.linalg.eigh(covariance_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # Σx Σy has the eigenvalues of √Σx Σy √Σx, which is symmetric.
    trace = torch.linalg.eigvalsh(root @ covariance_y @ root).clamp(min=0).sqrt().sum()
    means = (x.mean(0) - y.mean(0)).square().sum()
    return (means + covariance_x.trace() + covariance_y.trace() - 2 * trace).item()


def class_divergence(classes: Tensor, shares: Tensor) -> float:
    r"""KL of the shares of the classes among samples from those among the data, in nats.

    Args:
        classes: (n,), integers from 0.
        shares: (k,), the data's, positive, with sum 1.

    Returns:
        :math:`\sum_i \hat q_i \log (\hat q_i / p_i)`, at least 0.

    Raises:
        TypeError: If classes or shares is not a tensor of real numbers.
        ValueError: If there are no classes, one is not among the k, or the shares are not a distribution.

    >>> round(class_divergence(torch.tensor([0, 0, 0, 1]), torch.tensor([0.5, 0.5])), 4)
    0.1308
    """
    check_tensor(classes, "classes")
    check_tensor(shares, "shares")
    if classes.dim() != 1 or classes.is_floating_point():
        raise ValueError(f"classes must be integers, of shape (n,), not {describe(classes)}")
    if shares.dim() != 1 or not shares.is_floating_point():
        raise ValueError(f"shares must be floating-point, of shape (k,), not {describe(shares)}")
    classes = classes.long()
    if not len(classes) or classes.min() < 0 or classes.max() >= len(shares):
        raise ValueError(f"classes must be integers from 0 to {len(shares) - 1}, at least one, not {classes}")
    if not ((shares > 0).all() and abs(shares.sum() - 1) <= 1e-5):
        raise ValueError(f"shares must be positive with sum 1, not {shares.tolist()}")
    found = torch.bincount(classes, minlength=len(shares)).double() / len(classes)
    shares = shares.double() / shares.double().sum()
    return torch.xlogy(found, found / shares).sum().clamp(min=0).item()


def sharpness(images: Tensor) -> float:
    r"""The mean size of the difference of neighbouring pixels: (n, h, w) in [0, 1] → a number in [0, 1].

    Raises:
        ValueError: If images are not of that shape, or not finite.

    >>> sharpness(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]))
    0.5
    """
    _check_images(images, "images", least=1)
    if images[0].numel() < 2:
        raise ValueError(f"images must have two pixels or more each, not {describe(images)}")
    across, down = images.diff(dim=2).abs(), images.diff(dim=1).abs()
    return ((across.sum() + down.sum()) / (across.numel() + down.numel())).item()


def nearest(images: Tensor, data: Tensor) -> Tensor:
    r"""The index of the image in the data that is nearest to each image, in Euclidean distance.

    Args:
        images: (n, 28, 28).
        data: (m, 28, 28).

    Returns:
        (n,), integers from 0 to m − 1.

    Raises:
        ValueError: If images or data are not as said, or not finite.
    """
    _check_images(images, "images", least=1)
    _check_images(data, "data", least=1)
    if images.shape[1:] != data.shape[1:]:
        raise ValueError(f"images must be as large as data, not {describe(images)} beside {describe(data)}")
    precision = torch.float64 if torch.float64 in (images.dtype, data.dtype) else torch.float32
    return torch.cdist(images.flatten(1).to(precision), data.flatten(1).to(precision)).argmin(1)


def blurred(images: Tensor) -> Tensor:
    r"""Each pixel the mean of the 3 by 3 around it, with paper beyond the edge: (n, h, w) → (n, h, w).

    Raises:
        ValueError: If images are not of that shape, or not finite.
    """
    _check_images(images, "images", least=1)
    return avg_pool2d(images, 3, stride=1, padding=1)


def averaged(images: Tensor, neighbours: int = 5) -> Tensor:
    r"""Each image the mean of itself and its nearest others: (n, h, w) → (n, h, w).

    Args:
        images: (n, h, w), n > neighbours.
        neighbours: How many others.

    Raises:
        ValueError: If images or neighbours are not as said.
    """
    if not is_integer(neighbours, 0):
        raise ValueError(f"neighbours must be an integer and not negative, not {neighbours!r}")
    _check_images(images, "images", least=neighbours + 1)
    flat = _flat(images)
    near = [torch.cdist(p, flat).topk(1 + neighbours, largest=False).indices for p in flat.split(1000)]
    return images[torch.cat(near)].mean(1)


def centroids(images: Tensor, count: int, *, seed: int = 0) -> Tensor:
    r"""The centroids of k-means after ten rounds from randomly chosen images: (n, h, w) → (count, h, w).

    Raises:
        ValueError: If images are not as said, count is not from 1 to their number, or seed not below 2³².

    Source:
        Lloyd 1982; by scikit-learn, which is not among the package's own requirements.
    """
    _check_images(images, "images", least=1)
    if not is_integer(count, 1) or count > len(images):
        raise ValueError(f"count must be an integer from 1 to {len(images)}, not {count!r}")
    if not is_integer(seed, 0) or seed >= 2**32:
        raise ValueError(f"seed must be an integer from 0 to {2**32 - 1}, not {seed!r}")
    from sklearn.cluster import KMeans  # noqa: PLC0415  (only this needs it)

    k_means = KMeans(count, init="random", n_init=1, max_iter=10, random_state=seed)
    with warnings.catch_warnings(action="ignore"):  # ten rounds are not all that it could use
        k_means.fit(_flat(images).detach().numpy())
    return torch.from_numpy(k_means.cluster_centers_).float().unflatten(1, images.shape[1:])


def _check_images(images: Tensor, name: str, *, least: int) -> None:
    tensor = isinstance(images, Tensor) and images.is_floating_point() and images.dim() == 3
    if not tensor or len(images) < least or not images.numel():
        raise ValueError(
            f"{name} must be floating-point, of shape (n, h, w) with n ≥ {least}, not {describe(images)}"
        )
    if not images.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")


def _flat(images: Tensor) -> Tensor:
    """Images as points (n, h w), in a precision in which distances are computed."""
    return images.flatten(1).to(torch.float64 if images.dtype == torch.float64 else torch.float32)


class Judge:
    r"""What samples are held against: held-out and test digits, and the features of those that judge.

    Args:
        digits: The digits of MNIST; its training digits from number 50,000 on are held out.
        classifier: By whose eyes classes and features are seen.
        on_test: Whether the test digits judge. Otherwise the held-out digits do, so that choices can be made:
            the likelihood is then that of the 2,000 after those on which σ is chosen.

    Attributes:
        held_out: The digits on which σ is chosen, the first 1,000 held out, as the authors have it.

    Raises:
        TypeError: If digits or classifier is not one, or on_test neither True nor False.
        ValueError: If the images of digits are not uint8, or too few for any to be held out.
    """

    def __init__(self, digits: MNIST, classifier: Classifier, *, on_test: bool = True) -> None:
        if not isinstance(digits, MNIST):
            raise TypeError(f"digits must be an MNIST, as load_mnist() gives it, not {type(digits).__name__}")
        if not isinstance(classifier, Classifier):
            raise TypeError(f"classifier must be a Classifier, not {type(classifier).__name__}")
        check_flag(on_test, "on_test")
        if not digits.x_train.dtype == digits.x_test.dtype == np.uint8:
            raise ValueError(f"digits must be uint8, not {digits.x_train.dtype} and {digits.x_test.dtype}")
        held_out = torch.from_numpy(digits.x_train[TRAINED_ON:]) / 255
        if len(held_out) < 1002:
            raise ValueError(f"digits must have 1,002 or more held out, not {len(held_out)}")
        self.classifier, self.held_out = classifier, held_out[:1000]
        self.judging = torch.from_numpy(digits.x_test) / 255 if on_test else held_out[1000:3000]
        self.features = classifier.look(self.judging if on_test else held_out).features
        self.shares = torch.bincount(torch.from_numpy(digits.y_train).long()).double() / len(digits.y_train)

    def row(self, samples: Tensor) -> dict[str, float | list[int]]:
        r"""A row of the table: what is to be said of samples.

        Args:
            samples: (n, 28, 28), in [0, 1].

        Returns:
            `log_likelihood`, `standard_error` (nats) and `sigma`, from `parzen`; `fid`, the Fréchet distance
            of their features from those of the digits that judge; `classes`, how many of each;
            `class_divergence` (nats) from the shares of the training digits; and `sharpness`.

        Raises:
            ValueError: As `parzen`, or if samples are not as said.
        """
        _check_images(samples, "samples", least=2)
        inside = samples.min() >= -1e-6 and samples.max() <= 1 + 1e-6  # means of images, but for rounding
        if samples.shape[1:] != (28, 28) or not inside:
            said = f"{describe(samples)} from {samples.min():.4g} to {samples.max():.4g}"
            raise ValueError(f"samples must be of shape (n, 28, 28), in [0, 1], not {said}")
        seen = self.classifier.look(samples)
        classes = seen.logits.argmax(1)
        return {
            **parzen(samples, self.held_out, self.judging)._asdict(),
            "fid": frechet_distance(seen.features, self.features),
            "classes": torch.bincount(classes, minlength=len(self.shares)).tolist(),
            "class_divergence": class_divergence(classes, self.shares),
            "sharpness": sharpness(samples),
        }
