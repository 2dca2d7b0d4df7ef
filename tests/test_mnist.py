"""MNIST: the data to the byte, and runs that no interruption can change."""

import errno
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.image import imread, imsave
from torch import nn
from torch.nn.functional import one_hot
from tqdm import tqdm

from gan_theory.mnist import RECIPES, Run, classifier, data, load_mnist, load_run
from gan_theory.mnist.__main__ import (
    _classes,
    _description,
    _json,
    _judge,
    _launch,
    _pictures,
    _summary,
    best_precision,
    main,
)
from gan_theory.mnist.checkpoint import (
    CheckpointError,
    read_checkpoint,
    write_atomically,
    write_checkpoint,
    write_together,
)
from gan_theory.mnist.classifier import load_classifier, train_classifier
from gan_theory.mnist.data import to_images, to_pixels
from gan_theory.mnist.evaluation import Judge
from gan_theory.mnist.run import _means, _random, _SyncedBatchNorm
from gan_theory.mnist.trained import REFERENCES, RUNS, Trained, shipped
from gan_theory.networks import mlp
from gan_theory.plotting import figure
from gan_theory.training import Step

SEED, BOOK = RECIPES["seed"], RECIPES["book"]
DIGITS = 300  # two whole batches and a smaller one an epoch


@pytest.fixture(scope="module")
def mnist():
    return load_mnist()


@pytest.fixture
def few(mnist, monkeypatch):
    """The command line on the first digits only."""
    monkeypatch.setattr(
        "gan_theory.mnist.__main__.load_mnist", lambda: mnist._replace(x_train=mnist.x_train[:DIGITS])
    )
    return mnist.x_train[:DIGITS]


def train(out, *more, epochs=2):
    options = ["--recipe", "seed", "--epochs", str(epochs), "--out", str(out), "--judge-every", "0"]
    return main(["train", *options, *more])


def state(path):
    """All that a checkpoint holds, bit for bit, apart from the clock's readings."""
    tensors, metadata = read_checkpoint(path / "checkpoint.safetensors")
    log = [
        {name: value for name, value in line.items() if name not in {"images_per_second", "seconds"}}
        for line in metadata["log"]
    ]
    return {name: t.numpy().tobytes() for name, t in tensors.items()}, {
        **metadata,
        "log": log,
        "seconds": None,
    }


def read_log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


# The data.


