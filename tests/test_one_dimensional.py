"""A GAN on the line: its settings, its batches, its yardsticks, and the command that makes the log."""

import errno
import itertools
import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, Normal, Uniform

from gan_theory.densities import Pushforward
from gan_theory.networks import mlp
from gan_theory.one_dimensional import RUNS, TARGETS, Settings, as_discriminator, best_response, judge, play
from gan_theory.one_dimensional.__main__ import main, measure, write
from gan_theory.one_dimensional.run import _batches, _quantile

COMMAND = "gan_theory.one_dimensional.__main__"
P_DATA = TARGETS["Normal(1, 0.5)"]
SHORT = Settings(iterations=6, batch_size=16, widths=(4,), response_steps=3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def affine(slope, shift):
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(slope)
        layer.bias.fill_(shift)
    return layer


COUNT = "a positive integer", (1, 2, 10**6), (0, -1, 1.5, True, None)
SIZE = "positive and finite", (5e-324, 0.5, 1, 1e38), (0.0, -1.0, math.inf, math.nan, "1")
SHARE = "in [0, 1)", (0, 0.0, 0.5, 1 - 2**-53), (1.0, 1.5, -0.1, math.nan, None)
FADING = (
    "two numbers in [0, 1)",
    ((0.0, 0), (0.9, 0.999)),
    ((0.9,), (0.9, 1.0), (-0.1, 0.9), (0, 0, 0), [0, 0]),
)
WIDTHS = "a tuple of positive integers", ((), (1,), (3, 2, 1)), ((0,), (4, 1.0), [4], 4)
ALLOWED = {
    "iterations": COUNT,
    "discriminator_steps": COUNT,
    "batch_size": COUNT,
    "generator_learning_rate": SIZE,
    "discriminator_learning_rate": SIZE,
    "betas": FADING,
    "constant_share": SHARE,
    "least_discriminator_rate": SHARE,
    "averaging": SHARE,
    "widths": WIDTHS,
    "generator_stretch": SIZE,
    "discriminator_stretch": SIZE,
    "response_steps": COUNT,
}


@pytest.mark.parametrize("name", ALLOWED)
def test_settings_are_those_that_a_run_can_have(name):
    allowed, right, wrong = ALLOWED[name]
    for given in right:
        assert getattr(Settings(**{name: given}), name) == given
    for given in wrong:
        with pytest.raises(ValueError, match=re.escape(f"{name} must be {allowed}, not {given!r}")):
            Settings(**{name: given})


def test_what_a_setting_allows_is_told_of_each():
    switches = {"saturating", "stratified"}
    assert set(ALLOWED) | switches == {field.name for field in fields(Settings)}


def test_looks_must_be_positive():
    with pytest.raises(ValueError, match="looks must be a positive integer, not 0"):
        next(play(P_DATA, SHORT, random=seeded(), looks=0))


def test_a_run_is_made_by_its_seed_and_looks_are_copies():
    one, same, other = (list(play(P_DATA, SHORT, random=seeded(seed), looks=3)) for seed in (1, 1, 2))
    assert [look.iteration for look in one] == [0, 1, 3, 6]
    weights = [[look.generator[0].weight.flatten().tolist() for look in run] for run in (one, same, other)]
    assert weights[0] == weights[1] != weights[2]
    assert len({tuple(weight) for weight in weights[0]}) == 4


class Reference:
    """Both players' runs, update after update, as the docstrings say and as Adam's paper does."""

    def __init__(self, settings, random):
        self.s, self.random = settings, random

    def points(self):
        """Those of the data, Normal(1, 0.5), and those of the noise, come from the same pieces of (0, 1)."""
        n = self.s.batch_size
        u = torch.rand(n, generator=self.random, dtype=torch.float64)
        return ((torch.arange(n) + u) / n if self.s.stratified else u)[:, None]

    def data(self):
        return torch.from_numpy(stats.norm.ppf(self.points(), 1, 0.5)).float()

    def noise(self):
        return (self.points() * 2 - 1).float()

    def rate(self, iterations):
        """The share of a learning rate that is left after some iterations."""
        constant = self.s.constant_share * self.s.iterations
        falling = self.s.iterations - constant
        return (
            1.0 if iterations < constant else 0.5 + math.cos(math.pi * (iterations - constant) / falling) / 2
        )

    def adam(self, network, betas):
        """Descends a loss at a rate, in the words of Kingma and Ba's Algorithm 1."""
        parameters = list(network.parameters())
        moments, squares = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
        updates = itertools.count(1)

        @torch.no_grad()
        def descend(loss, rate):
            t = next(updates)
            with torch.enable_grad():
                slopes = torch.autograd.grad(loss, parameters)
            for p, g, m, v in zip(parameters, slopes, moments, squares, strict=True):
                m.mul_(betas[0]).add_((1 - betas[0]) * g)
                v.mul_(betas[1]).add_((1 - betas[1]) * g * g)
                p.sub_(rate * m / (1 - betas[0] ** t) / ((v / (1 - betas[1] ** t)).sqrt() + 1e-8))

        return descend


def loss_of_d(D, x, fakes):
    return -(D(x).sigmoid().log().mean() + (1 - D(fakes).sigmoid()).log().mean())


def assert_same_weights(found, expected):
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("saturating", [False, True])
@pytest.mark.parametrize("stratified", [False, True])
def test_a_run_is_algorithm_1_with_adam_and_falling_rates(saturating, stratified):
    s = Settings(iterations=7, discriminator_steps=2, batch_size=16, saturating=saturating, betas=(0.5, 0.9),
                 stratified=stratified, generator_learning_rate=0.02, discriminator_learning_rate=0.03,
                 constant_share=0.4, least_discriminator_rate=0.3, widths=(5, 4), generator_stretch=1.25,
                 discriminator_stretch=3.0)  # fmt: skip
    reference = Reference(s, seeded(8))
    G, D = (mlp(1, 5, 4, 1, activation=a, generator=reference.random) for a in (nn.Tanh, nn.SiLU))
    with torch.no_grad():
        for parameter, factor in [(G[0].weight, 1.25), (G[0].bias, 1.25), (D[0].weight, 3), (D[0].bias, 3)]:
            parameter.mul_(factor)
        D[-1].weight *= 0.3
    looks = play(P_DATA, s, random=seeded(8), looks=50)
    start = next(looks)
    assert all(torch.equal(a, b) for a, b in zip(start.generator.parameters(), G.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(start.average.parameters(), G.parameters(), strict=True))
    assert all(
        torch.equal(a, b) for a, b in zip(start.discriminator.parameters(), D.parameters(), strict=True)
    )
    move_g, move_d = reference.adam(G, s.betas), reference.adam(D, s.betas)
    for i, look in enumerate(looks):
        for x in [reference.data(), reference.data()]:
            move_d(loss_of_d(D, x, G(reference.noise()).detach()), 0.03 * max(0.3, reference.rate(i)))
        believed = D(G(reference.noise())).sigmoid()
        move_g(
            (1 - believed).log().mean() if saturating else -believed.log().mean(), 0.02 * reference.rate(i)
        )
        assert look.iteration == i + 1
        assert_same_weights(look.generator, G)
        assert_same_weights(look.discriminator, D)
    assert look.iteration == 7


def test_the_networks_are_in_float32_whatever_the_default_is():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        start = next(play(P_DATA, SHORT, random=seeded()))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(before)
    expected = next(play(P_DATA, SHORT, random=seeded()))
    for found, right in zip(start[1:], expected[1:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found.parameters(), right.parameters(), strict=True))


def test_the_average_forgets_the_start_and_keeps_the_last_iterations():
    settings = replace(SHORT, averaging=0.2)  # the weight of the past rises to this
    start, *looks = play(P_DATA, settings, random=seeded(), looks=200)
    weight = lambda network: network[0].weight.detach()
    assert [look.iteration for look in looks] == [1, 2, 3, 4, 5, 6]
    expected = weight(start.generator)
    for k, look in enumerate(looks, 1):
        past = min(0.2, k / (k + 10))
        expected = past * expected + (1 - past) * weight(look.generator)
        torch.testing.assert_close(weight(look.average), expected)


@pytest.mark.parametrize(("looks", "first"), [(200, 1), (1, 6)])
def test_a_run_that_has_left_the_numbers_stops_at_the_first_look_at_it(looks, first):
    """A first update of D by 10³⁸ gives G logits beyond float32."""
    run = play(P_DATA, replace(SHORT, discriminator_learning_rate=1e38), random=seeded(), looks=looks)
    assert next(run).iteration == 0
    with pytest.raises(FloatingPointError, match=f"after iteration {first} a loss is not finite"):
        next(run)


@pytest.mark.parametrize("target", TARGETS)
def test_the_quantiles_are_those_of_the_target(target):
    p, u = TARGETS[target], torch.linspace(0.001, 0.999, 101, dtype=torch.float64)
    np.testing.assert_allclose(p.cdf(_quantile(p)(u)), u, atol=1e-6)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_quantiles_that_no_formula_gives_are_found_in_any_unit(unit):
    """To where a table of 100,001 points over 24 standard deviations can tell."""
    place, u = 40 * unit, np.array([1e-6, 0.01, 0.3, 0.5, 0.9, 1 - 1e-6])
    parts = Normal(unit * torch.tensor([-1.0, 1.0]).double() + place, unit * torch.ones(2).double())
    p = MixtureSameFamily(Categorical(torch.ones(2).double()), parts)
    cdf = lambda x: (stats.norm.cdf(x, place - unit, unit) + stats.norm.cdf(x, place + unit, unit)) / 2
    np.testing.assert_allclose(cdf(_quantile(p)(torch.from_numpy(u)).numpy()), u, rtol=1e-3)


def test_quantiles_at_the_ends_of_0_and_1_are_those_one_in_a_billion_away():
    quantile = _quantile(Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double()))
    found = quantile(torch.tensor([0.0, 1e-9, 2e-9, 1 - 2e-9, 1 - 1e-9, 1.0], dtype=torch.float64))
    expected = stats.norm.ppf([1e-9, 1e-9, 2e-9, 1 - 2e-9, 1 - 1e-9, 1 - 1e-9])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_stratified_batch_has_a_point_in_each_piece():
    real, noise = _batches(P_DATA, Settings(), seeded())
    x, z = real(64).squeeze(1).numpy(), noise(64).squeeze(1).numpy()
    pieces = np.arange(64)
    np.testing.assert_array_equal(np.floor(stats.norm.cdf(x, 1, 0.5) * 64), pieces)
    np.testing.assert_array_equal(np.floor((z + 1) * 32), pieces)
    within = np.mod((noise(2000).squeeze(1).double().numpy() + 1) * 1000, 1)
    assert stats.kstest(within, stats.uniform.cdf).pvalue > 1e-4


def test_a_random_batch_is_distributed_as_the_data():
    real, noise = _batches(P_DATA, Settings(stratified=False), seeded())
    assert stats.kstest(real(5000).squeeze(1).numpy(), stats.norm(1, 0.5).cdf).pvalue > 1e-4
    assert stats.kstest(noise(5000).squeeze(1).numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-4


def test_judge_agrees_with_a_sum_over_the_line():
    """G(z) = 1 + 2 z is uniform on (-1, 3), with the density 1/4."""
    G, D = affine(2.0, 1.0), affine(0.7, -0.2)
    x = np.linspace(-4.0, 6.0, 400_001)
    p, q = stats.norm.pdf(x, 1, 0.5), np.where(np.abs(x - 1) < 2, 0.25, 0.0)
    total = lambda y: y.sum() * (x[1] - x[0])
    m, D_x = (p + q) / 2, 1 / (1 + np.exp(-(0.7 * x - 0.2)))
    kl = lambda a: total(np.where(a > 0, a * np.log(np.where(a > 0, a, 1) / m), 0.0))
    jsd, value = (kl(p) + kl(q)) / 2, total(p * np.log(D_x) + q * np.log(1 - D_x))
    judged = judge(P_DATA, G, D)
    assert judged == judge(P_DATA, Pushforward(Uniform(-1.0, 1.0), G), D)
    np.testing.assert_allclose(judged["jsd"], jsd, atol=1e-5)
    np.testing.assert_allclose(judged["value"], value, atol=1e-5)
    np.testing.assert_allclose(judged["regret"], 2 * jsd - np.log(4) - value, atol=3e-5)
    central = np.abs(x - 1) <= 0.5 * stats.norm.isf(0.025)
    error = np.abs(D_x - p / (p + q))[central].max()
    np.testing.assert_allclose(judged["error"], error, atol=1e-4)


def test_the_best_response_improves_d_and_leaves_its_arguments_alone():
    G, D = affine(0.2, 0.0).float(), nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Linear(8, 1)).float()
    before = [parameter.clone() for parameter in (*G.parameters(), *D.parameters())]
    answer = best_response(P_DATA, G, D, Settings(response_steps=100), random=seeded())
    after = [*G.parameters(), *D.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert judge(P_DATA, G, answer)["regret"] < judge(P_DATA, G, D)["regret"] - 0.1


def test_the_best_response_is_adam_at_a_rate_that_falls_to_0_along_a_cosine():
    s = Settings(response_steps=5, batch_size=8, discriminator_learning_rate=0.03)
    G, D = affine(0.2, 0.0).float(), mlp(1, 3, 1, activation=nn.SiLU, generator=seeded())
    found = best_response(P_DATA, G, D, s, random=seeded(1))
    reference = Reference(s, seeded(1))
    descend = reference.adam(D, (0.9, 0.999))
    for i in range(5):
        fakes = G(reference.noise()).detach()
        descend(loss_of_d(D, reference.data(), fakes), 0.03 * (1 + math.cos(math.pi * i / 5)) / 2)
    assert_same_weights(found, D)


def test_a_network_as_discriminator_keeps_shapes():
    D = as_discriminator(affine(2.0, 0.0))
    logits = D.logit(torch.ones(2, 3))
    torch.testing.assert_close(logits, torch.full((2, 3), 2.0).double())
    assert not logits.requires_grad


def test_the_command_writes_a_log(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{COMMAND}.TARGETS", {"Normal(1, 0.5)": Normal(1.0, 0.5)})
    soon = lambda p, G, D, s, *, random: best_response(p, G, D, replace(s, response_steps=2), random=random)
    monkeypatch.setattr(f"{COMMAND}.best_response", soon)
    out, few = tmp_path / "runs.json", ["--iterations", "3", "--looks", "1"]
    assert main(["--seeds", "1", "--other-seeds", "1", *few, "--out", str(out)]) == 0
    log = json.loads(out.read_text())
    kinds = [run["kind"] for run in log["runs"]]
    assert kinds == ["default", "saturating", "random batches"]
    assert log["settings"]["iterations"] == 3
    assert log["runs"][0]["history"]["iteration"] == [0, 3]
    assert list(tmp_path.iterdir()) == [out]


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """The runs that the command asks for, where none is trained and the log does not go into the package."""
    asked = []

    def measure(target, kind, seed, settings, looks):
        asked.append((target, kind, seed, settings, looks))
        return {"target": target, "kind": kind, "seed": seed}

    monkeypatch.setattr(f"{COMMAND}.measure", measure)
    monkeypatch.setattr(f"{COMMAND}.RUNS", tmp_path / "runs.json")
    return asked


@pytest.mark.usefixtures("asked")
def test_the_help_tells_the_defaults(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    told = re.findall(r"(--[\w-]+) [A-Z_]+\s[^(]*\(default\s(\d+)\)", capsys.readouterr().out)
    assert main([]) == 0
    command = "python -m gan_theory.one_dimensional " + " ".join(
        f"{option} {value}" for option, value in told
    )
    assert json.loads((tmp_path / "runs.json").read_text())["command"] == command


def test_the_command_plays_many_seeds_of_the_first_game_and_then_some_of_each_other(tmp_path, asked):
    assert main(["--seeds", "3", "--other-seeds", "2", "--iterations", "7", "--looks", "5"]) == 0
    first = [("Normal(1, 0.5)", "default", seed) for seed in (0, 1, 2)]
    others = [
        ("Normal(1, 0.5)", "saturating"),
        ("Normal(1, 0.5)", "random batches"),
        ("Normal(-2, 0.7)", "default"),
        ("two bumps", "default"),
        ("Laplace(0, 1)", "default"),
    ]
    plan = [*first, *((*other, seed) for seed in (0, 1) for other in others)]
    assert asked == [(*run, replace(Settings(), iterations=7), 5) for run in plan]
    log = json.loads((tmp_path / "runs.json").read_text())
    assert [(run["target"], run["kind"], run["seed"]) for run in log["runs"]] == plan


def test_a_run_is_judged_along_the_way_as_it_plays_and_at_its_end_by_its_average(monkeypatch):
    def judge(p_data, G, D):
        assert p_data is P_DATA
        of_g, of_d = (network[0].weight.sum().item() for network in (G, D))
        return {"jsd": of_g, "value": of_d, "regret": of_g - of_d, "error": 1 / 3}

    clock = iter([100.0, 107.26])
    monkeypatch.setattr(f"{COMMAND}.process_time", lambda: next(clock))
    monkeypatch.setattr(f"{COMMAND}.judge", judge)
    s = replace(SHORT, generator_learning_rate=0.1, discriminator_learning_rate=0.1)
    run = measure("Normal(1, 0.5)", "saturating", 5, s, 2)

    random, s = seeded(5), replace(s, saturating=True)
    looks = list(play(P_DATA, s, random=random, looks=2))
    answer = best_response(P_DATA, looks[-1].average, looks[-1].discriminator, s, random=random)
    way = [judge(P_DATA, look.generator, look.discriminator) for look in looks]
    assert (run["target"], run["kind"], run["seed"]) == ("Normal(1, 0.5)", "saturating", 5)
    assert run["processor seconds"] == 7.3
    assert run["final"] == pytest.approx(judge(P_DATA, looks[-1].average, answer), rel=5e-4)
    assert run["as it plays"] == pytest.approx(way[-1], rel=5e-4)
    assert run["history"]["iteration"] == [0, 2, 6]
    for name in ("jsd", "value", "regret"):
        assert run["history"][name] == pytest.approx([look[name] for look in way], rel=5e-4)
    assert run["final"]["error"] == 0.3333


def test_the_command_refuses_what_it_cannot_do(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main(["--seeds", "0"])
    assert error.value.code == 2
    assert "argument --seeds: must be a positive integer, not 0" in capsys.readouterr().err
    nowhere = tmp_path / "no" / "runs.json"
    few = ["--seeds", "1", "--iterations", "1", "--looks", "1"]
    assert main([*few, "--out", str(nowhere)]) == 1
    assert str(nowhere.parent) in capsys.readouterr().err


def test_a_command_that_is_stopped_leaves_the_old_log(tmp_path, monkeypatch):
    out, measured = tmp_path / "runs.json", iter([{}, {}])
    out.write_text("old")

    def stopped(*_):
        if (run := next(measured, None)) is None:
            raise KeyboardInterrupt
        return run

    monkeypatch.setattr(f"{COMMAND}.measure", stopped)
    assert main(["--out", str(out)]) == 130
    assert out.read_text() == "old" and list(tmp_path.iterdir()) == [out]


def test_players_of_any_precision_are_trained_in_single():
    answers = []
    for precision in (torch.float32, torch.float64):
        G, D = (mlp(1, 4, 1, generator=seeded(i)).to(precision) for i in range(2))
        answers.append(best_response(P_DATA, G, D, SHORT, random=seeded()))
        assert G[0].weight.dtype == D[0].weight.dtype == precision
    for one, other in zip(*(answer.parameters() for answer in answers), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("step", ["write_text", "replace"])
def test_a_log_that_cannot_be_written_leaves_the_old_one_and_nothing_else(
    tmp_path, monkeypatch, capsys, step
):
    out = tmp_path / "runs.json"
    out.write_text("old")

    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(f"{COMMAND}.measure", lambda *_: {})
    monkeypatch.setattr(Path, step, full)
    assert main(["--out", str(out)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_the_log_in_the_package_is_of_the_present_defaults():
    from dataclasses import asdict  # noqa: PLC0415

    log = json.loads(RUNS.read_text(encoding="utf-8"))
    assert log["settings"] == {**asdict(Settings()), "betas": list(Settings().betas), "widths": [32, 32]}
    main_runs = [r for r in log["runs"] if (r["target"], r["kind"]) == ("Normal(1, 0.5)", "default")]
    assert [run["seed"] for run in main_runs] == list(range(10))
    assert RUNS.stat().st_size < 200_000


def test_the_log_has_a_line_for_each_run():
    text = RUNS.read_text(encoding="utf-8")
    log = json.loads(text)
    assert write(log) == text
    assert [line for line in text.splitlines() if line.startswith('  {"target": ')] == [
        "  " + json.dumps(run) + comma for run, comma in zip(log["runs"], [","] * 24 + [""], strict=True)
    ]
