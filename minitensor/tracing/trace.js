// The page of a backward trace: a graph beside the code, walked through step by step.
const {values, rules, files} = DATA;
const element = id => document.getElementById(id);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const ordinal = n => `${n}${n % 100 > 10 && n % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th"}`;
let allDigits = false, follows = false;

// ---- values ----------------------------------------------------------------------------------------

const asPython = one => one === null ? "None" : one === true ? "True" : one === false ? "False" : String(one);
const digits = number => typeof number !== "number" || allDigits ? asPython(number) : shown(number, 5);
const number = one => typeof one === "number" ? shown(one, 5) : asPython(one);  // in a box
const short = one => [3, 2, 1].map(places => shown(one, places)).find(text => text.length < 8) ?? shown(one, 1);
const asNumber = one => typeof one === "number" ? one : one === true ? 1 : one === false ? 0 : one === "NaN" ? NaN : one === "Infinity" ? Infinity : -Infinity;
const isScalar = value => value?.all?.length === 1;
const typeOf = value => `${value.shape.length ? shapeText(value.shape) : "scalar"} ${value.dtype}`;
const brief = value => isScalar(value) ? digits(value.all[0]) : `${shapeText(value.shape)}, norm ${shown(normOf(value), 4)}`;
const normOf = value => !value.all ? asNumber(value.norm)
  : value.all.some(one => one === "NaN") ? NaN : Math.hypot(...value.all.map(asNumber));  // hypot(NaN, Infinity) is Infinity

function pixels(value) {
  if (!value.all) return {...unpack(value.picture), low: value.picture.low, high: value.picture.high};
  const columns = value.shape.at(-1) ?? 1;
  return {values: value.all.map(asNumber), shape: [columns ? value.all.length / columns : 0, columns]};
}

const pictures = new Map();
function picture(index) {  // as a data: address, for the small pictures in boxes
  if (!pictures.has(index)) {
    const {values: all, shape: [rows, columns]} = pixels(values[index]);
    pictures.set(index, rows * columns ? heat(all, rows, columns, {label: "", colour: diverging}).toDataURL() : null);
  }
  return pictures.get(index);
}

// A value in full if it is small, else its shape, norm and picture.
function told(index, kind = "value") {
  if (index === undefined || index === null) return make("p", {class: "soft"}, "not known");
  const value = values[index];
  if (isScalar(value)) return make("p", {class: `number ${kind}`, title: `${value.all[0]}, ${typeOf(value)}`}, digits(value.all[0]));
  const label = `${typeOf(value)}, norm ${shown(normOf(value), 5)}`;
  if (value.all) {
    if (!value.all.length) return make("p", {class: "soft"}, `${typeOf(value)}, empty`);
    const columns = value.shape.at(-1), most = Math.max(...value.all.map(one => Math.abs(asNumber(one))).filter(Number.isFinite), 0) || 1;
    const rows = Array.from({length: value.all.length / columns}, (_, i) => value.all.slice(i * columns, (i + 1) * columns));
    const cell = one => make("td", {style: `--part: ${Math.round(55 * Math.min(Math.abs(asNumber(one)) / most || 0, 1))}%`, class: asNumber(one) < 0 ? "low" : "high"}, digits(one));
    return make("div", {}, make("div", {class: "scroll", tabindex: 0, role: "group", "aria-label": `${kind}: ${label}`},
      make("table", {class: `numbers ${kind}`}, make("tbody", {}, rows.map(row => make("tr", {}, row.map(cell)))))), make("p", {class: "soft small"}, label));
  }
  const {values: all, shape: [rows, columns], low, high} = pixels(value);
  return make("div", {class: "pictured"}, heat(all, rows, columns, {label: `picture of ${label}`, size: 9, colour: diverging}),
    make("p", {class: "soft small"}, label, make("br"), `picture: means of blocks, ${shown(low, 3)} to ${shown(high, 3)}`));
}

// ---- a trace, ready to be walked -----------------------------------------------------------------

