// One function for each type of stage: it returns what the stage shows.

const names = side => side === "target" ? DATA.target : DATA.tokens;
const say = (...parts) => make("p", {class: "say"}, ...parts);
const isImage = DATA.grid > 0, writes = DATA.target.length > 0 || DATA.prompt > 0;
const WHOLE = ["the image", "the whole text", "the whole input"]; // contexts that are no token
// Whether what follows step t was given, whatever the model would have said.
const isGiven = t => t < DATA.prompt - 1 || DATA.forced && (DATA.target.length > 0 || t < DATA.steps.length - 1);
const veiled = (least = "little") => scale([least, "much"], value => [255 * value, 140 * value, 24]);

const STAGES = {
  tokens() {
    if (isImage) return [
      say(`The image is cut into ${DATA.grid} × ${DATA.grid} patches. Each becomes one vector; from here on they are to the model what words are to a translator.`),
      make("div", {class: "row"}, gridded(240))];
    if (DATA.plain) return [say(`The input is numbers, not words${DATA.tokens.length ? `. Its positions are called 1 to ${DATA.tokens.length} from here on` : ""}.`)];
    const chips = (words, first = 0) => make("div", {class: "row"}, words.map((word, i) => make("span", {class: "token"}, word, make("small", {}, first + i))));
    const written = DATA.prompt && DATA.prompt < DATA.tokens.length;
    return [say("A model does not see letters. The text is cut into tokens, whole words or parts of them, and each is a number: its row in a table. The small figure is the position."),
      chips(DATA.tokens.slice(0, DATA.prompt || undefined)),
      written ? [say(DATA.forced ? "How the text goes on, as it was given:" : "The model goes on:"), chips(DATA.tokens.slice(DATA.prompt), DATA.prompt)] : [],
      DATA.target.length ? [say(`What the decoder is given: a start token, then ${DATA.forced ? "the given answer" : "the answer so far"}, moved right by one, so that each position has to say the next.`), chips(DATA.target)] : []];
  },

  embedding(stage) {
    const parts = stage.parts.map(part => {
      const grid = unpacked(part.picture), shown = grid.shape[1] < part.width ? `, ${grid.shape[1]} of ${part.width} features` : `, ${part.width} features`;
      return make("section", {class: "card"}, make("h3", {}, part.name[0].toUpperCase() + part.name.slice(1)), say(ABOUT_VECTORS(part.name)),
        labelled(grid, isImage ? names("source") : names(stage.side), null, `${part.name}: ${grid.shape[0]} positions${shown}`, {kind: signed, now: state.row}),
        scale([shown_(-largest(grid.values)), shown_(largest(grid.values)) + shown], signed));
    });
    return [say(isImage ? "Patches alone do not say where they lie, so positions are added." : `Each token is looked up in a table of vectors.${stage.parts.length > 1 ? " Alone they say nothing of the order of words, so positions are added." : ""}`), ...parts];
  },

  layer(stage) {
    const shown = [];
    for (const attention of stage.attentions) {
      shown.push(attentionCard(attention));
      stage.parts.filter(part => part.path === attention.path).forEach(part => shown.push(residual(part, stage)));
    }
    const paths = stage.attentions.map(attention => attention.path);
    stage.parts.filter(part => !paths.includes(part.path)).forEach(part => shown.push(residual(part, stage)));
    return [stage.parts.length ? say("A layer lets positions look at each other (attention), then thinks about each by itself (feed-forward). Both only add to the vector that runs through.") : [], ...shown];
  },

  recurrent(stage) {
    const words = names(stage.side), grids = [["h, the state", stage.states], ...stage.gates.map(gate => [gate.name, gate.picture])];
    const which = Math.min(state.gate, grids.length - 1), [name, packedGrid] = grids[which], grid = unpacked(packedGrid);
    const gates = stage.gates.filter(gate => gate.name.includes("gate"));
    return [say(stage.reverse ? "This direction reads from the last token to the first. " : "The state is all that is remembered; it is made anew at each token, from the token and from the state before. ", ABOUT_GATES(stage)),
      choices("show", grids.map(([word]) => word), which, i => { state.gate = i; draw(); }),
      labelled(grid, words, null, `${name}: ${grid.shape[0]} steps, ${stage.width} features`, {kind: name.includes("gate") ? amount : signed, high: name.includes("gate") ? 1 : null, now: state.row}),
      name.includes("gate") ? scale(["0, shut", "1, open"], amount) : scale(["negative", "positive"], signed),
      make("h3", {}, gates.length ? "How far the gates are open, in the mean" : "How large the state is"),
      make("div", {class: "scroll", tabindex: 0, role: "group", "aria-label": "table of the steps"}, make("table", {},
        make("thead", {}, make("tr", {}, ["token", "|h|", ...gates.map(gate => gate.name)].map(head => make("th", {scope: "col"}, head)))),
        make("tbody", {}, stage.norms.map((norm, t) => make("tr", {}, make("th", {scope: "row"}, words[t] ?? t + 1), make("td", {}, shown_(norm)),
          gates.map(gate => make("td", {}, share(gate.mean[t]))))))))];
  },

  output(stage) {
    const t = Math.min(state.step, DATA.steps.length - 1), step = DATA.steps[t], row = stage.logits[t];
    const last = t === DATA.steps.length - 1, chosenOf = Math.exp(step.logp ?? -Infinity);
    // A word that was given may be less probable than all that are shown.
    const top = step.top.some(([word]) => word === step.choice) ? step.top : [...step.top, [step.choice, chosenOf]];
    const rest = 1 - top.reduce((sum, [, part]) => sum + part, 0);
    return [say(`The last vector becomes ${row.of} numbers, one for each ${{tokens: "token", classes: "class"}[DATA.columns] ?? "output"} there is: the logits. Softmax makes shares of them that add up to 100\u00a0%.`),
      DATA.steps.length > 1 ? picker() : [],
      make("code", {class: "formula"}, `share = exp(logit) / sum of all ${row.of} exp(logit)`),
      make("div", {class: "card"}, make("h3", {}, `${WHOLE.includes(step.context) ? `Of ${step.context}` : (writes ? "After " : "At ") + quoted(step.context)}: ${step.top.slice(0, 2).map(([word, part]) => `${word} ${share(part)}`).join(", ")}`),
        bars([...top, ...(rest > 0.0005 ? [["all others", rest]] : [])], {chosen: step.choice}),
        say(`Logit of ${quoted(step.choice)}: ${shown_(row.chosen)}; the largest is ${shown_(row.largest)}, the mean ${shown_(row.mean)}. log P = ${shown_(step.logp)}.`)),
      writes ? say(last ? "That was the last step." : [isGiven(t) ? "The text goes on as it was given, with " : "The choice is appended: ", make("b", {}, step.choice), ". Then the model is asked again. ",
        make("button", {type: "button", onclick: () => { state.step = t + 1; state.row = t + 1; draw(); }}, "Next step")]) : []];
  },

  values: stage => [say("The outputs are numbers, not shares."), bars(stage.values.map((value, i) => [stage.names[i], value, shown_(value)]), {most: largest(stage.values)}),
    stage.values.some(value => value < 0) ? say("Orange bars are of numbers below zero.") : []],

  sequential(stage) {
    const words = DATA.target.length ? DATA.target : DATA.tokens, t = Math.min(state.step, words.length - 1);
    const grid = stage.weights ? unpacked(stage.weights) : null, rows = grid && {shape: grid.shape, values: grid.values.map((value, i) => Math.floor(i / grid.shape[1]) > t ? NaN : value)};
    const beside = (title, text, picture) => make("section", {class: "card"}, make("h3", {}, title), say(text), picture ?? []);
    return [say("In training the whole answer is known, so all positions are computed at once; when a text is written, each word has to wait for the one before. Both give the same numbers, if no position can look ahead."),
      picker(DATA.forced || DATA.prompt ? "up to" : "written so far"),
      make("div", {class: "split"},
        beside("Training: all rows at once", grid ? "The causal mask hides what comes later (grey): row t is what the model would see after t words." : "The recurrent decoder is given the right word at each step, whatever it would have said (teacher forcing).",
          grid && labelled(grid, words, words, "attention of all positions at once")),
        beside("Writing: one row after the other", `Step ${t + 1}: the ${DATA.target.length ? "decoder" : "model"} has ${t + 1} of ${words.length} tokens; ${isGiven(t) ? "given as the next is" : "its next is"} ${quoted(DATA.steps[t].choice)}.`,
          rows && labelled(rows, words, words, `attention of the first ${t + 1} steps`, {now: t}))),
      say(`The log-probabilities of both ways, all words at all positions, differ by at most ${stage.difference.toExponential(1)}: rounding.`)];
  },

  beam: stage => [say(`Greedy writing takes the best word each time. A beam keeps the best ${stage.title.replace(/\D/g, "")} beginnings at each step, goes on with all of them, and drops the rest (dashed). A finished sentence (double frame) is judged by log\u00a0P\u00a0/\u00a0((5\u00a0+\u00a0length)\u00a0/\u00a06)^${stage.alpha}; the green path won.`), stage.note ? say(stage.note) : [], tree(stage)],

  agreement(stage) {
    const t = Math.min(state.step, stage.effects.length - 1), cost = stage.effects[t], seen = stage.attention?.[t];
    const words = isImage ? DATA.tokens.slice(-cost.length) : DATA.tokens, attention = Boolean(seen);
    const known = words.map((word, s) => s).filter(s => cost[s] !== null), r = stage.correlation[t];
    const cards = [];
    if (isImage) {
      if (attention) cards.push(make("section", {class: "card"}, make("h3", {}, "Where it looks"), overlaid(seen, "attention over the image"), veiled()));
      cards.push(make("section", {class: "card"}, make("h3", {}, "What the answer loses without the patch"), overlaid(cost, "cost of each patch over the image"), veiled("nothing, or it gains")));
    } else {
      if (attention) cards.push(make("section", {class: "card"}, make("h3", {}, "Attention, mean of all heads and layers"), bars(known.map(s => [words[s], seen[s]]), {most: largest(seen)})));
      cards.push(make("section", {class: "card"}, make("h3", {}, "What log P loses without the token"), bars(known.map(s => [words[s], cost[s], shown_(cost[s], 3)]), {most: largest(cost)}),
        known.some(s => cost[s] < 0) ? say("Orange: without it the answer would be more probable.") : []));
    }
    if (stage.unmeasured) return [make("p", {class: "verdict"}, stage.sentence)];
    return [make("p", {class: "verdict"}, stage.sentence), DATA.steps.length > 1 ? picker() : [],
      known.length ? make("div", {class: "split"}, cards) : say("Nothing comes before this token: there is nothing to leave out."),
      r !== null ? say(`Correlation of the two orders for this answer: ${r.toFixed(2)}.`) : [],
      stage.by_path.length > 1 ? make("details", {}, make("summary", {}, "Layer by layer"), bars(stage.by_path.map(([path, value]) => [path, value ?? 0, value === null ? "-" : value.toFixed(2)]), {kind: "bars named"})) : []];
  },
};

const shown_ = (number, digits = 3) => number === null ? "-" : shown(number, digits);

function ABOUT_VECTORS(name) {
  if (name.startsWith("embedding x")) return "The row of each token, times the square root of the width, so that it is not drowned by the positions.";
  if (name === "embedding") return "The row of each token in the table, learned in training.";
  if (name === "position waves") return "At the left the sines, at the right the cosines, of waves that grow longer: the first columns of each half change from word to word, the last ones slowly. No two positions have the same row.";
  if (name === "positions") return "A learned vector for each position.";
  if (name === "segments") return "A learned vector that says to which of two texts a token belongs.";
  if (name === "patches") return "The pixels of each patch through one linear map." + (DATA.tokens[0] === "class" ? " Before them stands a learned vector for the class." : "");
  return "What goes into the first layer.";
}

function ABOUT_GATES(stage) {
  const first = stage.gates.map(gate => gate.name).join();
  if (first.includes("forget")) return "The forget gate says how much of the cell is kept, the input gate how much of the candidate comes in, the output gate how much of the cell is shown as h.";
  if (first.includes("update")) return "The update gate says how much of the old state stays, the reset gate how much of it the candidate may use.";
  return "A plain recurrent network has no gates: h = f(W x + U h).";
}
