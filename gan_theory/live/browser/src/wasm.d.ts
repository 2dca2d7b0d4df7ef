declare module "*.wasm" {
  const packed: Uint8Array<ArrayBuffer>;
  export default packed;
}
