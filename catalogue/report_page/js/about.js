// Where the numbers come from, under which licences, and how exact this page is.
"use strict";

featdex.about = (() => {
  const { element, printable, number, count } = featdex.text;

  const shown = (value) => (value === null || value === undefined ? "" : typeof value === "number" ? (Number.isInteger(value) ? String(value) : number(value))
    : typeof value === "object" ? JSON.stringify(value) : printable(value));

  function table(title, rows, names) {
    if (!rows.length) return "";
    return element("section", {}, element("h2", {}, title), element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
      element("table", { class: "list" }, element("thead", {}, element("tr", {}, names.map((name) => element("th", { scope: "col" }, name.replaceAll("_", " "))))),
        element("tbody", {}, rows.map((row) => element("tr", {}, names.map((name) => element("td", { class: name.endsWith("sha256") ? "hash" : null }, shown(row[name])))))))));
  }

  const pairs = (entries) => element("dl", {}, entries.filter(([, value]) => shown(value) !== "").flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, shown(value))]));

  async function show(place) {
    if (place.childElementCount) return;
    const facts = (await featdex.load("about")).json;
    const { manifest } = featdex.features;
    const { options, catalogue } = facts;
    place.replaceChildren(
      element("h1", { tabindex: "-1" }, "About this report"),
      element("p", { class: "lead" }, `${count(manifest.n_features)} features of ${count(manifest.saes.length)} SAEs against ${count(manifest.sets.length)} token sets.`),
      element("h2", {}, "Made from"),
      pairs([["catalogue", catalogue.name], ["sha256", catalogue.sha256], ["size", `${count(catalogue.bytes)} bytes`],
        ...Object.entries(facts.meta), ["report made", facts.made], ["with featdex", facts.featdex],
        ["only SAEs", options.sae], ["only sets", options.sets.join(", ")], ["entries each way on a card", options.top]]),
      ...facts.models.map((model) => element("section", {}, element("h2", {}, `Model ${printable(model.name)}`),
        pairs(Object.entries(model).filter(([name]) => name !== "model_id" && name !== "name")))),
      element("section", {}, element("h2", {}, "How exact the numbers here are"), element("ul", {},
        element("li", {}, "Statistics, and everything on a card: 32-bit floats, as in the catalogue; four digits or two decimals are shown."),
        element("li", {}, "Percentiles: the share of the SAE's features below, in steps of 0.01 %, rounded down."),
        element("li", {}, "z by set, for ranking, filters and plots: 16 bits, in steps of 1/32,767 of the largest |z| of the set; q by set: a 16-bit float of log10 q."),
        element("li", {}, `A card has the ${options.top} first tokens and sets each way; the table the ${manifest.n_shown} first promoted tokens.`))),
      table("SAEs", facts.saes, ["slug", "kind", "release", "sae_name", "layer", "hook_name", "to_resid", "architecture", "d_in", "d_sae", "l0", "neuronpedia_id", "weights_sha256"]),
      table("Token sets: sources and licences", facts.sources, ["collection", "n_sets", "source", "version", "licence"]),
      table("Runs", facts.runs.map((run) => ({ ...run, seconds: run.seconds === null ? null : Math.round(run.seconds * 10) / 10 })), ["sae", "stage", "finished_at", "device", "n_rows", "seconds", "params_sha256"]),
      ...runDetails(facts.runs),
      table("Libraries in this page", facts.libraries.map((entry) => ({ ...entry, files: Object.keys(entry.sha256).join(", ") })), ["package", "version", "licence", "use", "files", "licence_file"]),
      element("p", { class: "hint" }, "Their licences are in the folder vendor/ beside this page. Colours of the plots: viridis (CC0)."));
  }

  /** Parameters and versions, once for all runs that share them. */
  function runDetails(runs) {
    const same = new Map();
    for (const run of runs) {
      const key = JSON.stringify([run.versions, run.params]);
      same.set(key, [...(same.get(key) ?? []), run]);
    }
    return [...same.values()].map((group) => element("details", {}, element("summary", {}, `Parameters and versions of ${group.length === 1 ? printable(group[0].sae) : `${count(group.length)} runs, ${printable(group[0].sae)} …`}`),
      element("pre", { tabindex: "0" }, JSON.stringify({ params: group[0].params, versions: group[0].versions }, null, 2))));
  }

  return { show };
})();
