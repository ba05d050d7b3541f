// Labelled inputs that the filters and the plots share.
"use strict";

featdex.inputs = (() => {
  const { element } = featdex.text;
  let ids = 0;

  /** A number or null: empty or unfinished input is no bound. */
  function numberOf(input) {
    const value = input.value.trim() === "" ? NaN : Number(input.value);
    return Number.isFinite(value) ? value : null;
  }

  /** A number field; `changed` gets its value or null once typing rests. */
  function numberField(label, changed, attributes = {}) {
    const input = element("input", { type: "number", step: "any", "aria-label": label, ...attributes });
    let timer = 0;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => changed(numberOf(input)), 150);
    });
    return input;
  }

  function checkbox(label, checked, changed) {
    const input = element("input", { type: "checkbox", checked });
    input.addEventListener("change", () => changed(input.checked));
    return element("label", { class: "check" }, input, element("span", {}, label));
  }

  function select(label, options, value, changed) {
    const box = element("select", { "aria-label": label },
      options.map(([key, text]) => element("option", { value: String(key), selected: key === value }, text)));
    box.addEventListener("change", () => changed(box.value));
    return box;
  }

  /** A field that offers the token sets; `changed` gets the number of one, or null. */
  function setField(label, number, changed) {
    const { sets } = featdex.features.manifest;
    const list = document.getElementById("set-names") ?? document.body.appendChild(
      element("datalist", { id: "set-names" }, sets.map((set) => element("option", { value: set.name }, set.collection))));
    const input = element("input", {
      type: "text", id: `set-field-${ids++}`, "aria-label": label, placeholder: "any of the token sets",
      autocomplete: "off", spellcheck: "false", value: number === null ? "" : sets[number].name,
    });
    input.setAttribute("list", list.id);
    input.addEventListener("input", () => {
      const found = sets.findIndex((set) => set.name === input.value.trim());
      input.setAttribute("aria-invalid", String(found < 0 && input.value.trim() !== ""));
      if (found >= 0 || input.value.trim() === "") changed(found < 0 ? null : found);
    });
    return input;
  }

  return { numberField, checkbox, select, setField };
})();
