// Search: which features have a text in the address, in the promoted tokens that the table shows, or in a label, tag or
// explanation. Long loops give way every few milliseconds, so typing never waits.
"use strict";

featdex.search = (() => {
  const SLICE_MS = 8;
  let last = { text: "", mask: null };

  const pause = () => new Promise((resolve) => setTimeout(resolve));

  /** Run `step(i)` for all i < n, in slices. */
  async function sliced(n, step) {
    let until = performance.now() + SLICE_MS;
    for (let i = 0; i < n; i++) {
      step(i);
      if ((i & 1023) === 1023 && performance.now() > until) {
        await pause();
        until = performance.now() + SLICE_MS;
      }
    }
  }

  /** Promise of a mask (1 found) over all features; null where there is nothing to search for. */
  async function mask(given) {
    const text = given.toLowerCase().replaceAll("␣", " ");
    if (!text) return null;
    if (last.text === text) return last.mask;
    const { manifest } = featdex.features;
    const found = new Uint8Array(manifest.n_features);
    byAddress(manifest, text.trim(), found);
    await byToken(manifest, text, found);
    await byNote(manifest, text, found);
    last = { text, mask: found };
    return found;
  }

  function byAddress(manifest, text, found) {
    const cut = text.lastIndexOf("/");
    const index = /^\d+$/.test(text.slice(cut + 1)) ? Number(text.slice(cut + 1)) : null;
    for (const sae of manifest.saes) {
      const slug = sae.slug.toLowerCase();
      if (text && slug.includes(text)) found.fill(1, sae.start, sae.start + sae.n);
      else if (index !== null && index < sae.n && (cut < 0 || slug.endsWith(text.slice(0, cut)))) found[sae.start + index] = 1;
    }
  }

  async function byToken(manifest, text, found) {
    const shown = await featdex.shown(1);
    const width = manifest.n_shown;
    for (const [model] of manifest.models.entries()) {
      const vocabulary = (await featdex.tokens(model)).text;
      const has = new Uint8Array(vocabulary.length);
      await sliced(vocabulary.length, (id) => { if (vocabulary[id].toLowerCase().includes(text)) has[id] = 1; });
      for (const sae of manifest.saes.filter((entry) => entry.model === model)) {
        await sliced(sae.n, (k) => {
          const feature = sae.start + k;
          for (let j = feature * width; j < (feature + 1) * width; j++) if (has[shown[j]]) found[feature] = 1;
        });
      }
    }
  }

  async function byNote(manifest, text, found) {
    for (const [k, sae] of manifest.saes.entries()) {
      if (!sae.n_notes) continue;
      const entries = (await featdex.load(`note/${k}`)).json;
      await sliced(entries.length, (i) => {
        const [feature, notes] = entries[i];
        if (notes.some((note) => `${note[1]} ${note[2]}`.toLowerCase().includes(text))) found[sae.start + feature] = 1;
      });
    }
  }

  return { mask };
})();