def idx(array):
    """The array as the IDX file that MNIST was published in."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize(
    ("name", "md5"),
    [
        ("x_train", "6bbc9ace898e44ae57da46a324031adb"),
        ("y_train", "a25bea736e30d166cdddb491f175f624"),
        ("x_test", "2646ac647ad5339dbf082846283269ea"),
        ("y_test", "27ae3e4e09519cfbb04c329615203637"),
    ],
)
def test_arrays_are_the_published_ones(mnist, name, md5):
    array = getattr(mnist, name)
    assert array.dtype == np.uint8
    assert hashlib.md5(idx(array), usedforsecurity=False).hexdigest() == md5


def flip(content):
    return content[:5_000_000] + bytes([content[5_000_000] ^ 1]) + content[5_000_001:]


@pytest.mark.parametrize("damage", [flip, lambda content: content[:-1], lambda _: b""])
def test_damaged_data_is_refused(damage, tmp_path, monkeypatch):
    damaged = tmp_path / "mnist.npz"
    damaged.write_bytes(damage(data.PATH.read_bytes()))
    monkeypatch.setattr(data, "PATH", damaged)
    with pytest.raises(ValueError, match="is damaged") as error:
        load_mnist()
    found = hashlib.sha256(damaged.read_bytes()).hexdigest()
    for part in (str(damaged), data.SHA256, found, f"git checkout -- {damaged}"):
        assert part in str(error.value)


def test_missing_data_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "PATH", tmp_path / "mnist.npz")
    with pytest.raises(FileNotFoundError, match=r"mnist\.npz is missing.*git checkout -- "):
        load_mnist()


def test_pixels_and_images_are_scaled(mnist):
    pixels = to_pixels(mnist.x_test[:100])
    assert torch.equal(to_pixels(torch.from_numpy(mnist.x_test[:100])), pixels)
    assert pixels.dtype == torch.float32
    assert (pixels.min(), pixels.max()) == (-1, 1)
    np.testing.assert_allclose(to_images(pixels).numpy(), mnist.x_test[:100] / 255, atol=1e-6)


# A run.


def test_a_run_trains_the_recipe_from_the_issue_of_adam_on_the_paper_algorithm(mnist):
    """One epoch agrees with a plain loop over the same order and noise, written here from scratch."""
    digits = mnist.x_train[:DIGITS]
    run, other = Run(SEED, digits, seed=3), Run(SEED, digits, seed=3)
    batches = []
    run.discriminator.register_forward_pre_hook(lambda _, args: batches.append(args[0].detach()))
    list(run.train_epoch())

    G, D = other.generator, other.discriminator
    adam_g, adam_d = torch.optim.Adam(G.parameters(), lr=3e-4), torch.optim.Adam(D.parameters(), lr=3e-4)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    for x in batches[::3]:
        real, fake = D(x), D(G(torch.randn(len(x), 100, generator=other.noise)).detach())
        loss = cross_entropy(real, torch.ones_like(real)) + cross_entropy(fake, torch.zeros_like(fake))
        adam_d.zero_grad()
        loss.backward()
        adam_d.step()
        fake = D(G(torch.randn(len(x), 100, generator=other.noise)))
        adam_g.zero_grad()
        cross_entropy(fake, torch.ones_like(fake)).backward()
        adam_g.step()
    for a, b in zip(
        [*run.generator.parameters(), *run.discriminator.parameters()],
        [*G.parameters(), *D.parameters()],
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_an_epoch_sees_every_digit_once_and_epochs_differ_in_order(mnist):
    digits = mnist.x_train[:DIGITS]
    run = Run(SEED, digits)
    seen = []
    run.discriminator.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    epochs = []
    for _ in range(2):
        sizes = [len(step.logits_real) for step in run.train_epoch()]
        assert sizes == [128, 128, 44]
        epochs.append(torch.cat(seen[::3]))  # real, then fakes, then the fakes of G's update
        seen.clear()
    everything = sorted(map(bytes, to_pixels(digits).numpy()))
    assert [sorted(map(bytes, epoch.numpy())) for epoch in epochs] == [everything, everything]
    assert not torch.equal(*epochs)


def test_the_seed_decides_everything(mnist):
    runs = [Run(SEED, mnist.x_train[:DIGITS], seed) for seed in (1, 1, 2)]
    torch.rand(1)  # the global generator plays no part
    for run in runs:
        list(run.train_epoch())
    a, b, c = (run.tensors() for run in runs)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not any(torch.equal(a[name], c[name]) for name in a if name.endswith("weight"))
    assert torch.equal(runs[0].fixed_z, runs[1].fixed_z)
    assert not torch.equal(runs[0].fixed_z, runs[2].fixed_z)


def test_the_log_holds_the_means_over_the_epochs_images(mnist):
    run = Run(SEED, mnist.x_train[:DIGITS])
    steps = list(run.train_epoch())
    (line,) = run.log
    weights = np.array([128, 128, 44]) / DIGITS
    assert line["epoch"] == 1
    assert line["discriminator_loss"] == pytest.approx(
        weights @ [s.discriminator_loss for s in steps], rel=1e-6
    )
    assert line["generator_loss"] == pytest.approx(weights @ [s.generator_loss for s in steps], rel=1e-6)
    real, fake = (
        torch.cat([getattr(s, f"logits_{kind}") for s in steps]).sigmoid() for kind in ("real", "fake")
    )
    assert line["mean_d_real"] == pytest.approx(real.mean().item(), rel=1e-6)
    assert line["mean_d_fake"] == pytest.approx(fake.mean().item(), rel=1e-6)
    assert line["images_per_second"] > 0


def test_saved_after_any_step_and_loaded_a_run_goes_on_bit_for_bit(mnist, tmp_path):
    digits = mnist.x_train[:DIGITS]
    path = tmp_path / "checkpoint.safetensors"
    straight, broken = Run(SEED, digits), Run(SEED, digits)
    for _ in range(3):
        list(straight.train_epoch())
    broken.save(path)
    while broken.epoch < 3:
        broken = Run(SEED, digits)
        broken.load(path)
        next(broken.train_epoch(), None)  # None: the step that ends the epoch had been made already
        broken.save(path)
    a, b = straight.tensors(), broken.tensors()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    clockless = [
        [{**line, "images_per_second": None, "seconds": None} for line in run.log]
        for run in (straight, broken)
    ]
    assert clockless[0] == clockless[1]


@pytest.mark.parametrize(
    ("images", "seed", "message"),
    [
        (np.zeros((5, 28, 28)), 0, "images must be uint8.*float64"),
        (np.zeros((5, 784), np.uint8), 0, r"images must be .*\(5, 784\)"),
        (np.zeros((0, 28, 28), np.uint8), 0, "n ≥ 1"),
        (np.zeros((5, 28, 28), np.uint8), -1, "seed must be .*not -1"),
    ],
)
def test_a_runs_arguments_are_checked(images, seed, message):
    with pytest.raises(ValueError, match=message):
        Run(SEED, images, seed)


# Checkpoints.


@pytest.fixture
def saved(mnist, tmp_path):
    run, path = Run(SEED, mnist.x_train[:DIGITS]), tmp_path / "checkpoint.safetensors"
    next(run.train_epoch())
    run.save(path)
    return run, path


def change(path, tensors=(), metadata=()):
    old_tensors, old_metadata = read_checkpoint(path)
    write_checkpoint(path, {**old_tensors, **dict(tensors)}, {**old_metadata, **dict(metadata)})


def drop(path, name):
    tensors, metadata = read_checkpoint(path)
    tensors.pop(name, None), metadata.pop(name, None)
    write_checkpoint(path, tensors, metadata)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "there is no checkpoint"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "not a whole checkpoint"),
        (lambda path: path.write_bytes(b""), "not a whole checkpoint"),
        (lambda path: torch.save({}, path), "not a whole checkpoint"),
        (lambda path: change(path, metadata={"recipe": "other"}), "recipe 'other', not 'seed'"),
        (lambda path: change(path, metadata={"seed": 7}), "seed 7, not 0"),
        (lambda path: change(path, metadata={"images": 60000}), "images 60000, not 300"),
        (lambda path: change(path, {"generator.0.bias": torch.zeros(3)}), r"generator\.0\.bias .*\[3\]"),
        (lambda path: change(path, {"sums": torch.zeros(4)}), "sums .*float32"),
        (lambda path: drop(path, "generator.0.weight.exp_avg"), r"lacks generator\.0\.weight\.exp_avg$"),
        (lambda path: drop(path, "log"), "lacks log$"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(saved, damage, message):
    run, path = saved
    damage(path)
    before = {name: tensor.clone() for name, tensor in run.tensors().items()}
    with pytest.raises(CheckpointError, match=message) as error:
        run.load(path)
    assert str(path) in str(error.value)
    assert run.batch == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.tensors().items())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_of_files_that_are_written_together_none_is_new_if_one_fails(tmp_path, monkeypatch):
    paths = [tmp_path / "first", tmp_path / "second"]
    write_together(dict.fromkeys(paths, b"old"))
    full = lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_together(dict.fromkeys(paths, b"new"))
    assert "first" in caught.value.filename  # which the system does not say
    assert [path.read_bytes() for path in paths] == [b"old", b"old"]
    assert sorted(tmp_path.iterdir()) == paths


def test_seeds_go_up_to_the_last_of_32_bits(mnist):
    Run(SEED, mnist.x_train[:DIGITS], 2**32 - 1)
    with pytest.raises(ValueError, match=r"seed must be an integer from 0 to 4294967295, not 4294967296"):
        Run(SEED, mnist.x_train[:DIGITS], 2**32)


def test_arrays_may_lie_in_memory_as_they_like(mnist, tmp_path):
    few, labels = mnist.x_train[:64], mnist.y_train[:64]
    mirrored, swapped = np.ascontiguousarray(few[:, :, ::-1]), labels.astype(">i4")[::-1]
    frozen = few[:, :, ::-1]
    frozen.flags.writeable = False
    runs = [
        Run(RECIPES["cgan"], images, seed, labels=digits)
        for images, digits, seed in (
            (mirrored, labels[::-1].astype(np.int64), 3),
            (frozen, swapped, np.uint8(3)),
        )
    ]
    runs[1].save(tmp_path / "checkpoint")  # which tells the seed
    runs[0].load(tmp_path / "checkpoint")
    one, other = (next(run.train_epoch()) for run in runs)
    assert all(torch.equal(a, b) for a, b in zip(one[1:], other[1:], strict=True))


@pytest.mark.parametrize(("recipe", "n"), [("book", 129), ("dcgan", 65), ("seed", 129), ("book", 130)])
def test_a_minibatch_of_one_is_refused_where_it_cannot_be_normalised(mnist, recipe, n):
    if RECIPES[recipe].average and n % RECIPES[recipe].batch_size == 1:
        with pytest.raises(ValueError, match=f"images must not leave a minibatch of one, .* as {n} do"):
            Run(RECIPES[recipe], mnist.x_train[:n])
    else:
        assert len(list(Run(RECIPES[recipe], mnist.x_train[:n]).train_epoch())) == 2


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_what_is_trained_takes_any_precision(default):
    book, classifier = load_run("book"), load_classifier()
    images = torch.from_numpy(load_mnist().x_test[:4]) / 255
    z = torch.randn(4, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    wanted = book.generate(z), book.discriminate(images), *classifier.look(images)
    try:
        torch.set_default_dtype(default)
        of_default = load_run("book"), load_classifier()
        for b, c in ((book, classifier), of_default):
            for given in (torch.float32, torch.float64):
                x = images.to(given)
                found = b.generate(z.to(given)), b.discriminate(x), *c.look(x)
                for one, other in zip(found, wanted, strict=True):
                    torch.testing.assert_close(one.float(), other, rtol=1e-3, atol=1e-4)
            assert b.sample(2).isfinite().all()
        steps = train_classifier(images.double(), torch.zeros(4).long(), epochs=1, random=torch.Generator())
        assert np.isfinite([loss for _, loss in steps]).all()
    finally:
        torch.set_default_dtype(torch.float32)


def test_each_epochs_order_and_the_noise_have_streams_of_their_own(mnist, monkeypatch):
    keys = []
    monkeypatch.setattr("gan_theory.mnist.run._random", lambda *key: keys.append(key) or _random(*key))
    run = Run(SEED, mnist.x_train[:DIGITS])
    for _ in range(2):
        list(run.train_epoch())
    assert len(keys) == len(set(keys)) == 3
    assert len({_random(*key).initial_seed() for key in keys}) == 3


def test_accuracy_is_the_mean_over_both_kinds_of_the_share_on_the_right_side_of_0():
    losses, real, fake = (
        torch.ones(2),
        torch.tensor([2.0, 0.5, -1.0, 0.0]),
        torch.tensor([-2.0, 0.5, 0.0, 0.0]),
    )
    assert _means(Step(1, *losses, real, fake))[-1] == (2 / 4 + 1 / 4) / 2


@pytest.mark.parametrize(("processes", "shared"), [(1, False), (2, True)])
def test_processes_share_a_minibatch_that_they_divide(mnist, processes, shared):
    fabric = SimpleNamespace(world_size=processes, device="cpu")
    run = Run(BOOK, mnist.x_train[:DIGITS], fabric=fabric)
    assert any(isinstance(module, _SyncedBatchNorm) for module in run.generator.modules()) == shared
    fabric.world_size = 3
    with pytest.raises(ValueError, match=rf"3 do not divide one of {BOOK.batch_size} images"):
        Run(BOOK, mnist.x_train[: BOOK.batch_size + 10], fabric=fabric)


# The command line.


@pytest.mark.usefixtures("few")
def test_the_command_writes_log_grids_and_checkpoint(tmp_path, capsys):
    assert train(tmp_path / "run") == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoint.safetensors",
        "epoch-0000.png",
        "epoch-0001.png",
        "epoch-0002.png",
        "log.jsonl",
        "real.png",
        "run.json",
    ]
    log = read_log(tmp_path / "run")
    names = [
        "epoch",
        "discriminator_loss",
        "generator_loss",
        "mean_d_real",
        "mean_d_fake",
        "accuracy",
        "seconds",
        "images_per_second",
    ]
    assert [list(line) for line in log] == [names, names]
    assert [line["epoch"] for line in log] == [1, 2]
    assert "epoch 2/2: loss of D" in capsys.readouterr().out


def test_the_grids_show_the_digits_and_the_generator(few, tmp_path):
    train(tmp_path / "run", epochs=1)
    real = imread(tmp_path / "run" / "real.png")[::2, ::2, 0]
    second_digit = real[1:29, 31:59]  # the first row's second tile, inside its frame of paper
    np.testing.assert_allclose(second_digit, 1 - few[1] / 255, atol=1 / 255)
    run = Run(SEED, few)
    run.load(tmp_path / "run" / "checkpoint.safetensors")
    grid = imread(tmp_path / "run" / "epoch-0001.png")[::2, ::2, 0]
    np.testing.assert_allclose(
        grid[31:59, 1:29], 1 - run.trained().generate(run.fixed_z)[8].numpy(), atol=2 / 255
    )


@pytest.fixture
def parsed(monkeypatch):
    """What the command line makes of its arguments, with nothing done."""

    def parsed(*arguments):
        found = []
        for command in ("train", "evaluate", "ship", "references", "classifier"):
            monkeypatch.setattr(
                f"gan_theory.mnist.__main__._{command}", lambda options: found.append(options) or 7
            )
        assert main([*arguments]) == 7
        return vars(found[0])

    return parsed


TRAIN = ["train", "--recipe", "book", "--epochs", "1", "--out", "run"]
SHIP = ["ship", "run", "--name", "x"]


@pytest.mark.parametrize(
    "arguments",
    [TRAIN, ["evaluate", "run"], SHIP, ["references"], ["classifier"]],
    ids=lambda arguments: arguments[0],
)
def test_the_help_tells_the_defaults(parsed, capsys, arguments):
    with pytest.raises(SystemExit, match=r"^0$"):
        main([arguments[0], "--help"])
    unwrapped = re.sub(r"\n {8,}", " ", capsys.readouterr().out)
    told = dict(re.findall(r"^  --([\w-]+) .*\(default (\d[\d,]*)", unwrapped, re.MULTILINE))
    options = parsed(*arguments)
    assert told
    for name, default in told.items():
        assert options[name.replace("-", "_")] == int(default.replace(",", ""))


@pytest.mark.parametrize(
    ("arguments", "option", "least", "most"),
    [
        (TRAIN, "epochs", 1, 1_000_000),
        (TRAIN, "seed", 0, 4_294_967_295),
        (TRAIN, "judge-every", 0, 1_000_000),
        (TRAIN, "devices", 1, 1024),
        (TRAIN, "num-nodes", 1, 1024),
        (["evaluate", "run"], "samples", 100, 100_000),
        (SHIP, "samples", 100, 100_000),
        (["references"], "samples", 100, 25_000),
        (["classifier"], "epochs", 1, 1000),
    ],
)
def test_a_number_on_the_command_line_has_bounds(parsed, capsys, arguments, option, least, most):
    for number in (least, most):
        assert parsed(*arguments, f"--{option}", str(number))[option.replace("-", "_")] == number
    for number in (least - 1, most + 1):
        with pytest.raises(SystemExit):
            parsed(*arguments, f"--{option}", str(number))
        said = f"argument --{option}: must be an integer from {least} to {most}, not '{number}'"
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gpu", "able", "best"),
    [
        (None, {"avx512_bf16": True}, "bf16-mixed"),
        (None, {"amx_bf16": True}, "bf16-mixed"),
        (None, {"avx512_bf16": False, "avx2": True}, "32-true"),
        (None, {}, "32-true"),
        ("with bfloat16", {}, "bf16-mixed"),
        ("without", {"avx512_bf16": True}, "32-true"),
    ],
)
def test_the_precision_is_by_default_that_in_which_the_hardware_is_best(monkeypatch, gpu, able, best):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    by_itself = gpu == "with bfloat16"
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda *, including_emulation: including_emulation or by_itself
    )
    assert best_precision() == best


def test_a_run_tells_its_command_how_many_processes_made_it_and_on_which_gpu(parsed, monkeypatch):
    options = parsed(*TRAIN, "--devices", "2", "--num-nodes", "3", "--precision", "bf16-mixed")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    told = _description(SimpleNamespace(**options))
    again = "train --recipe book --seed 0 --epochs 1 --judge-every 5 --precision bf16-mixed --out run"
    assert told["command"] == f"python -m gan_theory.mnist {again}"
    compiled = _description(SimpleNamespace(**options | {"compile": True}))["command"]
    assert compiled == f"python -m gan_theory.mnist {again.replace(' --out', ' --compile --out')}"
    assert (told["machine"]["processes"], told["machine"]["processor"]) == (6, "a GPU")


def test_what_is_said_of_an_epoch_has_its_judgement_if_there_is_one():
    line = {
        "epoch": 3,
        "discriminator_loss": 1.23449,
        "generator_loss": 0.75,
        "mean_d_real": 0.6,
        "mean_d_fake": 0.4,
        "images_per_second": 1000,
    }
    said = "epoch 3/5: loss of D 1.234, of G 0.750; mean D 0.60 on real, 0.40 on fake; 1000 images/s"
    assert _summary(line, 5) == said
    line["held_out"] = {"log_likelihood": 234.56, "fid": 9.87, "class_divergence": 0.01234}
    assert _summary(line, 5) == f"{said}; held out 234.6 nats, FID 9.9, class KL 0.0123"


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ([], "command"),
        (["train", "--epochs", "1", "--out", "run"], "--recipe"),
        (["train", "--recipe", "book", "--out", "run"], "--epochs"),
        (["train", "--recipe", "book", "--epochs", "1"], "--out"),
        (["ship", "run"], "--name"),
    ],
)
def test_what_a_command_cannot_do_without_is_asked_for(capsys, arguments, missing):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    assert capsys.readouterr().err.endswith(f"error: the following arguments are required: {missing}\n")


@pytest.mark.usefixtures("few")
def test_every_so_many_epochs_the_samples_are_judged_and_not_on_the_test_digits(tmp_path, monkeypatch):
    judged = []

    def judge(digits, _, *, on_test):
        assert digits.x_train.shape == (DIGITS, 28, 28) and not on_test
        row = {"log_likelihood": 200.0, "fid": 10.0, "class_divergence": 0.1}
        return SimpleNamespace(row=lambda samples: judged.append(samples) or row)

    monkeypatch.setattr("gan_theory.mnist.__main__.Judge", judge)
    train(tmp_path / "run", "--judge-every", "2", epochs=5)
    assert ["held_out" in line for line in read_log(tmp_path / "run")] == [False, True, False, True, False]
    assert [samples.shape for samples in judged] == 2 * [(10_000, 28, 28)]


def test_the_bar_counts_images_from_where_a_run_goes_on(few, tmp_path, monkeypatch):
    bars, told = [], []

    def bar(*, disable, **given):
        told.append(disable)
        bars.append(tqdm(**given, file=io.StringIO()))
        return bars[-1]

    monkeypatch.setattr("gan_theory.mnist.__main__.TRAINED_ON", DIGITS)
    monkeypatch.setattr("gan_theory.mnist.__main__.tqdm", bar)
    train(tmp_path / "run")
    run = Run.from_checkpoint(tmp_path / "run" / "checkpoint.safetensors", few)
    next(run.train_epoch())
    run.save(tmp_path / "run" / "checkpoint.safetensors")
    train(tmp_path / "run", "--resume", epochs=3)
    assert [bar.initial for bar in bars] == [0, 2 * DIGITS + SEED.batch_size]
    assert [(bar.n, bar.total) for bar in bars] == [(2 * DIGITS, 2 * DIGITS), (3 * DIGITS, 3 * DIGITS)]
    assert told == [None, None]  # it is drawn where there is a terminal


@pytest.mark.parametrize(
    ("arguments", "world_size", "gpus", "shared"),
    [
        ([], None, False, False),
        (["--devices", "2"], None, False, True),
        (["--num-nodes", "2"], None, False, True),
        (["--devices", "2", "--num-nodes", "2"], None, False, True),
        ([], "1", False, True),
        (["--devices", "2"], None, True, True),
    ],
)
def test_a_run_is_shared_by_the_processes_that_are_asked_for(
    parsed, monkeypatch, arguments, world_size, gpus, shared
):
    """One thread each, where there are no GPUs: the processes of a machine share its processors."""
    made, options = [], parsed(*TRAIN, *arguments)
    monkeypatch.setattr(
        "gan_theory.mnist.__main__.Fabric", lambda **given: made.append(given) or SimpleNamespace(launch=int)
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if world_size:
        monkeypatch.setenv("WORLD_SIZE", world_size)
    _launch(SimpleNamespace(**options))
    ((strategy, accelerator),) = [(given["strategy"], given["accelerator"]) for given in made]
    assert accelerator == ("cuda" if gpus else "cpu")
    assert os.environ.get("OMP_NUM_THREADS") == ("1" if shared and not gpus else None)
    if shared:
        assert strategy._timeout == timedelta(minutes=5)  # noqa: SLF001  (it has no getter)
    else:
        assert strategy == "auto"


COMMAND = """
import sys, time
from gan_theory.mnist import Run, __main__, load_mnist

