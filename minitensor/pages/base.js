const DATA = JSON.parse(document.getElementById("data").textContent);

// An element: make("div", {class: "x", onclick: f}, "text", another, ...)
function make(tag, attributes = {}, ...children) {
  const name = tag.split(":");
  const element = name.length > 1
    ? document.createElementNS("http://www.w3.org/2000/svg", name[1]) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined));
  return element;
}

// An array that Python packed: {shape, values}, NaN where it had NaN.
function unpack({shape, low, high, bytes}) {
  const coded = Uint8Array.from(atob(bytes), letter => letter.charCodeAt(0));
  return {shape, values: Float64Array.from(coded, b => b === 255 ? NaN : low * (1 - b / 254) + high * (b / 254))};
}

// A number in at most `digits` significant digits, short.
function shown(number, digits = 4) {
  if (!Number.isFinite(number)) return String(number);
  const size = Math.abs(number);
  if (number !== 0 && (size < 1e-4 || size >= 1e7)) return number.toExponential(digits - 1).replace("e+", "e");
  return String(Number(number.toPrecision(digits)));
}

// The colour of a value from -1 (blue) over 0 (white) to 1 (red); grey for NaN.
function diverging(value) {
  if (Number.isNaN(value)) return [128, 128, 128];
  const part = Math.max(-1, Math.min(1, value)), end = part < 0 ? [33, 82, 156] : [178, 60, 32];
  return end.map(channel => Math.round(255 + (channel - 255) * Math.abs(part)));
}

// The colour of a value from 0 (white) to 1 (dark blue); grey for NaN.
function sequential(value) {
  if (Number.isNaN(value)) return [128, 128, 128];
  const part = Math.max(0, Math.min(1, value));
  return [255, 255, 255].map((channel, i) => Math.round(channel + ([20, 52, 110][i] - channel) * part));
}

// A picture of rows x columns values on a canvas; `label` is what it says to those who cannot see it.
function heat(values, rows, columns, {label, size = 8, colour = null, low = null, high = null} = {}) {
  const finite = Array.from(values).filter(Number.isFinite);
  const least = low ?? finite.reduce((a, b) => Math.min(a, b), 0), most = high ?? finite.reduce((a, b) => Math.max(a, b), 0);
  const scale = Math.max(Math.abs(least), Math.abs(most)) || 1;
  const paint = colour ?? (least < 0 ? diverging : sequential);
  const canvas = make("canvas", {class: "heat", width: columns, height: rows, role: "img", "aria-label": label});
  canvas.style.width = `${columns * size}px`;
  canvas.style.height = `${rows * size}px`;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    const [red, green, blue] = paint(values[i] / scale);
    image.data.set([red, green, blue, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
