// What every component shows: its panels, its numbers, and a line that says what is going on.

import { element, followTheme, format, typeset } from "./dom.ts";
import { Pictures } from "./pictures.ts";
import { Plot } from "./plot.ts";
import { type Arrays, decode, type Spec } from "./spec.ts";

export class Board {
  readonly plots: Plot[] = [];
  readonly #pictures: Pictures[] = [];
  readonly #readouts: [string, HTMLOutputElement][];
  readonly #status = element("p", { className: "live-status", role: "status" });

  /** Adds to `host` the panels at their first outputs, the numbers, then `controls`, then the line. */
  constructor(host: HTMLElement, spec: Spec, ...controls: HTMLElement[]) {
    const figure = element("div");
    this.#readouts = spec.numbers.map(({ output }) => [output, element("output")]);
    const numbers = spec.numbers.map(({ label, unit }, i) =>
      element("span", {}, ...typeset(label), " = ", this.#readouts[i]?.[1] ?? "", unit && ` ${unit}`),
    );
    host.append(figure, element("div", { className: "live-numbers" }, ...numbers), ...controls, this.#status);
    for (const panel of spec.panels)
      if (panel.marks[0]?.kind === "Images") this.#pictures.push(new Pictures(figure, panel));
      else this.plots.push(new Plot(figure, panel));
    figure.querySelector("canvas")?.setAttribute("role", "img");
    figure.querySelector("canvas")?.setAttribute("aria-label", spec.alt);
    followTheme(host, () => {
      for (const each of [...this.plots, ...this.#pictures]) each.redraw();
    });
    this.draw(decode(spec.start));
  }

  draw(outputs: Arrays): void {
    for (const each of [...this.plots, ...this.#pictures]) each.draw(outputs);
    for (const [name, readout] of this.#readouts) readout.value = format(outputs[name]?.[0] ?? Number.NaN);
  }

  say(text: string): void {
    this.#status.textContent = text;
  }

  /** Awaits some work, and says so if it takes long, as it does while the runtime loads. */
  async during<T>(work: Promise<T>): Promise<T> {
    const [before, message] = [this.#status.textContent, "Loading what computes this figure …"];
    const patience = setTimeout(() => this.say(message), 100);
    return work.finally(() => {
      clearTimeout(patience);
      if (this.#status.textContent === message) this.say(before);
    });
  }
}
