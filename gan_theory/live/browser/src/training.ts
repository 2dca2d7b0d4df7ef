// The view of a GAN that trains. PyTorch's exported steps do the mathematics; here is who calls them when.

import { Board } from "./board.ts";
import { button, element, range } from "./dom.ts";
import { type Arrays, type Compute, decode, type Spec } from "./spec.ts";
import { uniforms } from "./uniforms.ts";

const OWN = "drawn by you";
const HINT = "Draw into the upper panel with the pointer, or with the arrow keys once it has the focus.";
const FRAME = 30; // milliseconds of training between two pictures,
const CALM = 1000; // or where the reader has asked for less motion
const HISTORY = 400; // points of the curves over time at most: past that, every other one goes

const scalar = (value: number) => Float32Array.of(value);
const finite = (arrays: Arrays) => Object.values(arrays).every((values) => values.every(Number.isFinite));

/** Builds the component in `host`; it has no values to follow. */
export function training(host: HTMLElement, spec: Spec, compute: Compute): () => void {
  const targets = decode(spec.targets ?? {});
  const x = decode(spec.start).x as Float32Array;
  let own = Object.values(targets)[0] as Float32Array;
  let random = uniforms(0);
  let state: Arrays = {};
  let updates = { discriminator: 0, generator: 0 };
  let kept = { state, updates };
  let past: [iteration: number, jsd: number, value: number][] = [];
  let running = false;
  let awaited = false; // a look
  let work = Promise.resolve();

  const named = (label: string, input: HTMLElement) =>
    element("label", {}, element("span", {}, label), input);
  const choice = (options: string[]) => element("select", {}, ...options.map((each) => new Option(each)));
  const data = choice([...Object.keys(targets), OWN]);
  const loss = choice(["non-saturating", "saturating"]);
  const k = choice(["1", "2", "3", "5", "10", "20"]);
  const wanted = { type: "number", required: true, min: "0", max: `${2 ** 32 - 1}` };
  const seed = element("input", { ...wanted, value: `${spec.seed}` });
  const rates = Object.entries(spec.sliders).map(([player, slider]) => {
    const text = (power: number) => `${Number((10 ** power).toPrecision(2))}`;
    return { player, ...range(slider, text) };
  });

  /** Calls a task; arguments that nobody knows are uniform random numbers. */
  function call(task: string, known: Arrays = {}): Promise<Arrays> {
    const target = targets[data.value] ?? own;
    const inputs = Object.entries(spec.tasks[task] ?? {}).map(([name, [length = 1]]) => {
      const given = { ...state, target, ...known }[name];
      return [name, given ?? Float32Array.from({ length }, random)];
    });
    return compute(task, Object.fromEntries(inputs));
  }

  async function step(player: "discriminator" | "generator"): Promise<void> {
    const number = updates[player] + 1;
    const power = rates.find((rate) => rate.player === player)?.value() ?? 0;
    const outputs = await call(`${player}_step`, {
      number: scalar(number),
      learning_rate: scalar(10 ** power),
      saturating: scalar(Number(loss.value === "saturating")),
    });
    state = { ...state, [player]: outputs[player] as Float32Array };
    updates = { ...updates, [player]: number };
  }

  async function iterate(): Promise<void> {
    for (let i = 0; i < Number(k.value); i++) await step("discriminator");
    await step("generator");
  }

  async function look(): Promise<void> {
    const seen = await call("look");
    if (!finite({ ...state, ...seen })) {
      ({ state, updates } = kept);
      throw new Error(`after iteration ${updates.generator}, which is shown, the training diverged`);
    }
    kept = { state, updates };
    if (past.at(-1)?.[0] === updates.generator) past.pop();
    past.push([updates.generator, seen.jsd?.[0] ?? 0, seen.value?.[0] ?? 0]);
    if (past.length > HISTORY) past = past.filter((_, i) => i % 2 === 0);
    const column = (i: number) => Float32Array.from(past, (row) => row[i] as number);
    const history = { iterations: column(0), jsds: column(1), values: column(2) };
    const outputs = { ...seen, ...history, iteration: scalar(updates.generator) };
    board.draw(outputs);
    host.dispatchEvent(new CustomEvent("drawn", { detail: { state, updates, outputs } }));
  }

  /** Looks once, however often it is asked for before it comes to it. */
  function lookSoon(): void {
    if (!awaited)
      act(async () => {
        awaited = false;
        await look();
      });
    awaited = true;
  }

  async function run(): Promise<void> {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let drawn = performance.now();
    while (running) {
      const pause = performance.now() + FRAME;
      while (running && performance.now() < pause) await iterate();
      if (!calm || !running || performance.now() > drawn + CALM) {
        await look();
        drawn = performance.now();
      }
      await new Promise(requestAnimationFrame);
    }
  }

  async function reset(): Promise<void> {
    random = uniforms(seed.valueAsNumber);
    state = await call("initial");
    updates = { discriminator: 0, generator: 0 };
    past = [];
    await look();
  }

  /** Does things in turn, after what is going on; what goes wrong is said, and stops the training. */
  function act(...doings: (() => Promise<void>)[]): void {
    work = work.then(async () => {
      try {
        if (!state.generator) await board.during(reset());
        for (const doing of doings) await doing();
      } catch (error) {
        board.say(`Stopped: ${(error as Error).message}. Lower a learning rate, or reset.`);
        show(false);
      }
    });
  }

  const show = (now: boolean) => {
    running = now;
    play.textContent = running ? "Pause" : "Run";
  };
  const once = (...doings: (() => Promise<void>)[]) => {
    board.say("");
    show(false);
    act(...doings);
  };
  const play = button("Run", () => {
    board.say("");
    show(!running);
    if (running) act(run);
  });
  const buttons = [
    play,
    button("One D step", () => once(() => step("discriminator"), look)),
    button("One G step", () => once(() => step("generator"), look)),
    button("Reset", () => seed.reportValidity() && once(reset)),
  ];
  const settings = [
    named("data", data),
    named("loss of G", loss),
    ...rates.map(({ line }) => line),
    named("k, steps of D", k),
    named("seed", seed),
  ];
  const rows = [buttons, settings].map((row) => element("div", { className: "live-controls" }, ...row));
  const board = new Board(host, spec, ...rows);
  data.onchange = () => {
    board.plots[0]?.drawable(data.value === OWN);
    board.say(data.value === OWN ? HINT : "");
    if (!running) lookSoon();
  };
  board.plots[0]?.onStroke((from, to, height) => {
    const drawn = own.map((old, i) =>
      (x[i] ?? 0) >= from && (x[i] ?? 0) <= to ? height(old, x[i] ?? 0) : old,
    );
    if (drawn.some((y) => y > 0)) own = drawn; // there must be data somewhere
    if (!running) lookSoon();
  });
  return () => {};
}