train_epoch, digits = Run.train_epoch, load_mnist()

def slowly(run):
    for step in train_epoch(run):
        time.sleep(0.05)  # so that the signal comes in the middle
        yield step

Run.train_epoch = slowly
__main__.load_mnist = lambda: digits._replace(x_train=digits.x_train[:{digits}])
sys.exit(__main__.main(sys.argv[1:]))
"""


def signalled(number, epoch, *arguments):
    """Runs the command in a process of its own, and sends it a signal once it has drawn the epoch's grid."""
    options = ["--recipe", "seed", "--judge-every", "0", *arguments]
    command = [sys.executable, "-c", COMMAND.format(digits=DIGITS), "train", *options]
    grid = Path(arguments[arguments.index("--out") + 1]) / f"epoch-{epoch:04}.png"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not grid.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    printed, errors = process.communicate()
    return process.returncode, printed, errors


@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither signal")
@pytest.mark.usefixtures("few", "untraced")
def test_killed_resumed_stopped_by_ctrl_c_and_resumed_equals_undisturbed(tmp_path):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "disturbed"
    train(undisturbed, epochs=12)
    arguments = ["--epochs", "12", "--out", str(out)]
    assert signalled(signal.SIGKILL, 2, *arguments)[0] == -signal.SIGKILL
    code, printed, errors = signalled(signal.SIGINT, 5, *arguments, "--resume")
    assert (code, errors) == (130, "")
    assert "add --resume to go on" in printed
    assert train(out, "--resume", epochs=12) == 0
    assert state(out) == state(undisturbed)
    assert [line["epoch"] for line in read_log(out)] == list(range(1, 13))
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in undisturbed.iterdir())
    for grid in undisturbed.glob("*.png"):
        assert (out / grid.name).read_bytes() == grid.read_bytes()


