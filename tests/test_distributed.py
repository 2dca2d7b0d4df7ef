"""A run shared by several processes: the same weights, and an end with an error when one of them dies."""

import os
import signal
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import distributed, nn

from gan_theory.mnist import RECIPES, Run, load_mnist
from gan_theory.mnist.__main__ import main
from gan_theory.mnist.run import _SyncedBatchNorm

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gloo is for Unix")
BATCH, STEPS = 32, 100

SCRIPT = """
import os, sys, time
from pathlib import Path
import gan_theory.mnist.__main__ as command
import torch
from gan_theory.mnist import Run, load_mnist

torch.set_default_dtype(torch.float64)
train_epoch, digits = Run.train_epoch, load_mnist()

def slowly(run):
    process = Path(__file__).parent / f"process-{run.fabric.global_rank}"
    if not process.exists():  # a file that is read is not written again: it would be empty for a moment
        process.write_text(str(os.getpid()))
    for step in train_epoch(run):
        time.sleep(0.02)
        yield step

Run.train_epoch = slowly
command.load_mnist = lambda: digits._replace(x_train=digits.x_train[:300], y_train=digits.y_train[:300])
if __name__ == "__main__":
    sys.exit(command.main(sys.argv[1:]))
"""


@pytest.fixture
def alone():
    """A group of one process."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore:torch.distributed.nn.functional.all_reduce is deprecated:FutureWarning")
@pytest.mark.parametrize(("layer", "shape"), [(nn.BatchNorm1d, (8, 3)), (nn.BatchNorm2d, (8, 3, 2, 5))])
def test_one_process_normalises_a_batch_as_pytorch_does(layer, shape):
    random = torch.Generator().manual_seed(0)
    theirs = layer(3).double()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, generator=random)
    ours = deepcopy(theirs)
    ours.__class__ = _SyncedBatchNorm
    for _ in range(2):
        x = (1 + 2 * torch.randn(shape, generator=random, dtype=torch.float64)).requires_grad_()
        y = [network(x) for network in (ours, theirs)]
        torch.testing.assert_close(*y)
        torch.testing.assert_close(*(torch.autograd.grad(each.pow(3).sum(), x)[0] for each in y))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def weights(fabric=None):
    """The parameters after a hundred steps of `seed`, and of `book` in float64."""
    found, digits = {}, load_mnist()
    for name, dtype in (("seed", torch.float32), ("book", torch.float64)):
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            recipe = replace(RECIPES[name], batch_size=BATCH)
            run = Run(recipe, digits.x_train[: BATCH * STEPS], fabric=fabric)
            for _, _step in zip(range(STEPS), run.train_epoch(), strict=False):
                pass
        finally:
            torch.set_default_dtype(before)
        for player in ("generator", "discriminator"):
            state = getattr(run, player).state_dict()
            found |= {f"{name}.{player}.{key}": tensor for key, tensor in state.items()}
    return found


@pytest.mark.timeout(300)
def test_two_processes_give_the_weights_of_one(tmp_path):
    """In float32 where rounding stays small; in `book` the kinks of ReLUs magnify it: there in float64."""
    command = [sys.executable, __file__, str(tmp_path / "two.safetensors")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as shared:
        one = weights()
        _, errors = shared.communicate(timeout=250)
    assert shared.returncode == 0, errors.decode()
    two = load_file(tmp_path / "two.safetensors")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        atol = 1e-5 if name.startswith("seed") else 1e-9
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("killed", [0, 1])
def test_killed_a_process_ends_the_run_and_another_number_goes_on(tmp_path, monkeypatch, killed):
    script, out, digits = tmp_path / "command.py", tmp_path / "run", load_mnist()
    script.write_text(SCRIPT)
    few = digits._replace(x_train=digits.x_train[:300], y_train=digits.y_train[:300])
    monkeypatch.setattr("gan_theory.mnist.__main__.load_mnist", lambda: few)

    def command(out, *more):
        # In float64, where Adam does not make much of the order in which gradients near 0 were summed.
        options = ["--recipe", "seed", "--precision", "32-true", "--judge-every", "0", "--out", str(out)]
        return ["train", *options, *more]

    shared = [sys.executable, str(script), *command(out, "--epochs", "500", "--devices", "2")]
    with subprocess.Popen(shared, stderr=subprocess.PIPE) as process:
        while not (out / "epoch-0002.png").exists():
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.05)
        pids = [int((tmp_path / f"process-{rank}").read_text()) for rank in (0, 1)]
        os.kill(pids[killed], signal.SIGKILL)
        _, errors = process.communicate(timeout=60)  # which the last process that holds the pipe closes
    # Lightning looks after the process that it has started, and may end the first before that has told why.
    assert process.returncode in ({1, -signal.SIGKILL} if killed else {-signal.SIGKILL})
    told = b"error: a process of the run cannot be reached any more" in errors
    assert told or (killed and process.returncode == -signal.SIGKILL)
    epochs = len((out / "log.jsonl").read_text().splitlines()) + 1
    torch.set_default_dtype(torch.float64)
    try:
        for folder, more in ((out, ["--resume"]), (tmp_path / "undisturbed", [])):
            assert main(command(folder, "--epochs", str(epochs), *more)) == 0
    finally:
        torch.set_default_dtype(torch.float32)
    found, expected = (
        load_file(folder / "checkpoint.safetensors") for folder in (out, tmp_path / "undisturbed")
    )
    for name in expected:
        if name.endswith(("weight", "bias")):
            assert expected[name].dtype == torch.float64
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-9)


def test_a_generator_that_is_trained_by_two_processes_draws_by_its_own_statistics(monkeypatch):
    """As one that a single process trains does, when it is itself what draws, and not its average."""
    recipe, images = replace(RECIPES["book"], average=0.0), load_mnist().x_train[:1280]
    alone = Run(recipe, images)
    monkeypatch.setattr(Fabric, "world_size", 2)
    shared = Run(recipe, images)
    drawn, expected = (run.trained().generate(alone.fixed_z) for run in (shared, alone))
    torch.testing.assert_close(drawn, expected)


def test_the_first_of_several_processes_alone_writes_the_checkpoint(tmp_path, monkeypatch):
    run = Run(RECIPES["seed"], load_mnist().x_train[:128])
    monkeypatch.setattr(Fabric, "is_global_zero", False)
    run.save(tmp_path / "checkpoint")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(Fabric, "is_global_zero", True)
    run.save(tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("processes", [3, 5])
def test_processes_that_do_not_divide_a_minibatch_are_refused(processes, monkeypatch):
    monkeypatch.setattr(Fabric, "world_size", processes)
    with pytest.raises(ValueError, match=f"devices must divide each minibatch: {processes} do not"):
        Run(RECIPES["seed"], load_mnist().x_train[:1280])


if __name__ == "__main__":
    fabric = Fabric(accelerator="cpu", strategy="ddp", devices=2)
    fabric.launch()
    found = weights(fabric)
    if fabric.is_global_zero:
        save_file(found, sys.argv[1])
