// Text and elements. Whatever comes from the catalogue goes through `textContent` alone: no HTML is ever made of text.
"use strict";

featdex.text = (() => {
  // Controls, format characters, separators other than the space: they would be invisible, or turn the line around.
  const HIDDEN = /[\p{C}\p{Z}]/gu;

  function escaped(character) {
    if (character === " ") return character;
    const code = character.codePointAt(0);
    const known = { 9: "\\t", 10: "\\n", 13: "\\r" }[code];
    if (known) return known;
    if (code < 256) return `\\x${code.toString(16).padStart(2, "0")}`;
    if (code < 65536) return `\\u${code.toString(16).padStart(4, "0")}`;
    return `\\U${code.toString(16).padStart(8, "0")}`;
  }

  /** Text without anything invisible. */
  const printable = (text) => String(text).replace(HIDDEN, escaped);

  /** A token for people: spaces as ␣, the empty token as ''. */
  const visible = (text) => printable(text).replaceAll(" ", "␣") || "''";

  /** A number with four significant digits. */
  function number(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    const size = Math.abs(value);
    const text = size !== 0 && (size < 1e-4 || size >= 1e6) ? value.toExponential(3) : String(Number(value.toPrecision(4)));
    return text.replace(/\.?0+e/, "e").replace("-", "−");
  }

  /** A number with two decimals, as z is shown. */
  const fixed = (value, digits = 2) => (Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "");

  /** 10**x, also where a double would be 0. */
  function powerOfTen(x) {
    if (x === null || x === undefined || Number.isNaN(x)) return "";
    if (x > -4) return String(Number((10 ** x).toPrecision(2)));
    const exponent = Math.floor(x);
    const digits = (10 ** (x - exponent)).toFixed(1);
    return digits === "10.0" ? `1.0e−${-exponent - 1}` : `${digits}e−${-exponent}`;
  }

  const count = (n) => Number(n).toLocaleString("en-GB");

  /** An element: `attributes` with `class`, `on…` functions, data; children are elements or text. */
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name in made && name !== "list" && typeof value !== "string") made[name] = value;
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return made;
  }

  /** The token of an id as a chip that tells its raw spelling and id. */
  function token(vocabulary, id) {
    const raw = vocabulary.raw.get(id);
    const shown = raw === undefined ? visible(vocabulary.text[id] ?? "?") : printable(raw);
    return element("span", { class: "token", title: `token ${id}` }, shown);
  }

  /** The address of a place of this page. */
  const featureLink = (sae, feature) => `#feature=${sae.slug.split("/").map(encodeURIComponent).join("/")}/${feature}`;
  const setLink = (name) => `#set=${encodeURIComponent(name)}`;

  return { printable, visible, number, fixed, powerOfTen, count, element, token, featureLink, setLink };
})();
