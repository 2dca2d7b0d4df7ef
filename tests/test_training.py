"""Algorithm 1: what it updates, when, on which batches, and by exactly which gradient."""

import math
import re
from functools import partial
from itertools import repeat

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn
from torch.optim import SGD

from gan_theory.losses import non_saturating_generator_loss, saturating_generator_loss
from gan_theory.networks import mlp
from gan_theory.training import _compile, train


class Game:
    """A small GAN that records what `train` does to it."""

    def __init__(self, batches, learning_rate=0.1, **options):
        random = torch.Generator().manual_seed(0)
        self.G, self.D = mlp(1, 4, 1, generator=random), mlp(1, 4, 1, generator=random)
        self.calls, self.seen, self.noise = [], [], []
        self.optimizers = SGD(self.G.parameters(), learning_rate), SGD(self.D.parameters(), learning_rate)
        for name, optimizer in zip("GD", self.optimizers, strict=True):
            optimizer.register_step_post_hook(lambda *_, name=name: self.calls.append(name))
        self.D.register_forward_pre_hook(lambda _, args: self.seen.append(args[0].detach().clone()))

        def sample_noise(n):
            self.noise.append(torch.randn(n, 1, generator=random))
            return self.noise[-1]

        self.steps = train(
            self.G,
            self.D,
            batches,
            sample_noise,
            generator_optimizer=self.optimizers[0],
            discriminator_optimizer=self.optimizers[1],
            **options,
        )


def minibatches(count, size=3):
    return [
        torch.arange(size * i, size * (i + 1), dtype=torch.float32).reshape(size, 1) for i in range(count)
    ]


@pytest.mark.parametrize("k", [1, 3])
def test_k_updates_of_d_then_one_of_g(k):
    game = Game(minibatches(2 * k), discriminator_steps=k)
    for iteration, step in enumerate(game.steps, start=1):
        assert step.number == iteration
        assert game.calls == (["D"] * k + ["G"]) * iteration
    assert iteration == 2


def test_every_update_has_fresh_data_and_fresh_noise():
    batches = minibatches(6)
    game = Game(batches, discriminator_steps=3)
    list(game.steps)
    calls_of_d = [game.seen[i : i + 7] for i in (0, 7)]  # real, fake, real, fake, real, fake, then G's
    real = [x for calls in calls_of_d for x in calls[0:6:2]]
    assert all(torch.equal(x, y) for x, y in zip(real, batches, strict=True))
    assert len(game.noise) == 8
    assert len({tuple(z.flatten().tolist()) for z in game.noise}) == 8, "a noise minibatch was used twice"


def test_the_last_smaller_batch_gets_as_much_noise():
    game = Game([*minibatches(2), torch.zeros(2, 1)])
    steps = list(game.steps)
    assert [len(step.logits_real) for step in steps] == [len(step.logits_fake) for step in steps] == [3, 3, 2]
    assert [len(z) for z in game.noise] == [3, 3, 3, 3, 2, 2]


def test_an_iteration_that_the_data_cannot_fill_does_not_begin():
    game = Game(minibatches(8), discriminator_steps=3)
    assert len(list(game.steps)) == 2
    assert game.calls == (["D"] * 3 + ["G"]) * 2


@pytest.mark.parametrize("k", [1, 3])
def test_the_discriminators_update_leaves_no_gradient_in_the_generator(k):
    """Backpropagation reaches G exactly once an iteration, through G's own loss."""
    game = Game(minibatches(2 * k), discriminator_steps=k)
    reached = []
    for parameter in game.G.parameters():
        parameter.register_post_accumulate_grad_hook(lambda _: reached.append(game.calls.count("D")))
    list(game.steps)
    parameters = len(list(game.G.parameters()))
    assert reached == [k] * parameters + [2 * k] * parameters


