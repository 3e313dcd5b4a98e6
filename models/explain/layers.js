// Inside a layer: attention head by head, what each part adds, and the tree of a beam.

// One of some words: buttons for a few, a list for many.
function pick(name, words, now, then) {
  if (words.length <= 14) return choices(name, words, now, then);
  const list = make("select", {"aria-label": name, onchange: event => then(Number(event.target.value))},
    words.map((word, i) => make("option", {value: i, selected: i === now}, `${i}  ${word}`)));
  return make("div", {class: "row"}, make("span", {class: "soft"}, name), list);
}

function attentionCard(attention) {
  const rows = names(attention.rows), columns = names(attention.columns), grid = unpacked(attention.weights), heads = grid.shape[0];
  const t = Math.min(state.row, grid.shape[1] - 1), which = Math.min(state.head, heads), shownGrid = which ? layer(grid, which - 1) : meanOver(grid);
  const row = Array.from(shownGrid.values.subarray(t * grid.shape[2], (t + 1) * grid.shape[2])), title = attention.name[0].toUpperCase() + attention.name.slice(1);
  const thumbs = make("div", {class: "heads", role: "group", "aria-label": "heads"}, [0, ...Array.from({length: heads}, (_, i) => i + 1)].slice(heads > 1 ? 0 : 1).map(i => {
    const one = i ? layer(grid, i - 1) : meanOver(grid), size = Math.max(1, Math.min(8, Math.floor(76 / Math.max(...one.shape))));
    const canvas = painted(one, "", size);
    canvas.setAttribute("aria-hidden", "true");
    canvas.removeAttribute("role");
    canvas.removeAttribute("aria-label");
    return make("button", {type: "button", "aria-pressed": String(i === which || heads === 1), onclick: () => { state.head = i; draw(); }}, canvas, i ? `head ${i}` : "mean");
  }));
  const order = row.map((part, s) => [columns[s] ?? String(s), part, s]).filter(([, part]) => Number.isFinite(part));
  const top = [...order].sort((a, b) => b[1] - a[1]).slice(0, 8), hidden = row.length - order.length;
  const picture = isImage ? overlaid(row.slice(-DATA.grid * DATA.grid), `what ${rows[t]} looks at, over the image`)
    : labelled(shownGrid, rows, columns, `${title}, ${which ? `head ${which}` : "mean of the heads"}: a row for each token that looks, a column for each that is looked at`, {now: t});
  return make("section", {class: "card"}, make("h3", {}, title), say(ABOUT_ATTENTION(attention)),
    attention.vectors ? make("code", {class: "formula"}, `weights = softmax(Q Kᵀ${scaled(attention)}${attention.relative ? " + bias of the distance" : ""}${attention.masked ? ", masked" : ""}),   output = weights V`) : [],
    thumbs, pick("who looks", rows.slice(0, grid.shape[1]), t, i => { state.row = i; draw(); }),
    make("div", {class: "split"}, make("div", {}, picture, isImage ? veiled() : scale(["0", `${whole(largest(shownGrid.values))}${attention.masked ? ", grey: masked" : ""}`], amount)),
      make("div", {}, make("h3", {}, `${quoted(rows[t])} looks at`), bars(top.map(([word, part]) => [word, part]), {most: largest(order.map(entry => entry[1])), text: whole}),
        order.length > top.length ? say(`and at ${order.length - top.length} more with less.`) : [], hidden ? say(`${hidden} ${hidden === 1 ? "position is" : "positions are"} masked: their scores become −∞, their weights 0.`) : [])),
    attention.vectors ? vectors(attention, Math.max(0, which - 1), rows, columns, t) : [], attention.relative ? relative(attention, Math.max(0, which - 1), rows, columns) : []);
}

// " / √32" if that is what the scores are multiplied by.
function scaled({scale: by, vectors: parts}) {
  if (Math.abs(by - 1) < 1e-6) return "";
  return Math.abs(by * Math.sqrt(parts[0].width) - 1) < 1e-3 ? ` / √${parts[0].width}` : ` · ${shown(by)}`;
}

