// Start, theme and addresses: #features, #feature=SAE/INDEX, #sets, #set=NAME, #about.
"use strict";

(() => {
  const { features } = featdex;
  const { count, printable } = featdex.text;
  const byId = (id) => document.getElementById(id);

  function fault(error) {
    const box = byId("fault");
    box.textContent = error instanceof Error ? error.message : String(error);
    box.hidden = false;
  }
  window.addEventListener("unhandledrejection", (event) => fault(event.reason));
  window.addEventListener("error", (event) => fault(event.error ?? event.message));

  const remembered = {
    get: () => { try { return localStorage.getItem("featdex-theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("featdex-theme", value); } catch { /* a page from disk may have no storage */ } },
  };
  const system = matchMedia("(prefers-color-scheme: dark)");

  function applyTheme() {
    const dark = (remembered.get() ?? chosenTheme ?? (system.matches ? "dark" : "light")) === "dark";
    document.documentElement.dataset.shade = dark ? "dark" : "light";
    byId("theme").textContent = dark ? "Light" : "Dark";
    byId("theme").setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
    if (features.manifest) featdex.plots.draw();
  }
  let chosenTheme = null;
  byId("theme").addEventListener("click", () => {
    chosenTheme = document.documentElement.dataset.shade === "dark" ? "light" : "dark";
    remembered.set(chosenTheme);
    applyTheme();
  });
  system.addEventListener("change", applyTheme);
  applyTheme();

  function decoded(text) {
    try { return decodeURIComponent(text); } catch { return text; }
  }

  async function route(event) {
    const [name, ...rest] = location.hash.slice(1).split("=");
    const value = decoded(rest.join("="));
    const view = { sets: "sets", set: "set", about: "about" }[name] ?? "features";
    for (const part of ["features", "sets", "set", "about"]) byId(`view-${part}`).hidden = part !== view;
    for (const link of document.querySelectorAll("nav a")) {
      const here = link.dataset.view === view || (view === "set" && link.dataset.view === "sets");
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.body.dataset.view = view;
    byId("fault").hidden = true;
    if (view === "sets") featdex.sets.showList(byId("view-sets"));
    if (view === "set") await featdex.sets.showOne(byId("view-set"), value);
    if (view === "about") await featdex.about.show(byId("view-about"));
    if (view !== "features") {
      byId("main").scrollTop = 0;
      if (event) byId(`view-${view}`).querySelector("h1")?.focus({ preventScroll: true });
      document.title = `${byId(`view-${view}`).querySelector("h1")?.textContent ?? "featdex"} – featdex`;
      return;
    }
    await showFeature(name === "feature" ? value : null);
  }

  async function showFeature(address) {
    const cut = address === null ? -1 : address.lastIndexOf("/");
    const index = address === null ? -1 : /^\d+$/.test(address.slice(cut + 1)) ? Number(address.slice(cut + 1)) : -1;
    const feature = address === null ? -1 : features.find(address.slice(0, cut), index);
    document.title = feature < 0 ? `${printable(features.manifest.title)} – featdex` : `${features.address(feature)} – featdex`;
    featdex.table.select(feature);
    featdex.plots.select(feature);
    if (feature >= 0) return featdex.card.show(feature);
    featdex.card.close();
    if (address !== null) fault(`This report has no feature ${printable(address)}.`);
  }

  for (const link of document.querySelectorAll("a.skip")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      if (link.dataset.skip === "grid" && document.body.dataset.view === "features") featdex.table.focus();
      else byId("main").focus();
    });
  }

  async function start() {
    const { json: manifest } = await featdex.load("manifest");
    features.start(manifest);
    byId("title").textContent = printable(manifest.title);
    byId("summary").textContent = `${count(manifest.n_features)} features · ${count(manifest.saes.length)} SAEs · ${count(manifest.sets.length)} token sets`;
    featdex.filters.start(byId("filters"));
    featdex.table.start(byId("grid"));
    featdex.plots.start(byId("plot"));
    featdex.card.start(byId("card"));
    window.addEventListener("hashchange", route);
    // The first view and the table's numbers come together.
    await Promise.all([features.refresh(), route()]);
    if (featdex.card.open >= 0) featdex.table.select(featdex.card.open);
    document.documentElement.dataset.ready = "true";
  }
  start().catch(fault);
})();
