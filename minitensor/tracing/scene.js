// Where boxes and edges stand: the steps of scene.py and layout.py, since boxes open and close here.
const GAP = [18, 30], SWEEPS = 8, HEAD = 26, PAD = 14, PORT = 8, HEIGHT = 56, LETTERS = [7.4, 6.7], LEAST = 122;
const isBox = what => typeof what === "object";
const shapeText = shape => (shape ?? []).join("×");
const titleOf = (node, {path = ""} = {}) => (path && node.name.startsWith(`${path}.`) ? node.name.slice(path.length + 1) : node.name) || `${node.kind} #${node.id}`;

// Place a rank: wanted has for each point where it would stand, and how much that weighs.
function pack(rank, width, x, wanted) {
  let offset = 0, before = null;
  const pools = [], offsets = [];
  for (const one of rank) {
    if (before !== null) offset += (width[before] + width[one]) / 2 + GAP[0];
    before = one;
    offsets.push(offset);
    const [place, weight] = wanted(one);
    pools.push([weight, weight * (place - offset), 1]);
    while (pools.length > 1 && pools.at(-2)[1] * pools.at(-1)[0] >= pools.at(-1)[1] * pools.at(-2)[0]) {
      const last = pools.pop();
      pools.push(pools.pop().map((value, i) => value + last[i]));
    }
  }
  const places = pools.flatMap(([weight, total, number]) => Array(number).fill(total / weight));
  rank.forEach((one, i) => { x[one] = places[i] + offsets[i]; });
}

// The middles of all points, and how large the whole is: "positions" of layout.py.
function positions(ranks, links, n, sizes, light, shifts) {
  const count = Math.max(-1, ...ranks.flat()) + 1;
  const width = Array.from({length: count}, (_, one) => one < n ? sizes[one][0] : 2);
  const up = width.map(() => []), down = width.map(() => []), x = width.map(() => 0), y = width.map(() => 0), half = width.map(() => 0);
  for (const [a, b] of links) {
    const weight = light.has(a) ? 0.05 : [1, 2, 8][(a >= n) + (b >= n)];
    const [start, end] = shifts.get(`${a} ${b}`) ?? [0, 0];
    down[a].push([b, weight, end - start]);
    up[b].push([a, weight, start - end]);
  }
  for (const rank of ranks) pack(rank, width, x, () => [0, 1]);
  for (let sweep = 0; sweep <= 2 * SWEEPS; sweep++) {
    const near = sweep % 2 ? down : up;
    for (const rank of sweep % 2 ? [...ranks].reverse() : ranks) {
      const wanted = new Map(rank.map(one => {
        if (!near[one].length) return [one, [x[one], 0.01]];
        const weight = near[one].reduce((sum, link) => sum + link[1], 0);
        return [one, [near[one].reduce((sum, [other, w, shift]) => sum + (x[other] + shift) * w, 0) / weight, weight]];
      }));
      pack(rank, width, x, one => wanted.get(one));
    }
  }
  const points = ranks.flat(), edge = (side, start) => points.reduce((found, one) => side === "left"
    ? Math.min(found, x[one] - width[one] / 2) : Math.max(found, x[one] + width[one] / 2), start);
  const left = points.length ? edge("left", Infinity) : 0;
  for (const one of points) x[one] -= left;
  let bottom = 0;
  ranks.forEach((rank, i) => {
    const high = Math.max(0, ...rank.filter(one => one < n).map(one => sizes[one][1]));
    bottom += i ? GAP[1] : 0;
    for (const one of rank) [y[one], half[one]] = [bottom + high / 2, high / 2];
    bottom += high;
  });
  return {x, y, half, width: points.length ? edge("right", 0) : 0, height: bottom};
}

// The pieces of a box's edges between neighbouring ranks, each once.
function linksOf({ranks = [], edges = []}) {
  const rank = new Map(ranks.flatMap((ones, i) => ones.map(one => [one, i]))), found = new Map();
  for (const [a, b, , ...bends] of edges) {
    const chain = [a, ...bends, b];
    chain.slice(1).forEach((to, i) => { if (rank.get(to) === rank.get(chain[i]) + 1) found.set(`${chain[i]} ${to}`, [chain[i], to]); });
  }
  return [...found.values()];
}

// The inside of an open box: "_Plan" of scene.py. nodes: a Map by id.
class Plan {
  constructor(box, opened, nodes) {
    const {children = [], ins = [], outs = []} = box;
    Object.assign(this, {box, n: children.length, ins, outs, inner: new Map(), sizes: []});
    const head = box.key === "" ? 0 : ins.length ? HEAD - PAD : HEAD, pad = box.key === "" ? 0 : PAD;
    children.forEach((child, i) => {
      if (isBox(child) && opened.has(child.key)) {
        this.inner.set(i, new Plan(child, opened, nodes));
        this.sizes.push([this.inner.get(i).width, this.inner.get(i).height]);
      } else this.sizes.push(closedSize(child, box, nodes));
    });
    for (let i = 0; i < ins.length + outs.length; i++) this.sizes.push([PORT, 0]);
    const light = new Set(children.flatMap((child, i) => !isBox(child) && nodes.get(child).kind === "leaf" ? [i] : []));
    const made = positions(box.ranks ?? [], linksOf(box), this.sizes.length, this.sizes, light, this.shifts());
    const title = box.key === "" ? 0 : box.name.length * LETTERS[0] + 40, wide = Math.max(made.width, title - 2 * pad);
    this.x = made.x.map(one => one + (wide - made.width) / 2 + pad);
    this.y = made.y.map(one => one + head);
    this.half = made.half;
    this.width = wide + 2 * pad;
    this.height = made.height + head + (outs.length ? 0 : pad);
    ins.forEach((_, i) => { this.y[this.n + i] = 0; });
    outs.forEach((_, i) => { this.y[this.n + ins.length + i] = this.height; });
  }