function ABOUT_ATTENTION(attention) {
  if (attention.columns !== attention.rows) return "Each word that is being written asks the source: where is what I need now? Rows are the words written so far, columns the source.";
  if (attention.causal) return "Each position looks back at itself and at what comes before. The mask hides what comes later: otherwise training would let the model copy the answer.";
  if (isImage) return "Each patch looks at all patches. " + (DATA.tokens[0] === "class" ? "The class token, which stands for the answer, collects what it needs." : "The answer is made of the mean of all.");
  return "Each position asks all positions and takes a mixture of their values. A row adds up to 100 %.";
}

function vectors(attention, head, rows, columns, t) {
  const content = make("div", {class: "beside"});
  const fill = () => content.childElementCount || content.append(...attention.vectors.map(part => {
    const all = unpacked(part.picture), one = layer(all, head), wide = one.shape[1] < part.width ? `, ${one.shape[1]} shown` : "";
    return make("div", {}, make("p", {class: "soft"}, `${part.name} of head ${head + 1}: ${part.width} features${wide}`),
      labelled(one, part.name === "queries" ? rows : columns, null, `${part.name} of head ${head + 1}`, {kind: signed, size: 12, now: part.name === "queries" ? t : null}));
  }));
  const box = make("details", {open: state.vectors, ontoggle: () => { state.vectors = box.open; if (box.open) fill(); }},
    make("summary", {}, "Queries, keys and values of a head"),
    say("Three linear maps of each position's vector: what it asks (query), what it offers (key), what it gives (value). A weight is large where a query and a key point the same way."), content);
  if (state.vectors) fill();
  return box;
}

function relative(attention, head, rows, columns) {
  const grid = unpacked(attention.relative), one = layer(grid, Math.min(head, grid.shape[0] - 1));
  return make("details", {}, make("summary", {}, "Bias of the distance"), say("T5 adds no positions to the vectors. Each head has a learned number for each distance, added to its scores."),
    labelled(one, rows, columns, `bias of head ${head + 1}`, {kind: signed}), scale([shown_(-largest(one.values)), shown_(largest(one.values))], signed));
}

// What a sub-layer adds, as norms of vectors.
function residual(part, stage) {
  const words = names(stage.side), most = largest([...part.before, ...part.added, ...part.after]), t = Math.min(state.row, part.before.length - 1);
  const how = part.norm_first ? "x + f(norm(x))" : "norm(x + f(x))";
  const entries = [["comes in, |x|", part.before[t]], ["is added, |f|", part.added[t]], ["goes on, |x + f|", part.after[t]], ...(part.normed ? [["after the norm", part.normed[t]]] : [])];
  const table = make("details", {}, make("summary", {}, "All positions"), make("div", {class: "scroll", tabindex: 0, role: "group", "aria-label": "norms of all positions"},
    make("table", {}, make("thead", {}, make("tr", {}, ["token", "|x|", "|f|", "|x + f|", ...(part.normed ? ["after the norm"] : [])].map(head => make("th", {scope: "col"}, head)))),
      make("tbody", {}, part.before.map((_, i) => make("tr", {}, make("th", {scope: "row"}, words[i] ?? i), [part.before, part.added, part.after, ...(part.normed ? [part.normed] : [])].map(list => make("td", {}, shown_(list[i])))))))));
  const hidden = part.hidden ? [say(`Inside, each position has ${part.hidden_width} features for itself; ${share(part.active)} of all these numbers are above zero.`),
    labelled(unpacked(part.hidden), words, null, "features inside the feed-forward network", {kind: signed, now: t})] : [];
  return make("section", {class: "card"}, make("h3", {}, `${part.name[0].toUpperCase()}${part.name.slice(1)}: residual and norm`), make("code", {class: "formula"}, how),
    say(`At ${quoted(words[t] ?? t)} the vector that runs through has length ${shown_(part.before[t])}; this part adds one of length ${shown_(part.added[t])}.`),
    bars(entries.map(([word, size]) => [word, size, shown_(size)]), {most}), table, hidden);
}

