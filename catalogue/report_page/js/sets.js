// The list of token sets, and the page of one: what it is, its members, and which features lead in it.
"use strict";

featdex.sets = (() => {
  const { element, number, fixed, powerOfTen, count, token, printable, setLink, featureLink } = featdex.text;
  const MEMBERS = 400;
  const LEADERS = 15;
  let listed = null;

  function showList(place) {
    if (listed === place) return;
    listed = place;
    const { sets } = featdex.features.manifest;
    const rows = sets.map((set) => element("tr", {},
      element("td", {}, element("a", { href: setLink(set.name) }, printable(set.name))),
      element("td", {}, printable(set.collection)), element("td", { class: "number" }, count(set.n_tokens)),
      element("td", { class: "wide" }, printable(set.description))));
    const status = element("p", { role: "status", "aria-live": "polite", class: "hint" });
    const filter = element("input", { type: "search", id: "set-search", placeholder: "name, collection or description", "aria-label": "Find token sets", spellcheck: "false" });
    const apply = () => {
      const text = filter.value.trim().toLowerCase();
      let n = 0;
      rows.forEach((row, k) => {
        const { name, collection, description } = sets[k];
        row.hidden = !`${name}\n${collection}\n${description}`.toLowerCase().includes(text);
        n += row.hidden ? 0 : 1;
      });
      status.textContent = n === sets.length ? `${count(n)} token sets` : `${count(n)} of ${count(sets.length)} token sets`;
    };
    filter.addEventListener("input", apply);
    apply();
    place.replaceChildren(element("h1", { tabindex: "-1" }, "Token sets"), element("div", { class: "buttons" }, filter, status),
      element("table", { class: "list" }, element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "set"), element("th", { scope: "col" }, "collection"),
        element("th", { scope: "col", class: "number" }, "tokens"), element("th", { scope: "col" }, "what it is"))), element("tbody", {}, rows)));
  }

  async function showOne(place, name) {
    const { manifest } = featdex.features;
    const k = manifest.sets.findIndex((set) => set.name === name);
    if (k < 0) {
      place.replaceChildren(element("h1", { tabindex: "-1" }, "No such token set"),
        element("p", {}, `This report has no set named ${printable(name)}. `, element("a", { href: "#sets" }, "All token sets")));
      return;
    }
    const [page, column, up, down, ...vocabularies] = await Promise.all([featdex.load(`page/${k}`), featdex.setColumn(k), featdex.shown(1), featdex.shown(-1),
      ...manifest.models.map((_, model) => featdex.tokens(model))]);
    const set = manifest.sets[k];
    const rank = (direction, text) => element("a", { class: "button", href: "#features", onclick: () => {
      featdex.features.rankBy(k, direction).then(featdex.filters.draw);
      featdex.table.toTop();
    } }, text);
    const tokenIds = (model) => page[`members_${model}`];
    place.replaceChildren(
      element("p", { class: "crumb" }, element("a", { href: "#sets" }, "Token sets"), ` / ${printable(set.collection)}`),
      element("h1", { tabindex: "-1" }, printable(set.name)),
      element("p", { class: "lead" }, printable(set.description)),
      element("div", { class: "buttons" }, rank(1, "Rank features that promote it"), rank(-1, "… that suppress it")),
      element("div", { class: "two wide-two" }, leaders("Promoted most by", column, 1, up, vocabularies), leaders("Suppressed most by", column, -1, down, vocabularies)),
      bySae(page.json.saes),
      ...page.json.facts.map((facts) => definition(facts, tokenIds(facts.model), vocabularies[facts.model])));
  }

  /** The features furthest along a direction: one pass, and no sort of all. */
  function furthest(z, direction) {
    const first = [];
    let least = 0;
    for (let i = 0; i < z.length; i++) {
      if (!(z[i] * direction > least)) continue;
      const place = first.findIndex((other) => z[i] * direction > z[other] * direction);
      first.splice(place < 0 ? first.length : place, 0, i);
      if (first.length > LEADERS) first.pop();
      if (first.length === LEADERS) least = z[first[LEADERS - 1]] * direction;
    }
    return first;
  }

  function leaders(title, column, direction, shown, vocabularies) {
    const { manifest, sae } = featdex.features;
    const rows = furthest(column.z, direction).map((feature) => {
      const owner = sae(feature);
      const ids = [...shown.subarray(feature * manifest.n_shown, (feature + 1) * manifest.n_shown)].filter((id) => id !== 0xffffffff).slice(0, 4);
      return element("tr", {}, element("td", { class: "address" }, link(owner, feature - owner.start)),
        element("td", { class: "number" }, fixed(column.z[feature])), element("td", { class: "number" }, powerOfTen(column.log10_q[feature])),
        element("td", { class: "tokens" }, ids.map((id) => token(vocabularies[owner.model], id))));
    });
    return element("section", {}, element("h2", {}, title), element("table", { class: direction > 0 ? "list up" : "list down" },
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "feature"), element("th", { scope: "col", class: "number" }, "z"),
        element("th", { scope: "col", class: "number" }, "q"), element("th", { scope: "col" }, direction > 0 ? "promoted tokens" : "suppressed tokens"))), element("tbody", {}, rows)));
  }

  const link = (owner, index) => element("a", { href: featureLink(owner, index) }, element("span", { class: "slug" }, `${printable(owner.slug)}/`), element("b", {}, String(index)));

  function bySae(entries) {
    if (!entries.length) return "";
    const { saes } = featdex.features.manifest;
    const most = Math.max(...entries.map(([k, up, down]) => Math.max(up, down) / saes[k].n), 1e-9);
    const shared = (n, k, style) => {
      const ink = element("span", { class: `bar-ink ${style}`, "aria-hidden": "true" });
      ink.style.width = `${(n / saes[k].n / most) * 100}%`;
      return [element("td", { class: "number" }, count(n)), element("td", { class: "barred" }, ink)];
    };
    const best = (k, feature, z) => [element("td", {}, feature === null ? "" : element("a", { href: featureLink(saes[k], feature) }, String(feature))),
      element("td", { class: "number" }, fixed(z ?? NaN))];
    const rows = entries.map(([k, up, down, bestUp, zUp, bestDown, zDown, vif]) => element("tr", {},
      element("td", { class: "number" }, saes[k].layer === null ? "" : String(saes[k].layer)), element("th", { scope: "row" }, printable(saes[k].slug)),
      ...shared(up, k, "up"), ...best(k, bestUp, zUp), ...shared(down, k, "down"), ...best(k, bestDown, zDown),
      element("td", { class: "number" }, number(vif ?? NaN))));
    const head = [["layer", 1], ["SAE", 0], ["promote it", 1], ["", 0], ["best", 0], ["z", 1], ["suppress it", 1], ["", 0], ["best", 0], ["z", 1], ["vif", 1]];
    return element("section", {}, element("h2", {}, "By layer and SAE"),
      element("p", { class: "hint" }, "Features with q < .05; bars are shares of the SAE's features. vif: variance inflation over random tokens."),
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "By layer and SAE" }, element("table", { class: "list by-sae" },
        element("thead", {}, element("tr", {}, head.map(([text, isNumber]) => element("th", { scope: "col", class: isNumber ? "number" : null }, text)))),
        element("tbody", {}, rows))));
  }

  function definition(facts, ids, vocabulary) {
    const { models } = featdex.features.manifest;
    const several = models.length > 1 ? `, ${printable(models[facts.model].name)}` : "";
    const chips = element("p", { class: "members" }, [...ids.subarray(0, MEMBERS)].map((id) => token(vocabulary, id)));
    const rest = ids.length - MEMBERS;
    const more = rest <= 0 ? null : element("button", { type: "button", class: "quiet", onclick: (event) => {
      event.currentTarget.remove();
      chips.append(...[...ids.subarray(MEMBERS)].map((id) => token(vocabulary, id)));
    } }, `${count(rest)} more`);
    const pairs = [["definition", facts.definition && `${facts.kind}: ${facts.definition}`], ["source", facts.source], ["licence", facts.licence],
      ["version", facts.version], ["members sha256", facts.sha256]].filter(([, value]) => value);
    return element("section", {}, element("h2", {}, `${count(ids.length)} members${several}`), chips, more,
      element("h2", {}, `Definition${several}`),
      element("dl", {}, pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, printable(value))])),
      facts.dropped.length ? element("details", {}, element("summary", {}, `${count(facts.n_dropped)} of ${count(facts.n_terms ?? 0)} terms gave no member${facts.n_dropped > facts.dropped.length ? `; the first ${count(facts.dropped.length)} are` : ""}`),
        element("ul", { class: "dropped" }, facts.dropped.map(([term, reason]) => element("li", {}, element("span", { class: "token" }, featdex.text.visible(term)), ` ${printable(reason)}`)))) : null);
  }

  return { showList, showOne };
})();
