// One panel: uPlot draws the axes, the lines and the areas, and here are the marks that it lacks.

import uPlot from "uplot";
import { element, plain, typeset } from "./dom.ts";
import type { Arrays, Mark, Panel } from "./spec.ts";

const DASHES = { p_data: [2, 4], p_g: [], D: [9, 5], D_learnt: [] };
const FONT = "13px system-ui, sans-serif";

const styleOf = (mark: Mark) => mark.style ?? "D_learnt";

/** What becomes of the heights between two points when the pen passes. */
export type Stroke = (from: number, to: number, height: (old: number, x: number) => number) => void;

export class Plot {
  readonly #plot: uPlot;
  readonly #panel: Panel;
  readonly #lines: Mark[];
  #arrays: Arrays = {};
  #pen: number | undefined; // where it is, if the reader may draw here,
  #height = 0; // and how high

  constructor(host: HTMLElement, panel: Panel) {
    this.#panel = panel;
    const late = (mark: Mark) => Number(mark.style === "p_data"); // its dots stay visible on what they cover
    this.#lines = panel.marks.filter(({ kind }) => kind === "Line" || kind === "Area");
    this.#lines.sort((one, other) => late(one) - late(other));
    const flat = !this.#lines.length;
    const height = flat ? 84 : 240;
    const frame = element("div");
    host.append(element("div", { className: "live-title" }, ...typeset(panel.title)), frame, legend(panel));

    const color = (name: string) => getComputedStyle(host).getPropertyValue(`--live-${name}`);
    const axis = (label: string, size: number): uPlot.Axis => ({
      size,
      stroke: () => color("ink"),
      grid: { stroke: () => color(flat ? "ink" : "grid"), width: 1 },
      ticks: { show: false },
      font: FONT,
      labelFont: FONT,
      labelSize: 20,
      ...(label && { label: plain(label) }),
    });
    const between = (ends: [number, number] | null) => (ends ? { range: ends } : {});
    const levels = { splits: () => [0, 1], values: () => ["z", "x"] }; // the two lines that arrows join
    const series = this.#lines.map((mark) => ({
      stroke: () => color(styleOf(mark)),
      width: 2.2,
      dash: DASHES[styleOf(mark)],
      points: { show: false },
      ...(mark.kind === "Area" && { fill: () => color("shade"), fillTo: 0 }),
    }));
    const options: uPlot.Options = {
      width: Math.max(frame.clientWidth, 200),
      height,
      padding: [8, 16, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { time: false, ...between(panel.x_range) },
        y: between(flat ? [-0.1, 1.1] : panel.y_range),
      },
      axes: [
        { ...axis(panel.x_label, 30), show: !flat },
        { ...axis(panel.y_label, 46), ...(flat && levels) },
      ],
      series: [{}, ...(flat ? [{}] : series)],
      hooks: { draw: [(plot) => this.#drawMarks(plot, color)] },
    };
    this.#plot = new uPlot(options, [[], []], frame);
    new ResizeObserver(() => {
      if (frame.clientWidth) this.#plot.setSize({ width: frame.clientWidth, height });
    }).observe(frame);
  }

  draw(arrays: Arrays): void {
    this.#arrays = arrays;
    const { x, x_range } = this.#panel;
    const finite = (y: number) => (Number.isFinite(y) ? y : null);
    const lines = this.#lines.map((mark) => Array.from(arrays[mark.y] ?? [], finite));
    this.#plot.setData(
      lines.length ? [Array.from(arrays[x] ?? []), ...lines] : [x_range ?? [], [null, null]],
    );
  }

  redraw(): void {
    this.#plot.redraw(false, true);
  }

  /** Lets the reader draw here, with the pointer and with the arrow keys, or no longer. */
  drawable(yes: boolean): void {
    this.#pen = yes ? 0 : undefined;
    this.#plot.over.tabIndex = yes ? 0 : -1;
    this.#plot.over.classList.toggle("live-drawable", yes);
    this.redraw();
  }

  /** Hands over each stroke of the pen. */
  onStroke(stroke: Stroke): void {
    const { over } = this.#plot;
    over.role = "application";
    over.ariaLabel = "Draw the density: left and right move the pen, up and down change the height there";
    const draw = ({ buttons, offsetX, offsetY, type }: PointerEvent) => {
      if (this.#pen === undefined || !buttons) return;
      const [x, y] = [this.#plot.posToVal(offsetX, "x"), this.#plot.posToVal(offsetY, "y")];
      const [pen, height] = type === "pointerdown" ? [x, y] : [this.#pen, this.#height];
      const slope = x === pen ? 0 : (y - height) / (x - pen);
      stroke(Math.min(x, pen) - 0.02, Math.max(x, pen) + 0.02, (_, at) => Math.max(y + slope * (at - x), 0));
      [this.#pen, this.#height] = [x, y];
    };
    over.onfocus = over.onblur = () => this.redraw();
    over.onpointermove = draw;
    over.onpointerdown = (event) => {
      over.setPointerCapture(event.pointerId);
      draw(event);
    };
    over.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -0.2, ArrowRight: 0.2 }[event.key] ?? 0;
      const rise = { ArrowUp: 0.05, ArrowDown: -0.05 }[event.key] ?? 0;
      if (this.#pen === undefined || !(move || rise)) return;
      event.preventDefault();
      this.#pen += move;
      const [pen, bump] = [this.#pen, (x: number) => rise * Math.exp(-(((x - pen) / 0.2) ** 2))];
      if (rise) stroke(pen - 0.6, pen + 0.6, (old, x) => Math.max(old + bump(x), 0));
      this.redraw();
    });
  }

  #drawMarks(plot: uPlot, color: (name: string) => string): void {
    const { ctx, bbox } = plot;
    const pixel = devicePixelRatio;
    const at = (x = 0, y = 0): [number, number] => [plot.valToPos(x, "x", true), plot.valToPos(y, "y", true)];
    ctx.save();
    ctx.lineWidth = 1.4 * pixel;
    for (const mark of this.#panel.marks) {
      const room = mark.kind === "Point" ? 5 * pixel : 0; // a dot at an end of the axis is whole
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left - room, 0, bbox.width + 2 * room, ctx.canvas.height);
      ctx.clip();
      const [xs, ys, zs] = [this.#arrays[mark.x], this.#arrays[mark.y], this.#arrays[mark.z]];
      ctx.fillStyle = color(styleOf(mark));
      ctx.strokeStyle = color("p_g");
      ctx.beginPath();
      if (mark.kind === "Point") ctx.arc(...at(xs?.[0], ys?.[0]), 5 * pixel, 0, 2 * Math.PI);
      for (const [i, z] of zs?.entries() ?? []) trace(ctx, at(z, 0), at(xs?.[i], 1), 7 * pixel);
      ctx.fill();
      ctx.stroke();
      ctx.restore();
    }
    if (this.#pen !== undefined && document.activeElement === plot.over)
      ctx.fillRect(at(this.#pen)[0], bbox.top, pixel, bbox.height);
    ctx.restore();
  }
}

/** Adds an arrow to the path. */
function trace(
  ctx: CanvasRenderingContext2D,
  from: [number, number],
  to: [number, number],
  head: number,
): void {
  const angle = Math.atan2(to[1] - from[1], to[0] - from[0]);
  ctx.moveTo(...from);
  ctx.lineTo(...to);
  for (const turn of [0.4, -0.4]) {
    ctx.moveTo(...to);
    ctx.lineTo(to[0] - head * Math.cos(angle + turn), to[1] - head * Math.sin(angle + turn));
  }
}

function legend({ marks }: Panel): HTMLElement {
  const entries = marks.flatMap((mark) => {
    const key = element("i", { className: `live-key live-${mark.kind} live-${styleOf(mark)}` });
    return mark.label ? [element("span", {}, key, ...typeset(mark.label))] : [];
  });
  return element("div", { className: "live-legend" }, ...entries);
}
