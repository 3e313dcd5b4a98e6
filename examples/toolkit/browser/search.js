// Decoding word by word, one sentence at a time: what models/search.py does. `onStep` is told of the best so far.

const penalty = (length, alpha) => ((5 + length) / 6) ** alpha;

// The most probable word each time. Returns {ids, looks}: the words without the stop, and what each step looked at.
async function greedy(model, source, {start, stop, longest}, onStep = async () => {}) {
  const state = model.start(source), ids = [], looks = [];
  for (let token = start; ids.length < longest;) {
    const [{logp, attention}] = model.step([token], state);
    token = logp.reduce((best, value, id) => (value > logp[best] ? id : best), 0);
    looks.push(attention);
    if (token === stop) break;
    ids.push(token);
    await onStep({ids, looks});
  }
  return {ids, looks};
}

// The `width` most probable beginnings each time; log-probabilities are divided by penalty(length, alpha).
async function beamSearch(model, source, {start, stop, longest, width, alpha}, onStep = async () => {}) {
  const state = model.start(source), largest = Math.max(penalty(1, alpha), penalty(longest, alpha));
  let live = [{score: 0, ids: [], looks: [], token: start}], best = null;
  for (let length = 1; ; length++) {
    const answers = model.step(live.map(one => one.token), state), found = [];
    answers.forEach(({logp, attention}, row) => {
      for (const token of largestOf(logp, width + 1)) {
        const {ids, looks, score} = live[row], ends = token === stop;
        found.push({row, token, ends, score: score + logp[token], ids: ends ? ids : [...ids, token], looks: [...looks, attention]});
      }
    });
    found.sort((a, b) => b.score - a.score);
    for (const one of found.slice(0, width)) {
      const value = one.score / penalty(length, alpha);
      if (one.ends && !(best && value <= best.value)) best = {...one, value};
    }
    live = found.filter(one => !one.ends).slice(0, width);
    const going = live.length > 0 && !(best && live[0].score / largest <= best.value);
    if (going && length === longest) return best ?? live[0];
    if (!going) return best ?? {ids: [], looks: []};
    model.reorder(state, live.map(one => one.row));
    await onStep(live[0]);
  }
}

// The places of the `count` largest values, the largest first.
function largestOf(values, count) {
  const places = [];
  values.forEach((value, place) => {
    if (places.length === count && value <= values[places.at(-1)]) return;
    let at = places.length;
    while (at > 0 && values[places[at - 1]] < value) at--;
    places.splice(at, 0, place);
    if (places.length > count) places.pop();
  });
  return places;
}
