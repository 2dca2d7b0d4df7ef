"""Misuse, by hand and by file: an error names the argument, says what was given and what is allowed."""

import errno
import math
import os
import pickle
import re
import runpy
import shutil
import sys
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    Gamma,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    Uniform,
)

import gan_theory
from gan_theory import one_dimensional, plotting
from gan_theory.distributions import log_density
from gan_theory.dynamics import BilinearGame, DiracGAN, DiracWGAN, eigenvalues, gradient_field
from gan_theory.likelihood import log_likelihood, maximum_likelihood, parzen_sigma
from gan_theory.mnist import RECIPES, Run, classifier, data, load_mnist, load_run
from gan_theory.mnist.__main__ import main
from gan_theory.mnist.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
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
from gan_theory.mnist.trained import RUNS
from gan_theory.networks import Conditional, Dropout, Maxout, mlp
from gan_theory.one_dimensional import Settings
from gan_theory.one_dimensional.__main__ import main as line
from gan_theory.quadrature import integrate
from gan_theory.ring import Ring
from gan_theory.variational import KL, Critic, optimal_critic

t = torch.tensor
NAN, INF = math.nan, math.inf
NORMAL, PLANE = Normal(0.0, 1.0), MultivariateNormal(torch.zeros(2), torch.eye(2))
BROKEN = Normal(t(NAN), t(1.0), validate_args=False)
PAIR = t([0.5, 0.5])
TOSSES = t([1.0, 1.0, 0.0])
BOXES = Uniform(t([[0.0, 0.0], [1.0, 1.0]]), t([[1.0, 1.0], [3.0, 3.0]]))
NET, OTHER = mlp(1, 1), mlp(1, 1)
DICE = torch.Generator().manual_seed(0)
DIGITS = np.zeros((5, 28, 28), np.uint8)
BOOK, CGAN, CLASSIFIER = load_run("book"), load_run("cgan"), classifier.load_classifier()
IMAGES, LABELS = torch.zeros(5, 28, 28), torch.zeros(5).long()
MNIST = load_mnist()
JUDGE = Judge(MNIST._replace(x_train=MNIST.x_train[:51_002], x_test=DIGITS), CLASSIFIER)


def square(u):
    return (u - 1) ** 2


def entropy(u):
    return torch.xlogy(u, u)


def half_apart(u):
    return (u - 1).abs() / 2


OF_NET, OF_OTHER = (torch.optim.SGD(net.parameters(), lr=0.1) for net in (NET, OTHER))


def train(**given):
    arguments = {
        "generator": NET,
        "discriminator": OTHER,
        "real_batches": [torch.zeros(3, 1)],
        "sample_noise": lambda n: torch.zeros(n, 1),
        "generator_optimizer": OF_NET,
        "discriminator_optimizer": OF_OTHER,
    }
    return list(gan_theory.train(**arguments | given))


def play(p_data, settings=None, random=DICE, looks=3):
    return next(one_dimensional.play(p_data, settings, random=random, looks=looks))


def best_response(p_data=NORMAL, G=NET, D=NET, settings=None, random=DICE):
    return one_dimensional.best_response(p_data, G, D, settings, random=random)


def train_classifier(images=IMAGES, labels=LABELS, epochs=1, random=DICE):
    return list(classifier.train_classifier(images, labels, epochs=epochs, random=random))


def draw(name, *arrays, **more):
    with plotting.figure() as (_, ax):
        getattr(plotting, f"draw_{name}")(ax, *arrays, **more)


