import assert from "node:assert/strict";
import { test } from "node:test";
import { format, plain } from "../src/dom.ts";
import { bytes, decode } from "../src/spec.ts";
import { uniforms } from "../src/uniforms.ts";

const take = (seed: number, n: number) => Array.from({ length: n }, uniforms(seed));

test("the random numbers are those of mulberry32, cut to the 24 bits that float32 holds", () => {
  // The first outputs of mulberry32 from state 1, as published by its author, over 2^32.
  const published = [0.6270739405881613, 0.002735721180215478, 0.5274470399599522];
  for (const [i, number] of take(1, 3).entries()) {
    const expected = Math.floor((published[i] as number) * 2 ** 24) / 2 ** 24;
    assert.equal(number, expected);
    assert.equal(Math.fround(number), number);
  }
});

test("the random numbers are uniform, and those of two seeds have nothing in common", () => {
  const numbers = take(7, 20_000);
  const mean = (f: (u: number) => number) => numbers.reduce((sum, u) => sum + f(u), 0) / numbers.length;
  assert.ok(numbers.every((u) => u >= 0 && u < 1));
  assert.ok(Math.abs(mean((u) => u) - 1 / 2) < 0.01);
  assert.ok(Math.abs(mean((u) => u * u) - 1 / 3) < 0.01);
  assert.ok(Math.abs(mean((u) => u * (numbers[(numbers.indexOf(u) + 1) % 20_000] as number)) - 1 / 4) < 0.01);
  assert.equal(new Set([...take(1, 1000), ...take(2, 1000)]).size, 2000);
});

test("a number has four digits, a real minus sign, and a name where it is none", () => {
  const written = [0, -0.00004, -0.05, 0.51234, -1.38629, 12.3456, 5311, Infinity, -Infinity, NaN].map(
    format,
  );
  const expected = ["0", "0.0000", "−0.0500", "0.5123", "−1.386", "12.35", "5311", "∞", "−∞", "undefined"];
  assert.deepEqual(written, expected);
});

test("a label without subscripts can be read aloud", () => {
  assert.equal(plain("p_data"), "p data");
  assert.equal(plain("x_{max} of p_g"), "x max of p g");
  assert.equal(plain("p_θ, σ"), "p θ, σ");
  assert.equal(plain("V(D, G)"), "V(D, G)");
});

test("arrays arrive as Python sends them: float32, little-endian, in base64, infinities and all", () => {
  const sent = Float32Array.of(1, -0.5, Infinity, 1e-38);
  const base64 = Buffer.from(sent.buffer).toString("base64");
  assert.deepEqual(decode({ a: base64 }).a, sent);
  assert.deepEqual([...bytes("AP8=")], [0, 255]);
});
