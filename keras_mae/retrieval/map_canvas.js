"use strict";

// Points on a canvas: drawn by the processor into the canvas's pixels, which needs neither WebGL nor a graphics card
// and takes some milliseconds for 100,000 points; a point under the pointer is found through a grid of cells.

const SIZE = 65535;  // coordinates are 0 ... SIZE
const CELLS = 256;  // of the grid, along each axis
const MOST_ZOOM = 200;
const SHAPES = ["disc", "square", "diamond"];

const inside = {
  disc: (x, y, r) => x * x + y * y <= r * r,
  square: (x, y, r) => Math.max(Math.abs(x), Math.abs(y)) <= 0.86 * r,
  diamond: (x, y, r) => Math.abs(x) + Math.abs(y) <= 1.2 * r,
};

// The pixels of a shape around its middle, with the share of each that it covers, 0 ... 256; `step` is their distance
// from the middle among the pixels of a canvas of this width.
function stamp(shape, radius, width) {
  const reach = Math.ceil(1.2 * radius), dx = [], dy = [], cover = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      let hits = 0;
      for (let part = 0; part < 64; part++) {
        hits += inside[shape](x - 0.4375 + (part & 7) / 8, y - 0.4375 + (part >> 3) / 8, radius);
      }
      if (hits) { dx.push(x); dy.push(y); cover.push(4 * hits); }
    }
  }
  const step = Int32Array.from(dx, (x, k) => dy[k] * width + x);
  return { reach, dx, dy, step, cover: Int32Array.from(cover) };
}