@pytest.mark.parametrize("writes", range(11))
@pytest.mark.usefixtures("few")
def test_killed_between_any_two_writes_and_resumed_equals_undisturbed(tmp_path, monkeypatch, writes):
    """The run dies just before its write number `writes`, or halfway through it, in its first two epochs."""
    train(tmp_path / "undisturbed")

    class Killed(BaseException):
        """Nothing catches it, as nothing catches SIGKILL."""

    count, replace = iter(range(100)), Path.replace

    def die(source, target):
        if next(count) == writes:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # the dead tidy nothing up
        with pytest.raises(Killed):
            train(tmp_path / "killed")
    begun = (tmp_path / "killed" / "checkpoint.safetensors").exists()
    assert begun == (writes > 0)
    assert train(tmp_path / "killed", *["--resume"] * begun) == 0
    assert state(tmp_path / "killed") == state(tmp_path / "undisturbed")
    assert [line["epoch"] for line in read_log(tmp_path / "killed")] == [1, 2]
    for file in (tmp_path / "undisturbed").glob("*.png"):
        assert (tmp_path / "killed" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.usefixtures("few")
def test_ctrl_c_stops_in_the_middle_of_an_epoch(tmp_path, monkeypatch, capsys):
    before = signal.getsignal(signal.SIGINT)
    train(tmp_path / "undisturbed")
    train_epoch = Run.train_epoch

    def interrupted(run):
        for step in train_epoch(run):
            if (run.epoch, run.batch) == (1, 2):
                os.kill(os.getpid(), signal.SIGINT)
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(Run, "train_epoch", interrupted)
        assert train(tmp_path / "stopped") == 130
    assert "stopped after batch 2 of epoch 2" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before
    assert train(tmp_path / "stopped", "--resume") == 0
    assert state(tmp_path / "stopped") == state(tmp_path / "undisturbed")


@pytest.mark.usefixtures("few")
def test_resume_with_all_epochs_done_says_so(tmp_path, capsys):
    train(tmp_path / "run")
    before = state(tmp_path / "run")
    assert train(tmp_path / "run", "--resume") == 0
    assert "has 2 epochs already" in capsys.readouterr().out
    assert state(tmp_path / "run") == before


@pytest.mark.usefixtures("few")
def test_more_epochs_go_on_from_the_last(tmp_path):
    train(tmp_path / "once", epochs=3)
    train(tmp_path / "twice", epochs=1)
    begun = json.loads((tmp_path / "twice" / "run.json").read_text())
    train(tmp_path / "twice", "--resume", epochs=3)
    assert state(tmp_path / "twice") == state(tmp_path / "once")
    described = json.loads((tmp_path / "twice" / "run.json").read_text())
    (gone_on,) = described.pop("resumed")
    assert described == begun and "--epochs 1 " in begun["command"]
    again = begun | {"command": begun["command"].replace("--epochs 1 ", "--epochs 3 ")}
    assert gone_on == {"epoch": 1, "batch": 0} | again


@pytest.mark.usefixtures("few")
def test_a_run_tells_by_what_commands_it_has_gone_on(tmp_path):
    out = tmp_path / "run"
    by = lambda epochs, *more: train(out, "--precision", "32-true", *more, epochs=epochs)
    by(2)
    by(2, "--resume", "--precision", "bf16-mixed")  # there is nothing left to do
    assert "resumed" not in json.loads((out / "run.json").read_text())
    by(3, "--resume", "--precision", "bf16-mixed")
    run = Run.from_checkpoint(out / "checkpoint.safetensors", load_mnist().x_train[:DIGITS])
    next(run.train_epoch())
    run.save(out / "checkpoint.safetensors")  # as if stopped in the fourth epoch
    by(4, "--resume")
    next(run.train_epoch())
    run.save(out / "checkpoint.safetensors")
    by(4, "--resume")  # the same command again
    resumed = json.loads((out / "run.json").read_text())["resumed"]
    places = [(each["epoch"], each["batch"], each["machine"]["precision"]) for each in resumed]
    assert places == [(2, 0, "bf16-mixed"), (3, 1, "32-true")]


@pytest.mark.parametrize(
    ("poison", "named", "precision", "advice"),
    [
        ("D", "step 2 of epoch 2 .*loss is nan", "32-true", "a lower learning rate in the recipe."),
        (
            "G",
            r"step 3 of epoch 2 generator\.0\.bias is not finite",
            "bf16-mixed",
            "a lower learning rate in the recipe or --precision 32-true.",
        ),
    ],
)
@pytest.mark.usefixtures("few")
def test_numbers_that_are_not_finite_stop_the_run_and_keep_the_checkpoint(
    tmp_path, monkeypatch, capsys, poison, named, precision, advice
):
    train(tmp_path / "healthy", "--precision", precision, epochs=1)
    train_epoch = Run.train_epoch

    def poisoned(run):
        for step in train_epoch(run):
            if run.epoch == 1 and (poison, run.batch) in {("D", 1), ("G", 3)}:
                network = run.discriminator if poison == "D" else run.generator
                torch.nn.init.constant_(network[0].bias, torch.nan)
            yield step

    monkeypatch.setattr(Run, "train_epoch", poisoned)
    assert train(tmp_path / "run", "--precision", precision) == 1
    captured = capsys.readouterr()
    assert re.search(named, captured.err), captured.err
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    assert f"last finite checkpoint is still {checkpoint}, after epoch 1. With --resume" in captured.err
    assert captured.err.endswith(f"try {advice}\n")
    assert "Traceback" not in captured.err
    assert state(tmp_path / "run") == state(tmp_path / "healthy")
    assert [line["epoch"] for line in read_log(tmp_path / "run")] == [1]


@pytest.mark.usefixtures("few")
def test_numbers_that_are_not_finite_after_ctrl_c_leave_the_batch_that_was_saved(
    tmp_path, monkeypatch, capsys
):
    train_epoch = Run.train_epoch

    def interrupted(run):
        for step in train_epoch(run):
            if run.batch == 1:
                os.kill(os.getpid(), signal.SIGINT)
            if run.batch == 2:
                torch.nn.init.constant_(run.discriminator[0].bias, torch.nan)
            yield step

    monkeypatch.setattr(Run, "train_epoch", interrupted)
    assert train(tmp_path / "run") == 130
    before = state(tmp_path / "run")
    assert train(tmp_path / "run", "--resume") == 1
    assert re.search(
        r"step 3 of epoch 1 .*\.safetensors, after batch 1 of epoch 1\. With", capsys.readouterr().err
    )
    assert state(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "sead"], "argument --recipe: invalid choice: 'sead'"),
        (["--epochs", "0"], "argument --epochs: must be an integer from 1 to 1000000, not '0'"),
        (["--epochs", "-3"], "argument --epochs: must be"),
        (["--epochs", "1.5"], "argument --epochs: must be"),
        (["--seed", "-1"], "argument --seed: must be an integer from 0 to 4294967295, not '-1'"),
        (["--resume"], "argument --resume: there is no checkpoint"),
        (["--out", "{tmp}/file/run"], "argument --out: "),
        (["--out", "{tmp}/file"], "argument --out: "),
        (["--out", "{tmp}"], "argument --out: {tmp} is not empty"),
    ],
)
@pytest.mark.usefixtures("few")
def test_misuse_names_the_argument(tmp_path, capsys, arguments, message):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        train(tmp_path / "run", *(argument.format(tmp=tmp_path) for argument in arguments))
    assert stop.value.code == 2
    assert message.format(tmp=tmp_path) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "something was left behind"


