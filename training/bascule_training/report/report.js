"use strict";

// Tells the pointer what it is near: the nearest mark of a chart that carries a text.
(() => {
  const REACH = 28;
  const tip = document.querySelector(".tip");
  let shown = null;

  function nearest(plot, x, y) {
    let best = null;
    for (const mark of plot.querySelectorAll("[data-tip]")) {
      const box = mark.getBoundingClientRect();
      const distance = Math.hypot(box.x + box.width / 2 - x, box.y + box.height / 2 - y);
      if (distance < REACH && (best === null || distance < best.distance)) best = { mark, box, distance };
    }
    return best;
  }

  function show(event) {
    const plot = event.target.closest?.(".plot, .track");
    const found = plot && nearest(plot, event.clientX, event.clientY);
    tip.hidden = !found;
    if (!found || found.mark === shown) return void (shown = found?.mark ?? null);
    shown = found.mark;
    tip.textContent = shown.dataset.tip;
    place(tip, found.box.x + found.box.width / 2, found.box.y);
  }

  function place(element, x, y) {
    const { width, height } = element.getBoundingClientRect();
    element.style.left = `${Math.max(8, Math.min(x - width / 2, innerWidth - width - 8))}px`;
    element.style.top = `${y - height - 8 < 8 ? y + 20 : y - height - 8}px`;
  }

  addEventListener("pointermove", show);
  addEventListener("pointerdown", show);
  addEventListener("scroll", () => { tip.hidden = true; shown = null; }, { passive: true });
})();

// Points out a model's lines while the pointer is on its name.
addEventListener("pointerover", (event) => {
  document.querySelectorAll(".dim").forEach((mark) => mark.classList.remove("dim"));
  const name = event.target.closest?.("[data-colour]");
  name?.closest("section").querySelectorAll(`.plot :is(path, circle, .bar, .lead):not(.${name.dataset.colour})`).forEach((mark) => mark.classList.add("dim"));
});

