// The data files of the report. A page from file:// can fetch nothing, but it can run scripts: each data file is
// `featdex.put(NAME, BASE64)`, and its script tag is added when its numbers are needed. What is inside is described in
// report_chunks.py.
"use strict";

window.featdex = (() => {
  const KINDS = {
    f32: Float32Array, f16: Uint16Array, i16: Int16Array, u8: Uint8Array, u16: Uint16Array, u32: Uint32Array,
  };
  // How many files of a kind stay in memory; the others of that kind all stay.
  const KEPT = { card: 24, set: 24, page: 48 };
  const waiting = new Map();
  const loaded = new Map();

  /** Called by every data file. */
  function put(name, text) {
    const request = waiting.get(name);
    if (request) unpacked(text).then(request.resolve, request.reject);
  }

  /** Promise of a data file: `{json, NAME: typed array…}`. */
  function load(name) {
    const there = loaded.get(name);
    if (there) {
      loaded.delete(name);
      loaded.set(name, there);
      return there;
    }
    const promise = new Promise((resolve, reject) => {
      waiting.set(name, { resolve, reject });
      const script = document.createElement("script");
      script.src = `data/${name}.js`;
      script.onload = () => script.remove();
      script.onerror = () => reject(new Error(`data/${name}.js can't be read; is the folder of the report whole?`));
      document.head.append(script);
    });
    loaded.set(name, promise);
    promise.catch(() => loaded.delete(name)).finally(() => waiting.delete(name));
    forget(name.split("/")[0]);
    return promise;
  }

  function forget(kind) {
    if (!KEPT[kind]) return;
    const names = [...loaded.keys()].filter((name) => name.startsWith(`${kind}/`));
    for (const name of names.slice(0, Math.max(0, names.length - KEPT[kind]))) loaded.delete(name);
  }

  async function unpacked(text) {
    const packed = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : fromBase64(text);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const buffer = await new Response(stream).arrayBuffer();
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const chunk = { json: header.json };
    let place = aligned(4 + length);
    for (const [name, kind, n] of header.arrays) {
      const Kind = KINDS[kind];
      const values = new Kind(buffer, place, n);
      chunk[name] = kind === "f16" ? halves(values) : values;
      place = aligned(place + n * Kind.BYTES_PER_ELEMENT);
    }
    return chunk;
  }

  const aligned = (place) => Math.ceil(place / 8) * 8;

  function fromBase64(text) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  let halfTable = null;

  /** 16-bit floats as 32-bit ones. */
  function halves(bits) {
    halfTable ??= Float32Array.from({ length: 65536 }, (_, b) => half(b));
    const values = new Float32Array(bits.length);
    for (let i = 0; i < bits.length; i++) values[i] = halfTable[bits[i]];
    return values;
  }

  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  /** z and log10 q of a set for all features: float32, NaN where not tested. */
  async function setColumn(number) {
    const chunk = await load(`set/${number}`);
    if (!chunk.zScores) {
      const { step } = chunk.json;
      chunk.zScores = new Float32Array(chunk.z.length);
      for (let i = 0; i < chunk.z.length; i++) chunk.zScores[i] = chunk.z[i] === -32768 ? NaN : chunk.z[i] * step;
    }
    return { z: chunk.zScores, log10_q: chunk.log10_q };
  }

  /** Tokens of a model: text by id, and the raw spelling of those that are no UTF-8 by themselves. */
  async function tokens(model) {
    const chunk = await load(`token/${model}`);
    chunk.raw ??= new Map(chunk.json.raw);
    return { text: chunk.json.text, raw: chunk.raw };
  }

  /** Ids of the first promoted (1) or suppressed (-1) tokens of all features, `n_shown` each. */
  const shown = async (direction) => (await load(direction > 0 ? "shown/up" : "shown/down")).token;

  return { put, load, setColumn, tokens, shown };
})();