@pytest.mark.usefixtures("few")
def test_a_run_is_not_overwritten_nor_mixed_with_another(tmp_path, capsys):
    out = tmp_path / "run"
    train(out, epochs=1)
    before = state(out)
    for arguments, message in [
        ([], "argument --out: .* holds a run; add --resume"),
        (["--resume", "--seed", "1"], "argument --resume: .* of a run with seed 0, not 1"),
    ]:
        with pytest.raises(SystemExit) as stop:
            train(out, *arguments)
        assert stop.value.code == 2
        assert re.search(message, capsys.readouterr().err)
    assert state(out) == before


def test_damaged_data_stops_the_command_without_a_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "PATH", tmp_path / "mnist.npz")
    assert train(tmp_path / "run") == 1
    assert "mnist.npz is missing" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# The average of G's weights, and the judgement of a run.


def test_the_average_forgets_by_its_recipe(mnist):
    run = Run(BOOK, mnist.x_train[:DIGITS])
    averages = None
    for _ in run.train_epoch():
        weights = torch.nn.utils.parameters_to_vector(run.generator.parameters()).detach().double()
        keep = BOOK.average
        averages = weights if averages is None else keep * averages + (1 - keep) * weights
    found = torch.nn.utils.parameters_to_vector(run.average.parameters()).detach()
    torch.testing.assert_close(found.double(), averages, rtol=1e-5, atol=1e-7)
    assert (found - weights).abs().max() > 1e-4


def test_samples_are_those_of_the_average_with_statistics_of_its_own(mnist):
    run = Run(BOOK, mnist.x_train[:DIGITS])
    list(run.train_epoch())
    before = {name: tensor.clone() for name, tensor in run.generator.state_dict().items()}
    trained = run.trained()
    images = trained.generate(run.fixed_z)
    torch.testing.assert_close(run.trained().generate(run.fixed_z), images, rtol=0, atol=0)
    torch.testing.assert_close(trained.generate(run.fixed_z[:3]), images[:3])
    assert images.shape == (64, 28, 28) and images.min() >= 0 and images.max() <= 1
    linear, norm, *_ = trained.generator
    hidden = linear(torch.randn(20_000, 100, generator=torch.Generator().manual_seed(5))).detach()
    torch.testing.assert_close(norm.running_mean, hidden.mean(0), rtol=0, atol=0.03)
    torch.testing.assert_close(norm.running_var, hidden.var(0), rtol=0.1, atol=0)
    torch.testing.assert_close(run.generator.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(linear.weight, run.average.module[0].weight)
    assert not torch.equal(linear.weight, run.generator[0].weight)


def test_statistics_are_taken_over_ten_thousand_points(mnist, monkeypatch):
    drawn = []
    monkeypatch.setattr("gan_theory.mnist.run.update_bn", lambda batches, _: drawn.extend(map(len, batches)))
    Run(BOOK, mnist.x_train[:DIGITS]).trained()
    assert sum(drawn) == 10_000


def test_the_log_holds_the_seconds_since_the_beginning_and_the_speed_of_the_epoch(mnist, monkeypatch):
    clock = itertools.count(step=0.123)  # it is read twice in each of the three steps
    monkeypatch.setattr("gan_theory.mnist.run.perf_counter", lambda: next(clock))
    run = Run(SEED, mnist.x_train[:DIGITS])
    for _ in range(2):
        list(run.train_epoch())
    assert [line["seconds"] for line in run.log] == [0.4, 0.8]
    assert [line["images_per_second"] for line in run.log] == [round(DIGITS / 0.369)] * 2


def test_losses_that_are_not_finite_are_told(mnist, monkeypatch):
    monkeypatch.setattr(
        "gan_theory.mnist.run._means", lambda _: torch.tensor([torch.inf, 0.5, 0.3, 0.2, 0.1])
    )
    with pytest.raises(FloatingPointError, match=r"loss is inf and the generator's 0\.5; training"):
        next(Run(SEED, mnist.x_train[:DIGITS]).train_epoch())


def test_a_penalty_comes_at_the_same_iterations_in_a_run_that_is_resumed(mnist):
    """At the second of an epoch, if every second has one: also if the first was trained before."""
    weights = []
    for gamma in (0.0, 9.0):
        run = Run(replace(BOOK, gradient_penalty=gamma, penalty_every=2), mnist.x_train[:DIGITS])
        for _ in range(2):
            next(run.train_epoch())
            weights.append(run.discriminator[0].weight.clone())
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[1], weights[3])


