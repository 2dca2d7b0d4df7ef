// In the built page: no kernel runs, and onnxruntime computes what was exported with the book.

import type * as ort from "onnxruntime-web/wasm";
import { bytes, type Compute, type Spec } from "./spec.ts";
import { mount } from "./views.ts";

type Runtime = typeof ort;
const address = new URL("live-runtime.js", (document.currentScript as HTMLScriptElement).src).href;
let runtime: Promise<Runtime> | undefined;
let work: Promise<unknown> = Promise.resolve();

/** Does one thing after another: the runtime can't do two at once. */
function inTurn<T>(doing: () => Promise<T>): Promise<T> {
  const done = work.then(doing);
  work = done.catch(() => {});
  return done;
}

function script(src: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const added = Object.assign(document.createElement("script"), { src, onload: resolve });
    added.onerror = () => reject(new Error("its runtime could not be loaded"));
    document.head.append(added);
  });
}

/** The runtime, loaded once a page. */
function load(): Promise<Runtime> {
  runtime ??= script(address).then(() =>
    (globalThis as unknown as { liveRuntime: { start(): Promise<Runtime> } }).liveRuntime.start(),
  );
  runtime.catch(() => {
    runtime = undefined; // the next touch tries again
  });
  return runtime;
}

/** A model, or the one in a script beside the page, which a large one is: a page opened as a file may not fetch. */
async function model(text: string): Promise<Uint8Array<ArrayBuffer>> {
  if (!text.endsWith(".js")) return bytes(text);
  await script(new URL(text, address).href);
  return bytes((globalThis as unknown as { liveModels: Record<string, string> }).liveModels[text] ?? "");
}

/** Calls the exported models; each becomes a session when it is first needed. */
function computeHere(spec: Spec, models: Record<string, string>): Compute {
  const sessions: Record<string, Promise<ort.InferenceSession>> = {};
  const compute: Compute = async (task, inputs) => {
    const { InferenceSession, Tensor } = await load();
    sessions[task] ??= model(models[task] ?? "").then((found) => InferenceSession.create(found));
    sessions[task].catch(() => delete sessions[task]); // the next touch tries again
    const session = await sessions[task];
    const feeds = Object.entries(spec.tasks[task] ?? {}).map(([name, shape]) => [
      `in.${name}`,
      new Tensor("float32", inputs[name] as Float32Array, shape),
    ]);
    const outputs = await session.run(Object.fromEntries(feeds));
    const named = session.outputNames.map((name) => [name.slice("out.".length), outputs[name]?.data]);
    return Object.fromEntries(named);
  };
  return (task, inputs) => inTurn(() => compute(task, inputs));
}

for (const host of document.querySelectorAll<HTMLElement>(".live")) {
  const { models, ...spec } = JSON.parse(host.querySelector("script")?.textContent ?? "");
  const values = new Map(Object.entries((spec as Spec).sliders).map(([name, { start }]) => [name, start]));
  const keep = { get: (name: string) => values.get(name) ?? 0, set: values.set.bind(values) };
  host.addEventListener("focusin", () => load().catch(() => {}), { once: true }); // what fails is said later
  mount(host, spec, computeHere(spec, models), keep);
  host.classList.add("live-ready");
}
