// The filters beside the table. They are drawn anew on reset, and write into the state of `features`.
"use strict";

featdex.filters = (() => {
  const { element, printable } = featdex.text;
  const { numberField, checkbox, select, setField } = featdex.inputs;
  const FIRST = ["kurtosis", "skewness", "std", "log10_density"];
  let place = null;
  let shown = [];

  function start(given) {
    place = given;
    shown = first();
    draw();
  }

  const known = () => featdex.features.manifest.statistics.filter((entry) => entry.known);
  const first = () => FIRST.filter((name) => known().some((entry) => entry.name === name));

  function draw() {
    const body = element("form", { class: "filter-body", onsubmit: (event) => event.preventDefault() },
      searchPart(), setPart(), statisticsPart(), rolePart(), saePart());
    const box = element("details", { open: !matchMedia("(max-width: 60rem)").matches },
      element("summary", {}, "Filters"), body);
    place.replaceChildren(box);
  }

  function searchPart() {
    const { state, change } = featdex.features;
    const input = element("input", {
      type: "search", id: "search", value: state.text, placeholder: "token, tag, SAE/feature", spellcheck: "false",
      autocomplete: "off",
    });
    let timer = 0;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => change({ text: input.value }), 200);
    });
    const { n_shown: n } = featdex.features.manifest;
    return group("Search", input, element("p", { class: "hint" },
      `In the first ${n} promoted tokens, labels, tags, explanations and addresses.`));
  }

  function setPart() {
    const { state, manifest, rankBy, change } = featdex.features;
    if (!manifest.sets.length) return null;
    const field = setField("Token set", state.set, (number) => {
      rankBy(number, state.direction);
      more.hidden = number === null;
    });
    field.id = "rank-set";
    const direction = select("Direction", [[1, "promoted: largest z"], [-1, "suppressed: smallest z"]], state.direction,
      (value) => rankBy(state.set, Number(value)));
    const most = numberField("Largest q", (value) => change({ maxQ: value !== null && value > 0 ? value : null }),
      { min: "0", max: "1", placeholder: "any", id: "max-q", value: state.maxQ === null ? "" : String(state.maxQ) });
    const more = element("div", { class: "more", hidden: state.set === null }, direction,
      element("label", { class: "line" }, "q at most", most));
    return group("Rank by token set", field, more);
  }

  function statisticsPart() {
    const { state } = featdex.features;
    const rows = shown.map(rangeRow);
    const others = known().filter(({ name }) => !shown.includes(name)).map(({ name }) => [name, name]);
    const add = select("Add a statistic", [["", "more statistics…"], ...others], "", (name) => {
      shown.push(name);
      draw();
      document.getElementById(`low-${name}`).focus();
    });
    const dead = checkbox("leave out dead features", state.leaveOutDead,
      (checked) => featdex.features.change({ leaveOutDead: checked }));
    return group("Statistics", element("div", { class: "ranges" }, rows), add, dead);
  }

  function rangeRow(name) {
    const { state, change, manifest } = featdex.features;
    const bounds = state.ranges.get(name) ?? [null, null];
    const field = (side, k) => numberField(`${name}, ${side}`, (value) => {
      const next = [...(state.ranges.get(name) ?? [null, null])];
      next[k] = value;
      if (next[0] === null && next[1] === null) state.ranges.delete(name);
      else state.ranges.set(name, next);
      change({});
    }, { placeholder: side, id: `${k ? "high" : "low"}-${name}`, value: bounds[k] === null ? "" : String(bounds[k]) });
    const { comment } = manifest.statistics.find((entry) => entry.name === name);
    return element("div", { class: "range", role: "group", "aria-label": name },
      element("span", { class: "name", title: comment }, name), field("min", 0), field("max", 1));
  }

  function rolePart() {
    const { ROLES, state, change } = featdex.features;
    const boxes = [...ROLES, "none"].map((role) =>
      checkbox(role === "none" ? "none of these" : role, state.roles.has(role), (checked) => {
        if (checked) state.roles.add(role);
        else state.roles.delete(role);
        change({});
      }));
    const threshold = (key, label) => element("label", { class: "line" }, label,
      numberField(label, (value) => {
        if (value === null) return;
        state.thresholds[key] = value;
        change({});
      }, { value: String(state.thresholds[key]), id: `threshold-${key}` }));
    return group("Role",
      element("div", { class: "checks" }, boxes),
      element("details", { class: "thresholds" }, element("summary", {}, "Thresholds"),
        element("p", { class: "hint" },
          "Of cos(W_dec, W_U), as in Gurnee et al. 2024: prediction and suppression have a kurtosis above this with"
          + " positive or negative skewness, partition a variance above that."),
        threshold("kurtosis", "cos_kurtosis above"), threshold("variance", "cos_std² above")));
  }

  function saePart() {
    const { state, manifest, change } = featdex.features;
    const boxes = manifest.saes.map((sae, k) => checkbox(printable(sae.slug), state.saes[k] === 1, (checked) => {
      state.saes[k] = checked ? 1 : 0;
      change({});
    }));
    const all = (value) => () => {
      state.saes.fill(value);
      for (const box of boxes) box.querySelector("input").checked = value === 1;
      change({});
    };
    const layer = (side, k) => numberField(`Layer, ${side}`, (value) => {
      state.layers[k] = value;
      change({});
    }, { placeholder: side, id: `layer-${k ? "high" : "low"}`, value: state.layers[k] === null ? "" : String(state.layers[k]) });
    return group("Layer and SAE",
      element("div", { class: "range", role: "group", "aria-label": "layer" },
        element("span", { class: "name" }, "layer"), layer("min", 0), layer("max", 1)),
      element("div", { class: "saes", tabindex: "0", role: "group", "aria-label": "SAEs" }, boxes),
      element("div", { class: "buttons" },
        element("button", { type: "button", class: "quiet", onclick: all(1) }, "all"),
        element("button", { type: "button", class: "quiet", onclick: all(0) }, "none"),
        element("button", { type: "button", id: "reset", onclick: reset }, "Reset all filters")));
  }

  function reset() {
    featdex.features.reset();
    shown = first();
    draw();
    featdex.features.refresh();
    document.getElementById("reset").focus();
  }

  function group(title, ...children) {
    return element("fieldset", {}, element("legend", {}, title), ...children);
  }

  return { start, draw };
})();