def test_a_run_with_an_average_goes_on_bit_for_bit(mnist, tmp_path):
    digits, whole = mnist.x_train[:DIGITS], Run(BOOK, mnist.x_train[:DIGITS], seed=1)
    for _ in range(2):
        list(whole.train_epoch())
    broken = Run(BOOK, digits, seed=1)
    for step in broken.train_epoch():
        if step.number == 2:
            broken.save(tmp_path / "checkpoint.safetensors")
            break
    resumed = Run.from_checkpoint(tmp_path / "checkpoint.safetensors", digits)
    for _ in range(2):
        list(resumed.train_epoch())
    torch.testing.assert_close(resumed.tensors(), whole.tensors(), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is:DeprecationWarning")  # the compiler's own
@pytest.mark.usefixtures("compiler")
def test_a_compiled_run_is_the_same_but_for_rounding_and_goes_on_bit_for_bit(mnist, tmp_path):
    recipe = replace(
        BOOK,
        generator=partial(mlp, 100, 8, 784, activation=nn.ReLU, batch_norm=True),
        discriminator=partial(mlp, 784, 8, 1, activation=nn.ReLU),
        penalty_every=2,
    )
    path, digits = tmp_path / "checkpoint.safetensors", mnist.x_train[: 2 * BOOK.batch_size]
    try:
        torch.set_default_dtype(torch.float64)
        plain, compiled, broken = (Run(recipe, digits, compiled=compiled) for compiled in (False, True, True))
        for run in (plain, compiled):
            for _ in range(2):
                list(run.train_epoch())
        next(broken.train_epoch())
        broken.save(path)
        resumed = Run(recipe, digits, compiled=True)
        resumed.load(path)
        for _ in range(2):
            list(resumed.train_epoch())
        torch.testing.assert_close(resumed.tensors(), compiled.tensors(), rtol=0, atol=0)
        torch.testing.assert_close(compiled.tensors(), plain.tensors(), rtol=0, atol=1e-9)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("few")
def test_without_a_compiler_nothing_is_begun(tmp_path, capsys):
    with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}):  # noqa: SLF001  (not public)
        assert train(tmp_path / "run", "--compile") == 1
    assert "error: compiled training needs a C++ compiler" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.usefixtures("few", "compiler")
def test_without_pythons_headers_nothing_is_begun(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gan_theory.training.get_path", lambda _: "nowhere")
    assert train(tmp_path / "run", "--compile") == 1
    said = "error: compiled training needs Python's headers, and nowhere has no Python.h"
    assert said in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_evaluate_says_what_the_measures_say(small, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "--recipe", "book", "--epochs", "1", "--out", str(out), "--seed", "3"]) == 0
    assert main(["evaluate", str(out), "--samples", "300"]) == 0
    row = json.loads((out / "evaluation" / "evaluation.json").read_text())
    run = Run.from_checkpoint(out / "checkpoint.safetensors", small.x_train[:DIGITS])
    trained = run.trained()
    samples = trained.sample(300, generator=torch.Generator().manual_seed(3))
    expected = Judge(small, load_classifier()).row(samples)
    assert {name: row[name] for name in expected} == expected
    assert sum(row["classes"]) == 300
    for name, images in (("training", small.x_train[:DIGITS]), ("held out", small.x_train[DIGITS:])):
        d = run.discriminator(to_pixels(images[:10_000])).sigmoid().mean().item()
        assert row["mean_d"][name] == pytest.approx(d, rel=1e-4)
    assert f"sigma: {row['sigma']:.4g}" in capsys.readouterr().out
    for name in ("samples", "nearest", "between"):
        assert imread(out / "evaluation" / f"{name}.png").shape[:2] == (480, 480)
    assert (out / "evaluation" / "classes.png").is_file()


def tiles(path):
    """The 64 images of a grid, each within a frame of paper, each pixel drawn 2 by 2."""
    ink = 1 - imread(path)[::2, ::2, 0]
    return np.stack([ink[30 * i + 1 : 30 * i + 29, 30 * j + 1 : 30 * j + 29] for i, j in np.ndindex(8, 8)])


def test_evaluate_draws_samples_their_nearest_digits_and_ways_between_them(
    small, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "book", "--samples", "100"]) == 0
    folder, book = Path("runs", "book", "evaluation"), load_run("book")
    z = torch.randn(100, 100, generator=torch.Generator().manual_seed(0))
    samples, digits = book.generate(z).numpy(), small.x_train[:DIGITS] / 255
    squares = np.square(samples[:32, None] - digits).sum((2, 3))
    steps = [z[i] + j / 7 * (z[8 + i] - z[i]) for i, j in np.ndindex(8, 8)]
    pairs = tiles(folder / "nearest.png")
    for shown, right in [
        (tiles(folder / "samples.png"), samples[:64]),
        (pairs[::2], samples[:32]),
        (pairs[1::2], digits[squares.argmin(1)]),
        (tiles(folder / "between.png"), book.generate(torch.stack(steps))),
    ]:
        np.testing.assert_allclose(shown, right, atol=2 / 255)
    row, said = json.loads((folder / "evaluation.json").read_text()), capsys.readouterr().out.splitlines()
    assert {"recipe: book", "samples: 100", f"sigma: {row['sigma']:.4g}"} <= set(said)
    assert imread(folder / "classes.png").ndim == 3


def test_the_classes_of_samples_stand_beside_those_of_the_data(monkeypatch):
    drawn = []

    @contextmanager
    def kept(**given):
        with figure(**given) as (fig, ax):
            drawn.append(ax)
            yield fig, ax

    monkeypatch.setattr("gan_theory.mnist.__main__.figure", kept)
    classes, shares = [*range(5, 14), 19], torch.arange(1, 11).double() / 55
    _classes(classes, shares)
    (ax,) = drawn
    assert [(bar.get_center()[0], bar.get_height()) for bar in ax.patches] == list(enumerate(classes))
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [(i, 100 * (i + 1) / 55) for i in range(10)])
    assert ax.get_xticks().tolist() == list(range(10))


def test_a_judgement_has_what_the_judge_says_and_what_d_says_of_all_that_it_is_shown(mnist):
    random = torch.Generator().manual_seed(0)
    G = torch.nn.Sequential(mlp(110, 784, generator=random), torch.nn.Tanh())
    run = Trained(RECIPES["cgan"], 7, G, mlp(794, 1, generator=random), [{}, {}])
    labels = torch.arange(10).repeat(10)
    seen = one_hot(torch.where(torch.arange(100) < 60, labels, 9 - labels), 10)
    judge = SimpleNamespace(
        row=lambda samples: {"judged": len(samples)},
        classifier=SimpleNamespace(look=lambda _: SimpleNamespace(logits=seen)),
    )
    row, z, samples = _judge(run, judge, mnist, 100)
    noise = torch.randn(100, 100, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(z, torch.cat([noise, torch.eye(10).repeat(10, 1)], dim=1), rtol=0, atol=0)
    torch.testing.assert_close(samples, run.generate(z), rtol=0, atol=0)

    def mean_d(part):
        pixels, labels = mnist.x_train[part] / np.float32(255), mnist.y_train[part]
        return run.discriminate(torch.from_numpy(pixels), torch.from_numpy(labels)).double().mean().item()

    assert row.pop("mean_d") == {
        "samples": pytest.approx(run.discriminate(samples, labels).double().mean().item(), rel=1e-6),
        "training": pytest.approx(mean_d(slice(10_000)), rel=1e-6),
        "held out": pytest.approx(mean_d(slice(50_000, 60_000)), rel=1e-6),
    }
    assert row == {"recipe": "cgan", "seed": 7, "epoch": 2, "samples": 100, "judged": 100, "agreement": 0.6}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("metadata", [{"recipe": "none", "seed": 0}, {"recipe": "book"}, {}])
def test_evaluate_refuses_what_is_no_run(metadata, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path)])
    assert "argument RUN: there is no checkpoint" in capsys.readouterr().err
    write_checkpoint(tmp_path / "checkpoint.safetensors", {"a": torch.zeros(1)}, metadata)
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path)])
    assert "argument RUN:" in capsys.readouterr().err
    assert not (tmp_path / "evaluation").exists()


