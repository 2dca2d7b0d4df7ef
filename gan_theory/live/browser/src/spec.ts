// What Python tells the browser, and how the browser asks for more.

export type Arrays = Record<string, Float32Array>;

/** Calls one of the component's PyTorch functions: in the kernel, or its exported twin in the page. */
export type Compute = (task: string, inputs: Arrays) => Promise<Arrays>;

/** The sliders' values: the widget's traits where there is a kernel. */
export interface Values {
  get(name: string): number;
  set(name: string, value: number): void;
}

export interface Mark extends Record<"x" | "y" | "z", string> {
  kind: "Line" | "Area" | "Point" | "Arrows" | "Images";
  images?: string;
  columns?: number;
  size?: number;
  label?: string;
  style?: "p_data" | "p_g" | "D" | "D_learnt";
}

export interface Panel extends Record<"x" | "x_label" | "y_label" | "title", string> {
  marks: Mark[];
  x_range: [number, number] | null;
  y_range: [number, number] | null;
}

export interface Slider extends Record<"low" | "high" | "start", number>, Record<"label" | "unit", string> {
  step: number | null;
}

export interface Spec {
  view: "figure" | "training";
  alt: string;
  tasks: Record<string, Record<string, number[]>>; // for each, the shapes of its arguments
  start: Record<string, string>; // the outputs to begin with, in base64
  sliders: Record<string, Slider>;
  panels: Panel[];
  numbers: { output: string; label: string; unit: string }[];
  pad?: { argument: string; label: string; start: string } | null; // what the reader draws
  targets?: Record<string, string>; // of a training, densities to learn, in base64
  seed?: number;
}

export const bytes = (base64: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

export const decode = (arrays: Record<string, string>): Arrays =>
  Object.fromEntries(
    Object.entries(arrays).map(([name, text]) => [name, new Float32Array(bytes(text).buffer)]),
  );