class PointMap {
  // points: Uint16Array of x and y of each point, y downwards.
  constructor(canvas, points) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.points = points;
    this.count = points.length / 2;
    this.groups = new Uint16Array(this.count);
    this.looks = [];  // of each group: { shape: index of SHAPES, colour: [red, green, blue] }
    this.strong = null;  // Uint8Array with 1 for the points that stand out; null if all do
    this.hovered = -1;
    this.chosen = -1;
    this.around = [];
    this.buildCells();
    // A fixed order that mixes the classes, so that none lies above all others: steps of the golden ratio.
    this.step = Math.max(1, Math.round(0.618 * this.count));
    const divisor = (a, b) => b ? divisor(b, a % b) : a;
    while (divisor(this.step, this.count) > 1) this.step++;
    this.resize();
    this.fit();
  }

  buildCells() {
    const cell = i => (this.points[2 * i + 1] >> 8) * CELLS + (this.points[2 * i] >> 8);
    const starts = new Uint32Array(CELLS * CELLS + 1), members = new Uint32Array(this.count);
    for (let i = 0; i < this.count; i++) starts[cell(i) + 1]++;
    for (let c = 0; c < CELLS * CELLS; c++) starts[c + 1] += starts[c];
    const next = starts.slice();
    for (let i = 0; i < this.count; i++) members[next[cell(i)]++] = i;
    this.starts = starts;
    this.members = members;
  }

  resize() {
    const box = this.canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
    if (this.image && this.image.width === width && this.image.height === height) return;
    if (this.image) {  // what is in the middle stays there
      this.left += (box.width - this.width) / 2;
      this.top += (box.height - this.height) / 2;
    }
    Object.assign(this, { width: box.width, height: box.height, ratio });
    Object.assign(this.canvas, { width, height });
    this.image = this.context.createImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.redraw();
  }

  // Shows all points: one unit is `scale` CSS pixels, and the point (0, 0) is at (left, top).
  fit() {
    let [x0, x1, y0, y1] = [SIZE, 0, SIZE, 0];
    for (let i = 0; i < 2 * this.count; i += 2) {
      x0 = Math.min(x0, this.points[i]); x1 = Math.max(x1, this.points[i]);
      y0 = Math.min(y0, this.points[i + 1]); y1 = Math.max(y1, this.points[i + 1]);
    }
    const margin = 32, across = Math.max(this.width - 2 * margin, 32), down = Math.max(this.height - 2 * margin, 32);
    this.scale = this.whole = Math.min(across / Math.max(x1 - x0, 1), down / Math.max(y1 - y0, 1), 1);
    this.left = this.width / 2 - this.scale * (x0 + x1) / 2;
    this.top = this.height / 2 - this.scale * (y0 + y1) / 2;
    this.redraw();
  }

  move(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.redraw();
  }

  // Zooms about a place, which stays where it is.
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.min(Math.max(factor * this.scale, this.whole / 2), this.whole * MOST_ZOOM);
    this.left = x - (x - this.left) * scale / this.scale;
    this.top = y - (y - this.top) * scale / this.scale;
    this.scale = scale;
    this.redraw();
  }

  show(index) {
    const [x, y] = this.place(index);
    this.move(this.width / 2 - x, this.height / 2 - y);
  }

  sees(index) {
    const [x, y] = this.place(index);
    return x >= 8 && x <= this.width - 8 && y >= 8 && y <= this.height - 8;
  }

  // Where a point is on the canvas, in CSS pixels.
  place(index) {
    return [this.left + this.scale * this.points[2 * index], this.top + this.scale * this.points[2 * index + 1]];
  }

  // The nearest point within a radius of CSS pixels, or -1; points that do not stand out are not found.
  at(x, y, radius) {
    const cell = value => Math.min(Math.max(value / this.scale / (SIZE + 1) * CELLS | 0, 0), CELLS - 1);
    const columns = [cell(x - radius - this.left), cell(x + radius - this.left)];
    let best = -1, least = radius * radius;
    for (let row = cell(y - radius - this.top); row <= cell(y + radius - this.top); row++) {
      const end = this.starts[row * CELLS + columns[1] + 1];
      for (let place = this.starts[row * CELLS + columns[0]]; place < end; place++) {
        const i = this.members[place], [px, py] = this.place(i);
        const distance = (px - x) ** 2 + (py - y) ** 2;
        if (distance <= least && (!this.strong || this.strong[i])) {
          if (distance < least || best < 0 || i < best) best = i;
          least = distance;
        }
      }
    }
    return best;
  }

  // Draws before the next frame; if only rings have changed, the points are still in `pixels`.
  redraw(points = true) {
    this.stale ||= points;
    this.waiting ??= requestAnimationFrame(() => { this.waiting = undefined; this.draw(); });
  }

  draw() {
    const style = getComputedStyle(document.documentElement);
    if (this.stale) this.drawPoints(style);
    this.stale = false;
    this.context.putImageData(this.image, 0, 0);
    const ink = style.getPropertyValue("--ink"), accent = style.getPropertyValue("--accent");
    for (const index of this.around) this.ring(index, 2.5, 1.5, ink);
    if (this.hovered >= 0) this.ring(this.hovered, 3, 2, ink);
    if (this.chosen >= 0) this.ring(this.chosen, 5, 3, accent);
  }

  drawPoints(style) {
    const colour = name => style.getPropertyValue(name).match(/[0-9a-f]{2}/gi).map(part => parseInt(part, 16));
    const paper = packed(colour("--paper")), faint = packed(colour("--faint"));
    const marks = this.looks.map(look => ({ shape: look.shape, colour: packed(look.colour) }));
    this.pixels.fill(paper);
    this.drawn = 0;
    for (const strong of this.strong ? [0, 1] : [1]) {
      this.radius = this.radiusOf(strong && this.strong ? this.strong.reduce((sum, one) => sum + one, 0) : this.count);
      const fill = SHAPES.map(shape => stamp(shape, this.ratio * this.radius, this.image.width));
      const around = this.ratio * (this.radius + 1);
      const rim = strong && this.radius > 3 ? SHAPES.map(shape => stamp(shape, around, this.image.width)) : null;
      for (let j = 0, i = 0; j < this.count; j++, i = (i + this.step) % this.count) {
        if (this.strong && this.strong[i] !== strong) continue;
        const mark = marks[this.groups[i]];
        const x = Math.round(this.ratio * (this.left + this.scale * this.points[2 * i]));
        const y = Math.round(this.ratio * (this.top + this.scale * this.points[2 * i + 1]));
        if (rim) this.put(rim[mark.shape], x, y, paper);
        this.drawn += this.put(fill[mark.shape], x, y, strong ? mark.colour : faint);
      }
    }
    this.canvas.dataset.drawn = this.drawn;
  }

  // Of points, in CSS pixels: smaller if there are many, and larger as the map is zoomed in.
  radiusOf(count) {
    const room = 0.16 * Math.sqrt(this.width * this.height / Math.max(count, 1));
    return Math.min(Math.max(room, 1.5), 6) * Math.min(Math.max(this.scale / this.whole, 1) ** 0.3, 2.4);
  }

  // Blends a stamp into the pixels, red and blue in one product; returns 1 if any of it is on the canvas, else 0.
  put(mark, x, y, colour) {
    const { width, height } = this.image, { reach, dx, dy, step, cover } = mark, pixels = this.pixels;
    if (x + reach < 0 || x - reach >= width || y + reach < 0 || y - reach >= height) return 0;
    const whole = x >= reach && x + reach < width && y >= reach && y + reach < height;
    const redBlue = colour & 0xff00ff, green = colour & 0xff00, middle = y * width + x;
    for (let k = 0; k < cover.length; k++) {
      if (!whole && (x + dx[k] < 0 || x + dx[k] >= width || y + dy[k] < 0 || y + dy[k] >= height)) continue;
      const place = middle + step[k], share = cover[k], rest = 256 - share, below = pixels[place];
      pixels[place] = share === 256 ? colour : 0xff000000
        | (Math.imul(below & 0xff00ff, rest) + Math.imul(redBlue, share)) >>> 8 & 0xff00ff
        | (Math.imul(below & 0xff00, rest) + Math.imul(green, share)) >>> 8 & 0xff00;
    }
    return 1;
  }

  ring(index, distance, width, colour) {
    const [x, y] = this.place(index).map(value => this.ratio * value), context = this.context;
    context.beginPath();
    context.arc(x, y, this.ratio * (this.radius + distance), 0, 2 * Math.PI);
    context.lineWidth = this.ratio * width;
    context.strokeStyle = colour;
    context.stroke();
  }
}

// A colour as the pixels of a canvas have it: alpha, blue, green, red from the highest byte.
function packed([red, green, blue]) {
  return (0xff000000 | blue << 16 | green << 8 | red) >>> 0;
}