function gridded(size) {
  const box = make("div", {class: "patches"}), step = size / DATA.grid;
  const lines = make("svg:svg", {width: size, height: size, "aria-hidden": "true", style: "position:absolute;inset:1px"}, Array.from({length: DATA.grid - 1}, (_, i) => (i + 1) * step).map(at =>
    [make("svg:line", {x1: at, x2: at, y1: 0, y2: size, stroke: "#e07030"}), make("svg:line", {y1: at, y2: at, x1: 0, x2: size, stroke: "#e07030"})]).flat());
  box.append(picture(unpacked(DATA.image), size, `the image, cut into ${DATA.grid} by ${DATA.grid} patches`), lines);
  return box;
}

const hundredths = number => number.toFixed(2).replace(/^-(?=0\.00$)/, ""); // no "-0.00"

// The hypotheses from left to right, a column for each step: what lives on, what is done, what is dropped.
function tree({nodes, best, alpha}) {
  const wide = 118, high = 40, places = [];
  const columns = {}, order = {kept: 0, done: 1, dropped: 2};
  nodes.forEach((node, i) => (columns[node.depth] ??= []).push(i));
  for (const column of Object.values(columns)) column.sort((a, b) => best.includes(b) - best.includes(a) || order[nodes[a].kind] - order[nodes[b].kind] || nodes[b].logp - nodes[a].logp).forEach((i, rank) => { places[i] = rank; });
  const line = Math.max(...Object.values(columns).map(column => column.length));
  const deep = nodes.reduce((most, node) => Math.max(most, node.depth), 1), x = i => (nodes[i].depth - 1) * wide + 8, y = i => places[i] * high + 6;
  const edges = nodes.map((node, i) => node.parent < 0 ? null : make("svg:path", {class: best.includes(i) && best.includes(node.parent) ? "best" : null,
    d: `M${x(node.parent) + 86},${y(node.parent) + 16} C${x(node.parent) + 102},${y(node.parent) + 16} ${x(i) - 16},${y(i) + 16} ${x(i)},${y(i) + 16}`}));
  const said = i => { const words = []; for (; i >= 0; i = nodes[i].parent) words.unshift(nodes[i].word); return words.join(" "); };
  const boxes = nodes.map((node, i) => make("svg:g", {class: `${node.kind}${best.includes(i) ? " best" : ""}`, transform: `translate(${x(i)},${y(i)})`},
    make("svg:rect", {width: 86, height: 32, rx: 5}), node.kind === "done" ? make("svg:rect", {x: 3, y: 3, width: 80, height: 26, rx: 3}) : null,
    make("svg:title", {}, said(i)), make("svg:text", {x: 8, y: 14}, node.word.length > 11 ? `${node.word.slice(0, 10)}…` : node.word), make("svg:text", {x: 8, y: 27, class: "score"}, `log P ${hundredths(node.logp)}`)));
  const done = nodes.map((node, i) => i).filter(i => nodes[i].kind === "done").sort((a, b) => nodes[b].score - nodes[a].score);
  return [make("div", {class: "scroll tree", tabindex: 0, role: "group", "aria-label": "tree of the hypotheses"},
    make("svg:svg", {width: deep * wide + 8, height: line * high + 10, role: "img", "aria-label": `${nodes.length} hypotheses; the best: ${best.map(i => nodes[i].word).join(" ")}`}, edges.filter(Boolean), boxes)),
    done.length ? [make("h3", {}, "Finished, the best first"), make("ol", {}, done.slice(0, 8).map(i => make("li", {}, `${said(i)} (log P ${hundredths(nodes[i].logp)}, score ${hundredths(nodes[i].score)})`)))]
      : say(`None ended within ${deep} ${deep === 1 ? "step" : "steps"}: the best unfinished one is the answer.`)];
}
