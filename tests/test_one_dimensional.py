"""A GAN on the line: its settings, its batches, its yardsticks, and the command that makes the log."""

import errno
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Normal, Uniform

from gan_theory.densities import Pushforward
from gan_theory.one_dimensional import RUNS, TARGETS, Settings, as_discriminator, best_response, judge, play
from gan_theory.one_dimensional.__main__ import main
from gan_theory.one_dimensional.run import _batches, _quantile

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


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("iterations", 0, "a positive integer"),
        ("batch_size", 1.5, "a positive integer"),
        ("discriminator_steps", True, "a positive integer"),
        ("generator_learning_rate", -1.0, "positive and finite"),
        ("discriminator_stretch", math.inf, "positive and finite"),
        ("averaging", 1.0, r"in \[0, 1\)"),
        ("constant_share", -0.1, r"in \[0, 1\)"),
    ],
)
def test_settings_that_no_run_can_have_are_refused(name, given, allowed):
    with pytest.raises(ValueError, match=f"{name} must be {allowed}, not {given}"):
        Settings(**{name: given})


def test_looks_must_be_positive():
    with pytest.raises(ValueError, match="looks must be a positive integer, not 0"):
        next(play(P_DATA, SHORT, random=seeded(), looks=0))


def test_a_run_is_made_by_its_seed_and_looks_are_copies():
    one, same, other = (list(play(P_DATA, SHORT, random=seeded(seed), looks=3)) for seed in (1, 1, 2))
    assert [look.iteration for look in one] == [0, 1, 3, 6]
    weights = [[look.generator[0].weight.flatten().tolist() for look in run] for run in (one, same, other)]
    assert weights[0] == weights[1] != weights[2]
    assert len({tuple(weight) for weight in weights[0]}) == 4


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


def test_a_network_as_discriminator_keeps_shapes():
    D = as_discriminator(affine(2.0, 0.0))
    torch.testing.assert_close(D.logit(torch.ones(2, 3)), torch.full((2, 3), 2.0).double())


def test_the_command_writes_a_log(tmp_path, monkeypatch):
    monkeypatch.setattr("gan_theory.one_dimensional.__main__.TARGETS", {"Normal(1, 0.5)": Normal(1.0, 0.5)})
    out, few = tmp_path / "runs.json", ["--iterations", "3", "--looks", "1"]
    assert main(["--seeds", "1", "--other-seeds", "1", *few, "--out", str(out)]) == 0
    log = json.loads(out.read_text())
    kinds = [run["kind"] for run in log["runs"]]
    assert kinds == ["default", "saturating", "random batches"]
    assert log["settings"]["iterations"] == 3
    assert log["runs"][0]["history"]["iteration"] == [0, 3]
    assert list(tmp_path.iterdir()) == [out]


def test_the_command_refuses_what_it_cannot_do(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main(["--seeds", "0"])
    assert error.value.code == 2
    assert "argument --seeds: must be a positive integer, not 0" in capsys.readouterr().err
    nowhere = tmp_path / "no" / "runs.json"
    few = ["--seeds", "1", "--iterations", "1", "--looks", "1"]
    assert main([*few, "--out", str(nowhere)]) == 1
    assert str(nowhere.parent) in capsys.readouterr().err


def test_a_log_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch, capsys):
    out = tmp_path / "runs.json"
    out.write_text("old")

    def full(path, _):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("gan_theory.one_dimensional.__main__.measure", lambda *_: {})
    monkeypatch.setattr(Path, "replace", full)
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
