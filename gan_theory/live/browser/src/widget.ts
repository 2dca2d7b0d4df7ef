// In a notebook: the widget's half in the browser, whose functions run in the kernel.

import type { AnyModel, Experimental } from "@anywidget/types";
import type { Arrays } from "./spec.ts";
import { mount } from "./views.ts";

type Reply = { outputs: string[]; error?: string };
type Context = { model: AnyModel; el: HTMLElement; experimental: Experimental };

function render({ model, el, experimental }: Context): () => void {
  const compute = async (task: string, inputs: Arrays): Promise<Arrays> => {
    const message = { task, inputs: Object.keys(inputs) };
    const buffers = Object.values(inputs).map((values) => new DataView(values.slice().buffer));
    const options = { buffers, signal: AbortSignal.timeout(60_000) };
    const [reply, results] = await experimental.invoke<Reply>("_compute", message, options);
    if (reply.error) throw new Error(reply.error);
    const arrays = results.map(({ buffer, byteOffset, byteLength }) => {
      return new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
    });
    return Object.fromEntries(reply.outputs.map((name, i) => [name, arrays[i] as Float32Array]));
  };
  const set = (name: string, value: number) => {
    model.set(name, value);
    model.save_changes();
  };
  el.classList.add("live");
  const update = mount(el, model.get("_spec"), compute, { get: (name) => model.get(name), set });
  for (const control of el.querySelectorAll("input, select, button, .u-over")) {
    control.setAttribute("data-lm-suppress-shortcuts", ""); // or JupyterLab takes the arrow keys
  }
  model.on("change", update);
  model.on("msg:custom", update); // the function has been edited
  update();
  return () => {
    model.off("change", update);
    model.off("msg:custom", update);
  };
}

export default { render };