# Each row: what is called, with what, and the error that tells.
CALLS = [
    # Distributions, and what is integrated over them.
    (gan_theory.kl_divergence, (None, NORMAL), TypeError, "p must be a torch.*Distribution, got NoneType"),
    (gan_theory.kl_divergence, ([0.5, 0.5], NORMAL), TypeError, "p must be a torch.*, got list"),
    (gan_theory.kl_divergence, (PAIR, PAIR.numpy()), TypeError, "q must be a probability.*got ndarray"),
    (gan_theory.kl_divergence, (PAIR, [0.5, 0.5]), TypeError, "q must be a probability.*got list"),
    (gan_theory.js_divergence, (BROKEN, NORMAL), ValueError, r"p must be .*got Normal\(loc: nan"),
    (gan_theory.js_divergence, (NORMAL, PLANE), ValueError, r"q must be a one-dim.*event_shape \(2,\)"),
    (gan_theory.js_divergence, (PAIR, t([0.5, INF])), ValueError, "q must be non-negative.*sum inf"),
    (gan_theory.total_variation, (NORMAL, Poisson(1.0)), ValueError, "q must be continuous.*got Poisson"),
    (gan_theory.total_variation, (PAIR, t(1.0)), ValueError, r"q must be a 1-D.*shape \(\)"),
    (gan_theory.wasserstein_1, (NORMAL, "normal"), TypeError, "q must be a torch.*got str"),
    (gan_theory.wasserstein_1, (t([1j, 0]), PAIR), ValueError, "p must be a 1-D floating.*complex64"),
    (gan_theory.f_divergence, (NORMAL, NORMAL, None), TypeError, "f must be callable, got NoneType"),
    (gan_theory.f_divergence, (NORMAL, NORMAL, lambda r: r - 1 + 0j), ValueError, "f must give real numbers"),
    (gan_theory.f_divergence, (NORMAL, [1.0], square), TypeError, "q must be a torch.*got list"),
    (gan_theory.f_divergence, (NORMAL, NORMAL, square, NAN), ValueError, "slope_at_infinity must.*got nan"),
    (gan_theory.f_divergence, (NORMAL, NORMAL, square, "inf"), ValueError, "slope_at_infinity.*got 'inf'"),
    (gan_theory.f_divergence, (NORMAL, NORMAL, square, PAIR), ValueError, "slope_at_infinity.*got tensor"),
    (gan_theory.f_divergence, (NORMAL, NORMAL, entropy, 100.0), ValueError, "be that of f, 345.* got 100.0"),
    (gan_theory.f_divergence, (NORMAL, NORMAL, half_apart, 0.6), ValueError, "be that of f, 0.5 .* got 0.6"),
    (gan_theory.f_divergence, (NORMAL, NORMAL, half_apart, INF), ValueError, "be that of f, 0.5 .* got inf"),
    (
        gan_theory.f_divergence,
        (NORMAL, NORMAL, square, 3.0),
        ValueError,
        "slope_at_infinity must be at least 1792.*got 3.0",
    ),
    (
        gan_theory.f_divergence,
        (NORMAL, NORMAL, square, -INF),
        ValueError,
        "slope_at_infinity must be at .*got -inf",
    ),
    (log_density, (NORMAL, [0.0]), TypeError, "x must be a tensor, got list"),
    (log_density, (NORMAL, np.zeros(2)), TypeError, "x must be a tensor, got ndarray"),
    (log_density, (NORMAL, t([1j])), TypeError, "x must be a tensor of real numbers, got torch.complex64"),
    (log_density, (PAIR, t([0.0])), TypeError, "p must be a torch.*got Tensor"),
    (integrate, (None, NORMAL), TypeError, "g must be callable, got NoneType"),
    (integrate, (torch.exp,), TypeError, "distributions must be one or more, got none"),
    (integrate, (torch.sum, NORMAL), ValueError, r"g must map .*same shape, got \(\) for n = "),
    (integrate, (lambda x: 1j * x, NORMAL), ValueError, "g must give real numbers, got torch.complex128"),
    (integrate, (lambda x: x.numpy(), NORMAL), ValueError, "g must map .* got ndarray"),
    (gan_theory.Pushforward, (PLANE, torch.sin), ValueError, "prior must be a one-dimensional"),
    (gan_theory.Pushforward, (NORMAL, None), TypeError, "G must be callable, got NoneType"),
    (gan_theory.Pushforward(NORMAL, torch.sin).log_prob, ([0.0],), TypeError, "x must be .*got list"),
    (gan_theory.Pushforward(NORMAL, torch.sin).sample, (-1,), ValueError, "sample_shape must .*got -1"),
    (gan_theory.Pushforward(NORMAL, torch.sin).sample, ((-1,),), ValueError, r"none negative, got \(-1,\)"),
    # The game.
    (gan_theory.Discriminator, (None,), TypeError, "logit must be callable, got NoneType"),
    (gan_theory.Discriminator(torch.sin), (0.0,), TypeError, "x must be a tensor, got float"),
    (gan_theory.optimal_discriminator, (NORMAL, "x"), TypeError, "p_g must be a torch.*got str"),
    (gan_theory.optimal_discriminator, (NORMAL, NORMAL, "0.5"), ValueError, r"prior_real .*\(0, 1\), got '0"),
    (gan_theory.optimal_discriminator, (NORMAL, NORMAL, None), ValueError, "prior_real must be .*got None"),
    (gan_theory.optimal_discriminator, (NORMAL, NORMAL, PAIR), ValueError, "prior_real must be .*got tensor"),
    (gan_theory.optimal_discriminator(NORMAL, NORMAL), ([0.0],), TypeError, "x must be .*got list"),
    (gan_theory.optimal_discriminator(NORMAL, NORMAL).logit, (0.0,), TypeError, "x must be .*got float"),
    (gan_theory.value, (torch.sigmoid, PLANE, NORMAL), ValueError, "p_data must be a one-dimensional"),
    (gan_theory.value, (torch.sigmoid, NORMAL, Bernoulli(0.5)), ValueError, "p_g must be continuous"),
    (gan_theory.regret, (gan_theory.Discriminator(torch.sum), NORMAL, NORMAL), ValueError, "D must map"),
    (gan_theory.generator_criterion, (None, NORMAL), TypeError, "p must be a torch.*got NoneType"),
    (Critic, (None, torch.sin), TypeError, "divergence must be an FDivergence, got NoneType"),
    (Critic, (KL, None), TypeError, "log_ratio must be callable, got NoneType"),
    (Critic(KL, torch.sin), (0.0,), TypeError, "x must be a tensor, got float"),
    (optimal_critic, (NORMAL, NORMAL, "KL"), TypeError, "divergence must be an FDivergence, got str"),
    # Two numbers, and the ring.
    (gan_theory.simulate, (None, 1.0, 0.0, 0.1, 1), TypeError, "game must have .*got NoneType"),
    (gan_theory.simulate, (DiracGAN, 1.0, 0.0, 0.1, 1), TypeError, "game must .*got the class DiracGAN"),
    (gan_theory.simulate, (BilinearGame(), "1", 0.0, 0.1, 1), ValueError, "theta and psi .*got '1' and 0.0"),
    (gan_theory.simulate, (BilinearGame(), 1.0, PAIR, 0.1, 1), ValueError, "theta and psi .*tensor"),
    (gan_theory.simulate, (BilinearGame(), 1.0, 0.0, "0.1", 1), ValueError, "learning_rate .*got '0.1'"),
    (gan_theory.simulate, (BilinearGame(), 1.0, 0.0, 0.1, True), ValueError, "steps must be .*got True"),
    (DiracGAN, (True, "1"), ValueError, "penalty must be finite and not negative, got '1'"),
    (DiracWGAN, (None,), ValueError, "penalty must be finite and not negative, got None"),
    (DiracGAN, (0.3,), TypeError, "saturating must be True or False, got 0.3"),
    (DiracWGAN, (Fraction(1, 2),), ValueError, r"penalty must be finite and not .*got Fraction\(1, 2\)"),
    (gradient_field, (None, t(1.0), t(1.0)), TypeError, "game must have .*got NoneType"),
    (gradient_field, (BilinearGame(), 1.0, t(1.0)), TypeError, "theta must be a tensor, got float"),
    (gradient_field, (BilinearGame(), t(1.0), t(1)), TypeError, "psi must be a floating-point.*int64"),
    (gradient_field, (BilinearGame(), PAIR, t(1.0)), ValueError, r"of one shape, got \(2,\) and \(\)"),
    (eigenvalues, (BilinearGame(), NAN), ValueError, "theta and psi must be finite numbers, got nan and 0.0"),
    (eigenvalues, (BilinearGame(), 0.0, "1"), ValueError, "theta and psi .*got 0.0 and '1'"),
    (Ring, (True,), ValueError, "modes must be a positive integer, got True"),
    (Ring, (8, "2"), ValueError, "radius must be positive and finite, got '2'"),
    (Ring().sample, (-1, DICE), ValueError, "size must be an integer and not negative, got -1"),
    (Ring().sample, (5, None), TypeError, "generator must be a torch.Generator, got NoneType"),
    (Ring().coverage, ([[0.0, 1.0]],), TypeError, "samples must be a tensor, got list"),
    (Ring().coverage, (t([[1, 2]]),), TypeError, "samples must be a floating-point tensor, got torch.int64"),
    # Likelihood.
    (log_likelihood, (NORMAL, t([1j])), TypeError, "x must be a tensor of real numbers, got torch.complex64"),
    (log_likelihood, (PLANE, t([0.0])), ValueError, r"x must have shape \(n,\) \+ \(2,\).*got \(1,\)"),
    (
        log_likelihood,
        (MixtureSameFamily(Categorical(PAIR), Binomial(t([1, 2]), PAIR)), t([2.0])),
        ValueError,
        "x must be in the support of each component of MixtureSameFamily",
    ),
    (
        log_likelihood,
        (MixtureSameFamily(Categorical(PAIR), Independent(BOXES, 1)), t([[2.0, 2.0]])),
        ValueError,
        "x must be in the support of each component of MixtureSameFamily",
    ),
    (
        lambda m: maximum_likelihood(Normal, PAIR, loc=m, scale=1.0),
        (t(1j),),
        TypeError,
        "loc must be a tensor of real numbers, got torch.complex64",
    ),
    (maximum_likelihood, (None, PAIR), TypeError, "family must be callable, got NoneType"),
    (
        lambda p: maximum_likelihood(Bernoulli, TOSSES, probs=p),
        (0.0,),
        ValueError,
        "probs must .*edge, got 0.0",
    ),
    (
        lambda p: maximum_likelihood(Bernoulli, TOSSES, probs=p),
        (1.0,),
        ValueError,
        "probs must .*edge, got 1.0",
    ),
    (
        lambda p: maximum_likelihood(Categorical, TOSSES, probs=p),
        (t([0.5, 0.5, 0.0]),),
        ValueError,
        r"probs must start within Simplex\(\), not at its edge, got \[0.5, 0.5, 0.0\]",
    ),
    (
        lambda c: maximum_likelihood(MultivariateNormal, PAIR[None], loc=PAIR, covariance_matrix=c),
        (torch.eye(2),),
        ValueError,
        "covariance_matrix must be free to move on a line, an interval or a simplex, not PositiveDefinite",
    ),
    (maximum_likelihood, (Normal, [0.0, 1.0]), TypeError, "x must be a tensor, got list"),
    (lambda m: maximum_likelihood(Normal, PAIR, loc=m, scale=1.0), ("a",), ValueError, "loc must .*got 'a'"),
    (lambda s: maximum_likelihood(Normal, PAIR, loc=0.0, scale=s), (INF,), ValueError, "scale must.*got inf"),
    (gan_theory.ParzenWindow, (PAIR, "1"), ValueError, "sigma must be from 1e-80 to 1e\\+80, got '1'"),
    (gan_theory.ParzenWindow, (PAIR, PAIR), ValueError, "sigma must be from .*got tensor"),
    (gan_theory.ParzenWindow, (PAIR, 9e-81), ValueError, "sigma must be from .*got 9e-81"),
    (gan_theory.ParzenWindow, (PAIR, 1.1e80), ValueError, "sigma must be from .*got 1.1e\\+80"),
    (gan_theory.ParzenWindow, (t([1j]), 1.0), TypeError, "samples must be a tensor of real numbers, got"),
    (gan_theory.ParzenWindow(PAIR, 1.0).log_prob, (None,), TypeError, "x must be a tensor, got NoneType"),
    (parzen_sigma, (PAIR, [0.0], [0.1, 0.2, 0.3]), TypeError, "held_out must be a tensor, got list"),
    (parzen_sigma, (PAIR, t([NAN]), [0.1, 0.2, 0.3]), ValueError, "held_out must be finite, got NaN"),
    (
        parzen_sigma,
        (PAIR, PAIR, [-1.0, 0.2, 0.3]),
        ValueError,
        r"sigmas must .*from 1e-80 to 1e\+80, got \[-1.0",
    ),
    (parzen_sigma, (PAIR, PAIR, [0.1, 0.2, 1e81]), ValueError, r"sigmas must .*got \[0.1, 0.2, 1e\+81\]"),
    (parzen_sigma, (PAIR, PAIR, [0.1, 0.2, NAN]), ValueError, r"sigmas must be .*got \[0.1, 0.2, nan\]"),
    (parzen_sigma, (PAIR, PAIR, None), ValueError, "sigmas must be three or more .*got None"),
    # Networks and training.
    (mlp, (True, 1), ValueError, r"widths must be two or more positive integers .*not \(True, 1\)"),
    (lambda a: mlp(1, 1, 1, activation=a), ("relu",), TypeError, "activation must make .*be a str"),
    (lambda a: mlp(1, 1, 1, activation=a), (nn.Tanh(),), TypeError, "activation must make .*be a Tanh"),
    (Conditional, (None, 10), TypeError, "generator must be a module, not NoneType"),
    (Conditional, (NET, 0), ValueError, "labels must be a positive integer, not 0"),
    (lambda b: mlp(1, 1, batch_norm=b), (1,), TypeError, "batch_norm must be True or False, got 1"),
    (lambda g: Dropout(0.5, generator=g), (5,), TypeError, "generator must be a torch.Generator, got int"),
    (Dropout, (1.0,), ValueError, r"probability must be in \[0, 1\), not 1.0"),
    (Dropout, (NAN,), ValueError, r"probability must be in \[0, 1\), not nan"),
    (lambda *sizes: Maxout(*sizes, scale=0.1), (1, 1, 0), ValueError, "pieces must be a positive .*not 0"),
    (lambda scale: Maxout(1, 1, 1, scale=scale), (-0.1,), ValueError, "scale must be positive .*not -0.1"),
    (gan_theory.discriminator_loss, (np.zeros(2), PAIR), TypeError, "logits_real must be .*not ndarray"),
    (
        gan_theory.saturating_generator_loss,
        (t([1j]),),
        TypeError,
        "logits_fake must be .*not torch.complex64",
    ),
    (lambda G: train(generator=G), (None,), TypeError, "generator must be callable, not NoneType"),
    (lambda f: train(sample_noise=f), (PAIR,), TypeError, "sample_noise must be callable, not Tensor"),
    (lambda f: train(generator_loss=f), ("ns",), TypeError, "generator_loss must be callable, not str"),
    (lambda x: train(real_batches=x), (None,), TypeError, "real_batches must be an iterable.*not NoneType"),
    (
        lambda o: train(generator_optimizer=o),
        ("adam",),
        TypeError,
        "generator_optimizer must be an optim.*str",
    ),
    (
        lambda o: train(generator_optimizer=o),
        (OF_OTHER,),
        ValueError,
        "generator_optimizer must move none of the discriminator's parameters",
    ),
    (
        lambda o: train(discriminator_optimizer=o),
        (OF_NET,),
        ValueError,
        "discriminator_optimizer must move none of the generator's parameters",
    ),
    (
        lambda o: train(discriminator=OTHER.forward, generator_optimizer=o),
        (OF_OTHER,),
        ValueError,
        "generator_optimizer and discriminator_optimizer must have no parameter in common",
    ),
    (
        lambda p: train(generator_optimizer=torch.optim.SGD([p])),
        (nn.Parameter(PAIR, requires_grad=False),),
        ValueError,
        "generator_optimizer must have a parameter to move",
    ),
    (lambda x: train(real_batches=[x]), ([PAIR],), TypeError, "real_batches must give tensors, not list"),
    (
        lambda x: train(real_batches=[x], simultaneous=True),
        (np.zeros(2),),
        TypeError,
        "real_batches must give tensors, not ndarray",
    ),
    (lambda s: train(simultaneous=s), ("no",), TypeError, "simultaneous must be True or False, got 'no'"),
    (lambda c: train(compiled=c), (1,), TypeError, "compiled must be True or False, got 1"),
    (lambda g: train(gradient_penalty=g), (10**400,), ValueError, "gradient_penalty must be at least 0 and"),
    (lambda g: train(gradient_penalty=g), ("1",), ValueError, "gradient_penalty must be .*not '1'"),
    (lambda k: train(discriminator_steps=k), (True,), ValueError, "discriminator_steps must be .*not True"),
    (lambda n: train(first=n), (1.5,), ValueError, "first must be an integer and not negative, not 1.5"),
    # The line.
    (lambda b: Settings(betas=b), ((0.1, NAN),), ValueError, r"betas must be two .*not \(0.1, nan\)"),
    (lambda b: Settings(betas=b), (None,), ValueError, "betas must be two numbers .*not None"),
    (lambda w: Settings(widths=w), ((0,),), ValueError, r"widths must be a tuple of positive.*not \(0,\)"),
    (lambda r: Settings(generator_learning_rate=r), ("x",), ValueError, "generator_learning_rate .*not 'x'"),
    (lambda a: Settings(averaging=a), (NAN,), ValueError, r"averaging must be in \[0, 1\), not nan"),
    (lambda f: Settings(saturating=f), ("no",), TypeError, "saturating must be True or False, got 'no'"),
    (lambda f: Settings(stratified=f), (1,), TypeError, "stratified must be True or False, got 1"),
    (play, (PAIR,), TypeError, "p_data must be a torch.*got Tensor"),
    (play, (Normal(torch.zeros(2), 1.0),), ValueError, r"p_data must be .*batch_shape \(2,\)"),
    (play, (StudentT(3.0),), ValueError, "p_data must have a quantile function.*got StudentT"),
    (play, (Gamma(2.0, 1.0),), ValueError, "p_data must have a quantile function.*got Gamma"),
    (
        play,
        (gan_theory.Pushforward(NORMAL, lambda z: 2 * z),),
        ValueError,
        "p_data must have a quantile function.*got Pushforward",
    ),
    (
        play,
        (MixtureSameFamily(Categorical(PAIR), Normal(t([-100.0, 100.0]), t([1e-3, 1e-3]))),),
        ValueError,
        "p_data must not have parts so narrow beside its whole width, got MixtureSameFamily",
    ),
    (play, (NORMAL, 3), TypeError, "settings must be Settings or None, not int"),
    (play, (NORMAL, None, None), TypeError, "random must be a torch.Generator, got NoneType"),
    (play, (NORMAL, None, DICE, True), ValueError, "looks must be a positive integer, not True"),
    (best_response, (Bernoulli(0.5),), ValueError, "p_data must be continuous"),
    (best_response, (NORMAL, torch.sin), TypeError, "G must be a module, not builtin"),
    (best_response, (NORMAL, NET, None), TypeError, "D must be a module, not NoneType"),
    (best_response, (NORMAL, NET, NET, None, 3), TypeError, "random must be a torch.Generator, got int"),
    (one_dimensional.judge, (NORMAL, None, NET), TypeError, "G must be a module, not NoneType"),
    (one_dimensional.judge, (PLANE, NET, NET), ValueError, "p_data must be a one-dimensional"),
    (one_dimensional.as_discriminator, (torch.sin,), TypeError, "D must be a module, not builtin"),
    (
        one_dimensional.as_discriminator(mlp(1, 2)),
        (PAIR,),
        ValueError,
        r"D must map .* got \(2, 2\) for n = 2",
    ),
    # Digits.
    (Run, ("seed", DIGITS), TypeError, "recipe must be a Recipe.*not str"),
    (Run, (RECIPES["seed"], torch.from_numpy(DIGITS)), ValueError, "images must be uint8.*not torch.uint8 T"),
    (Run, (RECIPES["seed"], None), ValueError, "images must be uint8.*not NoneType"),
    (Run, (RECIPES["seed"], DIGITS, 1.5), ValueError, "seed must be an integer .*not 1.5"),
    (Run, (RECIPES["seed"], DIGITS, "1"), ValueError, "seed must be an integer .*not '1'"),
    (lambda y: Run(RECIPES["cgan"], DIGITS, labels=y), ([0] * 5,), ValueError, "labels must be .*not list"),
    (
        lambda y: Run(RECIPES["cgan"], DIGITS, labels=y),
        (np.full(5, 1.5),),
        ValueError,
        "labels must .*float64",
    ),
    (
        Run,
        (RECIPES["book"], np.zeros((129, 28, 28), np.uint8)),
        ValueError,
        "images must not leave a minibatch of one, which has no variance, as 129 do",
    ),
    (RECIPES["book"].sample_noise, (-1, DICE), ValueError, "n must be an integer and not negative, not -1"),
    (RECIPES["book"].sample_noise, (3, 3), TypeError, "generator must be a torch.Generator, got int"),
    (RECIPES["cgan"].sample_noise, (1, DICE, t([0.5])), ValueError, "labels must be 1 integers.*0.5"),
    (RECIPES["cgan"].sample_noise, (1, DICE, [1]), ValueError, r"labels must be 1 integers .*not \[1\]"),
    (load_run, (np.array(["book", "seed"]),), ValueError, "name must be one of book.*not array"),
    (load_run, (None,), ValueError, "name must be one of book.*not None"),
    (load_run, ("../runs/book",), ValueError, "name must be one of book.*not '../runs/book'"),
    (BOOK.sample, (1.5,), ValueError, "n must be an integer and not negative, not 1.5"),
    (BOOK.generate, (torch.zeros(2, 3),), ValueError, r"z must be .*\(n, 100\), not .*\(2, 3\)"),
    (CGAN.generate, (np.zeros((2, 110)),), ValueError, r"z must be .*\(n, 110\), not .*ndarray"),
    (BOOK.discriminate, (DIGITS,), ValueError, "images must be floating-point.*not uint8"),
    (BOOK.discriminate, (IMAGES[:, 1:],), ValueError, r"images must .*\(n, 28, 28\), not .*\(5, 27, 28\)"),
    (BOOK.discriminate, (IMAGES - 0.5,), ValueError, r"images must be in \[0, 1\], not from -0.5 to -0.5"),
    (BOOK.discriminate, (IMAGES + 1.5,), ValueError, r"images must be in \[0, 1\], not from 1.5 to 1.5"),
    (BOOK.discriminate, (NAN * IMAGES,), ValueError, r"images must be in \[0, 1\], not from nan"),
    (BOOK.discriminate, (IMAGES, LABELS), ValueError, "labels must not be given.*book"),
    (load_run("paper").sample, (3,), ValueError, "a run of paper that is shipped with its log alone has no"),
    (data.to_pixels, (IMAGES,), ValueError, "images must be uint8.*not torch.float32"),
    (data.to_pixels, (DIGITS[:, 1:],), ValueError, r"images must be .*\(n, 28, 28\), not .*\(5, 27, 28\)"),
    (data.to_images, (torch.zeros(2, 783),), ValueError, r"pixels must be .*\(n, 784\), not .*\(2, 783\)"),
    (
        data.to_images,
        (torch.zeros(2, 784, 1),),
        ValueError,
        r"pixels must be .*\(n, 784\), not .*\(2, 784, 1\)",
    ),
    (frechet_distance, (torch.full((3, 2), NAN), torch.zeros(3, 2)), ValueError, "x must be finite.*got nan"),
    (frechet_distance, (PAIR[:, None], -4e70 * PAIR[:, None].double()), ValueError, "y must be .*got 2e.70"),
    (frechet_distance, (torch.zeros(3, 2), np.zeros((3, 2))), TypeError, "y must be a tensor, got ndarray"),
    (frechet_distance, (torch.zeros(3, 0), torch.zeros(3, 0)), ValueError, r"x and y must be .*not \(3, 0\)"),
    (class_divergence, (t([0.0]), PAIR), ValueError, "classes must be integers.*not torch.float32"),
    (class_divergence, (t([0]), PAIR[None]), ValueError, r"shares must be .*\(k,\), not .*\(1, 2\)"),
    (class_divergence, (t([0]), t([1, 1])), ValueError, "shares must be floating-point.*not torch.int64"),
    (class_divergence, (t([0]), t([NAN, 0.5])), ValueError, r"shares must be positive.*not \[nan, 0.5\]"),
    (class_divergence, (t([0]), [0.5, 0.5]), TypeError, "shares must be a tensor, got list"),
    (sharpness, (IMAGES[:0],), ValueError, r"images must be .*n ≥ 1, not .*\(0, 28, 28\)"),
    (sharpness, (NAN * IMAGES,), ValueError, "images must be finite, got NaN"),
    (sharpness, (IMAGES[:, :1, :1],), ValueError, "images must have two pixels or more"),
    (nearest, (IMAGES, IMAGES[:0]), ValueError, r"data must be .*n ≥ 1, not .*\(0, 28, 28\)"),
    (nearest, (IMAGES, IMAGES[:, 1:]), ValueError, r"images must be as large as data, not .*\(5, 27, 28\)"),
    (blurred, (DIGITS,), ValueError, "images must be floating-point.*not uint8 ndarray"),
    (averaged, (IMAGES, 5), ValueError, r"images must be .*n ≥ 6, not .*\(5, 28, 28\)"),
    (averaged, (IMAGES, -1), ValueError, "neighbours must be an integer and not negative, not -1"),
    (centroids, (IMAGES, 6), ValueError, "count must be an integer from 1 to 5, not 6"),
    (lambda s: centroids(IMAGES, 2, seed=s), (-1,), ValueError, "seed must be an integer from 0 .*not -1"),
    (lambda s: centroids(IMAGES, 2, seed=s), (2**32,), ValueError, "seed must .* to 4294967295, not 4"),
    (parzen, (IMAGES, IMAGES, IMAGES[:1]), ValueError, r"test must be .*n ≥ 2, not .*\(1, 28, 28\)"),
    (parzen, (IMAGES, IMAGES, NAN * IMAGES), ValueError, "test must be finite, got NaN"),
    (Judge, (None, None), TypeError, "digits must be an MNIST.*not NoneType"),
    (Judge, (MNIST, "ours"), TypeError, "classifier must be a Classifier, not str"),
    (
        Judge,
        (MNIST._replace(x_train=MNIST.x_train[:51_001]), CLASSIFIER),
        ValueError,
        "digits must have 1,002 or more held out, not 1001",
    ),
    (
        Judge,
        (MNIST._replace(x_train=MNIST.x_train / 255), CLASSIFIER),
        ValueError,
        "digits must be uint8, not f",
    ),
    (lambda on: Judge(MNIST, CLASSIFIER, on_test=on), ("no",), TypeError, "on_test must be True or .*'no'"),
    (JUDGE.row, (IMAGES[:, 1:],), ValueError, r"samples must be .*\(n, 28, 28\).*not .*\(5, 27, 28\)"),
    (JUDGE.row, (IMAGES - 0.5,), ValueError, r"samples must be .*in \[0, 1\], not .* from -0.5 to -0.5"),
    (JUDGE.row, (IMAGES + 1.5,), ValueError, r"samples must be .*in \[0, 1\], not .* from 1.5 to 1.5"),
    (train_classifier, (IMAGES, LABELS[:4]), ValueError, r"labels must be int64 .*\(5,\), not .*\(4,\)"),
    (train_classifier, (IMAGES, LABELS.float()), ValueError, "labels must be int64 .* not torch.float32"),
    (train_classifier, (IMAGES, LABELS + 10), ValueError, "labels must be from 0 to 9, not from 10 to 10"),
    (train_classifier, (NAN * IMAGES,), ValueError, "images must be finite, got NaN"),
    (train_classifier, (IMAGES, LABELS, 0), ValueError, "epochs must be a positive integer, not 0"),
    (train_classifier, (IMAGES, LABELS, 1, None), TypeError, "random must be a torch.Generator, got None"),
    (CLASSIFIER.look, (DIGITS,), ValueError, "images must be floating-point.*not uint8"),
    (CLASSIFIER.look, (torch.from_numpy(DIGITS),), ValueError, "images must be floating-point.*uint8"),
    (CLASSIFIER.look, (IMAGES[:, 1:],), ValueError, "images must be .*of shape .n, 28, 28., not .*27, 28"),
    (CLASSIFIER.look, (NAN * IMAGES,), ValueError, "images must be finite, got NaN"),
    (CLASSIFIER.look, (IMAGES[:0],), ValueError, "images must be one or more"),
    (CLASSIFIER.look, (IMAGES, 0), ValueError, "batch_size must be a positive .*not 0"),
    # Drawings.
    (draw, ("densities", [0, 1]), ValueError, "p_data or p_g must be given, got None"),
    (draw, ("densities", [0, 1], [0, 1, 2]), ValueError, r"x and p_data must .*got \(2,\) and \(3,\)"),
    (draw, ("discriminator", [], []), ValueError, r"x and D must .*got \(0,\) and \(0,\)"),
    (draw, ("area", [0, 1], None), ValueError, r"x and integrand must .*got \(2,\) and \(\)"),
    (draw, ("images", IMAGES, 0), ValueError, "columns must be a positive integer, got 0"),
    (plotting.figure_1, ([0, 1], [0, 1], [None] * 3), ValueError, "stages must be an even number.*got 3"),
]


