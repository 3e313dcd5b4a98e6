// What stands beside the graph: where the walk is, what happens at this step, the source.
let said = "";
function tell(text) {  // to those who do not see it
  said = text;
  element("live").textContent = text;
}

const phaseName = phase => phase === 0 ? "Forward pass" : walk().passes.length > 1 ? `Backward pass ${phase}` : "Backward pass";

function show() {
  follow();
  paintGraph();
  const now = walk(), {frame, frames, at} = now;
  const slider = element("slider"), last = frames.length - 1;
  slider.max = last;
  slider.value = at;
  const text = `${phaseName(frame.phase)}, ${placeText()}`;
  slider.setAttribute("aria-valuetext", text);
  element("place").textContent = text.replace(" pass", "");
  for (const [id, off] of [["first", at === 0], ["back", at === 0], ["backBox", at === 0], ["forth", at === last], ["forthBox", at === last], ["last", at === last]]) element(id).disabled = off;
  showPhases();
  showWay();
  const {title, words, parts} = frame.forward ? forwardStep() : backwardStep();
  element("now").replaceChildren(make("h2", {}, title), ...parts);
  showSource();
  tell(`${text}: ${words}`);
}

// Where the walk is within its pass: among the ops of the forward pass, or the steps of a backward pass.
function placeText() {
  const {frame, frames} = walk();
  const within = frames.filter(one => one.phase === frame.phase && Boolean(one.forward) === Boolean(frame.forward) && one.node !== undefined);
  return `${frame.forward ? "op" : "step"} ${within.indexOf(frame) + 1} of ${within.length}`;
}

function showPhases() {
  const now = walk();
  element("phases").replaceChildren(...now.begin.map((start, phase) => make("button", {
    type: "button", "aria-pressed": String(now.frame.phase === phase), disabled: start < 0, onclick: () => { go(start); element("phases").children[phase].focus(); },
  }, phaseName(phase).replace(" pass", ""))));
}

function showWay() {
  const way = element("way");
  way.hidden = walks.length < 2;
  way.replaceChildren(...walks.flatMap((one, i) => i === walks.length - 1
    ? [make("span", {"aria-current": "page"}, `inside ${one.name}`)]
    : [make("button", {type: "button", onclick: () => leave(i + 1)}, one.name), " › "]));
}

// ---- a step --------------------------------------------------------------------------------------

function heading(node) {
  const kinds = {leaf: "leaf", op: "op", fused: "fused op", checkpoint: "checkpoint", constant: "op without a gradient"};
  const keywords = Object.entries(node.keywords ?? {}).map(([name, value]) => `${name}=${value}`).join(", ");
  const parts = [`${kinds[node.kind]} #${node.id}`, node.module && `in ${node.module}`, keywords && `with ${keywords}`].filter(Boolean);
  if (node.by) parts.push(`made by step ${node.by[1] + 1} of backward pass ${node.by[0] + 1}`);
  return make("p", {class: "soft"}, parts.join(" · "));
}

const titled = (title, ...content) => make("div", {class: "part"}, make("h3", {}, title), ...content);

const opener = node => !["fused", "checkpoint"].includes(node.kind) ? null
  : walk().trace.inside[node.id] === undefined ? make("p", {class: "soft"}, `Its inside is not in this page; see t.open(${node.id}).`)
  : make("button", {type: "button", onclick: () => enterInside(node.id)}, `Open the definition of ${node.name}`);

function forwardStep() {
  const now = walk(), {node: id} = now.frame;
  if (id === undefined) {
    if (!now.nodes.size) return {title: "Nothing to show", words: "nothing ran inside the block", parts: [make("p", {class: "note"},
      "No op and no backward pass ran inside the block, in the thread that opened it. Put the forward pass and loss.backward() into it.")]};
    const parts = [make("p", {}, "Go forward with → : first every op computes its value, then each backward pass takes the gradient from the end to the leaves, rule by rule.")];
    if (now.trace.note) parts.unshift(make("p", {}, now.trace.note));
    if (!now.trace.lines && now.passes.length) parts.push(make("p", {class: "note"}, "Only the backward pass ran inside the block: lines, modules and some values are not known. Write `with mt.backward_trace() as t:` around the forward pass too."));
    if (!now.passes.length) parts.push(make("p", {class: "note"}, now.trace.note ? "No backward pass came to it: there are values, and no gradients." : "No backward pass ran inside the block: there are values, and no gradients. Call loss.backward() in it too."));
    parts.push(key());
    return {title: "Before the forward pass", words: "before the forward pass", parts};
  }
  const node = now.nodes.get(id), inputs = node.inputs ?? [];
  const rows = inputs.map(([name, from, given]) => {
    const value = typeof given === "number" ? given : from !== null ? now.nodes.get(from)?.value : undefined;
    return make("div", {class: "card"}, make("p", {}, make("b", {}, name), from === null ? "" : ` from ${now.label(from)}`),
      value === undefined ? make("p", {class: "number"}, from === null ? asPython(given) : "not known") : told(value));
  });
  return {
    title: `${titleOf(node)} computes its value`, words: `${now.label(id)} computes ${node.value === undefined ? "a value that is not known" : brief(values[node.value])}`,
    parts: [heading(node), titled("Value", told(node.value)), rows.length ? titled("Inputs", make("div", {class: "cards"}, rows)) : null, opener(node)].filter(Boolean),
  };
}