class Walk {
  constructor(trace, name) {
    Object.assign(this, {trace, name, at: 0, zoom: null});
    this.nodes = new Map(trace.nodes.map(node => [node.id, node]));
    for (const node of this.nodes.values()) node.shape ??= node.value === undefined ? [] : values[node.value].shape;
    this.views = trace.views.map(({box, open}) => ({root: box, opened: new Set(open), homes: settle(box)}));
    const ops = view => [...this.nodes.values()].filter(node => node.kind !== "leaf" && !node.by && this.views[view].homes.has(node.id));
    this.frames = [{phase: 0, view: 0, forward: true}, ...ops(0).map(node => ({phase: 0, view: 0, forward: true, node: node.id}))];
    let known = new Set(this.views[0].homes.keys());
    this.passes = trace.passes.map((pass, i) => {
      const view = trace.shown[i], steps = pass.steps ?? [], arrived = new Map(), reached = new Map();
      const enter = (id, step, value) => arrived.set(id, [...arrived.get(id) ?? [], {step, value}]);
      for (const node of ops(view)) if (!known.has(node.id)) this.frames.push({phase: i + 1, view, forward: true, node: node.id});
      known = new Set([...known, ...this.views[view].homes.keys()]);
      this.frames.push({phase: i + 1, view, step: -1});
      pass.seeds.forEach(([id, value]) => enter(id, -1, value));
      steps.forEach((step, at) => {
        step.arrivals ??= [];
        this.frames.push({phase: i + 1, view, step: at, node: step.node});
        reached.set(step.node, {step: at, value: step.gradient});
        for (const arrival of step.arrivals) enter(arrival.to, at, arrival.total ?? arrival.value);
      });
      return {...pass, steps, arrived, reached};
    });
    this.made = new Map(this.frames.flatMap((frame, i) => frame.forward && frame.node !== undefined ? [[frame.node, i]] : []));
    const places = [...this.nodes.values()].flatMap(node => (node.inputs ?? []).map(([, from, given]) => [from, given]))
      .concat(trace.passes.flatMap(pass => (pass.steps ?? []).map(step => [step.node, step.was]))).filter(([, place]) => typeof place === "number");
    this.written = new Set(places.filter(([id, place]) => this.nodes.get(id)?.kind === "leaf" && place !== this.nodes.get(id).value).map(([id]) => id));
    this.first = new Map([...this.nodes.values()].reverse().flatMap(node => (node.inputs ?? []).map(([, from, given]) => [from, given]))
      .filter(([from, given]) => from !== null && typeof given === "number"));
    this.begin = Array.from({length: this.passes.length + 1}, (_, phase) => this.frames.findIndex(frame => frame.phase === phase));
  }
  get frame() { return this.frames[this.at]; }
  get view() { return this.views[this.frame.view]; }
  get pass() { return this.passes[this.frame.phase - 1]; }
  get step() { return this.frame.step >= 0 ? this.pass.steps[this.frame.step] : null; }

  hasValue(id) {
    const node = this.nodes.get(id);
    if (!node || node.kind === "leaf" || !this.frame.forward) return true;
    return node.by ? node.by[0] < this.frame.phase : this.made.get(id) <= this.at;
  }

  // The value of a node, by its place; that of a leaf which an optimiser writes to, as it was then.
  value(id) {
    const node = this.nodes.get(id), {forward} = this.frame;
    if (!this.written.has(id)) return node.value;
    if (!forward) return this.pass.steps.find(one => one.node === id)?.was ?? node.value;
    const taken = this.frames.slice(0, this.at + 1).reverse().flatMap(frame => frame.forward && frame.node !== undefined ? this.nodes.get(frame.node).inputs ?? [] : []);
    const found = taken.find(([, from, given]) => from === id && typeof given === "number");
    return found ? found[2] : this.first.get(id) ?? node.value;
  }