def test_the_classifier_of_the_package_reads_digits(mnist):
    """At least 99 % of the test digits; of 2,000 of them, a little less is asked."""
    seen = load_classifier().look(torch.from_numpy(mnist.x_test[:2000]) / 255)
    assert (seen.logits.argmax(1).numpy() == mnist.y_test[:2000]).mean() >= 0.985
    _, metadata = read_checkpoint(classifier.PATH)
    assert metadata["test_accuracy"] >= 0.99


def test_the_command_that_makes_the_classifier(small, tmp_path, capsys, monkeypatch):
    out, bars = tmp_path / "classifier.safetensors", []

    def bar(steps, *, total, **_):
        bars.append((total, list(steps)))
        return bars[-1][1]

    monkeypatch.setattr("gan_theory.mnist.__main__.tqdm", bar)
    assert main(["classifier", "--epochs", "1", "--out", str(out)]) == 0
    ((total, steps),) = bars
    assert total == len(steps)
    _, metadata = read_checkpoint(out)
    assert f"{metadata['test_accuracy']:.2%} of the test digits" in capsys.readouterr().out
    monkeypatch.setattr(classifier, "PATH", out)
    seen = load_classifier().look(torch.from_numpy(small.x_test) / 255)
    found = (seen.logits.argmax(1).numpy() == small.y_test).mean()
    assert found == pytest.approx(metadata["test_accuracy"], abs=0.01)


def test_a_classifier_of_another_shape_is_refused(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "other", {"classes.bias": torch.zeros(9)}, {})
    monkeypatch.setattr(classifier, "PATH", tmp_path / "other")
    with pytest.raises(CheckpointError, match="does not hold the classifier"):
        load_classifier()


# What comes with the package.


def test_a_run_is_shipped_and_loaded_and_judged_alike(small, tmp_path, monkeypatch, capsys):
    out, runs = tmp_path / "run", tmp_path / "runs"
    monkeypatch.setattr("gan_theory.mnist.trained.RUNS", runs)
    monkeypatch.setattr("gan_theory.mnist.__main__.RUNS", runs)
    train_it = ["train", "--recipe", "cgan", "--epochs", "3", "--judge-every", "2", "--out", str(out)]
    assert main(train_it) == 0
    assert main(["ship", str(out), "--name", "a-run", "--samples", "300"]) == 0
    assert main(["ship", str(out), "--name", "its-log", "--log-only", "--samples", "300"]) == 0
    run, log_only = load_run("a-run"), load_run("its-log")
    assert run.report["command"] == (
        "python -m gan_theory.mnist train --recipe cgan --seed 0 --epochs 3 --judge-every 2"
        f" --precision {best_precision()} --out {out}"
    )
    assert run.report["machine"]["torch"] == torch.__version__
    assert run.log == log_only.log == read_log(out) and len(run.log) == 3
    assert "held_out" in run.log[1] and "held_out" not in run.log[0]
    assert log_only.generator is None and log_only.pictures == {}
    original = Run.from_checkpoint(
        out / "checkpoint.safetensors", small.x_train[:DIGITS], small.y_train[:DIGITS]
    ).trained()
    labels = torch.arange(50) % 10
    a, b = (r.sample(50, labels=labels, generator=torch.Generator().manual_seed(1)) for r in (run, original))
    torch.testing.assert_close(a, b, rtol=0, atol=0.01)
    torch.testing.assert_close(
        run.discriminate(a, labels), original.discriminate(a, labels), rtol=0, atol=0.01
    )
    assert run.pictures["epoch"].tolist() == [0, 1, 2, 3]
    shown = imread(out / "epoch-0002.png")[::2, ::2, 0]
    np.testing.assert_allclose(run.pictures["images"][2, 9] / 255, 1 - shown[31:59, 31:59], atol=2 / 255)
    capsys.readouterr()
    assert main(["evaluate", "a-run", "--out", str(tmp_path / "evaluation"), "--samples", "300"]) == 0
    assert json.loads((tmp_path / "evaluation" / "evaluation.json").read_text()) == run.report["row"]
    assert 0 <= run.report["row"]["agreement"] <= 1


@pytest.mark.usefixtures("small")
def test_ship_leaves_what_is_shipped_alone(tmp_path, monkeypatch, capsys):
    out, runs = tmp_path / "run", tmp_path / "runs"
    for module in ("__main__", "trained"):
        monkeypatch.setattr(f"gan_theory.mnist.{module}.RUNS", runs)
    train(out, epochs=1)
    assert main(["ship", str(out), "--name", "a-run", "--samples", "100"]) == 0
    before = {path.name: path.read_bytes() for path in (runs / "a-run").iterdir()}
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["ship", str(out), "--name", "a-run", "--samples", "100", "--log-only"])
    said = capsys.readouterr().err
    assert f"argument --name: a-run is shipped already; remove {runs / 'a-run'} first" in said
    assert {path.name: path.read_bytes() for path in (runs / "a-run").iterdir()} == before


@pytest.mark.usefixtures("small")
def test_ship_takes_a_run_whole_or_its_log_alone(tmp_path, monkeypatch, capsys):
    out, runs = tmp_path / "run", tmp_path / "runs"
    for module in ("__main__", "trained"):
        monkeypatch.setattr(f"gan_theory.mnist.{module}.RUNS", runs)
    clock = itertools.count()  # so that no epoch ends when another does
    monkeypatch.setattr("gan_theory.mnist.run.perf_counter", lambda: next(clock))
    train(out, epochs=3)
    for name, more in [("whole", []), ("its.log", ["--log-only"])]:
        capsys.readouterr()
        assert main(["ship", str(out), "--name", name, "--samples", "100", *more]) == 0
        assert capsys.readouterr().out == f"{runs / name} holds it now: load_run({name!r})\n"
    log_alone, whole = ({file.name for file in (runs / name).iterdir()} for name in ("its.log", "whole"))
    assert log_alone == {"log.jsonl", "run.json"}
    assert whole - log_alone == {f"{part}.safetensors" for part in ("generator", "discriminator", "pictures")}
    assert load_run("its.log").log == load_run("whole").log == read_log(out)


def test_pictures_are_shipped_of_the_beginning_then_ever_less_often_and_of_the_end(tmp_path):
    chosen = [0, 1, 2, 3, 5, 8, 9]
    images = np.random.default_rng(0).integers(256, size=(len(chosen), 64, 28, 28), dtype=np.uint8)
    for epoch, shown in zip(chosen, images, strict=True):
        grid = np.full((480, 480, 3), 255, np.uint8)
        for (i, j), image in zip(np.ndindex(8, 8), shown, strict=True):
            enlarged = np.kron(image, np.ones((2, 2), np.uint8))[..., None]
            grid[60 * i + 2 : 60 * i + 58, 60 * j + 2 : 60 * j + 58] = 255 - enlarged
        imsave(tmp_path / f"epoch-{epoch:04}.png", grid)
    found = _pictures(tmp_path, 9)
    assert found["epoch"].tolist() == chosen
    np.testing.assert_array_equal(found["images"], images)


def test_what_comes_with_the_package_is_as_the_commands_write_it(tmp_path):
    for name in shipped():
        run = load_run(name)
        run.save(tmp_path / name, networks=run.generator is not None)
        files = sorted((RUNS / name).iterdir())
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [path.name for path in files]
        for file in files:
            again = tmp_path / name / file.name
            if file.suffix == ".safetensors":  # whose header is in no order
                weights, saved_again = read_checkpoint(file)[0], read_checkpoint(again)[0]
                torch.testing.assert_close(saved_again, weights, rtol=0, atol=0)
            else:
                assert again.read_bytes() == file.read_bytes()
    assert _json(json.loads(REFERENCES.read_text())) == REFERENCES.read_bytes()


