// Numbers. A vector is a Float32Array, a sequence an array of vectors; sums are taken in double precision.

// The weights, which Python packed into one text: {name: {rows, columns, values}}, of a vector one column.
function unpackWeights({entries, bytes}) {
  const raw = Uint8Array.from(atob(bytes), letter => letter.charCodeAt(0)), view = new DataView(raw.buffer), weights = {};
  for (const {name, shape, kind, at} of entries) {
    const rows = shape[0], columns = shape[1] ?? 1, values = new Float32Array(rows * columns);
    for (let i = 0; i < values.length; i++) {
      if (kind === "float32") values[i] = view.getFloat32(at + 4 * i, true);
      else if (kind === "float16") values[i] = half(view.getUint16(at + 2 * i, true));
      else values[i] = view.getFloat32(at + 4 * Math.floor(i / columns), true) * view.getInt8(at + 4 * rows + i);
    }
    weights[name] = {rows, columns, values};
  }
  return weights;
}

// The number that 16 bits stand for (IEEE 754 binary16).
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// W x + b, of the rows from `first` on, `count` of them.
function linear(weight, bias, x, first = 0, count = weight.rows) {
  const {columns, values} = weight, y = new Float32Array(count);
  for (let row = 0; row < count; row++) {
    let sum = bias ? bias.values[first + row] : 0, at = (first + row) * columns;
    for (let i = 0; i < columns; i++) sum += values[at++] * x[i];
    y[row] = sum;
  }
  return y;
}

const added = (x, y) => x.map((value, i) => value + y[i]);
const joined = (...parts) => Float32Array.from(parts.flatMap(part => Array.from(part)));
const sigmoid = value => 1 / (1 + Math.exp(-value));

// One row of a table of embeddings, times sqrt(D).
function embedded(table, id) {
  const size = table.columns, scale = Math.sqrt(size);
  return table.values.slice(id * size, (id + 1) * size).map(value => value * scale);
}

// (x - mean) / sqrt(variance + eps) * weight + bias
function layerNorm(weight, bias, x, eps) {
  let mean = 0, variance = 0;
  for (const value of x) mean += value / x.length;
  for (const value of x) variance += (value - mean) ** 2 / x.length;
  const scale = 1 / Math.sqrt(variance + eps);
  return x.map((value, i) => (value - mean) * scale * weight.values[i] + bias.values[i]);
}

function softmax(scores) {
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity), shares = Array.from(scores, score => Math.exp(score - most));
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map(share => share / sum);
}

function logSoftmax(scores) {
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = scores.reduce((total, score) => total + Math.exp(score - most), 0);
  return scores.map(score => score - most - Math.log(sum));
}

// The mean of the vectors by their shares.
function mixed(vectors, shares, first = 0, count = vectors[0].length) {
  const y = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let sum = 0;
    for (let k = 0; k < vectors.length; k++) sum += shares[k] * vectors[k][first + i];
    y[i] = sum;
  }
  return y;
}
