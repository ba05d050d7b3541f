// The table of features: its columns, and how their values become text.
"use strict";

featdex.table = (() => {
  const { element, number, fixed, powerOfTen, count, token, printable, featureLink } = featdex.text;
  const FIRST = ["kurtosis", "skewness", "std", "log10_density"];
  let grid = null;
  let chosen = [];
  let values = new Map();
  let tokens = null;
  let selected = -1;

  function start(place) {
    const { features } = featdex;
    chosen = FIRST.filter((name) => features.manifest.statistics.some((entry) => entry.name === name && entry.known));
    grid = featdex.makeGrid(place, {
      label: "Features", cells, open,
      sort: {
        state: () => features.state.sort,
        by: (key) => {
          const { sort } = features.state;
          grid.toTop();
          features.change({ sort: { key, descending: sort.key === key ? !sort.descending : key !== "feature" && key !== "log10_q" } });
        },
      },
    });
    grid.select((index) => features.now.order[index] === selected);
    drawChooser(document.getElementById("columns"));
    features.listen(show);
  }

  /** Draw the rows as they are now; columns and tokens that are not there yet come when they are. */
  async function show() {
    const { now, column, manifest, state } = featdex.features;
    document.getElementById("count").textContent = counted(now.order.length, manifest.n_features, state);
    grid.show(columns(), now.order.length);
    const missing = chosen.filter((name) => !values.has(name));
    if (missing.length) {
      const loaded = await Promise.all(missing.map(column));
      missing.forEach((name, k) => values.set(name, loaded[k]));
      grid.redraw();
    }
    if (!performance.getEntriesByName("featdex-table").length) performance.mark("featdex-table");
    await loadTokens();
  }

  async function loadTokens() {
    const { manifest, state } = featdex.features;
    const { direction } = state;
    if (tokens?.direction === direction) return;
    const [shown, ...vocabularies] = await Promise.all(
      [featdex.shown(direction), ...manifest.models.map((_, model) => featdex.tokens(model))]);
    if (direction !== state.direction) return;
    tokens = { direction, ids: shown, vocabularies };
    grid.redraw();
    if (!performance.getEntriesByName("featdex-tokens").length) performance.mark("featdex-tokens");
  }

  function counted(n, all, state) {
    const of = n === all ? `${count(n)} features` : `${count(n)} of ${count(all)} features`;
    if (state.set === null) return of;
    const name = printable(featdex.features.manifest.sets[state.set].name);
    return `${of}, by how they ${state.direction > 0 ? "promote" : "suppress"} ${name}`;
  }

  function columns() {
    const { manifest, state } = featdex.features;
    const comments = new Map(manifest.statistics.map(({ name, comment }) => [name, comment]));
    const ranking = state.set === null ? [] : [
      { key: "z", title: "z", isNumber: true, width: 4, comment: "w . delta / sqrt(delta' Sigma delta) of the set; null: random direction with the decoder's covariance" },
      { key: "log10_q", title: "q", isNumber: true, width: 5, comment: "Benjamini-Hochberg q of z over the features of this SAE and set" },
    ];
    return [
      { key: "feature", title: "feature", width: 13, grow: 1, style: "address", comment: "SAE and index" },
      ...ranking,
      { title: state.direction > 0 ? "promoted tokens" : "suppressed tokens", width: 17, grow: 4, style: "tokens" },
      { title: "role", width: 6.5, style: "roles" },
      ...chosen.map((name) => ({ key: name, title: name, isNumber: true, width: Math.max(5, name.length * 0.52 + 1.2), comment: comments.get(name) })),
    ];
  }

  function cells(index) {
    const { now, sae, roleNames } = featdex.features;
    const feature = now.order[index];
    const owner = sae(feature);
    const link = element("a", { href: featureLink(owner, feature - owner.start), tabindex: "-1" },
      element("span", { class: "slug" }, `${printable(owner.slug)}/`), element("b", {}, String(feature - owner.start)));
    const ranking = now.ranking ? [fixed(now.ranking.z[feature]), powerOfTen(now.ranking.log10_q[feature])] : [];
    return [
      link,
      ...ranking,
      element("span", {}, tokenChips(feature, owner.model)),
      element("span", {}, roleNames(feature).map((role) => element("span", { class: `role ${role}` }, role))),
      ...chosen.map((name) => (values.has(name) ? number(values.get(name)[feature]) : "…")),
    ];
  }

  function tokenChips(feature, model) {
    if (tokens?.direction !== featdex.features.state.direction) return [];
    const width = featdex.features.manifest.n_shown;
    const ids = tokens.ids.subarray(feature * width, (feature + 1) * width);
    return [...ids].filter((id) => id !== 0xffffffff).map((id) => token(tokens.vocabularies[model], id));
  }

  function open(index, byKey = false) {
    const feature = featdex.features.now.order[index];
    const owner = featdex.features.sae(feature);
    featdex.card.wantsFocus = byKey;
    location.hash = featureLink(owner, feature - owner.start);
  }

  /** The feature whose card is open (or -1). */
  function select(feature) {
    selected = feature;
    const { order } = featdex.features.now;
    grid.select((row) => featdex.features.now.order[row] === selected);
    const index = feature < 0 ? -1 : order.indexOf(feature);
    if (index >= 0) grid.setActive(index);
  }

  function drawChooser(place) {
    const { checkbox } = featdex.inputs;
    const boxes = featdex.features.manifest.statistics.map(({ name }) => checkbox(name, chosen.includes(name), (checked) => {
      chosen = checked ? [...chosen, name] : chosen.filter((other) => other !== name);
      show();
    }));
    const box = element("details", { class: "chooser" }, element("summary", {}, "Columns"),
      element("div", { class: "checks", role: "group", "aria-label": "Columns" }, boxes));
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !box.open) return;
      box.open = false;
      box.querySelector("summary").focus();
      event.stopPropagation();
    });
    document.addEventListener("click", (event) => { if (!box.contains(event.target)) box.open = false; });
    place.replaceChildren(box);
  }

  /** The feature before or after one in the present order, or -1. */
  function neighbour(feature, step) {
    const { order } = featdex.features.now;
    const at = order.indexOf(feature) + step;
    return order.includes(feature) && at >= 0 && at < order.length ? order[at] : -1;
  }

  return { start, select, neighbour, focus: () => grid.focus(), toTop: () => grid.toTop() };
})();