def test_the_references_are_judged_by_the_same_code(small, tmp_path, capsys):
    assert main(["references", "--out", str(tmp_path / "rows.json"), "--samples", "100"]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert list(rows) == [
        "real", "real, others", "blurred", "averaged with 5 neighbours", "10 centroids", "100 centroids"
    ]  # fmt: skip
    assert rows["real"]["sharpness"] > rows["blurred"]["sharpness"]
    assert sum(rows["10 centroids"]["classes"]) == 10
    others = torch.from_numpy(small.x_train[100:200]) / 255
    assert rows["real, others"] == Judge(small, load_classifier()).row(others)
    assert "blurred: " in capsys.readouterr().out


def test_runs_that_come_with_the_package_are_whole():
    for name in shipped():
        run = load_run(name)
        assert [line["epoch"] for line in run.log] == list(range(1, len(run.log) + 1))
        assert f"--epochs {len(run.log)} " in run.report["command"]
        assert f"--recipe {run.recipe.name} --seed {run.seed} " in run.report["command"]
        assert f"--precision {run.report['machine']['precision']} " in run.report["command"]
        every = int(re.search(r"--judge-every (\d+) ", run.report["command"])[1])
        assert [line["epoch"] for line in run.log if "held_out" in line] == [
            *range(every, len(run.log) + 1, every)
        ]
        assert run.report["seconds"] == run.log[-1]["seconds"] > 0
        assert all(file.stat().st_size < 3e6 for file in (RUNS / name).iterdir())


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("log.jsonl", b"{"),
        pytest.param("log.jsonl", (RUNS / "seed" / "log.jsonl").read_bytes(), id="log of another run"),
        ("run.json", b'{"recipe": "none", "seed": 0}'),
        ("run.json", b""),
        ("generator.safetensors", b"x"),
    ],
)
def test_a_damaged_run_is_refused(file, content, tmp_path, monkeypatch):
    shutil.copytree(RUNS / "book", tmp_path / "book")
    monkeypatch.setattr("gan_theory.mnist.trained.RUNS", tmp_path)
    (tmp_path / "book" / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"does not hold a whole run|not a whole checkpoint"):
        load_run("book")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: drop(path, "0.weight"),
        lambda path: change(path, {"0.weight": torch.zeros(1)}),  # it would be broadcast
    ],
)
@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_weights_of_another_network_are_refused(player, damage, tmp_path, monkeypatch):
    shutil.copytree(RUNS / "book", tmp_path / "book")
    monkeypatch.setattr("gan_theory.mnist.trained.RUNS", tmp_path)
    damage(path := tmp_path / "book" / f"{player}.safetensors")
    with pytest.raises(CheckpointError, match=r"does not fit: 0\.weight is missing or of another") as error:
        load_run("book")
    assert str(path) in str(error.value)


def test_a_run_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of book.*not 'no'"):
        load_run("no")


# Recipes.


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_goes_on_bit_for_bit(mnist, tmp_path, name):
    digits, labels, path = mnist.x_train[:DIGITS], mnist.y_train[:DIGITS], tmp_path / "checkpoint.safetensors"
    whole, broken = (Run(RECIPES[name], digits, labels=labels) for _ in range(2))
    next(broken.train_epoch())
    broken.save(path)
    resumed = Run.from_checkpoint(path, digits, labels)
    for run in (whole, resumed):
        list(run.train_epoch())
    torch.testing.assert_close(resumed.tensors(), whole.tensors(), rtol=0, atol=0)


def test_a_conditional_run_is_a_gan_on_pairs(mnist):
    """Real pairs are digits with their labels; of the samples, labels come as often as in the data."""
    digits, labels = mnist.x_train[:DIGITS], mnist.y_train[:DIGITS] % 3
    run, seen = Run(RECIPES["cgan"], digits, labels=labels), []
    run.discriminator.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    for _ in range(12):
        list(run.train_epoch())
    pairs = {bytes(np.append(x, y)) for x, y in zip(digits.reshape(-1, 784), labels, strict=True)}
    real, fake = torch.cat(seen[0:6:2]), torch.cat(seen[1::2])
    pixels = ((real[:, :784] + 1) * 127.5).round().byte().numpy()
    assert {
        bytes(np.append(x, y)) for x, y in zip(pixels, real[:, 784:].argmax(1).byte(), strict=True)
    } <= pairs
    shares = fake[:, 784:].mean(0)
    expected = np.bincount(labels, minlength=10) / DIGITS
    np.testing.assert_allclose(shares, expected, atol=0.05)
    assert set(fake[:, 784:].unique().tolist()) == {0.0, 1.0}


def test_labels_and_noise_come_from_the_generator_or_else_from_the_global_one():
    run, random = load_run("cgan"), torch.Generator().manual_seed(3)
    labels = torch.randint(10, (20,), generator=random)
    expected = run.sample(20, labels=labels, generator=random)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        from_the_global_one = run.sample(20)
    from_its_own = run.sample(20, generator=torch.Generator().manual_seed(3))
    for samples in (from_the_global_one, from_its_own):
        torch.testing.assert_close(samples, expected, rtol=0, atol=0)


def test_a_run_with_one_network_has_none_to_ask():
    G = load_run("book").generator
    for networks in ((G, None), (None, G)):
        with pytest.raises(ValueError, match="has no networks"):
            Trained(BOOK, 0, *networks, []).sample(3)


def test_no_samples_are_a_number_of_samples():
    for name in ("book", "cgan"):
        assert load_run(name).sample(0).shape == (0, 28, 28)


def test_d_looks_at_pixels_from_minus_1_to_1_and_at_the_label_beside_them():
    random = torch.Generator().manual_seed(0)
    run = Trained(RECIPES["cgan"], 0, mlp(110, 784, generator=random), mlp(794, 1, generator=random), [])
    images, labels = torch.rand(5, 28, 28, generator=random), torch.tensor([3, 1, 4, 1, 5])
    images[0, 0, :2] = torch.tensor([-5e-7, 1 + 5e-7])  # rounding may have led there
    weights, bias = (parameter.detach().double() for parameter in run.discriminator.parameters())
    logits = (2 * images.double().flatten(1) - 1) @ weights[0, :784] + weights[0, 784 + labels] + bias
    expected = 1 / (1 + np.exp(-logits.numpy()))
    np.testing.assert_allclose(run.discriminate(images, labels), expected, rtol=1e-5)


@pytest.mark.parametrize("labels", [None, torch.zeros(4), torch.tensor([0, 1, 10]), torch.tensor([0, -1, 2])])
def test_labels_are_checked(labels):
    with pytest.raises(ValueError, match="labels must be 3 integers from 0 to 9"):
        RECIPES["cgan"].sample_noise(3, torch.Generator(), labels)
    with pytest.raises(ValueError, match="labels must not be given"):
        RECIPES["book"].sample_noise(3, torch.Generator(), torch.zeros(3))


def test_the_paper_recipe_is_the_authors(mnist):
    recipe = RECIPES["paper"]
    assert recipe.sample_noise(0, torch.Generator()).shape == (0, 100)
    z = recipe.sample_noise(10_000, torch.Generator().manual_seed(0))
    assert z.abs().max() < 3**0.5 and z.std().item() == pytest.approx(1, abs=0.01)
    G = recipe.generator(generator=torch.Generator().manual_seed(0))
    for layer in G[:-3]:
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data.zero_()
    first = to_images(G(z[:1]).detach())
    np.testing.assert_allclose(first[0], mnist.x_train[:50_000].mean(0) / 255, atol=1e-5)
    run = Run(recipe, mnist.x_train[:DIGITS])
    for epoch in range(3):
        list(run.train_epoch())
        (group,) = run.generator_optimizer.param_groups
        assert group["lr"] == pytest.approx(0.1 / 1.000004 ** (3 * (epoch + 1)))
        (group,) = run.discriminator_optimizer.param_groups
        assert group["lr"] == pytest.approx(0.05 / 1.000004 ** (3 * (epoch + 1)))
        assert group["momentum"] == pytest.approx(0.5 + 0.2 * max(epoch - 1, 0) / 249)
    recipe.schedule(run.discriminator_optimizer, iteration=3000, epoch=1000)
    assert group["momentum"] == pytest.approx(0.7)
