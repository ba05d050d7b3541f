// A grid of any number of rows, of which only those in view are elements. Which ones is @tanstack/virtual-core's job.
// One tab stop: arrows, Page Up and Down, Home and End move the active row, Enter opens it.
"use strict";

featdex.makeGrid = (place, { label, cells, open, sort }) => {
  const { element } = featdex.text;
  const { Virtualizer, elementScroll, observeElementOffset, observeElementRect } = window.VirtualCore;
  const ROW = 34;
  // Browsers draw nothing beyond 17 million pixels.
  const MOST_ROWS = 450000;
  const head = element("div", { class: "row head", role: "row", "aria-rowindex": "1" });
  const body = element("div", { class: "rows", role: "rowgroup" });
  const box = element("div", { class: "grid", role: "grid", id: "table", "aria-label": label, tabindex: "0" }, head, body);
  place.replaceChildren(box);
  let columns = [];
  let n = 0;
  let active = -1;
  let isSelected = () => false;
  const drawn = new Map();

  const virtual = new Virtualizer({
    count: 0, getScrollElement: () => box, estimateSize: () => ROW, overscan: 6, scrollMargin: ROW, scrollPaddingStart: ROW,
    scrollToFn: elementScroll, observeElementOffset, observeElementRect, onChange: () => draw(),
  });
  virtual._didMount();
  virtual._willUpdate();

  /** Show `count` rows of these columns; what was drawn is out of date. */
  function show(given, count) {
    columns = given;
    n = Math.min(count, MOST_ROWS);
    active = Math.min(active, n - 1);
    // Every row is a grid of its own: the same widths for all, whatever is in them.
    box.style.setProperty("--columns", columns.map(({ width, grow }) => (grow ? `minmax(${width}rem, ${grow}fr)` : `${width}rem`)).join(" "));
    box.style.setProperty("--least", `${columns.reduce((sum, { width }) => sum + width + 0.9, 0.9)}rem`);
    box.setAttribute("aria-rowcount", String(count + 1));
    box.setAttribute("aria-colcount", String(columns.length));
    drawHead();
    if (virtual.options.count !== n) virtual.setOptions({ ...virtual.options, count: n });
    redraw();
  }

  function drawHead() {
    const focused = document.activeElement?.dataset?.key;
    head.replaceChildren(...columns.map((column, k) => {
      const rank = sort.state();
      const direction = column.key === rank.key ? (rank.descending ? "descending" : "ascending") : "none";
      const name = element("div", {
        class: column.isNumber ? "cell number" : "cell", role: "columnheader", "aria-colindex": String(k + 1),
      });
      if (!column.key) name.append(column.title);
      else {
        name.setAttribute("aria-sort", direction);
        const arrow = { none: "", ascending: "▲", descending: "▼" }[direction];
        name.append(element("button", {
          type: "button", class: "sort", "data-key": column.key, title: column.comment ?? "",
          onclick: () => sort.by(column.key),
        }, column.title, element("span", { class: "arrow", "aria-hidden": "true" }, arrow)));
      }
      return name;
    }));
    if (focused) head.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  function redraw() {
    for (const row of drawn.values()) row.remove();
    drawn.clear();
    draw();
  }

  function draw() {
    body.style.height = `${virtual.getTotalSize()}px`;
    const items = virtual.getVirtualItems();
    const wanted = new Set(items.map((item) => item.index));
    for (const [index, row] of drawn) {
      if (wanted.has(index)) continue;
      row.remove();
      drawn.delete(index);
    }
    for (const { index, start } of items) {
      if (index >= n || drawn.has(index)) continue;
      const row = makeRow(index);
      row.style.transform = `translateY(${start - ROW}px)`;
      drawn.set(index, row);
      body.append(row);
    }
    mark();
  }

  function makeRow(index) {
    const row = element("div", {
      class: index % 2 ? "row odd" : "row", role: "row", id: `row-${index}`, "aria-rowindex": String(index + 2),
      onclick: (event) => {
        setActive(index, false);
        if (!event.target.closest("a") || event.button !== 0) open(index);
      },
    });
    row.append(...cells(index).map((content, k) => element("div", {
      class: columns[k].isNumber ? "cell number" : `cell ${columns[k].style ?? ""}`, role: "gridcell",
      "aria-colindex": String(k + 1),
    }, content)));
    return row;
  }

  function mark() {
    for (const [index, row] of drawn) {
      row.classList.toggle("active", index === active);
      row.setAttribute("aria-selected", String(isSelected(index)));
    }
    if (drawn.has(active)) box.setAttribute("aria-activedescendant", `row-${active}`);
    else box.removeAttribute("aria-activedescendant");
  }

  function setActive(index, scrolls = true) {
    active = Math.max(0, Math.min(n - 1, index));
    if (scrolls && n) virtual.scrollToIndex(active, { align: "auto" });
    draw();
  }

  box.addEventListener("keydown", (event) => {
    if (event.target !== box || event.ctrlKey || event.altKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(box.clientHeight / ROW) - 2);
    const steps = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: n - 1 };
    if (event.key in steps) setActive(steps[event.key]);
    else if (event.key === "Enter" && active >= 0) open(active, true);
    else return;
    event.preventDefault();
  });
  box.addEventListener("focus", () => { if (active < 0 && n) setActive(0, false); });

  return {
    show, redraw, setActive,
    focus: () => box.focus(),
    toTop: () => { active = -1; box.scrollTop = 0; },
    select: (test) => { isSelected = test; mark(); },
    get active() { return active; },
  };
};