function key() {
  const rows = [["blue", "the value of a node", "value"], ["orange", "the gradient that has come to it: complete, or with … so far", "gradient"]];
  return make("div", {}, make("ul", {class: "key"}, rows.map(([colour, text, kind]) => make("li", {}, make("b", {class: kind}, colour), `: ${text}`)),
    make("li", {}, "In pictures and tables red is above zero, blue below."), make("li", {}, "A box with a second edge opens: modules into what they called, fused ops into their definitions."),
    make("li", {}, make("kbd", {}, "←"), " ", make("kbd", {}, "→"), " a step; with ", make("kbd", {}, "Shift"), " to the next box; ", make("kbd", {}, "Home"), " ", make("kbd", {}, "End"), "; ",
      make("kbd", {}, "Enter"), " opens, ", make("kbd", {}, "Esc"), " closes.")));
}

function backwardStep() {
  const now = walk(), {pass, step} = now;
  if (!step) {
    const seeds = pass.seeds.map(([id, value]) => make("div", {class: "card"}, make("p", {}, "into ", make("b", {}, now.label(id))), told(value, "gradient")));
    const what = `${pass.grad ? "mt.grad" : "backward()"}${pass.recorded ? ", recorded: its own ops become nodes, which a later pass may go through" : ""}`;
    return {title: `${phaseName(now.frame.phase)} begins`, words: `begins at ${pass.seeds.map(([id]) => now.label(id)).join(", ")}`,
      parts: [make("p", {class: "soft"}, what), titled("The gradient it starts from", make("div", {class: "cards"}, seeds))]};
  }
  const node = now.nodes.get(step.node), arrivals = step.arrivals;
  const name = titleOf(node), parts = [heading(node)], failed = !pass.finished && step === pass.steps.at(-1);
  parts.push(make("div", {class: "pair"}, titled("Value", told(step.was ?? node.value)), titled("Gradient that came", told(step.gradient, "gradient"))));
  if (step.before !== undefined) parts.push(titled("Before hooks", told(step.before, "gradient")));
  else if (step.hooked && !failed) parts.push(make("p", {class: "soft"}, "A hook saw this gradient and left it as it was."));
  if (failed) parts.push(make("p", {class: "note"}, "An error ended the pass at this step."));
  if (arrivals.length) parts.push(titled(arrivals.length > 1 ? `${arrivals.length} contributions, one for each input that needs a gradient` : "Its contribution", make("div", {class: "cards"}, arrivals.map(arrivalCard))));
  if (step.deposited !== undefined) {
    parts.push(titled("Deposited in .grad", step.deposited === step.gradient ? make("p", {}, "this gradient") : told(step.deposited, "gradient")));
    if (step.grad !== step.deposited) parts.push(titled(".grad is now", told(step.grad, "gradient")));
    if (step.rounded) parts.push(make("p", {class: "soft"}, `It is kept in float32; tensor.grad gives it rounded to ${step.rounded}.`));
  }
  if (step.freed?.length) parts.push(make("p", {class: "soft"}, `Freed, what the op had saved: ${step.freed.join(", ")}`));
  parts.push(opener(node));
  const words = [`${now.label(step.node)} has gradient ${brief(values[step.gradient])}`, ...arrivals.map(one => `${brief(values[one.value])} goes to ${now.label(one.to)} as input ${one.input}`)];
  if (step.deposited !== undefined) words.push("deposited in grad");
  const title = arrivals.length ? `${name} passes its gradient on` : step.deposited !== undefined ? `${name} keeps its gradient in .grad` : `${name} has its gradient`;
  return {title, words: words.join("; "), parts: parts.filter(Boolean)};
}