def test_each_player_moves_only_in_its_own_update():
    game = Game(minibatches(2))
    G, D = game.optimizers
    frozen = {}

    def remember(name, module):
        frozen[name] = [p.detach().clone() for p in module.parameters()]

    def unchanged(name, module):
        assert all(torch.equal(p, q) for p, q in zip(module.parameters(), frozen[name], strict=True))

    D.register_step_pre_hook(lambda *_: remember("G", game.G))
    D.register_step_post_hook(lambda *_: (unchanged("G", game.G), remember("D", game.D)))
    G.register_step_post_hook(lambda *_: unchanged("D", game.D))
    start = [p.detach().clone() for p in game.G.parameters()]
    list(game.steps)
    assert frozen.keys() == {"G", "D"}
    assert not any(torch.equal(p, q) for p, q in zip(game.G.parameters(), start, strict=True))


def test_a_step_reports_the_last_update_of_d_and_is_detached():
    game = Game(minibatches(3), discriminator_steps=3)
    D = mlp(1, 4, 1)
    G_start = mlp(1, 4, 1)
    G_start.load_state_dict(game.G.state_dict())
    states = []
    game.optimizers[1].register_step_pre_hook(
        lambda *_: states.append({n: t.clone() for n, t in game.D.state_dict().items()})
    )
    (step,) = game.steps
    D.load_state_dict(states[-1])
    torch.testing.assert_close(step.logits_real, D(minibatches(3)[2]).detach())
    torch.testing.assert_close(step.logits_fake, D(G_start(game.noise[2])).detach())
    assert not any(field.requires_grad for field in step[1:])
    assert math.isclose(
        step.discriminator_loss,
        -(step.logits_real.sigmoid().log().mean() + (1 - step.logits_fake.sigmoid()).log().mean()),
        rel_tol=1e-6,
    )