  // The gradient of a node so far: {value, whole}, or null.
  gradient(id) {
    const {step} = this.frame;
    if (step === undefined) return null;
    const reached = this.pass.reached.get(id);
    if (reached && reached.step <= step) return {value: reached.value, whole: true};
    const before = (this.pass.arrived.get(id) ?? []).filter(one => one.step <= step);
    return before.length ? {value: before.at(-1).value, whole: false} : null;
  }

  // The box or node that is seen for a node: the outermost closed box around it.
  seen(id) {
    const around = this.view.homes.get(id);
    return around?.find(box => box.key !== "" && !this.view.opened.has(box.key)) ?? id;
  }

  label(id) {
    const node = this.nodes.get(id);
    return node ? node.name ? `${node.name}${node.kind === "leaf" ? "" : ` #${id}`}` : `${node.kind} #${id}` : `#${id}`;
  }
}

const walks = [new Walk(DATA.traces[0], "the whole step")];
const walk = () => walks.at(-1);

// ---- the graph -----------------------------------------------------------------------------------

let drawn = null;  // {made, boxes: [[element, entry]], wires: [[element, wire]]}

function drawGraph() {
  const {view, nodes} = walk(), made = scene(view.root, view.opened, nodes), margin = 12;
  const svg = make("svg:svg", {viewBox: `${-margin} ${-margin} ${made.width + 2 * margin} ${made.height + 2 * margin}`, role: "group", "aria-label": "Graph: boxes to go to or to open"});
  const frames = make("svg:g", {}), wires = make("svg:g", {"aria-hidden": "true"}), boxes = make("svg:g", {});
  drawn = {view, made, svg, boxes: [], wires: []};
  for (const wire of made.wires) {
    const path = make("svg:path", {d: curve(wire.points)});
    drawn.wires.push([path, wire]);
    wires.append(path);
  }
  for (const entry of made.drawn) {
    const group = drawBox(entry);
    drawn.boxes.push([group, entry]);
    (entry.open ? frames : boxes).append(group);
  }
  svg.append(frames, wires, boxes);
  const focused = document.activeElement?.dataset?.key;
  element("picture").replaceChildren(svg);
  if (focused) focusOn(focused);
  size();
}

function drawBox(entry) {
  const {what, around, x, y, width, height, open} = entry, node = isBox(what) ? null : walk().nodes.get(what);
  const inside = isBox(what) || walk().trace.inside[what] !== undefined, name = isBox(what) ? what.name : titleOf(node, around);
  const act = () => press(what);
  const group = make("svg:g", {
    class: `item ${isBox(what) ? open ? "open" : "box" : node.kind}`, role: "button", tabindex: 0, "data-key": isBox(what) ? `box ${what.key}` : `node ${what}`,
    "aria-expanded": isBox(what) ? String(open) : null, onclick: act,
    onkeydown: event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } },
  });
  if (inside && !open) group.append(make("svg:rect", {class: "second", x: x + 4, y: y + 4, width, height, rx: 7}));
  group.append(make("svg:rect", {class: "body", x, y, width, height, rx: 7}));
  if (open) group.append(make("svg:text", {class: "name", x: x + 12, y: y + 18}, `▾ ${name}`));
  else group.append(
    make("svg:text", {class: "name", x: x + width / 2, y: y + 18, "text-anchor": "middle"}, isBox(what) ? `▸ ${name}` : inside ? `${name} ▸` : name),
    make("svg:g", {class: "value"}), make("svg:g", {class: "gradient"}));
  return group;
}

function line(group, entry, index, row, text) {  // a line in a box: text, and a small picture of an array
  const value = values[index], {x, y, width} = entry, base = y + 18 + 16 * row;
  const address = value && !isScalar(value) ? picture(index) : null, middle = x + (width + (address ? 28 : 0)) / 2;
  group.replaceChildren(make("svg:text", {x: middle, y: base, "text-anchor": "middle"}, text), ...address
    ? [make("svg:image", {href: address, x: x + 6, y: base - 10, width: 22, height: 12, preserveAspectRatio: "none"})] : []);
}

