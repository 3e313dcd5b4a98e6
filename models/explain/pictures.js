// Pictures that several stages share. A `grid` is what `unpack` gives: {shape, values}.

const share = part => part > 0 && part < 0.0001 ? "< 0.01 %" : part >= 0.0995 || part === 0 ? `${(100 * part).toFixed(0)} %` : `${Number((100 * part).toPrecision(2))} %`;
const whole = part => part < 0.005 ? "< 1 %" : `${Math.round(100 * part)} %`;  // of what is a byte, and no finer
const quoted = word => `“${word}”`;
const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;

// What was unpacked once is kept: a stage is drawn anew with every choice.
const opened = new WeakMap();
function unpacked(grid) {
  if (!opened.has(grid)) opened.set(grid, unpack(grid));
  return opened.get(grid);
}

// Matrix number i of a packed (N, rows, columns).
function layer(grid, i) {
  const [rows, columns] = grid.shape.slice(-2), size = rows * columns;
  return {shape: [rows, columns], values: grid.values.subarray(i * size, (i + 1) * size)};
}

function meanOver(grid) {
  const [count, rows, columns] = grid.shape, values = new Float64Array(rows * columns);
  for (let i = 0; i < count * rows * columns; i++) values[i % (rows * columns)] += grid.values[i] / count;
  return {shape: [rows, columns], values};
}

// On dark paper small values are dark and large ones bright, so that empty is the paper there too.
function amount(value) {
  if (Number.isNaN(value)) return dark() ? [58, 62, 70] : [226, 226, 226];
  const part = Math.max(0, Math.min(1, value)), [from, to] = dark() ? [[24, 30, 38], [150, 200, 255]] : [[255, 255, 255], [20, 52, 110]];
  return from.map((channel, i) => Math.round(channel + (to[i] - channel) * part));
}

function signed(value) {
  if (!dark()) return diverging(value);
  if (Number.isNaN(value)) return [58, 62, 70];
  const part = Math.max(-1, Math.min(1, value)), end = part < 0 ? [96, 160, 255] : [255, 130, 90];
  return [24, 30, 38].map((channel, i) => Math.round(channel + (end[i] - channel) * Math.abs(part)));
}

// The side of a cell, so that a matrix fits a window: from `least` to `most` pixels.
function cell(columns, least = 5, most = 26) {
  const room = Math.min(document.documentElement.clientWidth, 760) - 130;
  return Math.max(least, Math.min(most, Math.floor(room / Math.max(1, columns))));
}

function painted({shape: [rows, columns], values}, label, size, {kind = amount, high = null, sizeY = size} = {}) {
  const canvas = heat(values, rows, columns, {label, size, colour: kind, low: 0, high: high ?? largest(values)});
  canvas.style.height = `${rows * sizeY}px`;
  return canvas;
}

const largest = values => values.reduce((most, value) => Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most, 0) || 1;

// A matrix with its words at the left and on top; `now` is the row that is looked at.
function labelled(grid, left, top, label, options = {}) {
  const [rows, columns] = grid.shape, size = options.size ?? (top ? cell(columns, 9) : cell(columns, 3, 12));
  const sizeY = options.sizeY ?? (top ? Math.max(size, 15) : 17), small = `font-size:${Math.min(13, sizeY - 1)}px`;
  const names = (words, style) => words.map((word, i) =>
    make("div", {style, class: i === options.now && style.startsWith("height") ? "now" : null}, word));
  return make("div", {class: "scroll", tabindex: 0, role: "group", "aria-label": label}, make("div", {class: "map"},
    make("div", {class: "left", "aria-hidden": "true"}), top ? make("div", {class: "top", "aria-hidden": "true"},
      names(top.slice(0, columns), `width:${size}px;font-size:${Math.min(13, size)}px`)) : make("div", {class: "top"}),
    make("div", {class: "left", style: small, "aria-hidden": "true"}, names(left.slice(0, rows), `height:${sizeY}px`)),
    painted(grid, label, size, {...options, sizeY})));
}

// Words with bars: entries [word, part, text]; `most` is a full bar, what is below zero is orange.
function bars(entries, {most = 1, chosen = null, text = share, kind = "bars"} = {}) {
  return make("div", {class: kind, role: "list"}, entries.flatMap(([word, part, said]) => {
    const wide = Math.min(100, 100 * Math.abs(part) / (most || 1));
    return [make("div", {class: word === chosen ? "word chosen" : "word", role: "listitem", "aria-label": `${word}: ${said ?? text(part)}`}, word),
      make("div", {class: "bar", "aria-hidden": "true"}, make("i", {class: part < 0 ? "less" : null, style: `width:${wide}%`})),
      make("div", {class: "much", "aria-hidden": "true"}, said ?? text(part))];
  }));
}

// Buttons of which one is pressed.
function choices(name, words, now, pick) {
  const buttons = words.map((word, i) => make("button", {type: "button", "aria-pressed": String(i === now), onclick: () => pick(i)}, word));
  return make("div", {class: "row", role: "group", "aria-label": name}, make("span", {class: "soft"}, name), buttons);
}

function scale(words, kind) {
  const stops = kind === signed ? [-1, -0.5, 0, 0.5, 1] : [0, 0.5, 1];
  const colours = stops.map(stop => `rgb(${kind(stop).join(",")})`).join(",");
  return make("p", {class: "key"}, words[0], make("i", {style: `background:linear-gradient(90deg,${colours})`}), words[1]);
}

// The image as it was given: one channel, or three.
function picture({shape: [channels, height, width], values}, size, label) {
  const canvas = make("canvas", {width, height, role: "img", "aria-label": label, style: `width:${size}px;height:${size}px`});
  const context = canvas.getContext("2d"), image = context.createImageData(width, height), area = height * width;
  const least = values.reduce((a, b) => Math.min(a, b)), most = values.reduce((a, b) => Math.max(a, b)), range = most - least || 1;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = 255 * (values[i + (channels > 1 ? c : 0) * area] - least) / range;
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// The image under a veil that is thin where `weights` (side * side) are large.
function overlaid(weights, label, size = 200) {
  const side = DATA.grid, box = make("div", {class: "patches"}), most = largest(weights);
  const veil = make("canvas", {width: side, height: side, "aria-hidden": "true", style: `position:absolute;inset:0;width:${size}px;height:${size}px;border-color:transparent`});
  const context = veil.getContext("2d"), image = context.createImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    const part = Math.max(0, weights[i]) / most;
    image.data.set([255 * part + 12 * (1 - part), 140 * part + 16 * (1 - part), 24, 60 + 170 * Math.abs(part - 0.45)], 4 * i);
  }
  context.putImageData(image, 0, 0);
  box.append(picture(unpack(DATA.image), size, label), veil);
  return box;
}
