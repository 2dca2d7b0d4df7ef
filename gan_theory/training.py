"""Algorithm 1 of the paper, once, for one dimension and for MNIST alike."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from sysconfig import get_path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.optim import Optimizer

from gan_theory.checks import check_flag, is_integer, is_real
from gan_theory.losses import discriminator_loss, non_saturating_generator_loss

__all__ = ["Step", "train"]


class Step(NamedTuple):
    """What one iteration of Algorithm 1 saw: detached tensors, on the device of the networks.

    The discriminator's loss and logits are those of its last update in the iteration, and like the
    generator's loss they were taken just before the update that they drove.
    """

    number: int
    discriminator_loss: Tensor
    generator_loss: Tensor
    logits_real: Tensor
    logits_fake: Tensor


def train(
    generator: Callable[[Tensor], Tensor],
    discriminator: Callable[[Tensor], Tensor],
    real_batches: Iterable[Tensor],
    sample_noise: Callable[[int], Tensor],
    *,
    generator_optimizer: Optimizer,
    discriminator_optimizer: Optimizer,
    generator_loss: Callable[[Tensor], Tensor] = non_saturating_generator_loss,
    discriminator_steps: int = 1,
    simultaneous: bool = False,
    gradient_penalty: float = 0.0,
    penalty_every: int = 1,
    first: int = 1,
    compiled: bool = False,
) -> Iterator[Step]:
    r"""Trains G against D by Algorithm 1, one iteration each time the next step is asked for.

    An iteration makes k = `discriminator_steps` updates of D, each on a fresh minibatch of data and a fresh
    minibatch of noise, then one update of G on fresh noise. D descends
    :math:`-\frac1m \sum_i [\log D(x_i) + \log(1 - D(G(z_i)))]`. By default G descends
    :math:`-\frac1m \sum_i \log D(G(z_i))`, as the paper recommends in Section 3; what Algorithm 1 itself
    writes is :math:`\frac1m \sum_i \log(1 - D(G(z_i)))`, which is
    `generator_loss=saturating_generator_loss`.

    With `simultaneous=True` both gradients of an iteration are taken at the parameters with which it began,
    on the same noise, and only then do D and G move. That is not Algorithm 1, in which G answers to a D that
    has just moved; it is what the authors' released code does. It is also cheaper: one pass through G and D
    serves both.

    With a `gradient_penalty` γ, D also descends the penalty R1 of Mescheder et al. (2018), the squared slope
    of its logit a at the data, :math:`\frac{\gamma}{2m} \sum_i \Vert \nabla_x a(x_i) \Vert^2`. With
    `penalty_every` = r it does so in every r-th iteration only, r times as much (Karras et al. 2020).

    Args:
        generator: G, from a batch of noise to a batch of samples.
        discriminator: D, from a batch of data or samples to logits.
        real_batches: Minibatches of data, in the order they are used, k an iteration; it may be endless. An
            iteration begins only if there is data for all of it, so a remainder of fewer than k is not used.
        sample_noise: Draws a batch of noise of the size it is given, which is that of the data's minibatch.
        generator_optimizer: Updates G's parameters, and only those; which these are is read at the start.
        discriminator_optimizer: Updates D's parameters, likewise.
        generator_loss: What G minimises, a function of D's logits on its samples.
        discriminator_steps: k, at least 1.
        simultaneous: Whether D and G move at once instead of D first; k must then be 1.
        gradient_penalty: γ, at least 0; no part of the losses in a `Step`.
        penalty_every: r, at least 1: the iterations with a penalty are those whose number r divides.
        first: The number of the first iteration.
        compiled: Whether what an iteration computes between two updates, forward and backward, is compiled by
            `torch.compile`: it takes up to a minute, and each iteration is faster, and the same but for
            rounding. (But `simultaneous` players that draw random numbers themselves do so after the noise is
            drawn, where otherwise D sees the data before.) It needs a C++ compiler and Python's headers. What
            draws from a `torch.Generator`, as `Dropout` may, is left as it is, and breaks in pieces what
            surrounds it, so that little is gained. All parameters that an optimiser moves must have a part in
            what that player descends; numbers that a player changes as it goes must be tensors, or it is
            compiled anew each time.

    Yields:
        A `Step` after each iteration.

    Raises:
        TypeError: If a player, `sample_noise` or `generator_loss` is not callable, `real_batches` not
            iterable or gives no tensors, an optimiser none, or `simultaneous` or `compiled` neither True nor
            False.
        ValueError: If an optimiser moves parameters of the other player, where that is a module, or of the
            other optimiser, or none; if `compiled` players have backward hooks, which would not be called; if
            `discriminator_steps` or `penalty_every` is not a positive integer, the former not 1
            with `simultaneous`, `gradient_penalty` is negative or not finite, or `first` is not an
            integer, or negative.
        FileNotFoundError: If `compiled` without a compiler, or without Python's headers.

    Source:
        Goodfellow et al. 2014, Algorithm 1; Mescheder et al. 2018, Equation 9.
    """
    _check_players(
        generator=generator,
        discriminator=discriminator,
        sample_noise=sample_noise,
        generator_loss=generator_loss,
        generator_optimizer=generator_optimizer,
        discriminator_optimizer=discriminator_optimizer,
    )
    if not isinstance(real_batches, Iterable | Tensor):
        raise TypeError(f"real_batches must be an iterable of minibatches, not {type(real_batches).__name__}")
    _check_numbers(discriminator_steps, penalty_every, gradient_penalty, first)
    _check_simultaneous(simultaneous, discriminator_steps)
    check_compiled(compiled)
    _check_hooks(compiled, generator=generator, discriminator=discriminator)
    penalty = partial(_penalty, discriminator, gradient_penalty * penalty_every / 2)
    penalised = lambda number: gradient_penalty > 0 and number % penalty_every == 0
    parameters_of_d, parameters_of_g = map(_moved, (discriminator_optimizer, generator_optimizer))
    maybe_compiled = _compile if compiled else lambda computation: computation

    @maybe_compiled
    def take_both_gradients(
        x: Tensor, draw_noise: Callable[[], Tensor], with_penalty: bool
    ) -> tuple[Tensor, ...]:
        logits_real, logits_fake = discriminator(x), discriminator(generator(draw_noise()))
        loss_of_d, loss_of_g = discriminator_loss(logits_real, logits_fake), generator_loss(logits_fake)
        descended = loss_of_d + penalty(x) if with_penalty else loss_of_d
        descended.backward(inputs=parameters_of_d, retain_graph=True)
        loss_of_g.backward(inputs=parameters_of_g)
        return _detached(loss_of_d, loss_of_g, logits_real, logits_fake)

    if simultaneous:
        for number, x in enumerate(_tensors(real_batches), start=first):
            draw_noise = partial(sample_noise, len(x))
            if compiled:  # what is compiled does not draw
                z = draw_noise()
                draw_noise = lambda z=z: z
            discriminator_optimizer.zero_grad()
            generator_optimizer.zero_grad()
            seen = take_both_gradients(x, draw_noise, penalised(number))
            discriminator_optimizer.step()
            generator_optimizer.step()
            yield Step(number, *seen)
        return

    @maybe_compiled
    def take_gradient_of_d(x: Tensor, z: Tensor, with_penalty: bool) -> tuple[Tensor, ...]:
        fakes = generator(z).detach()  # D's update must leave G alone
        logits_real, logits_fake = discriminator(x), discriminator(fakes)
        loss_of_d = discriminator_loss(logits_real, logits_fake)
        descended = loss_of_d + penalty(x) if with_penalty else loss_of_d
        descended.backward(inputs=parameters_of_d)
        return _detached(loss_of_d, logits_real, logits_fake)

    @maybe_compiled
    def take_gradient_of_g(z: Tensor) -> Tensor:
        loss_of_g = generator_loss(discriminator(generator(z)))
        loss_of_g.backward(inputs=parameters_of_g)  # through D, which keeps nothing of it
        return loss_of_g.detach()

    minibatches = zip(*[_tensors(real_batches)] * discriminator_steps, strict=False)
    for number, k_minibatches in enumerate(minibatches, start=first):  # k at a time
        for x in k_minibatches:
            z = sample_noise(len(x))
            discriminator_optimizer.zero_grad()
            loss_of_d, logits_real, logits_fake = take_gradient_of_d(x, z, penalised(number))
            discriminator_optimizer.step()
        z = sample_noise(len(x))
        generator_optimizer.zero_grad()
        loss_of_g = take_gradient_of_g(z)
        generator_optimizer.step()
        yield Step(number, loss_of_d, loss_of_g, logits_real, logits_fake)


def check_compiled(compiled: bool) -> None:
    """Raises what `train` does for its argument `compiled`."""
    check_flag(compiled, "compiled")
    if compiled:
        from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415  (takes a second to import,
        from torch._inductor.exc import InvalidCxxCompiler  # noqa: PLC0415  (and few ask for it)

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            raise FileNotFoundError(
                "compiled training needs a C++ compiler, and there is no g++ (on macOS clang++) on this"
                " machine; another is chosen by the environment variable CXX"
            ) from None
        headers = Path(get_path("include"))
        if not (headers / "Python.h").exists():
            raise FileNotFoundError(
                f"compiled training needs Python's headers, and {headers} has no Python.h"
            )


def _check_players(**given: object) -> None:
    for name, part in given.items():
        if name.endswith("optimizer") and not isinstance(part, Optimizer):
            raise TypeError(f"{name} must be an optimizer, not {type(part).__name__}")
        if not name.endswith("optimizer") and not callable(part):
            raise TypeError(f"{name} must be callable, not {type(part).__name__}")
    for mover, other in (("generator", "discriminator"), ("discriminator", "generator")):
        moved = set(_parameters(given[f"{mover}_optimizer"]))
        if isinstance(given[other], nn.Module) and not moved.isdisjoint(given[other].parameters()):
            raise ValueError(f"{mover}_optimizer must move none of the {other}'s parameters")
        if not _moved(given[f"{mover}_optimizer"]):
            raise ValueError(f"{mover}_optimizer must have a parameter to move, and all of its are frozen")
    by_g, by_d = (set(_parameters(given[f"{player}_optimizer"])) for player in ("generator", "discriminator"))
    if not by_g.isdisjoint(by_d):
        raise ValueError("generator_optimizer and discriminator_optimizer must have no parameter in common")


def _check_hooks(compiled: bool, **players: object) -> None:
    for name, player in players.items() if compiled else ():
        for module in player.modules() if isinstance(player, nn.Module) else ():
            parameters = module.parameters(recurse=False)
            if (
                module._backward_hooks  # noqa: SLF001  (they have no getter, here and below)
                or module._backward_pre_hooks  # noqa: SLF001
                or any(p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters)  # noqa: SLF001
            ):
                raise ValueError(f"{name} has backward hooks, which compiled training would not call")


def _tensors(real_batches: Iterable[Tensor]) -> Iterator[Tensor]:
    for x in real_batches:
        if not isinstance(x, Tensor):
            raise TypeError(f"real_batches must give tensors, not {type(x).__name__}")
        yield x


def _check_numbers(discriminator_steps: int, penalty_every: int, gradient_penalty: float, first: int) -> None:
    for name, steps in (("discriminator_steps", discriminator_steps), ("penalty_every", penalty_every)):
        if not is_integer(steps, 1):
            raise ValueError(f"{name} must be a positive integer, not {steps!r}")
    if not (is_real(gradient_penalty) and gradient_penalty >= 0):
        raise ValueError(f"gradient_penalty must be at least 0 and finite, not {gradient_penalty!r}")
    if not is_integer(first, 0):
        raise ValueError(f"first must be an integer and not negative, not {first!r}")


def _check_simultaneous(simultaneous: bool, discriminator_steps: int) -> None:
    check_flag(simultaneous, "simultaneous")
    if simultaneous and discriminator_steps > 1:
        raise ValueError(f"simultaneous updates are one of each player, not {discriminator_steps} of D")


def _penalty(discriminator: Callable[[Tensor], Tensor], weight: float, x: Tensor) -> Tensor:
    """The mean squared slope of D's logit at the data, weighed."""
    x = x.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return weight * slopes.square().flatten(start_dim=1).sum(dim=1).mean()


def _compile(computation: Callable) -> Callable:
    """Compiles a computation together with its backward passes, which PyTorch by default leaves out.

    Nor does it by default go on compiling after eight variants: each pair of players, size of a minibatch and
    precision is one, with the penalty and without.
    """
    settings = torch._dynamo.config.patch(  # noqa: SLF001  (not public yet)
        trace_autograd_ops=True,
        recompile_limit=256,
        skip_nnmodule_hook_guards=False,  # players that differ in their hooks are no variant of each other
    )
    options = {"cpp_wrapper": True, "fallback_random": True}  # calls in C++; random numbers as without it
    validate = Distribution._validate_args  # noqa: SLF001  (it has no getter)
    compiled = settings(torch.compile(computation, dynamic=False, options=options))
    Distribution.set_default_validate_args(validate)  # torch.compile switches it off for the whole process
    return compiled


def _moved(optimizer: Optimizer) -> list[Tensor]:
    return [p for p in _parameters(optimizer) if p.requires_grad]


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _detached(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.detach() for tensor in tensors)