@pytest.mark.parametrize("loss", [saturating_generator_loss, non_saturating_generator_loss])
def test_one_iteration_against_the_gradients_derived_by_hand(loss):
    """G(z) = w z + c and D(x) = σ(u x + v): the chain rule by hand, two updates of D, one of G."""
    rate_g, rate_d = 0.3, 0.2
    rng = np.random.default_rng(0)
    reals, noises = rng.normal(3, 1, (2, 5)), rng.normal(0, 1, (3, 5))
    w, c, u, v = rng.normal(0, 1, 4)

    G, D = nn.Linear(1, 1, dtype=torch.float64), nn.Linear(1, 1, dtype=torch.float64)
    with torch.no_grad():
        for parameter, number in zip([G.weight, G.bias, D.weight, D.bias], [w, c, u, v], strict=True):
            parameter.fill_(number)
    supply = (torch.tensor(z).reshape(5, 1) for z in noises)
    (step,) = train(
        G,
        D,
        [torch.tensor(x).reshape(5, 1) for x in reals],
        lambda _: next(supply),
        generator_optimizer=SGD(G.parameters(), rate_g),
        discriminator_optimizer=SGD(D.parameters(), rate_d),
        generator_loss=loss,
        discriminator_steps=2,
    )

    for x, z in zip(reals, noises[:2], strict=True):
        fake = w * z + c
        real_error, fake_error = -expit(-(u * x + v)), expit(u * fake + v)
        loss_of_d = np.mean(np.logaddexp(0, -(u * x + v)) + np.logaddexp(0, u * fake + v))
        u, v = (
            u - rate_d * np.mean(real_error * x + fake_error * fake),
            v - rate_d * np.mean(real_error + fake_error),
        )
    z = noises[2]
    b = u * (w * z + c) + v
    in_logit = -expit(b) if loss is saturating_generator_loss else -expit(-b)
    loss_of_g = np.mean(-np.logaddexp(0, b) if loss is saturating_generator_loss else np.logaddexp(0, -b))
    w, c = w - rate_g * np.mean(in_logit * u * z), c - rate_g * np.mean(in_logit * u)

    trained = [p.item() for p in (G.weight, G.bias, D.weight, D.bias)]
    np.testing.assert_allclose(trained, [w, c, u, v], rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        [step.discriminator_loss, step.generator_loss], [loss_of_d, loss_of_g], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("loss", "slope"), [(saturating_generator_loss, "b"), (non_saturating_generator_loss, "-b")]
)
def test_dirac_gan_follows_its_recurrence(loss, slope):
    """Data at 0, G at θ, D(x) = σ(ψx): ψ ← ψ − ηθσ(ψθ), then θ ← θ + ηψσ(±ψθ), for a hundred iterations."""
    eta, theta, psi = 0.1, 1.0, 0.5

    class Dirac(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

        def forward(self, z):
            return self.theta.expand(len(z), 1)

    G, D = Dirac(), nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(D.weight, psi)
    steps = train(
        G,
        D,
        repeat(torch.zeros(4, 1, dtype=torch.float64), 100),
        lambda n: torch.zeros(n, 1, dtype=torch.float64),
        generator_optimizer=SGD(G.parameters(), eta),
        discriminator_optimizer=SGD(D.parameters(), eta),
        generator_loss=loss,
    )
    for _ in steps:
        psi -= eta * theta * expit(psi * theta)
        b = psi * theta
        theta += eta * psi * expit({"b": b, "-b": -b}[slope])
        assert G.theta.item() == pytest.approx(theta, abs=1e-12)
        assert D.weight.item() == pytest.approx(psi, abs=1e-12)


class ByHand:
    """Two networks as `mlp(1, 3, 1)`, on copies of the parameters, moved by heavy-ball momentum."""

    def __init__(self, modules, rates, momentum):
        self.rates, self.momentum = rates, momentum
        self.parameters = {
            name: [p.detach().clone().requires_grad_() for p in module.parameters()]
            for name, module in modules.items()
        }
        self.velocity = {name: [torch.zeros_like(p) for p in own] for name, own in self.parameters.items()}

    def network(self, name, x):
        weight_1, bias_1, weight_2, bias_2 = self.parameters[name]
        return torch.tanh(x @ weight_1.T + bias_1) @ weight_2.T + bias_2

    def gradient_of_d(self, x, z, penalty):
        real, fake = (self.network("D", y).sigmoid() for y in (x, self.network("G", z)))
        weight_1, bias_1, weight_2, _ = self.parameters["D"]
        slope = ((1 - torch.tanh(x @ weight_1.T + bias_1) ** 2) * weight_1.T) @ weight_2.T
        loss = -(real.log() + (1 - fake).log()).mean() + penalty / 2 * slope.square().mean()
        return torch.autograd.grad(loss, self.parameters["D"], allow_unused=True, materialize_grads=True)

    def gradient_of_g(self, z, loss):
        fake = self.network("D", self.network("G", z)).sigmoid()
        of_g = (1 - fake).log() if loss is saturating_generator_loss else -fake.log()
        return torch.autograd.grad(of_g.mean(), self.parameters["G"])

    def move(self, name, gradient):
        for p, v, g in zip(self.parameters[name], self.velocity[name], gradient, strict=True):
            v.mul_(self.momentum).add_(g)
            p.data -= self.rates[name] * v


def against_steps_written_by_hand(loss, *, gamma, every, **options):
    """With momentum, so that a gradient left from another iteration, or from G's loss, would show."""
    rates, momentum = {"G": 0.3, "D": 0.2}, 0.6
    random = torch.Generator().manual_seed(1)
    modules = {name: mlp(1, 3, 1, generator=random).double() for name in "GD"}
    reals, noises = (torch.randn(n, 5, 1, generator=random, dtype=torch.float64) for n in (3, 6))
    hand, supply = ByHand(modules, rates, momentum), iter(noises)
    optimizers = {name: SGD(modules[name].parameters(), rates[name], momentum=momentum) for name in "GD"}
    steps = train(
        modules["G"],
        modules["D"],
        reals,
        lambda _: next(supply),
        generator_optimizer=optimizers["G"],
        discriminator_optimizer=optimizers["D"],
        generator_loss=loss,
        gradient_penalty=gamma,
        **({"penalty_every": every} if every > 1 else {}),  # every iteration has one where nothing is said
        first=6,
        **options,
    )
    simultaneous = options["simultaneous"]
    noises = noises[:3].repeat_interleave(2, 0) if simultaneous else noises  # one noise for both
    for x, (z_for_d, z_for_g), step in zip(reals, noises.reshape(3, 2, 5, 1), steps, strict=True):
        penalty = 0.0 if step.number in ({7} if every == 2 else {}) else every * gamma
        of_d, of_g = hand.gradient_of_d(x, z_for_d, penalty), hand.gradient_of_g(z_for_g, loss)
        hand.move("D", of_d)
        of_g = of_g if simultaneous else hand.gradient_of_g(z_for_g, loss)
        hand.move("G", of_g)
        for name, gradient in (("G", of_g), ("D", of_d)):
            parameters = list(modules[name].parameters())
            torch.testing.assert_close(parameters, hand.parameters[name], rtol=0, atol=1e-12)
            torch.testing.assert_close([p.grad for p in parameters], list(gradient), rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", [saturating_generator_loss, non_saturating_generator_loss])
@pytest.mark.parametrize("simultaneous", [False, True])
@pytest.mark.parametrize(("gamma", "every"), [(0.0, 1), (0.7, 1), (0.7, 2)])
def test_three_iterations_against_steps_written_by_hand(loss, simultaneous, gamma, every):
    against_steps_written_by_hand(loss, gamma=gamma, every=every, simultaneous=simultaneous)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is:DeprecationWarning")  # the compiler's own
@pytest.mark.usefixtures("compiler")
def test_compiled_iterations_against_steps_written_by_hand():
    """Both players at once; in turns, what is compiled is held to what is not, below and on digits."""
    against_steps_written_by_hand(
        saturating_generator_loss, gamma=0.7, every=1, simultaneous=True, compiled=True
    )


def test_simultaneous_updates_come_after_both_gradients():
    game = Game(minibatches(2), simultaneous=True)
    moved = []
    for parameter in game.G.parameters():
        parameter.register_post_accumulate_grad_hook(lambda _: moved.append(len(game.calls)))
    list(game.steps)
    assert game.calls == ["D", "G"] * 2
    parameters = len(list(game.G.parameters()))
    assert moved == [0] * parameters + [2] * parameters, "D moved before G's gradient was taken"


def test_simultaneous_dirac_gan_spirals_out():
    """Both from the same point: ψ ← ψ − ηθσ(ψθ) and θ ← θ + ηψσ(ψθ) with the *old* ψ; the radius grows."""
    eta, theta, psi = 0.3, 1.0, 0.5
    G, D = nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(G.weight, theta)
    nn.init.constant_(D.weight, psi)
    steps = train(
        G,
        D,
        repeat(torch.zeros(2, 1, dtype=torch.float64), 50),
        lambda n: torch.ones(n, 1, dtype=torch.float64),
        generator_optimizer=SGD(G.parameters(), eta),
        discriminator_optimizer=SGD(D.parameters(), eta),
        generator_loss=saturating_generator_loss,
        simultaneous=True,
    )
    for _ in steps:
        slope = expit(psi * theta)
        theta, psi, radius = theta + eta * psi * slope, psi - eta * theta * slope, math.hypot(theta, psi)
        assert G.weight.item() == pytest.approx(theta, abs=1e-12)
        assert D.weight.item() == pytest.approx(psi, abs=1e-12)
        assert math.hypot(theta, psi) > radius * (1 + 1e-6)


@pytest.mark.parametrize("simultaneous", [False, True])
def test_what_no_optimiser_moves_gathers_no_gradient(simultaneous):
    game = Game(minibatches(2), simultaneous=simultaneous)
    for optimizer in game.optimizers:
        del optimizer.param_groups[0]["params"][0]  # the first weight
    list(game.steps)
    for player in (game.G, game.D):
        first, *others = player.parameters()
        assert first.grad is None and all(p.grad is not None for p in others)


@pytest.mark.parametrize("k", [2, 5])
def test_simultaneous_updates_are_one_of_each_player(k):
    with pytest.raises(ValueError, match=f"simultaneous updates are one of each player, not {k} of D"):
        next(Game(minibatches(2 * k), discriminator_steps=k, simultaneous=True).steps)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is:DeprecationWarning")  # the compiler's own
@pytest.mark.usefixtures("compiler")
def test_compiled_players_drop_what_they_would_have_dropped():
    """As they draw from PyTorch's own stream, so does what is compiled; and a learning rate may change."""
    ends = []
    for compiled in (False, True):
        random = torch.Generator().manual_seed(0)
        G, D = (mlp(1, 4, 1, generator=random).double() for _ in "GD")
        D.insert(1, nn.Dropout(0.5))
        optimizers = SGD(G.parameters(), 0.1), SGD(D.parameters(), 0.1)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for _ in train(
                G,
                D,
                torch.randn(4, 5, 1, dtype=torch.float64),
                lambda n: torch.randn(n, 1, dtype=torch.float64),
                generator_optimizer=optimizers[0],
                discriminator_optimizer=optimizers[1],
                discriminator_steps=2,
                compiled=compiled,
            ):
                optimizers[1].param_groups[0]["lr"] = 0.2
        ends.append([p.detach() for p in (*G.parameters(), *D.parameters())])
    torch.testing.assert_close(*ends, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is:DeprecationWarning")  # the compiler's own
@pytest.mark.usefixtures("compiler")
def test_every_variant_is_compiled_with_its_backward_passes(monkeypatch):
    """PyTorch by default compiles no backward pass with what comes before it, and no ninth variant."""
    graphs, sizes = [], range(1, 13)
    backend = lambda graph, _, **__: graphs.append(graph) or graph
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    G, D = mlp(1, 3, 1), mlp(1, 3, 1)
    steps = train(
        G,
        D,
        [torch.ones(n, 1) for n in sizes],
        lambda n: torch.ones(n, 1),
        generator_optimizer=SGD(G.parameters(), 0.1),
        discriminator_optimizer=SGD(D.parameters(), 0.1),
        simultaneous=True,
        compiled=True,
    )
    assert [len(step.logits_real) for step in steps] == list(sizes)
    assert [graph.code.count("autograd.grad(") for graph in graphs] == [2] * len(sizes)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is:DeprecationWarning")  # the compiler's own
@pytest.mark.usefixtures("compiler")
def test_compiled_players_that_differ_in_their_hooks_are_not_taken_for_each_other(monkeypatch):
    backend = lambda graph, _, **__: graph
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    losses = []
    for compiled, hooked in ((True, False), (True, True), (False, True)):
        game = Game(minibatches(1), simultaneous=True, compiled=compiled)
        if hooked:
            game.G.register_forward_hook(lambda *taken: 2 * taken[-1] + 1)
        losses += [step.generator_loss for step in game.steps]
    torch.testing.assert_close(losses[1], losses[2])
    assert not torch.isclose(losses[0], losses[1])


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    "hook",
    [
        lambda player: player[0].register_full_backward_hook(lambda *_: None),
        lambda player: player[0].register_full_backward_pre_hook(lambda *_: None),
        lambda player: player[0].weight.register_hook(lambda _: None),
        lambda player: player[0].bias.register_post_accumulate_grad_hook(lambda _: None),
    ],
)
def test_backward_hooks_are_refused_where_they_would_not_be_called(hook):
    game = Game(minibatches(1), compiled=True)
    hook(game.D)
    with pytest.raises(
        ValueError, match="discriminator has backward hooks, which compiled training would not"
    ):
        next(game.steps)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is:DeprecationWarning")  # the compiler's own
def test_compiling_leaves_distributions_their_checks():
    """PyTorch switches them off for the whole process, the first time that anything is compiled."""
    torch._dynamo.eval_frame.TorchPatcher.patch.cache_clear()  # noqa: SLF001  (as in a new process)
    _compile(lambda: None)
    with pytest.raises(ValueError, match="scale"):
        torch.distributions.Normal(0.0, -1.0)


def test_compiled_training_is_refused_without_a_compiler():
    """The same is said by the command line: `test_without_a_compiler_nothing_is_begun`."""
    said = (
        "compiled training needs a C++ compiler, and there is no g++ (on macOS clang++) on this machine;"
        " another is chosen by the environment variable CXX"
    )
    with (
        torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}),  # noqa: SLF001  (not public)
        pytest.raises(FileNotFoundError, match=f"^{re.escape(said)}$"),
    ):
        next(Game(minibatches(1), compiled=True).steps)