def name(row):
    """The name of the function and the beginning of the message, which names the argument."""
    function, _, _, message = row
    called = getattr(function, "__name__", type(function).__name__)
    return f"{called.strip('<>')}-{re.match(r'[^ .]*', message)[0]}"


@pytest.mark.parametrize(("function", "arguments", "error", "message"), CALLS, ids=map(name, CALLS))
def test_a_call_that_means_nothing_says_so(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)


def test_not_a_number_stays_none():
    x = t([NAN])
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(PAIR), Uniform(t([0.0, 1.0]), t([1.0, 2.0]))
    )
    for p in (NORMAL, Uniform(0.0, 1.0), mixture, gan_theory.Pushforward(NORMAL, torch.sin)):
        assert log_density(p, x).isnan().all()
    assert gan_theory.optimal_discriminator(Uniform(0.0, 1.0), Uniform(0.0, 2.0))(x).isnan().all()


# Files.


class Hostile:
    """Unpickled, it writes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def hostile(path):
    """A pickle, an array of objects in a npz, and torch's own format: each runs code where it is trusted."""
    npz, torchs = BytesIO(), BytesIO()
    np.savez(npz, x_train=np.array([Hostile(path)], dtype=object))
    torch.save(Hostile(path), torchs)
    return {"pickle": pickle.dumps(Hostile(path)), "npz": npz.getvalue(), "torch": torchs.getvalue()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cut_small):
    """A run of one epoch."""
    out = tmp_path_factory.mktemp("run") / "run"
    with cut_small():
        assert main([*TRAIN, "--out", str(out)]) == 0
    return out