  port(value, out) {
    return this.x[this.n + (out ? this.ins.length : 0) + (out ? this.outs : this.ins).indexOf(value)];
  }

  shifts() {
    const found = new Map();
    for (const [a, b, value, ...bends] of this.box.edges ?? []) {
      const chain = [a, ...bends, b], first = `${a} ${chain[1]}`, last = `${chain.at(-2)} ${b}`;
      if (this.inner.has(a)) found.set(first, [this.inner.get(a).port(value, true) - this.sizes[a][0] / 2, found.get(first)?.[1] ?? 0]);
      if (this.inner.has(b)) found.set(last, [found.get(last)?.[0] ?? 0, this.inner.get(b).port(value, false) - this.sizes[b][0] / 2]);
    }
    return found;
  }

  // Enter boxes and wires into "made", the left upper corner at (left, top).
  put(made, left, top) {
    const corners = this.sizes.map(([width, height], i) => [left + this.x[i] - width / 2, top + this.y[i] - height / 2]);
    const seen = new Map();
    for (const [a, b, value, ...bends] of this.box.edges ?? []) {
      const pair = `${a} ${b}`, open = this.inner.has(a) || this.inner.has(b);
      if (!open && seen.has(pair)) seen.get(pair).values.push(value);
      else {
        const wire = {values: [value], box: this.box, to: this.box.children[b] ?? null, points: this.wire(a, b, value, bends, left, top, corners)};
        seen.set(pair, wire);
        made.wires.push(wire);
      }
    }
    (this.box.children ?? []).forEach((what, i) => {
      const [x, y] = corners[i], [width, height] = this.sizes[i];
      made.drawn.push({what, around: this.box, x, y, width, height, open: this.inner.has(i)});
      this.inner.get(i)?.put(made, x, y);
    });
  }

  wire(a, b, value, bends, left, top, corners) {
    const points = [a, ...bends, b].flatMap(one => {
      const [x, y, half] = [left + this.x[one], top + this.y[one], this.half[one]];
      return one === a || one === b ? [[x, y]] : [[x, y - half], [x, y + half]];  // upright along a rank
    });
    const last = points.length - 1;
    if (a < this.n) points[0] = [this.inner.has(a) ? corners[a][0] + this.inner.get(a).port(value, true) : points[0][0], corners[a][1] + this.sizes[a][1]];
    if (b < this.n) points[last] = [this.inner.has(b) ? corners[b][0] + this.inner.get(b).port(value, false) : points[last][0] + this.fan(a, b), corners[b][1]];
    return points;
  }

  fan(a, b) {
    const come = new Map();
    for (const [from, to, , ...bends] of this.box.edges) if (to === b) come.set(from, this.x[bends.at(-1) ?? from]);
    const order = [...come.keys()].sort((one, other) => come.get(one) - come.get(other) || one - other);
    const step = Math.min(20, (this.sizes[b][0] - 24) / Math.max(order.length, 1));
    return (order.indexOf(a) - (order.length - 1) / 2) * step;
  }
}

function closedSize(what, around, nodes) {
  const node = nodes.get(isBox(what) ? what.end : what), name = isBox(what) ? what.name : titleOf(node, around);
  const extra = isBox(what) || ["fused", "checkpoint"].includes(node.kind) ? 34 : 20;
  return [Math.max(LEAST, name.length * LETTERS[0] + extra, shapeText(node?.shape).length * LETTERS[1] + 50), HEIGHT];
}

function scene(root, opened, nodes) {
  const plan = new Plan(root, opened, nodes), made = {width: plan.width, height: plan.height, drawn: [], wires: []};
  plan.put(made, 0, 0);
  return made;
}

// Give every box its key and parent, and every node the boxes around it: a Map by id.
function settle(root) {
  const homes = new Map();
  const visit = (box, around) => (box.children ?? []).forEach((child, i) => {
    if (!isBox(child)) return homes.set(child, around);
    child.key = `${box.key}.${i}`.replace(/^\./, "");
    child.parent = box;
    visit(child, [...around, child]);
  });
  root.key = "";
  visit(root, [root]);
  return homes;
}

function curve([[x, y], ...others]) {
  let path = `M${x.toFixed(1)} ${y.toFixed(1)}`;
  for (const [toX, toY] of others) {
    const middle = (y + toY) / 2;
    path += `C${[x, middle, toX, middle, toX, toY].map(one => one.toFixed(1)).join(" ")}`;
    [x, y] = [toX, toY];
  }
  return path;
}
