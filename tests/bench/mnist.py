"""How fast digits are trained on: ours, in turns with the field's usual pipeline, beside the matrix peak.

Run by `make bench`, or: python tests/bench/mnist.py [--seconds 3] [--rounds 5] [--out DIRECTORY]
Everything is measured in turns, round by round, so that a busy spell of the machine meets all alike.
Beside the speeds it says where the time goes, what memory training takes, and how long the evaluation by
Parzen windows does. What the book reads, `gan_theory/mnist/runs/speed-*.json`, is what this wrote on three
machines.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import gan_theory  # noqa: F401  # isort: skip  (before torch, as the command line has it)
import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from gan_theory.mnist import RECIPES, Recipe, Run, load_mnist
from gan_theory.mnist.__main__ import best_precision, machine
from gan_theory.plotting import figure

PRODUCTS = "aten::mm", "aten::addmm"
WARM_UP = 20  # iterations, of which one at least has a penalty: it is compiled by itself
WHOLE = 468 * 128  # images: a last, smaller minibatch would be compiled in the middle of a measurement
START = """
import gan_theory
import os, resource, torch
from time import perf_counter
from gan_theory.mnist import RECIPES, Run, load_mnist, load_run
from gan_theory.mnist.classifier import load_classifier
from gan_theory.mnist.evaluation import Judge, parzen
torch.set_num_threads(os.cpu_count())
digits = load_mnist()
"""
TRAINING = """
steps = Run(RECIPES["book"], digits.x_train).train_epoch()
start = perf_counter()
for _, step in zip(range(200), steps):
    pass
"""
PARZEN = """
samples = load_run("book").sample(10_000, generator=torch.Generator().manual_seed(0))
judge = Judge(digits, load_classifier())
start = perf_counter()
parzen(samples, judge.held_out, judge.judging)
"""
REPORT = """
print(perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


class PerSample(Dataset):
    """Digits as the field's scripts serve them: an image each, made a tensor, then normalised.

    It does to an image what torchvision's `MNIST`, `ToTensor()` and `Normalize((0.5,), (0.5,))` do. These
    also read the label and look at their arguments, and so are slower than this.
    """

    def __init__(self, images: np.ndarray) -> None:
        self.data = torch.from_numpy(images)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> torch.Tensor:
        image = Image.fromarray(self.data[i].numpy())
        rows = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(*image.size, 1)
        pixels = rows.permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        mean, std = torch.as_tensor((0.5,)), torch.as_tensor((0.5,))
        if (std == 0).any():
            raise ValueError("a standard deviation is 0")
        return pixels.clone().sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))


def usual_pipeline(recipe: Recipe, images: np.ndarray) -> Iterator[int]:
    """The recipe as it is commonly written: DataLoader, sigmoid, BCELoss with labels, D and G in turns."""
    G, D = recipe.generator(), nn.Sequential(recipe.discriminator(), nn.Sigmoid())
    chosen = recipe.generator_optimizer(G).defaults
    of_g, of_d = (torch.optim.Adam(net.parameters(), chosen["lr"], chosen["betas"]) for net in (G, D))
    loss = nn.BCELoss()
    for _ in count():
        for batch in DataLoader(PerSample(images), recipe.batch_size, shuffle=True):
            x = batch.flatten(1)
            ones, zeros = torch.ones(len(x), 1), torch.zeros(len(x), 1)
            of_d.zero_grad()
            fakes = G(torch.randn(len(x), recipe.noise_dimensions))
            (loss(D(x), ones) + loss(D(fakes.detach()), zeros)).backward()
            of_d.step()
            of_g.zero_grad()
            loss(D(G(torch.randn(len(x), recipe.noise_dimensions))), ones).backward()
            of_g.step()
            yield len(x)


def ours(
    recipe: Recipe, images: np.ndarray, precision: str = "32-true", *, compiled: bool = False
) -> Iterator[int]:
    """The recipe as the book trains it."""
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    run = Run(recipe, images, fabric=fabric, compiled=compiled)
    for _ in count():
        for step in run.train_epoch():
            yield len(step.logits_real)


def matrix_product(size: int = 1024) -> Iterator[int]:
    """Products of two square float32 matrices: operations."""
    a, b = torch.randn(2, size, size)
    for _ in count():
        a @ b
        yield 2 * size**3


def shares_of_time(recipe: Recipe, images: np.ndarray, iterations: int = 50) -> dict[str, float]:
    """What a profiler sees the time of training go to."""
    steps = ours(recipe, images)
    for _ in range(5):
        next(steps)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(iterations):
            next(steps)
    events = seen.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    products = sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS)
    updates = sum(event.cpu_time_total for event in events if event.key.startswith("Optimizer.step"))
    parts = {"matrix products": products, "Adam": updates, "all else": total - products - updates}
    return {name: part / total for name, part in parts.items()}


def operations(recipe: Recipe, images: np.ndarray) -> float:
    """Multiplications and additions in matrix products, for an image, its share of the penalty included."""
    steps = ours(recipe, images)
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as seen:
        trained_on = sum(next(steps) for _ in range(recipe.penalty_every))
    return sum(event.flops for event in seen.key_averages() if event.key in PRODUCTS) / trained_on