TRAIN = ["train", "--recipe", "seed", "--epochs", "1", "--judge-every", "0"]


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


def everything(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refused(arguments, capsys, code=2, command=main):
    """What a failing command says; it exits with 2, as argparse does, or 1 where no argument is to blame."""
    try:
        returned = command([str(argument) for argument in arguments])
    except SystemExit as stop:
        returned = stop.code
    said = capsys.readouterr().err
    assert returned == code, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("kind", ["pickle", "npz", "torch"])
@pytest.mark.usefixtures("small")
def test_nothing_is_unpickled(run, tmp_path, capsys, monkeypatch, kind):
    marker = tmp_path / "marker"
    content = hostile(marker)[kind]
    (run / "checkpoint.safetensors").write_bytes(content)
    before = everything(tmp_path)
    for arguments in (
        ["evaluate", run],
        ["ship", run, "--name", "x"],
        [*TRAIN, "--resume", "--out", run],
    ):
        assert "is not a whole checkpoint" in refused(arguments, capsys)
    for module, file in ((data, "PATH"), (classifier, "PATH")):
        monkeypatch.setattr(module, file, run / "checkpoint.safetensors")
    with pytest.raises(ValueError, match="is damaged: expected sha256"):
        load_mnist()
    with pytest.raises(CheckpointError, match="is not a whole checkpoint"):
        classifier.load_classifier()
    assert everything(tmp_path) == before
    assert not marker.exists()


def test_the_marker_would_appear(tmp_path):
    pickle.loads(pickle.dumps(Hostile(tmp_path / "marker")))  # noqa: S301  (ours)
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.999])
def test_a_bit_of_a_checkpoint_that_has_flipped_is_noticed(run, part):
    path = run / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[int(part * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{path} is not a whole checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5])
