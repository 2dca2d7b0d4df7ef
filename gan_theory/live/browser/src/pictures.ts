// A panel of square pictures side by side: dark ink on light paper, and light ink in the dark.

import { element, typeset } from "./dom.ts";
import type { Arrays, Panel } from "./spec.ts";

/** Paints ink in [0, 1] on a canvas of as many pixels, in the colour of the text around. */
export function paint(canvas: HTMLCanvasElement, ink: (column: number, row: number) => number): void {
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  const picture = context.createImageData(canvas.width, canvas.height);
  const [red = 0, green = 0, blue = 0] =
    getComputedStyle(canvas)
      .color.match(/[\d.]+/g)
      ?.map(Number) ?? [];
  for (let i = 0; i < picture.data.length / 4; i++) {
    const value = ink(i % canvas.width, Math.floor(i / canvas.width));
    picture.data.set([red, green, blue, 255 * value], 4 * i);
  }
  context.putImageData(picture, 0, 0);
}

export class Pictures {
  readonly #canvas = element("canvas", { className: "live-pictures" });
  readonly #name: string;
  readonly #columns: number;
  readonly #size: number;
  #values = new Float32Array();

  constructor(host: HTMLElement, { marks: [mark], title }: Panel) {
    this.#name = mark?.images ?? "";
    this.#columns = mark?.columns ?? 1;
    this.#size = mark?.size ?? 1;
    this.#canvas.style.maxWidth = `${Math.min(Math.max(96 * this.#columns, 160), 640)}px`;
    host.append(element("div", { className: "live-title" }, ...typeset(title)), this.#canvas);
  }

  draw(arrays: Arrays): void {
    this.#values = (arrays[this.#name] as Float32Array<ArrayBuffer>) ?? this.#values;
    this.redraw();
  }

  redraw(): void {
    const [columns, size] = [this.#columns, this.#size];
    const tile = size + 2; // a frame of paper
    if (!this.#values.length) return; // nothing has been drawn yet
    this.#canvas.width = columns * tile;
    this.#canvas.height = Math.ceil(this.#values.length / size ** 2 / columns) * tile;
    paint(this.#canvas, (x, y) => {
      const [column, row] = [(x % tile) - 1, (y % tile) - 1];
      if (Math.min(column, row) < 0 || Math.max(column, row) >= size) return 0;
      const picture = Math.floor(y / tile) * columns + Math.floor(x / tile);
      return this.#values[(picture * size + row) * size + column] ?? 0;
    });
  }
}
