// Reads the data of the page and connects them with the map, the legend, the search and the panel.

const NO_GROUP = 65535;
const GRAY = [140, 146, 156];
// Ten colours that people with and without colour blindness tell apart: Petroff, arXiv 2107.02270, table 1.
const PALETTE = [
  [63, 144, 218], [255, 169, 14], [189, 31, 1], [148, 164, 162], [131, 45, 182],
  [169, 107, 89], [231, 99, 0], [185, 172, 112], [113, 117, 129], [146, 218, 221],
];

const at = id => document.getElementById(id);

// Makes an element; texts are set as text, never as HTML.
function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

async function unpacked(id) {
  const text = atob(at(id).textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  at(id).remove();
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function main() {
  const facts = JSON.parse(new TextDecoder().decode(await unpacked("facts")));
  const groups = new Uint16Array(await unpacked("groups")), neighbours = new Uint32Array(await unpacked("neighbours"));
  const scores = new Int16Array(await unpacked("scores")), starts = new Uint32Array(await unpacked("starts"));
  const jpegs = await unpacked("jpegs");
  const map = new PointMap(at("map"), new Uint16Array(await unpacked("points")));
  const { names, colourings, k } = facts, count = names.length;
  let colouring = 0, only = null, hits = null, lowered = null, turn = 0;

  const group = i => groups[colouring * count + i];
  const look = number => number === NO_GROUP
    ? { shape: 0, colour: GRAY }
    : { shape: Math.floor(number / PALETTE.length) % SHAPES.length, colour: PALETTE[number % PALETTE.length] };
  const groupName = number => number === NO_GROUP ? `no ${colourings[colouring].name}` : colourings[colouring].classes[number];
  const about = i => `${colourings[colouring].name}: ${groupName(group(i))}`;

  const urls = new Map();
  function picture(i) {
    const frame = element("span", "picture");
    if (starts[i] === starts[i + 1]) {
      frame.classList.add("none");
      frame.textContent = "no picture";
      return frame;
    }
    if (!urls.has(i)) {
      const jpeg = new Uint8Array(jpegs, starts[i], starts[i + 1] - starts[i]);
      urls.set(i, URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" })));
    }
    const image = element("img");
    Object.assign(image, { src: urls.get(i), alt: "" });  // its name stands beside it
    frame.append(image);
    return frame;
  }

  // Lets the highlighted class and the names that are searched stand out, where both are asked for those of both.
  function emphasise() {
    map.strong = only === null && !hits ? null : new Uint8Array(count);
    let found = 0;
    for (let i = 0; map.strong && i < count; i++) {
      found += map.strong[i] = (only === null || group(i) === only) && (!hits || hits[i]) ? 1 : 0;
    }
    turn = 0;
    at("found").textContent = !hits ? "" : `${found.toLocaleString("en")} of ${count.toLocaleString("en")} names`
      + (only === null ? "" : `, of ${colourings[colouring].name} ${groupName(only)}`)
      + (found ? "; Enter goes to the first" : "");
    map.redraw();
  }

  function colourBy(number) {
    colouring = number;
    only = null;
    map.groups = groups.slice(number * count, (number + 1) * count);
    map.looks = [];
    const sizes = new Map();
    for (const value of map.groups) sizes.set(value, (sizes.get(value) ?? 0) + 1);
    at("legend").replaceChildren(...[...sizes.keys()].sort((a, b) => a - b).map(value => {
      const { shape, colour } = map.looks[value] = look(value);
      const button = element("button"), swatch = element("span", `swatch ${SHAPES[shape]}`);
      Object.assign(button, { type: "button", onclick: () => highlight(value, button) });
      button.setAttribute("aria-pressed", "false");
      swatch.style.background = `rgb(${colour})`;
      button.append(swatch, element("span", "name", groupName(value)));
      button.append(element("span", "count", sizes.get(value).toLocaleString("en")));
      const entry = element("li");
      entry.append(button);
      return entry;
    }));
    emphasise();
    if (map.chosen >= 0) choose(map.chosen);
  }

  function highlight(value, button) {
    only = only === value ? null : value;
    for (const other of at("legend").querySelectorAll("button")) {
      other.setAttribute("aria-pressed", String(other === button && only !== null));
    }
    emphasise();
  }

  function search() {
    const text = at("query").value.toLowerCase();
    if (text) lowered ??= names.map(name => name.toLowerCase());
    hits = text ? Uint8Array.from(lowered, name => name.includes(text) ? 1 : 0) : null;
    emphasise();
  }

  // Enter goes to the first hit, and to the next if it is pressed again.
  function next() {
    if (!hits || !map.strong.includes(1)) return;
    let hit = map.strong.indexOf(1, turn);
    if (hit < 0) hit = map.strong.indexOf(1);
    turn = hit + 1;
    choose(hit);
  }

  function choose(i) {
    map.chosen = i;
    map.around = [...neighbours.subarray(k * i, k * i + k)];
    const text = element("span");
    text.append(element("span", "name", names[i]), element("span", "about", about(i)));
    at("chosen").replaceChildren(picture(i), text);
    at("heading").textContent = k ? `The ${k === 1 ? "nearest" : `${k} nearest`}, with cosine similarity` : "";
    at("nearest").replaceChildren(...map.around.map((other, place) => {
      const button = element("button"), beside = element("span");
      Object.assign(button, { type: "button", onclick: () => choose(other) });
      beside.append(element("span", "name", names[other]));
      beside.append(element("span", "about", `${(scores[k * i + place] / 10000).toFixed(4)}, ${about(other)}`));
      button.append(picture(other), beside);
      const entry = element("li");
      entry.append(button);
      return entry;
    }));
    at("panel").hidden = false;
    at("panel").scrollTop = at("nearest").scrollLeft = 0;
    map.resize();  // on a phone the panel takes a part of its height
    if (!map.sees(i)) map.show(i);
    map.redraw(false);
  }

  // Closes the innermost thing that is open: the panel, then the search, then the highlighted class.
  function escape() {
    if (!at("panel").hidden) {
      at("panel").hidden = true;
      map.chosen = -1;
      map.around = [];
      at("map").focus({ preventScroll: true });
    } else if (at("query").value) {
      at("query").value = "";
      search();
    } else if (only !== null) {
      highlight(only, null);
    }
    map.redraw(false);
  }

  function hover(i, x, y) {
    at("tip").hidden = i < 0;
    at("map").classList.toggle("over", i >= 0);
    if (i !== map.hovered) {
      map.hovered = i;
      if (i >= 0) at("tip").replaceChildren(picture(i), element("span", "name", names[i]), element("span", "about", about(i)));
      map.redraw(false);
    }
    if (i < 0) return;
    const { offsetWidth, offsetHeight } = at("tip");
    const left = x + 16 + offsetWidth > map.width ? x - 16 - offsetWidth : x + 16;
    const top = Math.min(Math.max(y - offsetHeight / 2, 4), map.height - offsetHeight - 4);
    at("tip").style.transform = `translate(${Math.max(left, 4)}px, ${Math.max(top, 4)}px)`;
  }

  listen(map, hover, choose);
  at("colour").append(...colourings.map((one, number) => Object.assign(element("option", "", one.name), { value: number })));
  at("colour").onchange = () => colourBy(Number(at("colour").value));
  at("query").oninput = search;
  at("search").onsubmit = event => { event.preventDefault(); next(); };
  at("close").onclick = escape;
  addEventListener("keydown", event => { if (event.key === "Escape") { event.preventDefault(); escape(); } });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => map.redraw());
  colourBy(0);
  const named = names.findIndex(name => location.hash === `#${encodeURIComponent(name)}`);  // FILE#NAME opens at an image
  if (named >= 0) choose(named);
  document.body.dataset.ready = "yes";
}

// Turns what the mouse, fingers and keys do on the canvas into moves, hovers and clicks.
function listen(map, hover, choose) {
  const { canvas } = map, down = new Map();
  let travelled = 0;
  const place = event => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const spread = () => {  // the middle of the fingers, and how far apart they are
    const [[ax, ay], [bx, by] = [ax, ay]] = [...down.values()];
    return [(ax + bx) / 2, (ay + by) / 2, Math.hypot(ax - bx, ay - by)];
  };
  canvas.onpointerdown = event => {
    if (!down.size) travelled = 0;
    down.set(event.pointerId, place(event));
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = event => {
    const [x, y] = place(event);
    if (!down.has(event.pointerId)) return hover(map.at(x, y, 12), x, y);
    const [oldX, oldY, oldSpread] = spread();
    down.set(event.pointerId, [x, y]);
    const [newX, newY, newSpread] = spread();
    travelled += Math.hypot(newX - oldX, newY - oldY) + Math.abs(newSpread - oldSpread);
    if (travelled < 5) return;
    hover(-1);
    canvas.classList.add("dragged");
    map.move(newX - oldX, newY - oldY);
    if (oldSpread && newSpread) map.zoom(newSpread / oldSpread, newX, newY);
  };
  canvas.onpointerup = canvas.onpointercancel = event => {
    const alone = down.size === 1;
    down.delete(event.pointerId);
    if (!down.size) canvas.classList.remove("dragged");
    if (event.type !== "pointerup" || !alone || travelled >= 5) return;
    const found = map.at(...place(event), event.pointerType === "mouse" ? 12 : 24);
    if (event.pointerType !== "mouse") hover(-1);
    if (found >= 0) choose(found);
  };
  canvas.onpointerleave = () => { if (!down.size) hover(-1); };
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    const pixels = event.deltaY * [1, 33, 400][event.deltaMode];
    map.zoom(Math.exp(-Math.min(Math.max(pixels, -200), 200) / 400), ...place(event));
  }, { passive: false });
  const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
  canvas.onkeydown = event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) map.move(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") map.zoom(1.6);
    else if (event.key === "-") map.zoom(1 / 1.6);
    else if (event.key === "0") map.fit();
    else return;
    event.preventDefault();
  };
  for (const button of document.querySelectorAll("#zoom button")) {
    const factor = Number(button.dataset.zoom);
    button.onclick = () => factor ? map.zoom(factor) : map.fit();
  }
  new ResizeObserver(() => map.resize()).observe(canvas);
}

main().catch(error => {
  console.error(error);
  at("notes").textContent = `This browser cannot show the map: ${error.message}`;
});