function paintGraph() {
  const now = walk(), {frame, step, nodes, view} = now;
  if (drawn?.view !== view) drawGraph();
  const current = frame.node === undefined ? null : now.seen(frame.node);
  const to = new Set((step?.arrivals ?? []).map(arrival => now.seen(arrival.to)));
  for (const [group, entry] of drawn.boxes) {
    const {what, open} = entry, id = isBox(what) ? what.end : what, node = nodes.get(id);
    const inside = isBox(what) && frame.node !== undefined && view.homes.get(frame.node)?.includes(what);
    group.classList.toggle("now", what === current);
    group.classList.toggle("around", Boolean(open && inside));
    group.classList.toggle("to", to.has(what) && what !== current);
    const said = [isBox(what) ? `${what.name}, box of ${plural(count(what), "node")}` : now.label(id)];
    if (!open && node) {
      const has = now.hasValue(id), place = has ? now.value(id) : undefined, value = values[place] ?? null, gradient = now.gradient(id);
      line(group.querySelector(".value"), entry, place, 1, value ? isScalar(value) ? number(value.all[0]) : shapeText(node.shape) : shapeText(node.shape) || (has ? "?" : "·"));
      group.classList.toggle("waiting", !has);
      const slot = group.querySelector(".gradient");
      if (gradient) {
        const of = values[gradient.value], text = isScalar(of) ? `grad ${number(of.all[0])}` : `norm ${short(normOf(of))}`;
        line(slot, entry, gradient.value, 2, `${text}${gradient.whole ? "" : " …"}`);
      } else slot.replaceChildren();
      slot.classList.toggle("part", Boolean(gradient && !gradient.whole));
      if (value) said.push(`value ${brief(value)}`);
      if (gradient) said.push(`gradient ${gradient.whole ? "" : "so far "}${brief(values[gradient.value])}`);
    }
    if (!isBox(what) && now.trace.inside[what] !== undefined) said.push("opens into its definition");
    group.setAttribute("aria-label", said.join("; "));
    if (what === current) group.setAttribute("aria-current", "step"); else group.removeAttribute("aria-current");
  }
  const pairs = step ? step.arrivals.map(arrival => [arrival.to, step.node]) : frame.node !== undefined
    ? (nodes.get(frame.node).inputs ?? []).filter(([, id]) => id !== null).map(([, id]) => [id, frame.node]) : [];
  for (const [path, wire] of drawn.wires) {
    const lit = pairs.some(([from, into]) => wire.values.includes(from) && leads(view, wire, into));
    path.setAttribute("class", lit ? frame.forward ? "lit down" : "lit up" : "");
  }
  keepInSight(current);
}

const count = box => (box.children ?? []).reduce((sum, child) => sum + (isBox(child) ? count(child) : 1), 0);

// Whether a wire is on the way to a node: to it, to a box around it, or out of a box that it is not in.
function leads(view, {box, to}, node) {
  const around = view.homes.get(node);
  if (!around) return false;
  return to === null ? !around.includes(box) : isBox(to) ? around.includes(to) : to === node;
}

function keepInSight(current) {
  const found = drawn.boxes.find(([, entry]) => entry.what === current)?.[0], frame = element("picture");
  if (!found) return;
  const box = found.getBoundingClientRect(), room = frame.getBoundingClientRect(), margin = 24;
  const move = (low, high, from, to) => high - low > to - from - 2 * margin || low < from + margin ? low - from - margin : high > to - margin ? high - to + margin : 0;
  frame.scrollBy({left: move(box.left, box.right, room.left, room.right), top: move(box.top, box.bottom, room.top, room.bottom) * 1.0});
}

function size() {
  const frame = element("picture"), fit = Math.min(1, (frame.clientWidth - 4) / (drawn.made.width + 24));
  const zoom = walk().zoom ?? Math.max(fit, 0.7);
  drawn.svg.style.width = `${(drawn.made.width + 24) * zoom}px`;
  drawn.svg.style.height = `${(drawn.made.height + 24) * zoom}px`;
  element("zoom").textContent = `${Math.round(100 * zoom)} %`;
  return zoom;
}

