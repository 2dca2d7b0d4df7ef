// Elements, labels, numbers, sliders, and the theme around them.

import type { Slider } from "./spec.ts";

type Children = (Node | string)[];

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Partial<HTMLElementTagNameMap[Tag]> = {},
  ...children: Children
): HTMLElementTagNameMap[Tag] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function button(label: string, pressed: () => void): HTMLButtonElement {
  return element("button", { type: "button", onclick: pressed }, label);
}

const SUBSCRIPT = /_\{?([\w\p{L}]+)\}?/gu;

/** A label with `a_b` and `a_{bc}` as subscripts. */
export const typeset = (label: string): Children =>
  label.split(SUBSCRIPT).map((part, i) => (i % 2 ? element("sub", {}, part) : part));

/** The same label for where there are no subscripts: on a canvas, and for a screen reader. */
export const plain = (label: string): string => label.replace(SUBSCRIPT, " $1");

/** A number with four significant digits, or with the four decimals that a small one has in float32. */
export function format(value: number): string {
  if (Number.isNaN(value)) return "undefined";
  if (Number.isInteger(value)) return `${value}`.replace("-", "−");
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const short = size < 0.1 ? value.toFixed(4) : size < 1e4 ? value.toPrecision(4) : value.toFixed(0);
  return short.replace(/^-(0\.0*)$/, "$1").replace("-", "−");
}

/** A slider in a line with its name and its value, as `text` writes it. */
export function range(slider: Slider, text: (value: number) => string, moved?: (value: number) => void) {
  const { low, high, start, step, label } = slider;
  const ends = { min: `${low}`, max: `${high}`, step: `${step ?? (high - low) / 100}` };
  const input = element("input", { type: "range", ...ends, ariaLabel: plain(label) });
  const output = element("output");
  const show = (value: number) => {
    input.value = `${value}`;
    output.value = text(value);
    input.ariaValueText = output.value;
  };
  input.oninput = () => {
    show(input.valueAsNumber);
    moved?.(input.valueAsNumber);
  };
  show(start);
  const line = element("label", {}, element("span", {}, ...typeset(label)), input, output);
  return { show, value: () => input.valueAsNumber, line };
}

/** Keeps the class `live-dark` where the text around is light, and tells when that changes. */
export function followTheme(host: HTMLElement, changed: () => void): void {
  const look = () => {
    const rgb = getComputedStyle(host).color.match(/[\d.]+/g) ?? [];
    const light = rgb.slice(0, 3).reduce((sum, part) => sum + Number(part), 0) > 3 * 128;
    if (host.classList.toggle("live-dark", light) !== dark) changed();
    dark = light;
  };
  let dark: boolean | undefined;
  for (const root of [document.documentElement, document.body]) {
    new MutationObserver(look).observe(root, { attributes: true });
  }
  look();
}