function arrivalCard(one) {
  const now = walk(), all = now.pass.arrived.get(one.to).length, rule = rules[one.rule];
  const card = make("div", {class: "card"}, make("p", {}, "to ", make("b", {}, now.label(one.to)), ` (input ${one.input})`));
  if (rule) {
    const [at, code] = one.says ?? [rule[1], rule[2]];
    card.append(make("pre", {class: "rule"}, make("code", {}, code, make("span", {class: "soft"}, `  ${rule[0]}:${at}${one.says ? ", marked below the source" : ""}`))));
  }
  else card.append(make("p", {class: "soft small"}, "its rule cannot be read"));
  card.append(told(one.value, "gradient"));
  const notes = [];
  if (one.axes) notes.push(`The rule gave ${shapeText(one.raw)}; the input had been repeated, so it is summed over ${one.axes.length > 1 ? "axes" : "axis"} ${one.axes.join(", ")}.`);
  if (one.scattered) notes.push("The rule gave values and the places to add them at.");
  notes.push(all === 1 ? "The only one to arrive there." : `${ordinal(one.nth)} of ${all} to arrive there${one.nth > 1 ? "; the sum is now" : "."}`);
  card.append(make("p", {class: "soft small"}, notes.join(" ")));
  if (one.nth > 1) card.append(told(one.total, "gradient"));
  return card;
}

// ---- the source ----------------------------------------------------------------------------------

function showSource() {
  const now = walk(), {frame, step} = now, node = frame.node === undefined ? null : now.nodes.get(frame.node), parts = [];
  const found = [...new Set((step?.arrivals ?? []).map(one => one.rule))].filter(one => rules[one]?.[2].includes("\n"));
  const said = new Map(found.map(index => [index, new Set(step.arrivals.filter(one => one.rule === index).map(one => one.says[0]))]));
  for (const index of found) {
    const [file, number, text] = rules[index];
    parts.push(make("h2", {}, found.length > 1 ? "A rule of this step" : "The rule of this step", make("span", {class: "soft"}, ` ${file}:${number}`)), listing([[number, text.split("\n")]], null, `rule, ${file}`, said.get(index)));
  }
  const line = node?.line ?? now.lastLine ?? [...now.nodes.values()].find(one => one.line)?.line;
  now.lastLine = line;
  if (line) {
    const file = files[line[0]];
    const code = listing(file.parts, node?.line ? line[1] : null, `source, ${file.name}`);
    parts.unshift(make("h2", {}, file.name, node?.line ? make("span", {class: "soft"}, ` line ${line[1]}`) : ""), code);
    if (node && !node.line && node.kind !== "leaf") parts.unshift(make("p", {class: "soft"}, node.by ? "No line of yours: a backward pass made it." : "Its line is not known."));
  } else parts.unshift(make("h2", {}, "Source"), make("p", {class: "soft"}, !now.nodes.size ? "Nothing ran." : now.trace.note ? "Its lines are not known." : "Lines are not known: the forward pass ran before the block."));
  element("code").replaceChildren(...parts);
  const marked = element("code").querySelector(".marked"), box = marked?.closest(".listing");
  const near = line && element("code").querySelector(`.listing [data-number="${line[1]}"]`);
  if (!marked && near) near.closest(".listing").scrollTop = near.offsetTop - near.closest(".listing").clientHeight / 2;
  if (marked) box.scrollTop = marked.offsetTop - box.clientHeight / 2;
  for (const says of [...element("code").querySelectorAll(".says")].reverse()) {
    const around = says.closest(".listing");
    around.scrollTop = says.offsetTop - around.clientHeight / 2;
  }
}

function listing(parts, marked, label, says = new Set()) {
  const rows = parts.flatMap(([first, lines], i) => [...i ? [make("div", {class: "cut"}, "⋮")] : [], ...lines.map((text, j) => make("div", {
    "data-number": first + j, class: first + j === marked ? "marked" : says.has(first + j) ? "says" : null, "aria-current": first + j === marked ? "true" : null,
  }, make("span", {class: "at"}, String(first + j)), text || " "))]);
  return make("pre", {class: "listing", tabindex: 0, role: "group", "aria-label": label}, make("code", {}, rows));
}

// ---- the controls --------------------------------------------------------------------------------

const controls = {
  first: () => go(0), back: () => go(walk().at - 1), backBox: () => skip(-1), forthBox: () => skip(1), forth: () => go(walk().at + 1), last: () => go(Infinity),
  larger: () => { walk().zoom = Math.min(2, size() * 1.2); size(); }, smaller: () => { walk().zoom = Math.max(0.2, size() / 1.2); size(); },
  fit: () => { walk().zoom = Math.min(1, (element("picture").clientWidth - 4) / (drawn.made.width + 24)); size(); },
  follow: () => { follows = !follows; element("follow").setAttribute("aria-pressed", String(follows)); show(); },
  digits: () => { allDigits = !allDigits; element("digits").setAttribute("aria-pressed", String(allDigits)); show(); },
};
for (const [id, act] of Object.entries(controls)) element(id).addEventListener("click", act);
element("slider").addEventListener("input", event => go(Number(event.target.value)));
window.addEventListener("resize", () => size());
show();
