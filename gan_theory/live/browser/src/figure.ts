// The view of a live figure: a board under sliders.

import { Board } from "./board.ts";
import { button, element, range } from "./dom.ts";
import { pad } from "./pad.ts";
import type { Arrays, Compute, Spec, Values } from "./spec.ts";

/** Builds the figure in `host`; what it returns draws it anew, for when a value or the function has changed. */
export function figure(host: HTMLElement, spec: Spec, compute: Compute, values: Values): () => Promise<void> {
  const put = (name: string, value: number) => {
    values.set(name, value);
    update();
  };
  const sliders = Object.entries(spec.sliders).map(([name, slider]) => {
    const text = (value: number) => `${Number(value.toPrecision(4))} ${slider.unit}`.trim().replace("-", "−");
    return { name, start: slider.start, ...range(slider, text, (value) => put(name, value)) };
  });
  const drawing = spec.pad && pad(host, spec.pad, () => update());
  const reset = button("Reset", () => {
    drawing?.reset();
    for (const { name, start } of sliders) put(name, start);
  });
  const lines = sliders.map(({ line }) => line);
  const board = new Board(host, spec, element("div", { className: "live-controls" }, ...lines), reset);

  let working = false;
  let waiting = false;
  async function update(): Promise<void> {
    for (const { name, show } of sliders) show(values.get(name));
    waiting = true;
    if (working) return;
    working = true;
    while (waiting) {
      waiting = false;
      try {
        const moved = sliders.map(({ name }) => [name, Float32Array.of(values.get(name))] as const);
        const inputs: Arrays = Object.fromEntries(moved);
        if (spec.pad && drawing) inputs[spec.pad.argument] = drawing.ink();
        const outputs = await board.during(compute("draw", inputs));
        board.draw(outputs);
        board.say("");
        host.dispatchEvent(new CustomEvent("drawn", { detail: { inputs, outputs } }));
      } catch (error) {
        board.say(
          `The figure can't follow its sliders: ${(error as Error).message}. It shows what it showed before.`,
        );
      }
    }
    working = false;
  }
  return update;
}
