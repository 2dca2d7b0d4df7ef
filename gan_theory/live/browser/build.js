// Bundles the browser half into ../static: the widget for notebooks, the script of a page, and the runtime
// that a page loads at the first touch. All are single files that work from file:// as well.
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const packed = {
  name: "gzip WebAssembly inside a script, since a page opened as a file may not fetch",
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.wasm$/ }, async ({ path }) => ({
      contents: gzipSync(await readFile(path), { level: 9 }),
      loader: "binary",
    })),
};
const common = { bundle: true, minify: true, target: "es2022", outdir: "../static", plugins: [packed] };

await build({
  ...common,
  entryPoints: { "live-widget": "src/widget.ts", live: "src/live.css" },
  format: "esm",
});
await build({ ...common, entryPoints: { "live-page": "src/page.ts" }, format: "iife" });
await build({
  ...common,
  entryPoints: { "live-runtime": "src/runtime.ts" },
  format: "iife",
  globalName: "liveRuntime",
  logLevel: "error",
});