def test_a_checkpoint_that_is_cut_off_is_noticed(run, kept):
    path = run / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=f"{path} is not a whole checkpoint"):
        read_checkpoint(path)


def test_a_directory_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="is not a whole checkpoint"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda log: log[: log.rindex(b"\n", 0, -1) + 1],  # its last line is lost
        lambda log: log[log.index(b"\n") + 1 :],  # its first
        lambda log: log[:-9],
        lambda log: bytes([log[0] ^ 1]) + log[1:],
        lambda _: b"",
        lambda _: b"[]\n",
    ],
)
def test_a_log_that_is_not_whole_is_refused(damage, tmp_path, monkeypatch):
    log = Path(shutil.copytree(RUNS / "paper", tmp_path / "paper")) / "log.jsonl"
    log.write_bytes(damage(log.read_bytes()))
    monkeypatch.setattr("gan_theory.mnist.trained.RUNS", tmp_path)
    with pytest.raises(CheckpointError, match="paper does not hold a whole run"):
        load_run("paper")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: flip(run / "checkpoint.safetensors"), "is not a whole checkpoint .*sha256"),
        (lambda run: (run / "run.json").write_text("{"), "run.json is not what the run has written"),
        (lambda run: (run / "run.json").write_text("[]"), "run.json is not what .* a list"),
        (lambda run: (run / "run.json").unlink(), "No such file.*run.json"),
        (lambda run: (run / "epoch-0001.png").write_bytes(b"no"), "epoch-0001.png"),
        (lambda run: (run / "epoch-0001.png").unlink(), "No such file.*epoch-0001.png"),
        (lambda run: plotting.plt.imsave(run / "epoch-0001.png", np.eye(9)), r"epoch-0001.png .*\(9, 9"),
        (lambda run: Run(RECIPES["seed"], load_mnist().x_train[:300]).save(run / "checkpoint.safetensors"),
         "has not come to the end of an epoch"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("small")
def test_a_damaged_run_is_not_shipped(run, tmp_path, capsys, monkeypatch, damage, message):
    monkeypatch.setattr("gan_theory.mnist.__main__.RUNS", tmp_path / "runs")
    damage(run)
    before = everything(tmp_path)
    said = refused(["ship", run, "--name", "x"], capsys)
    assert re.search(f"argument RUN: .*{message}", said), said
    assert everything(tmp_path) == before


# The command line.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--recipe", "none", "--epochs", "1", "--out", "new"], "--recipe: invalid choice: 'none'"),
        ([*TRAIN, "--out", "new", "--judge-every", "-1"], "--judge-every: must be an integer from 0"),
        ([*TRAIN, "--out", "new", "--devices", "0"], "--devices: must be an integer from 1"),
        ([*TRAIN, "--out", "new", "--precision", "16"], "--precision: invalid choice: '16'"),
        (["train", "--recipe", "book", "--epochs", "2", "--out", "run", "--resume"],
         "--resume: .*of a run with recipe 'seed', not 'book'"),
        (["evaluate", "nothing"], "RUN: there is no checkpoint .*nor is it the name of a shipped run"),
        (["evaluate", "paper"], "RUN: paper is shipped with its log alone"),
        (["evaluate", "run", "--samples", "99"], "--samples: must be an integer from 100 to .*not '99'"),
        (["evaluate", "run", "--samples", "nan"], "--samples: must be an integer .*not 'nan'"),
        (["evaluate", "run", "--out", "file"], "--out: .*file must be a directory, and .*file is none"),
        (["evaluate", "run", "--out", "file/new"], "--out: .*new must be a directory, and .*file is none"),
        (["ship", "nothing", "--name", "x"], "RUN: there is no checkpoint"),
        (["ship", "run", "--name", "../x"], "--name: must be letters, .*not '../x'"),
        (["ship", "run", "--name", ""], "--name: must be letters, .*not ''"),
        (["references", "--out", "run"], "--out: .*run is a directory; it must be a file"),
        (["references", "--out", "file/rows.json"], "--out: .*must be a file in a .*file is none"),
        (["classifier", "--out", "new/file"], "--out: .*must be a file in a directory, and .*new is none"),
        (["classifier", "--epochs", "0"], "--epochs: must be an integer from 1 to 1000, not '0'"),
        (["judge"], "command: invalid choice: 'judge'"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("small", "run")
def test_a_command_that_cannot_be_done_says_so_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, arguments, message
):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    before = everything(tmp_path)
    said = refused(arguments, capsys)
    assert re.search(f"argument {message}", said), said
    assert everything(tmp_path) == before


@pytest.mark.parametrize("out", [".", "no/runs.json", "file/runs.json"])
def test_the_command_of_the_line_looks_where_to_write_first(tmp_path, monkeypatch, capsys, out):
    (tmp_path / "file").touch()
    monkeypatch.setattr("gan_theory.one_dimensional.__main__.measure", lambda *_: pytest.fail("it has begun"))
    said = refused(["--out", tmp_path / out], capsys, code=1, command=line)
    assert f"argument --out: {tmp_path / out} must be a file in a directory" in said
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.fixture
def full_after(monkeypatch):
    """A disk that takes so many files, and no more."""

    def fill(files):
        room, fsync = iter(range(files)), os.fsync

        def full(number):
            if next(room, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(number)

        monkeypatch.setattr(os, "fsync", full)

    return fill


@pytest.mark.parametrize(
    ("arguments", "files", "code"),
    [
        ([*TRAIN, "--out", "new/run"], 0, 2),
        (["evaluate", "run", "--samples", "100"], 0, 2),
        (["evaluate", "run", "--samples", "100"], 3, 2),
        (["evaluate", "run", "--samples", "100", "--out", "new/evaluation"], 4, 2),
        (["ship", "run", "--name", "x", "--samples", "100"], 2, 1),
        (["classifier", "--epochs", "1", "--out", "classifier"], 0, 1),
    ],
)
@pytest.mark.usefixtures("small", "run")
def test_a_full_disk_is_named_and_holds_nothing_of_the_command(
    tmp_path, monkeypatch, capsys, full_after, arguments, files, code
):
    for module in ("__main__", "trained"):
        monkeypatch.setattr(f"gan_theory.mnist.{module}.RUNS", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    before = everything(tmp_path)
    full_after(files)
    said = refused(arguments, capsys, code=code)
    assert re.search(r"error: .*No space left on device: '", said), said
    assert everything(tmp_path) == before


def test_a_device_that_is_full_is_named(tmp_path, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has a device that is always full")
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: opened(Path("/dev/full"), mode))  # noqa: ARG005
    with pytest.raises(OSError, match=r"No space left on device: '.*checkpoint\.partial'"):
        write_checkpoint(tmp_path / "checkpoint", {"a": torch.zeros(1)}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("gan_theory.mnist", [*TRAIN, "--out", "run"]),
        ("gan_theory.one_dimensional", ["--out", "none/runs.json"]),
    ],
)
def test_python_ends_with_the_code_of_the_command(tmp_path, monkeypatch, module, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "PATH", tmp_path / "mnist.npz")
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    monkeypatch.delitem(sys.modules, f"{module}.__main__")
    with pytest.raises(SystemExit, match=r"^1$"):
        runpy.run_module(module, run_name="__main__")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [main, line])
def test_ctrl_c_ends_a_command_without_a_word(tmp_path, monkeypatch, capsys, command):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gan_theory.mnist.__main__.load_mnist", interrupted)
    monkeypatch.setattr("gan_theory.one_dimensional.__main__.measure", interrupted)
    arguments = {main: [*TRAIN, "--out", str(tmp_path / "run")], line: ["--out", str(tmp_path / "runs.json")]}
    assert command(arguments[command]) == 130
    assert "error" not in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_command_itself_is_not_taken_for_a_lost_process(tmp_path, monkeypatch):
    def faulty():
        raise RuntimeError("a fault of its own")

    monkeypatch.setattr("gan_theory.mnist.__main__.load_mnist", faulty)
    with pytest.raises(RuntimeError, match="a fault of its own"):
        main([*TRAIN, "--out", str(tmp_path / "run")])


def test_a_lost_process_ends_the_command_with_an_error(tmp_path, monkeypatch, capsys):
    def lost():
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("gan_theory.mnist.__main__.load_mnist", lost)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert main([*TRAIN, "--out", str(tmp_path / "run")]) == 1
    assert "a process of the run cannot be reached any more (Connection closed" in capsys.readouterr().err