def test_noise_is_drawn_after_the_discriminator_has_seen_the_data():
    """A run of `paper` depends on it: its D draws what it drops from the stream of the noise."""
    game = Game(minibatches(2), simultaneous=True)
    order = []
    game.D.register_forward_pre_hook(lambda *_: order.append(("D", len(game.noise))))
    list(game.steps)
    assert order == [("D", 0), ("D", 1), ("D", 1), ("D", 2)]


@pytest.mark.parametrize("simultaneous", [False, True])
def test_a_frozen_layer_may_be_in_an_optimizer(simultaneous):
    game = Game(minibatches(2), simultaneous=simultaneous)
    before = [net[0].requires_grad_(requires_grad=False).weight.clone() for net in (game.G, game.D)]
    moved = [net[2].weight.detach().clone() for net in (game.G, game.D)]
    list(game.steps)
    for net, weight, other in zip((game.G, game.D), before, moved, strict=True):
        assert torch.equal(net[0].weight, weight)
        assert not torch.equal(net[2].weight, other)


def test_a_frozen_layer_of_the_generator_may_be_left_out_of_its_optimizer():
    """G's loss is taken back to what its optimizer moves, and to nothing else."""
    G, D = mlp(1, 3, 1), mlp(1, 3, 1)
    frozen = G[0].requires_grad_(requires_grad=False).weight.clone()
    optimizers = SGD(G[2].parameters(), 0.1), SGD(D.parameters(), 0.1)
    before = G[2].weight.detach().clone()
    next(
        train(
            G,
            D,
            minibatches(1),
            lambda n: torch.ones(n, 1),
            generator_optimizer=optimizers[0],
            discriminator_optimizer=optimizers[1],
        )
    )
    assert torch.equal(G[0].weight, frozen)
    assert not torch.equal(G[2].weight, before)


@pytest.mark.parametrize("k", [0, -1, 1.0, None])
def test_discriminator_steps_is_checked(k):
    with pytest.raises(ValueError, match=f"discriminator_steps must be a positive integer, not {k}"):
        next(Game(minibatches(2), discriminator_steps=k).steps)


@pytest.mark.parametrize("r", [0, -1, 2.0])
def test_penalty_every_is_checked(r):
    with pytest.raises(ValueError, match=f"penalty_every must be a positive integer, not {r}"):
        next(Game(minibatches(1), penalty_every=r).steps)


@pytest.mark.parametrize("gamma", [-0.1, math.nan, math.inf])
def test_gradient_penalty_is_checked(gamma):
    with pytest.raises(ValueError, match="gradient_penalty must be at least 0 and finite"):
        next(Game(minibatches(1), gradient_penalty=gamma).steps)


def test_the_losses_of_a_step_are_without_the_penalty():
    first = [next(Game(minibatches(1), gradient_penalty=g).steps).discriminator_loss for g in (0.0, 5.0)]
    assert torch.equal(*first)


def test_iterations_can_be_counted_from_0():
    assert [step.number for step in Game(minibatches(2), first=0).steps] == [0, 1]
