"""A GAN on the handwritten digits: the data, the recipes, and runs that can be stopped and resumed."""

from gan_theory.mnist.data import MNIST, load_mnist
from gan_theory.mnist.recipes import RECIPES, Recipe
from gan_theory.mnist.run import Run
from gan_theory.mnist.trained import Trained, load_run

__all__ = ["MNIST", "RECIPES", "Recipe", "Run", "Trained", "load_mnist", "load_run"]
