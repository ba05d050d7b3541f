// The card of one feature: statistics, histogram, tokens, token sets, notes.
"use strict";

featdex.card = (() => {
  const { element, number, fixed, powerOfTen, token, printable, setLink, featureLink } = featdex.text;
  const NO_TOKEN = 0xffffffff;
  const NONE = 0xffff;
  let place = null;
  let open = -1;

  const api = { start, show, close, wantsFocus: false, get open() { return open; } };

  function start(given) {
    place = given;
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && open >= 0 && !event.target.closest("input, select")) close(true);
    });
  }

  /** Show the card of a feature (its number among all). */
  async function show(feature) {
    open = feature;
    const { manifest, sae: saeOf, saeIndex } = featdex.features;
    const sae = saeOf(feature);
    const index = feature - sae.start;
    const size = manifest.cards_in_a_file;
    const [chunk, vocabulary, notes] = await Promise.all([
      featdex.load(`card/${saeIndex(feature)}/${Math.floor(index / size)}`), featdex.tokens(sae.model),
      sae.n_notes ? featdex.load(`note/${saeIndex(feature)}`) : null,
    ]);
    if (open !== feature) return;
    const facts = unpacked(chunk, index % size, manifest);
    const mine = notes?.json.find(([noted]) => noted === index)?.[1] ?? [];
    place.hidden = false;
    document.getElementById("view-features").classList.add("with-card");
    place.replaceChildren(heading(sae, index, feature), ...noteList(mine), tokenPart(facts, vocabulary), setPart(facts),
      histogramPart(facts), statisticsPart(facts));
    place.scrollTop = 0;
    if (api.wantsFocus || getComputedStyle(place).position === "fixed") place.querySelector("h2").focus();
    api.wantsFocus = false;
  }

  function close(byKey = false) {
    if (open < 0) return;
    open = -1;
    place.hidden = true;
    document.getElementById("view-features").classList.remove("with-card");
    if (location.hash.startsWith("#feature=")) location.hash = "#features";
    if (byKey) featdex.table.focus();
  }

  function unpacked(chunk, row, manifest) {
    const part = (values, width) => Array.from(values.subarray(row * width, (row + 1) * width));
    const statistics = manifest.statistics.map(({ name, comment }, k) => ({
      name, comment, value: chunk.value[row * manifest.statistics.length + k],
      percentile: chunk.percentile[row * manifest.statistics.length + k],
    }));
    const width = 2 * manifest.n_top;
    const [ids, weights] = [part(chunk.token, width), part(chunk.weight, width)];
    const tokens = ids.map((id, k) => ({ id, weight: weights[k] }));
    const [z, q, adjusted] = [part(chunk.z, width), part(chunk.log10_q, width), part(chunk.z_adj, width)];
    const sets = part(chunk.set, width).map((set, k) => ({ set, z: z[k], log10_q: q[k], z_adj: adjusted[k] }));
    const halves = (list, test) => [list.slice(0, manifest.n_top).filter(test), list.slice(manifest.n_top).filter(test)];
    return {
      statistics, histogram: part(chunk.histogram, 50), tokens: halves(tokens, ({ id }) => id !== NO_TOKEN),
      sets: halves(sets, ({ set }) => set !== NONE),
    };
  }

  function heading(sae, index, feature) {
    const { table, features } = featdex;
    const step = (by, text, label) => {
      const other = table.neighbour(feature, by);
      return element("button", {
        type: "button", class: "quiet", "aria-label": label, disabled: other < 0,
        onclick: () => { const owner = features.sae(other); location.hash = featureLink(owner, other - owner.start); },
      }, text);
    };
    const layer = sae.layer === null ? null : `layer ${sae.layer}`;
    const where = [sae.kind, layer, sae.hook_name].filter(Boolean).map(printable).join(" · ");
    const [model, ...rest] = (sae.neuronpedia_id ?? "").split("/");
    const url = rest.length && `https://www.neuronpedia.org/${[model, ...rest, index].map(encodeURIComponent).join("/")}`;
    return element("header", {},
      element("div", { class: "card-buttons" }, step(-1, "‹", "Previous feature of the table"), step(1, "›", "Next feature of the table"),
        element("button", { type: "button", class: "quiet", onclick: (event) => copy(event.currentTarget) }, "Copy link"),
        element("button", { type: "button", class: "quiet close", "aria-label": "Close the card", onclick: () => close(true) }, "✕")),
      element("h2", { tabindex: "-1" }, element("span", { class: "slug" }, `${printable(sae.slug)}/`), String(index)),
      element("p", { class: "where" }, where),
      element("p", { class: "where" }, features.roleNames(feature).map((role) => element("span", { class: `role ${role}` }, role)),
        url ? element("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, "Neuronpedia ↗") : null));
  }

  async function copy(button) {
    try {
      await navigator.clipboard.writeText(location.href);
      button.textContent = "Copied";
    } catch {
      button.textContent = "The address bar has it";
    }
  }

  function noteList(notes) {
    if (!notes.length) return [];
    return [element("section", { "aria-label": "Notes" }, element("ul", { class: "notes" }, notes.map(([kind, text, more]) =>
      element("li", { class: kind }, element("span", { class: "kind" }, kind), " ", element("span", {}, printable(text)),
        more ? element("span", { class: "hint" }, ` ${printable(more)}`) : null))))];
  }

  function tokenPart(facts, vocabulary) {
    const most = Math.max(...facts.tokens.flat().map(({ weight }) => Math.abs(weight)), 1e-9);
    const list = (title, tokens, style) => element("div", {},
      element("h3", {}, title),
      element("table", { class: `bars ${style}` }, element("caption", { class: "hidden" }, `${title}: token and logit weight`),
        element("tbody", {}, tokens.map(({ id, weight }) => element("tr", {},
          element("td", { class: "number" }, fixed(weight)), element("td", { class: "barred" }, bar(Math.abs(weight) / most)),
          element("td", {}, token(vocabulary, id)))))));
    return element("section", { class: "two", "aria-label": "Tokens" },
      list("Promotes", facts.tokens[0], "up"), list("Suppresses", facts.tokens[1], "down"));
  }

  function bar(share) {
    const made = element("span", { class: "bar-ink", "aria-hidden": "true" });
    made.style.width = `${Math.max(2, Math.min(100, share * 100))}%`;
    return made;
  }

  function setPart(facts) {
    const { sets } = featdex.features.manifest;
    if (!sets.length) return "";
    const list = (title, entries, style) => element("div", {},
      element("h3", {}, title),
      entries.length ? element("table", { class: `sets ${style}` },
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "set"), ...[["z", ""], ["q", "Benjamini-Hochberg over the features of the SAE"],
          ["z adj", "z without what token frequency, leading space and capital explain"]]
          .map(([text, comment]) => element("th", { scope: "col", class: "number", title: comment }, text)))),
        element("tbody", {}, entries.map(({ set, z, log10_q, z_adj }) => element("tr", { class: log10_q < Math.log10(0.05) ? "strong" : "weak" },
          element("td", {}, element("a", { href: setLink(sets[set].name), title: sets[set].description }, printable(sets[set].name))),
          element("td", { class: "number" }, fixed(z)), element("td", { class: "number" }, powerOfTen(log10_q)),
          element("td", { class: "number" }, fixed(z_adj)))))) : element("p", { class: "hint" }, "none"));
    return element("section", { "aria-label": "Token sets" },
      list("Sets it promotes", facts.sets[0], "up"), list("Sets it suppresses", facts.sets[1], "down"),
      element("p", { class: "hint" }, "Grey: q of .05 or more."));
  }

  function histogramPart(facts) {
    const [low, high] = ["min", "max"].map((name) => facts.statistics.find((entry) => entry.name === name).value);
    const counts = facts.histogram;
    const most = Math.log1p(Math.max(...counts));
    if (!most) return "";
    const svg = svgElement("svg", { viewBox: "0 0 200 60", preserveAspectRatio: "none", role: "img",
      "aria-label": `Histogram of the logit weights from ${number(low)} to ${number(high)}, counts on a logarithmic scale` });
    counts.forEach((count, k) => {
      if (!count) return;
      const height = Math.max(1.5, (Math.log1p(count) / most) * 58);
      const column = svgElement("rect", { x: k * 4 + 0.3, y: 60 - height, width: 3.4, height });
      const title = svgElement("title", {});
      const edge = (j) => number(low + ((high - low) * j) / counts.length);
      title.textContent = `${edge(k)} to ${edge(k + 1)}: ${featdex.text.count(count)} tokens`;
      column.append(title);
      svg.append(column);
    });
    return element("section", { "aria-label": "Histogram" }, element("h3", {}, "Logit weights"),
      element("div", { class: "histogram" }, svg),
      element("p", { class: "ends" }, element("span", {}, number(low)), element("span", { class: "hint" }, "log counts"), element("span", {}, number(high))));
  }

  function svgElement(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
    return made;
  }

  function statisticsPart(facts) {
    const rows = facts.statistics.filter(({ value }) => !Number.isNaN(value)).map(({ name, comment, value, percentile }) => {
      const share = percentile === NONE ? NaN : percentile / 100;
      return element("tr", {}, element("th", { scope: "row", title: comment }, name), element("td", { class: "number" }, number(value)),
        element("td", { class: "number" }, Number.isNaN(share) ? "" : `${fixed(share, 1)} %`), element("td", { class: "barred" }, Number.isNaN(share) ? "" : bar(share / 100)));
    });
    return element("section", { "aria-label": "Statistics" }, element("h3", {}, "Statistics"),
      element("table", { class: "statistics" },
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "of the logit weights"), element("th", { scope: "col", class: "number" }, "value"),
          element("th", { scope: "col", class: "number", title: "Share of the SAE's features below" }, "percentile"), element("td", {}))),
        element("tbody", {}, rows)));
  }

  return api;
})();
