"""How a GAN on MNIST is made: networks and hyperparameters, under a name."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from gan_theory.networks import book_discriminator, book_generator, mnist_discriminator, mnist_generator

__all__ = ["RECIPES", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """All that decides a run, apart from its seed and its length.

    Attributes:
        name: What the recipe is called on the command line and in checkpoints.
        generator: Makes G; takes the `torch.Generator` of its initial parameters as `generator`.
        discriminator: Makes D, likewise.
        noise_dimensions: The dimension of z, which is standard normal.
        batch_size: Images in a minibatch, and noise vectors in a minibatch.
        learning_rate: Adam's, for both players.
        betas: How much Adam remembers of the gradient and of its square, for both players.
        simultaneous: Whether D and G move together, as in the authors' code, or in turns, as in Algorithm 1.
        average: What the running average of G's weights keeps at each step, 0 ≤ average < 1; the samples are
            the average's. With 0 it is G itself.
    """

    name: str
    generator: Callable[..., nn.Module]
    discriminator: Callable[..., nn.Module]
    noise_dimensions: int
    batch_size: int
    learning_rate: float
    betas: tuple[float, float]
    simultaneous: bool = False
    average: float = 0.0


RECIPES = {
    recipe.name: recipe
    for recipe in [
        Recipe(
            name="seed",
            generator=mnist_generator,
            discriminator=mnist_discriminator,
            noise_dimensions=100,
            batch_size=128,
            learning_rate=3e-4,
            betas=(0.9, 0.999),
        ),
        Recipe(
            name="book",
            generator=book_generator,
            discriminator=book_discriminator,
            noise_dimensions=100,
            batch_size=128,
            learning_rate=1e-3,
            betas=(0.5, 0.999),
            simultaneous=True,
            average=0.9995,
        ),
    ]
}
