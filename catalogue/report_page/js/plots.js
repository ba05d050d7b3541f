// The plots above the table: statistics against each other, set against set, and one set along all features (Manhattan).
// What the filters leave is in colour, the rest grey; a click on a point opens its card.
"use strict";

featdex.plots = (() => {
  const { element, number, fixed, printable } = featdex.text;
  const { select, setField } = featdex.inputs;
  // Viridis at nine places (CC0): even in lightness, and safe for the colour-blind.
  const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
  const GREATEST = { light: 0.86, dark: 1 };
  const LEAST = { light: 0, dark: 0.22 };
  const LOG = new Set(["kurtosis", "cos_kurtosis"]);
  const KINDS = [["statistics", "Statistics"], ["sets", "Set against set"], ["manhattan", "Manhattan of a set"]];
  const choice = { kind: "statistics", x: "skewness", y: "kurtosis", colour: "std", first: null, second: null };
  let scatter = null;
  let controls = null;
  let legend = null;
  let note = null;
  let turn = 0;

  function start(place) {
    const canvas = element("div", {
      class: "canvas", tabindex: "0", role: "application", id: "plot-points",
      "aria-label": "Plot of features. Left and right arrows go from point to point, Enter opens a card.",
    });
    controls = element("div", { class: "plot-controls" });
    legend = element("div", { class: "legend" });
    note = element("p", { class: "quiet-status", role: "status", "aria-live": "polite" });
    const box = element("details", { open: !matchMedia("(max-width: 60rem)").matches, id: "plot-box" },
      element("summary", {}, "Plot"), element("div", { class: "plot-line" }, controls, legend), canvas, note);
    box.addEventListener("toggle", () => { if (box.open) draw(); });
    place.replaceChildren(box);
    const { sets } = featdex.features.manifest;
    const named = (name, otherwise) => {
      const found = sets.findIndex((set) => set.name === name);
      return found >= 0 ? found : otherwise < sets.length ? otherwise : null;
    };
    choice.first = named("girls_names", 0);
    choice.second = named("boys_names", 1);
    scatter = featdex.makeScatter(canvas, { pick: open });
    canvas.addEventListener("keydown", key);
    canvas.addEventListener("blur", () => scatter.hide());
    featdex.features.listen(draw);
    drawControls();
  }

  function key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (step) {
      const feature = scatter.walk(step);
      note.textContent = feature < 0 ? "no points" : describe(feature);
    } else if (event.key === "Enter" && scatter.at >= 0) {
      featdex.card.wantsFocus = true;
      open(scatter.at);
    } else return;
    event.preventDefault();
  }

  let describe = () => "";

  function open(feature) {
    const owner = featdex.features.sae(feature);
    location.hash = featdex.text.featureLink(owner, feature - owner.start);
  }

  function pick(part) {
    Object.assign(choice, part);
    drawControls();
    draw();
  }

  function drawControls() {
    const { manifest } = featdex.features;
    const names = manifest.statistics.filter((entry) => entry.known).map(({ name }) => [name, name]);
    const kinds = manifest.sets.length ? KINDS : KINDS.slice(0, 1);
    const focused = document.activeElement?.id;
    const labelled = (text, input, id) => {
      input.id = id;
      return element("label", {}, text, input);
    };
    const parts = [labelled("", select("Kind of plot", kinds, choice.kind, (kind) => pick({ kind })), "plot-kind")];
    if (choice.kind === "statistics") {
      for (const [part, text] of [["x", "x"], ["y", "y"], ["colour", "colour"]]) {
        parts.push(labelled(text, select(text, names, choice[part], (name) => pick({ [part]: name })), `plot-${part}`));
      }
    } else {
      const set = (part, text) => labelled(text, setField(text, choice[part], (k) => {
        if (k === null) return;
        choice[part] = k;
        draw();
      }), `plot-${part}`);
      parts.push(set("first", choice.kind === "sets" ? "x" : "set"));
      if (choice.kind === "sets") parts.push(set("second", "y"));
    }
    controls.replaceChildren(...parts);
    if (focused) document.getElementById(focused)?.focus();
  }

  async function draw() {
    if (!document.getElementById("plot-box").open) return;
    const mine = ++turn;
    // A task of its own, so that the table is there first.
    await new Promise((resolve) => setTimeout(resolve));
    if (mine !== turn) return;
    const scene = await { statistics, sets: againstSet, manhattan }[choice.kind]();
    const { now, manifest } = featdex.features;
    if (mine !== turn || !now.passes) return;
    const behind = new Uint32Array(manifest.n_features - now.order.length);
    for (let i = 0, k = 0; i < now.passes.length; i++) if (!now.passes[i]) behind[k++] = i;
    describe = scene.describe;
    scatter.draw({ ...scene, points: now.order, behind });
  }

  async function statistics() {
    const { column, address } = featdex.features;
    const [x, y, colour] = await Promise.all([choice.x, choice.y, choice.colour].map(column));
    const tone = toned(colour, choice.colour);
    const label = (name) => (LOG.has(name) ? `log10 ${name}` : name);
    const { x: xName, y: yName, colour: colourName } = choice;
    return {
      x: scaled(x, xName), y: scaled(y, yName), xLabel: label(xName), yLabel: label(yName), ...tone,
      describe: (feature) => [address(feature), `${xName} ${number(x[feature])}`, `${yName} ${number(y[feature])}`,
        `${colourName} ${number(colour[feature])}`].join("\n"),
    };
  }

  const scaled = (values, name) => (LOG.has(name) ? values.map((value) => Math.log10(value)) : values);

  async function againstSet() {
    const { address, manifest } = featdex.features;
    const [first, second] = await Promise.all([choice.first, choice.second].map((k) => featdex.setColumn(k)));
    const [xName, yName] = [choice.first, choice.second].map((k) => printable(manifest.sets[k].name));
    const tone = toned(await featdex.features.column("kurtosis"), "kurtosis", true);
    return {
      x: first.z, y: second.z, xLabel: `z of ${xName}`, yLabel: `z of ${yName}`, ...tone,
      describe: (feature) => [address(feature), `${xName} z ${fixed(first.z[feature])}`,
        `${yName} z ${fixed(second.z[feature])}`].join("\n"),
    };
  }

  async function manhattan() {
    const { address, manifest, saeIndex } = featdex.features;
    const { z, log10_q: q } = await featdex.setColumn(choice.first);
    const name = printable(manifest.sets[choice.first].name);
    const n = manifest.n_features;
    legend.replaceChildren(element("span", { class: "hint" }, "colours alternate by SAE"));
    const short = (sae) => (sae.layer === null ? printable(sae.slug.split("/").pop()) : String(sae.layer));
    // Wide enough for every label: two SAEs nearer than this share one.
    let last = -Infinity;
    const x = new Float32Array(n);
    const shade = new Uint8Array(n);
    for (let i = 0; i < n; i++) {
      x[i] = i;
      shade[i] = saeIndex(i) % 2;
    }
    const ticks = manifest.saes.map((sae) => [sae.start + sae.n / 2, short(sae)])
      .filter(([middle]) => middle - last > n / 40 && ((last = middle), true));
    return {
      x, shade, y: z, xLabel: "feature, by layer and SAE", yLabel: `z of ${name}`,
      xRange: [-n * 0.01, n * 1.01], xTicks: ticks, palette: isDark() ? ["#7fb4f0", "#f0b05a"] : ["#1f5fa8", "#b35c00"],
      describe: (feature) => [address(feature), `${name} z ${fixed(z[feature])}`,
        `q ${featdex.text.powerOfTen(q[feature])}`].join("\n"),
    };
  }

  const isDark = () => document.documentElement.dataset.shade === "dark";

  /** Colours by a statistic, from its 1 % to its 99 % quantile in a sample. */
  function toned(values, name, log = false) {
    const theme = isDark() ? "dark" : "light";
    const step = Math.max(1, Math.floor(values.length / 4001));
    const sample = Float32Array.from({ length: Math.ceil(values.length / step) }, (_, k) => values[k * step]).filter((value) => value === value).sort();
    const at = (share) => sample[Math.round(share * (sample.length - 1))] ?? 0;
    const squash = log ? Math.log10 : (value) => value;
    const [low, high] = [squash(at(0.01)), squash(at(0.99))];
    const palette = Array.from({ length: 48 }, (_, k) => mixed(LEAST[theme] + (k / 47) * (GREATEST[theme] - LEAST[theme])));
    drawLegend(name, at(0.01), at(0.99), palette);
    const shade = new Uint8Array(values.length);
    const scale = palette.length / (high - low || 1);
    for (let i = 0; i < values.length; i++) {
      const place = ((log ? Math.log10(values[i]) : values[i]) - low) * scale;
      shade[i] = place > 0 ? Math.min(palette.length - 1, place) : 0;
    }
    return { palette, shade };
  }

  function mixed(share) {
    const place = share * (VIRIDIS.length - 1);
    const k = Math.min(VIRIDIS.length - 2, Math.floor(place));
    const part = (hex, j) => parseInt(hex.slice(1 + 2 * j, 3 + 2 * j), 16);
    return `#${[0, 1, 2].map((j) => Math.round(part(VIRIDIS[k], j) * (1 - place + k) + part(VIRIDIS[k + 1], j) * (place - k))
      .toString(16).padStart(2, "0")).join("")}`;
  }

  function drawLegend(name, low, high, palette) {
    const strip = element("canvas", { width: palette.length, height: 1, class: "strip", "aria-hidden": "true" });
    const context = strip.getContext("2d");
    palette.forEach((colour, k) => { context.fillStyle = colour; context.fillRect(k, 0, 1, 1); });
    legend.replaceChildren(element("span", {}, name), element("span", { class: "end" }, number(low)), strip,
      element("span", { class: "end" }, number(high)));
  }

  return { start, draw, select: (feature) => scatter.show(feature) };
})();