def rate(work: Iterator[int], seconds: float) -> float:
    """What is done in a second, measured over some."""
    done, start = 0, perf_counter()
    while perf_counter() - start < seconds:
        done += next(work)
    return done / (perf_counter() - start)


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """Another process that computes all the time."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        try:
            yield
        finally:
            neighbour.kill()


def measure(works: dict[str, Callable[[], Iterator[int]]], seconds: float, rounds: int) -> dict[str, float]:
    """The median rate of each, measured in turns; the first iterations warm up and do not count."""
    running = {name: work() for name, work in works.items()}
    for work in tqdm(running.values(), desc="warming up", disable=None):
        for _ in range(WARM_UP):
            next(work)
    rates: dict[str, list[float]] = {name: [] for name in works}
    for _ in tqdm(range(rounds), unit=" rounds", disable=None):
        for name, work in running.items():
            rates[name].append(rate(work, seconds))
    return {name: statistics.median(found) for name, found in rates.items()}


def alone(code: str) -> dict[str, float]:
    """What a process of its own needs for it."""
    command = [sys.executable, "-c", START + code + REPORT]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, memory = map(float, found.stdout.split())
    return {"seconds": seconds, "gibibytes": memory}


def speeds(seconds: float, rounds: int) -> dict[str, Any]:
    """All that is measured."""
    # First, while this process is small: Linux counts its memory as the most that a child of it has used.
    found: dict[str, Any] = {"machine": machine(), "training": alone(TRAINING), "parzen": alone(PARZEN)}
    images = load_mnist().x_train[:WHOLE]
    seed, book = RECIPES["seed"], RECIPES["book"]
    recipes = {"seed, in turns": seed, "seed, together": replace(seed, simultaneous=True), "book": book}
    works = {"matrix product": matrix_product, "usual pipeline": lambda: usual_pipeline(seed, images)}
    precisions = {"": "32-true"} | ({", bfloat16": "bf16-mixed"} if best_precision() == "bf16-mixed" else {})
    cost = {}
    for words, precision in precisions.items():
        for name, recipe in recipes.items():
            training = partial(ours, recipe, images, precision)
            works |= {
                f"{name}{words}": training,
                f"{name}{words}, compiled": partial(training, compiled=True),
            }
            cost |= dict.fromkeys((f"{name}{words}", f"{name}{words}, compiled"), operations(recipe, images))
    found["threads"] = {}
    for used in sorted({1, os.cpu_count() or 1}):
        torch.set_num_threads(used)
        rates = measure(works, seconds, rounds)
        peak = rates.pop("matrix product")
        of_peak = {name: rates[name] * cost[name] / peak for name in cost}
        found["threads"][used] = {"peak": peak, "images_per_second": rates, "of_peak": of_peak}
        if used == 1:
            found["shares_of_time"] = shares_of_time(book, images)
    with busy_neighbour():
        disturbed = measure({"book": works["book"]}, seconds, rounds)["book"]
    found["beside_a_busy_process"] = disturbed / rates["book"]
    return found


def table(found: dict[str, Any]) -> str:
    """The measurements, to be read."""
    lines = []
    for what, name in (("200 steps of book", "training"), ("Parzen windows, 10,000 on 10,000", "parzen")):
        lines += [f"{what}: {found[name]['seconds']:.1f} s, {found[name]['gibibytes']:.2f} GiB at most"]
    for used, speed in found["threads"].items():
        lines += [
            "",
            f"{used} thread{'s' * (used > 1)}, matrix products {speed['peak'] / 1e9:.0f} GFLOP/s",
            "",
        ]
        lines += ["| | images/s | times the usual | of the peak |", "|---|---|---|---|"]
        for name, rate in speed["images_per_second"].items():
            times = rate / speed["images_per_second"]["usual pipeline"]
            share = f"{speed['of_peak'][name]:.0%}" if name in speed["of_peak"] else ""
            lines += [f"| {name} | {rate:,.0f} | {times:.2f} | {share} |"]
    parts = ", ".join(f"{name} {share:.0%}" for name, share in found["shares_of_time"].items())
    lines += ["", f"book on one thread, of its time: {parts}"]
    lines += [f"book beside a busy process: {found['beside_a_busy_process']:.0%} of the undisturbed speed"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table, and writes the numbers, the table and a plot if a directory is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="of measurements in turns (default 5)")
    parser.add_argument("--out", type=Path, help="a directory for speed.json, speed.md and speed.png")
    options = parser.parse_args(arguments)
    found = speeds(options.seconds, options.rounds)
    print(table(found), end="")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "speed.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (options.out / "speed.md").write_text(table(found), encoding="utf-8")
        used, speed = list(found["threads"].items())[-1]
        with figure(height=3.0) as (fig, ax):
            ax.barh(*zip(*speed["images_per_second"].items(), strict=True), color="#0072B2")
            ax.set(xlabel=f"images a second, {used} threads")
            ax.invert_yaxis()
        fig.savefig(options.out / "speed.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
