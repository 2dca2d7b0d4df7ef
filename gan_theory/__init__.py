"""The Adversarial Game: the theory of generative adversarial networks, computed and checked."""

from gan_theory import threads  # noqa: F401  # isort: skip  (before anything that imports torch)
from gan_theory.densities import Pushforward
from gan_theory.divergences import f_divergence, js_divergence, kl_divergence, total_variation, wasserstein_1
from gan_theory.dynamics import simulate
from gan_theory.game import Discriminator, generator_criterion, optimal_discriminator, regret, value
from gan_theory.likelihood import ParzenWindow
from gan_theory.losses import discriminator_loss, non_saturating_generator_loss, saturating_generator_loss
from gan_theory.training import train

__all__ = [
    "Discriminator",
    "ParzenWindow",
    "Pushforward",
    "discriminator_loss",
    "f_divergence",
    "generator_criterion",
    "js_divergence",
    "kl_divergence",
    "non_saturating_generator_loss",
    "optimal_discriminator",
    "regret",
    "saturating_generator_loss",
    "simulate",
    "total_variation",
    "train",
    "value",
    "wasserstein_1",
]
