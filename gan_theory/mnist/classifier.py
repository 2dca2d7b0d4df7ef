"""A classifier of the digits, by whose eyes samples are judged: their classes, and MNIST-FID."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from gan_theory.checks import check_random, describe, is_integer
from gan_theory.mnist.checkpoint import CheckpointError, read_checkpoint

__all__ = ["Classifier", "Seen", "load_classifier", "train_classifier"]

PATH = Path(__file__).with_name("classifier.safetensors")
FEATURES = 128
BATCH = 128  # images at a time in training


class Seen(NamedTuple):
    """What the classifier makes of n images: features (n, 128), its last hidden layer; logits (n, 10)."""

    features: Tensor
    logits: Tensor


class Classifier(nn.Module):
    r"""Two convolutions, a hidden layer of 128 units, and ten logits.

    Args:
        generator: Where the initial parameters are drawn from; PyTorch's global generator if None.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 24, 5, padding=2),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 5, padding=2),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(48 * 7 * 7, FEATURES)
        self.classes = nn.Linear(FEATURES, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Seen:
        """Looks at images (n, 28, 28) in [0, 1], 1 for ink."""
        features = self.hidden(self.convolutions(images.unsqueeze(1))).relu()
        return Seen(features, self.classes(features))

    @torch.no_grad()
    def look(self, images: Tensor, batch_size: int = 1000) -> Seen:
        """The same for many images, a part at a time, with the statistics that were learnt.

        Raises:
            ValueError: If images are not as said, or batch_size is not a positive integer.
        """
        _check_digits(images)
        if not is_integer(batch_size, 1):
            raise ValueError(f"batch_size must be a positive integer, not {batch_size!r}")
        self.eval()
        parts = [self(part) for part in images.to(self.hidden.weight.dtype).split(batch_size)]
        return Seen(*(torch.cat(each) for each in zip(*parts, strict=True)))


def train_classifier(
    images: Tensor, labels: Tensor, *, epochs: int, random: torch.Generator
) -> Iterator[tuple[Classifier, float]]:
    r"""Trains a classifier by Adam, each image shifted by up to two pixels each time it is seen.

    The learning rate rises to 0.003 and falls to 0 (`OneCycleLR`).

    Args:
        images: (n, 28, 28), in [0, 1].
        labels: (n,), 0 to 9.
        epochs: Passes over the images.
        random: Where all that is random is drawn from.

    Yields:
        The classifier and its mean loss (nats) after each batch of 128.

    Raises:
        TypeError: If random is not a `torch.Generator`.
        ValueError: If images, labels or epochs are not as said.
    """
    _check_digits(images)
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"labels must be int64 of shape ({len(images)},), not {describe(labels)}")
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"labels must be from 0 to 9, not from {labels.min()} to {labels.max()}")
    if not is_integer(epochs, 1):
        raise ValueError(f"epochs must be a positive integer, not {epochs!r}")
    check_random(random, "random")
    classifier = Classifier(generator=random)
    optimizer = torch.optim.Adam(classifier.parameters(), fused=True)
    batches = -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * batches)
    padded = pad(images.to(classifier.hidden.weight.dtype), (2, 2, 2, 2))
    for _ in range(epochs):
        classifier.train()
        for index in torch.randperm(len(images), generator=random).split(BATCH):
            down, right = torch.randint(5, (2,), generator=random).tolist()
            shifted = padded[index, down : down + 28, right : right + 28]
            loss = cross_entropy(classifier(shifted).logits, labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            yield classifier, loss.item()


def _check_digits(images: Tensor) -> None:
    if not isinstance(images, Tensor) or not images.is_floating_point() or images.shape[1:] != (28, 28):
        raise ValueError(f"images must be floating-point, of shape (n, 28, 28), not {describe(images)}")
    if not images.numel():
        raise ValueError(f"images must be one or more, not {describe(images)}")
    if not images.isfinite().all():
        raise ValueError("images must be finite, got NaN or infinity")


def load_classifier() -> Classifier:
    """The classifier that comes with the package; `python -m gan_theory.mnist classifier` remakes it.

    Raises:
        CheckpointError: If its file is missing or damaged.
    """
    tensors, _ = read_checkpoint(PATH)
    classifier = Classifier()
    needed = {name: tensor for name, tensor in classifier.state_dict().items() if tensor.is_floating_point()}
    for name, tensor in needed.items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{PATH} does not hold the classifier: {name} is missing or of another shape"
            )
        tensor.copy_(tensors[name])
    return classifier.eval()