// ---- what one can do -----------------------------------------------------------------------------

function press(what) {
  if (isBox(what)) return toggle(what);
  const now = walk(), {phase} = now.frame;
  const at = now.frames.findIndex(frame => frame.node === what && frame.phase === phase);
  const forward = now.frames.findIndex(frame => frame.node === what);
  go(at >= 0 ? at : forward >= 0 ? forward : now.at);
  if (now.trace.inside[what] !== undefined) enterInside(what);
}

function toggle(box, open = !walk().view.opened.has(box.key)) {
  const {opened} = walk().view;
  if (open) opened.add(box.key);
  else for (const key of [...opened]) if (key === box.key || key.startsWith(`${box.key}.`)) opened.delete(key);
  redraw();
  focusOn(`box ${box.key}`);
  tell(`${box.name} ${open ? `opened: ${plural((box.children ?? []).length, "box")}` : "closed"}`.replace("boxs", "boxes"));
}

function enterInside(id) {
  const {forward} = walk().frame, inner = new Walk(DATA.traces[walk().trace.inside[id]], walk().label(id));
  if (!forward && inner.passes.length) inner.at = inner.begin[1];
  walks.push(inner);
  redraw();
  element("picture").focus({preventScroll: true});
}

function leave(depth = walks.length - 1) {
  if (depth < 1) return false;
  const id = walks[depth - 1].frame.node;
  walks.length = depth;
  redraw();
  focusOn(`node ${id}`);
  return true;
}

function up() {  // Escape: close the box around what has the focus, or go back out of a definition
  const {view} = walk(), key = document.activeElement?.dataset?.key ?? "";
  const [kind, of] = key.split(" ");
  const around = kind === "node" ? view.homes.get(Number(of)) ?? [] : kind === "box" ? boxesTo(view.root, of) : [];
  const box = around.filter(one => one.key !== "" && view.opened.has(one.key)).at(-1);
  if (box) toggle(box, false);
  else leave();
}

const boxesTo = (root, key) => key.split(".").reduce((found, i) => [...found, found.at(-1).children[i]], [root]);

function focusOn(key) {
  drawn.boxes.find(([group]) => group.dataset.key === key)?.[0].focus({preventScroll: true});
}

function go(at) {
  const now = walk();
  now.at = Math.max(0, Math.min(now.frames.length - 1, at));
  show();
}

// Open the boxes around the node of this step, and close those that were opened so for an earlier one.
function follow() {
  const {view, frame} = walk(), around = new Set((view.homes.get(frame.node) ?? []).map(box => box.key));
  if (!follows || frame.node === undefined) return;
  view.followed ??= new Set();
  for (const key of view.followed) if (!around.has(key)) { view.opened.delete(key); view.followed.delete(key); drawn = null; }
  for (const key of around) if (!view.opened.has(key)) { view.opened.add(key); view.followed.add(key); drawn = null; }
}

function skip(by) {  // to the next or last frame at which another box is seen
  const now = walk(), start = now.at, what = () => now.frame.node === undefined ? null : now.seen(now.frame.node);
  const from = what(), {phase} = now.frame;
  do now.at += by; while (now.at > 0 && now.at < now.frames.length - 1 && what() === from && now.frame.phase === phase);
  now.at = Math.max(0, Math.min(now.frames.length - 1, now.at));
  if (now.at !== start) show();
}

function redraw() {
  drawn = null;
  show();
}

document.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
  const now = walk(), moves = {
    ArrowRight: () => event.shiftKey ? skip(1) : go(now.at + 1), ArrowLeft: () => event.shiftKey ? skip(-1) : go(now.at - 1),
    Home: () => go(0), End: () => go(now.frames.length - 1), Escape: up,
  };
  if (!moves[event.key]) return;
  event.preventDefault();
  moves[event.key]();
});
