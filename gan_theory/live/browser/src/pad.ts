// A square on which the reader draws ink, with the pointer or with the keys.

import { button, element, followTheme } from "./dom.ts";
import { paint } from "./pictures.ts";
import { decode, type Spec } from "./spec.ts";

const RADIUS = 1.7; // of the pen, in pixels of the picture
const HINT = "Draw here: arrow keys move the pen, the space bar puts it down or takes it up";

/** Hands over each change; `reset` brings back the picture to begin with. */
export function pad(host: HTMLElement, { label, start }: NonNullable<Spec["pad"]>, changed: () => void) {
  const before = decode({ start }).start as Float32Array;
  const size = Math.sqrt(before.length);
  let ink = before.slice();
  let [x, y, down] = [size / 2, size / 2, false];
  const canvas = element("canvas", { width: size, height: size, className: "live-pad live-drawable" });
  Object.assign(canvas, { tabIndex: 0, role: "application", ariaLabel: `${label}. ${HINT}` });

  function show(): void {
    const pen = (column: number, row: number) =>
      Math.abs(column - x + 0.5) < 1 && Math.abs(row - y + 0.5) < 1;
    const focused = document.activeElement === canvas && canvas.matches(":focus-visible");
    paint(canvas, (column, row) => (focused && pen(column, row) ? 0.5 : (ink[row * size + column] ?? 0)));
  }
  /** Draws a line from where the pen is. */
  function move(toX: number, toY: number, drawing: boolean): void {
    const steps = Math.ceil(2 * Math.hypot(toX - x, toY - y)) + 1;
    const put = (value: number, i: number, atX: number, atY: number) => {
      const distance = Math.hypot((i % size) + 0.5 - atX, Math.floor(i / size) + 0.5 - atY);
      return Math.max(value, Math.min(Math.max(RADIUS + 0.5 - distance, 0), 1));
    };
    for (let step = 1; step <= steps && drawing; step++) {
      const part = step / steps;
      ink = ink.map((value, i) => put(value, i, x + part * (toX - x), y + part * (toY - y)));
    }
    [x, y] = [toX, toY];
    show();
    if (drawing) changed();
  }
  function become(picture: Float32Array<ArrayBuffer>): void {
    ink = picture;
    show();
    changed();
  }

  const place = (event: PointerEvent): [number, number] => [
    (event.offsetX / canvas.clientWidth) * size,
    (event.offsetY / canvas.clientHeight) * size,
  ];
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    [x, y] = place(event);
    move(x, y, true);
  };
  canvas.onpointermove = (event) => event.buttons && move(...place(event), true);
  canvas.onfocus = canvas.onblur = show;
  canvas.onkeydown = (event) => {
    const [right, below] =
      { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] }[
        event.key
      ] ?? [];
    if (right === undefined || below === undefined) return;
    event.preventDefault();
    if (event.key === " ") down = !down;
    const inside = (at: number) => Math.min(Math.max(at, 0), size);
    move(inside(x + right), inside(y + below), down);
  };
  const line = element(
    "div",
    { className: "live-controls" },
    button("Clear", () => become(new Float32Array(size ** 2))),
  );
  host.append(element("div", { className: "live-title" }, label), canvas, line);
  followTheme(host, show);
  return { ink: () => ink, reset: () => become(before.slice()) };
}
