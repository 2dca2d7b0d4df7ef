import { figure } from "./figure.ts";
import type { Compute, Spec, Values } from "./spec.ts";
import { training } from "./training.ts";

const views = { figure, training };

/** Builds a component in `host`; what it returns has it follow its values. */
export const mount = (host: HTMLElement, spec: Spec, compute: Compute, values: Values): (() => void) =>
  views[spec.view](host, spec, compute, values);
