// A scatter plot of any number of points. uPlot draws axes and takes the zoom; the points are written into one image,
// for 300,000 circles one by one would freeze the page.
"use strict";

featdex.makeScatter = (place, { pick }) => {
  const { element } = featdex.text;
  const REACH = 12;
  const ring = element("div", { class: "ring", hidden: true });
  const mark = element("div", { class: "ring chosen", hidden: true });
  const tip = element("div", { class: "tip", hidden: true });
  let plot = null;
  let scene = null;
  let range = null;
  let order = null;
  let at = -1;
  let chosen = -1;

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /**
   * Draw a scene: `x`, `y` (float32 by feature), `points` (features in front), `behind` (features in grey), `xLabel`,
   * `yLabel`, `shade` (number of a colour of `palette` by feature), `xTicks` ([place, text]…), `describe(feature)`.
   */
  function draw(given) {
    scene = given;
    order = null;
    at = -1;
    range = null;
    hide();
    make();
  }

  function make() {
    plot?.destroy();
    place.replaceChildren();
    range ??= extent();
    const { width, height } = place.getBoundingClientRect();
    if (width < 50 || height < 50) return;
    const line = { stroke: css("--muted"), grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--grid"), width: 1 } };
    const font = `12px ${css("--sans")}`;
    const x = { ...line, font, labelFont: font, label: scene.xLabel, size: 34, labelSize: 20, labelGap: 0 };
    if (scene.xTicks) {
      x.splits = () => scene.xTicks.map(([value]) => value);
      x.values = () => scene.xTicks.map(([, text]) => text);
      x.grid = { show: false };
      x.ticks = { show: false };
    }
    plot = new window.uPlot({
      width, height, mode: 1, legend: { show: false }, padding: [10, 14, 0, 0],
      scales: { x: { time: false, range: () => range.x }, y: { range: () => range.y } },
      axes: [x, { ...line, font, labelFont: font, label: scene.yLabel, size: 46, labelSize: 20, labelGap: 0 }],
      series: [{}, { show: true, stroke: "transparent", points: { show: false } }],
      cursor: { points: { show: false }, x: false, y: false, drag: { x: true, y: true, uni: 12, setScale: false } },
      hooks: { drawAxes: [paint], setSelect: [zoom], ready: [listen] },
    }, [range.x, [null, null]], place);
    place.append(tip);
  }

  function extent() {
    const bounds = (values) => {
      let [low, high] = [Infinity, -Infinity];
      for (const list of [scene.points, scene.behind]) {
        for (let k = 0; k < list.length; k++) {
          const value = values[list[k]];
          if (value < low) low = value;
          if (value > high) high = value;
        }
      }
      if (!(low <= high)) return [0, 1];
      const margin = (high - low || 1) * 0.04;
      return [low - margin, high + margin];
    };
    return { x: scene.xRange ?? bounds(scene.x), y: bounds(scene.y) };
  }

  function paint(made) {
    const { left, top, width, height } = made.bbox;
    const image = new ImageData(Math.max(1, Math.round(width)), Math.max(1, Math.round(height)));
    const pixels = new Uint32Array(image.data.buffer);
    splat(pixels, image, scene.behind, 1, new Uint32Array(256).fill(packed(css("--behind"))));
    const n = scene.points.length;
    splat(pixels, image, scene.points, n > 60000 ? 1 : n > 8000 ? 1.8 : n > 800 ? 2.4 : 3.2, Uint32Array.from(scene.palette, packed));
    const layer = document.createElement("canvas");
    layer.width = image.width;
    layer.height = image.height;
    layer.getContext("2d").putImageData(image, 0, 0);
    made.ctx.drawImage(layer, Math.round(left), Math.round(top));
    if (!performance.getEntriesByName("featdex-plot").length) performance.mark("featdex-plot");
  }

  function splat(pixels, { width, height }, points, size, inks) {
    const radius = size * devicePixelRatio;
    const offsets = disc(radius, width);
    const margin = Math.ceil(radius);
    const { x, y, shade } = scene;
    const [x0, y1] = [range.x[0], range.y[1]];
    const sx = width / (range.x[1] - x0);
    const sy = height / (y1 - range.y[0]);
    const [right, bottom] = [width - margin, height - margin];
    // The innermost loops of the page: no objects, no calls.
    for (let k = 0; k < points.length; k++) {
      const feature = points[k];
      const px = ((x[feature] - x0) * sx) | 0;
      const py = ((y1 - y[feature]) * sy) | 0;
      if (px < margin || px >= right || py < margin || py >= bottom || x[feature] !== x[feature] || y[feature] !== y[feature]) continue;
      const ink = inks[shade[feature]];
      const middle = py * width + px;
      for (let j = 0; j < offsets.length; j++) pixels[middle + offsets[j]] = ink;
    }
  }

  /** Offsets of the pixels of a disc from its middle, in an image of some width. */
  function disc(radius, width) {
    const offsets = [];
    const reach = Math.ceil(radius);
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) if (dx * dx + dy * dy <= radius * radius) offsets.push(dy * width + dx);
    }
    return Int32Array.from(offsets);
  }

  function packed(hex) {
    const value = parseInt(hex.slice(1), 16);
    return ((255 << 24) | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
  }

  function zoom(made) {
    const { left, top, width, height } = made.select;
    if (width < 4 && height < 4) return;
    const x = [made.posToVal(left, "x"), made.posToVal(left + width, "x")];
    const y = [made.posToVal(top + height, "y"), made.posToVal(top, "y")];
    range = { x: width < 4 ? range.x : x, y: height < 4 ? range.y : y };
    made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    again();
  }

  function again() {
    hide();
    plot.setData([range.x, [null, null]]);
    show(chosen);
  }

  function listen(made) {
    const { over } = made;
    over.append(ring, mark);
    plot = made;
    show(chosen);
    let down = null;
    let queued = false;
    over.addEventListener("mousemove", (event) => {
      if (queued) return;
      queued = true;
      requestAnimationFrame(() => {
        queued = false;
        point(nearest(event, over));
      });
    });
    over.addEventListener("mouseleave", hide);
    over.addEventListener("mousedown", (event) => { down = [event.clientX, event.clientY]; });
    over.addEventListener("click", (event) => {
      const moved = down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 4;
      const feature = moved ? -1 : nearest(event, over);
      if (feature >= 0) pick(feature);
    });
    over.addEventListener("dblclick", () => {
      range = extent();
      again();
    });
  }

  function position(feature) {
    const { width, height } = plot.over.getBoundingClientRect();
    return [((scene.x[feature] - range.x[0]) / (range.x[1] - range.x[0])) * width,
      ((range.y[1] - scene.y[feature]) / (range.y[1] - range.y[0])) * height];
  }

  function nearest(event, over) {
    const box = over.getBoundingClientRect();
    const [ax, ay] = [event.clientX - box.left, event.clientY - box.top];
    const [sx, sy] = [box.width / (range.x[1] - range.x[0]), box.height / (range.y[1] - range.y[0])];
    let [best, least] = [-1, REACH * REACH];
    const { x, y, points } = scene;
    for (let k = 0; k < points.length; k++) {
      const feature = points[k];
      const dx = (x[feature] - range.x[0]) * sx - ax;
      const dy = (range.y[1] - y[feature]) * sy - ay;
      const distance = dx * dx + dy * dy;
      if (distance < least) [best, least] = [feature, distance];
    }
    return best;
  }

  function move(circle, feature) {
    const [px, py] = feature >= 0 ? position(feature) : [NaN, NaN];
    const inside = px >= 0 && py >= 0 && px <= plot.over.clientWidth && py <= plot.over.clientHeight;
    circle.hidden = !inside;
    if (inside) circle.style.transform = `translate(${px}px, ${py}px)`;
    return inside;
  }

  function point(feature) {
    at = feature;
    plot.over.classList.toggle("on-point", feature >= 0);
    if (feature < 0 || !move(ring, feature)) return hide();
    const [px, py] = position(feature);
    const right = px > plot.over.clientWidth / 2;
    tip.hidden = false;
    tip.textContent = scene.describe(feature);
    const [ox, oy] = [plot.over.offsetLeft, plot.over.offsetTop];
    tip.style.transform = `translate(calc(${ox + px + (right ? -14 : 14)}px ${right ? "- 100%" : ""}), ${Math.max(0, oy + py - 12)}px)`;
  }

  function hide() {
    ring.hidden = true;
    tip.hidden = true;
  }

  /** Ring the feature whose card is open; -1 for none. */
  function show(feature) {
    chosen = feature;
    if (plot) move(mark, chosen);
  }

  /** Go to the point `step` further along x, for the keyboard; returns the feature or -1. */
  function walk(step) {
    if (!scene?.points.length) return -1;
    order ??= featdex.features.sorted(maskOf(scene.points), scene.x, false);
    const here = at >= 0 ? order.indexOf(at) : chosen >= 0 ? order.indexOf(chosen) : -1;
    point(order[Math.max(0, Math.min(order.length - 1, here < 0 ? 0 : here + step))]);
    return at;
  }

  function maskOf(points) {
    const mask = new Uint8Array(scene.x.length);
    for (const feature of points) mask[feature] = 1;
    return mask;
  }

  let timer = 0;
  new ResizeObserver(() => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (scene) make(); }, 60);
  }).observe(place);

  return { draw, show, walk, hide, redraw: () => scene && make(), get at() { return at; } };
};