// The map of the items.
(() => {
  const data = document.getElementById("map-data");
  if (!data) return;
  const items = JSON.parse(data.textContent);
  const count = items.names.length;
  const canvas = document.querySelector(".map-view canvas");
  const context = canvas.getContext("2d");
  const card = document.querySelector(".map-card");
  const MARGIN = 26;
  const MAX_ZOOM = 24;
  const largest = Math.max(1, ...items.popularity);
  const size = items.popularity.map((popularity) => 1.8 + 3.4 * Math.sqrt(popularity / largest));
  let view = { x: 500, y: 500, zoom: 1 };
  let width = 0, height = 0;
  let hovered = -1, chosen = -1, group = -1, matches = new Set();
  let waiting = false;

  // Places: of an item on the canvas, in CSS pixels.
  const left = (item) => width / 2 + ((items.x[item] - view.x) / 1000) * (width - 2 * MARGIN) * view.zoom;
  const top = (item) => height / 2 + ((items.y[item] - view.y) / 1000) * (height - 2 * MARGIN) * view.zoom;
  // What was looked for is lit whatever its group.
  const isLit = (item) => (matches.size ? matches.has(item) : group < 0 || items.group[item] === group);
  const isInside = (item) => left(item) >= 0 && top(item) >= 0 && left(item) <= width && top(item) <= height;

  function draw() {
    waiting = false;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const colours = items.groups.map((_, number) => colour(`group-${number + 1}`));
    colours.push(colour(items.groups.length ? "group-rest" : "model"));
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, width, height);
    const scale = Math.max(0.6, Math.min(1, width / 700)) * Math.min(2, Math.sqrt(view.zoom));
    for (let item = count - 1; item >= 0; item--) { // the most popular, which come first, above the others
      context.globalAlpha = isLit(item) ? 0.78 : 0.1;
      context.fillStyle = colours[items.group[item]];
      circle(item, size[item] * scale);
      context.fill();
    }
    context.globalAlpha = 1;
    drawLabels(colour);
  }

  function circle(item, radius) {
    context.beginPath();
    context.arc(left(item), top(item), radius, 0, 2 * Math.PI);
  }

  function drawLabels(colour) {
    const taken = [[width - 92, 0, width, 50]]; // the buttons stand there
    const focus = hovered >= 0 ? hovered : chosen;
    const near = focus >= 0 ? items.near[focus] : [];
    context.strokeStyle = colour("ink");
    context.lineWidth = 1.25;
    for (const item of near) { circle(item, 5.5); context.stroke(); }
    if (focus >= 0) { context.lineWidth = 2.25; circle(focus, 8); context.stroke(); }
    const room = Math.max(6, (width * height) / 14000);
    const first = [focus, ...near, ...matches].filter((item) => item >= 0);
    let written = 0;
    for (const item of first.length ? first : items.names.keys()) {
      if (written < room && (first.length || isLit(item)) && write(item, item === focus, colour, taken)) written++;
    }
  }

  // Writes a name beside its item where it covers no other; says whether it did.
  function write(item, bold, colour, taken) {
    const x = left(item), y = top(item);
    if (x < 0 || y < 0 || x > width || y > height) return false;
    context.font = `${bold ? "600 14px" : "12px"} ${getComputedStyle(document.body).fontFamily}`;
    const text = items.names[item].length > 34 ? `${items.names[item].slice(0, 33)}…` : items.names[item];
    const wide = context.measureText(text).width;
    const from = x + 10 + wide > width - 4 ? x - 10 - wide : x + 10;
    const box = [from - 3, y - 9, from + wide + 3, y + 9];
    if (box[0] < 2 && !bold) return false;
    if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) return false;
    taken.push(box);
    context.lineJoin = "round";
    context.lineWidth = 4;
    context.strokeStyle = colour("raised");
    context.strokeText(text, from, y + 4);
    context.fillStyle = colour("ink");
    context.fillText(text, from, y + 4);
    return true;
  }

  function redraw() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  function itemAt(event) {
    const box = canvas.getBoundingClientRect();
    const x = event.clientX - box.x, y = event.clientY - box.y;
    let best = -1, nearest = event.pointerType === "touch" ? 30 : 18;
    for (let item = 0; item < count; item++) {
      const distance = Math.hypot(left(item) - x, top(item) - y);
      if (isLit(item) && distance < nearest) [best, nearest] = [item, distance];
    }
    return best;
  }

  function describe(item) {
    card.replaceChildren();
    const title = card.appendChild(document.createElement("h4"));
    title.textContent = items.names[item];
    const facts = card.appendChild(document.createElement("p"));
    facts.className = "how";
    const own = items.groups[items.group[item]];
    facts.textContent = `${own ? `${own} · ` : ""}${items.popularity[item].toLocaleString("en")} interactions. Nearest in the model's space:`;
    const list = card.appendChild(document.createElement("ol"));
    for (const other of items.near[item]) {
      const button = list.appendChild(document.createElement("li")).appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = items.names[other];
      button.addEventListener("click", () => choose(other));
    }
  }

  function choose(item) {
    chosen = item;
    hovered = -1;
    if (item >= 0) {
      describe(item);
      if (!isInside(item)) view = { x: items.x[item], y: items.y[item], zoom: view.zoom };
    }
    redraw();
  }

  function zoom(factor, x = 500, y = 500) {
    const next = Math.max(1, Math.min(MAX_ZOOM, view.zoom * factor));
    const share = 1 - view.zoom / next;
    // The point stays where it is; at the smallest zoom the map is centred.
    view = next === 1 ? { x: 500, y: 500, zoom: 1 } : { x: view.x + (x - view.x) * share, y: view.y + (y - view.y) * share, zoom: next };
    canvas.style.touchAction = next > 1 ? "none" : "pan-y";
    canvas.style.cursor = next > 1 ? "grab" : "default";
    redraw();
  }

  function under(event) {
    const box = canvas.getBoundingClientRect();
    return [
      view.x + ((event.clientX - box.x - width / 2) / (width - 2 * MARGIN) / view.zoom) * 1000,
      view.y + ((event.clientY - box.y - height / 2) / (height - 2 * MARGIN) / view.zoom) * 1000,
    ];
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, y: event.clientY, moved: false };
    if (view.zoom > 1) canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag && view.zoom > 1) {
      const across = event.clientX - drag.x, down = event.clientY - drag.y;
      drag = { x: event.clientX, y: event.clientY, moved: drag.moved || Math.hypot(across, down) > 2 };
      view.x -= (across / (width - 2 * MARGIN) / view.zoom) * 1000;
      view.y -= (down / (height - 2 * MARGIN) / view.zoom) * 1000;
      return redraw();
    }
    const item = itemAt(event);
    if (event.pointerType !== "mouse" || item === hovered) return;
    hovered = item;
    if (item >= 0) describe(item);
    else if (chosen >= 0) describe(chosen);
    redraw();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) choose(itemAt(event));
    drag = null;
  });
  canvas.addEventListener("pointercancel", () => { drag = null; });
  canvas.addEventListener("pointerleave", () => {
    hovered = -1;
    if (chosen >= 0) describe(chosen);
    redraw();
  });
  canvas.addEventListener("dblclick", (event) => zoom(2, ...under(event)));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 200), ...under(event));
  }, { passive: false });
  document.querySelectorAll(".zoom button").forEach((button) => {
    button.addEventListener("click", () => zoom(Number(button.dataset.factor), view.x, view.y));
  });
  document.querySelectorAll(".groups button").forEach((button, number) => {
    button.addEventListener("click", () => {
      group = group === number ? -1 : number;
      document.querySelectorAll(".groups button").forEach((each, other) => each.setAttribute("aria-pressed", other === group));
      redraw();
    });
  });
  document.querySelector(".map input").addEventListener("input", (event) => {
    const text = event.target.value.trim().toLowerCase();
    matches = new Set(text ? [...items.names.keys()].filter((item) => items.names[item].toLowerCase().includes(text)) : []);
    choose(matches.size ? [...matches][0] : -1);
  });

  new ResizeObserver(() => {
    ({ width, height } = canvas.getBoundingClientRect());
    canvas.width = width * devicePixelRatio;
    canvas.height = height * devicePixelRatio;
    redraw();
  }).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  describe(0);
})();
