// Recurrent encoder-decoders: what models/seq2seq.py computes, one word at a time, without batches.

// One step of a recurrent layer: from a state {h, c} to the next. Gates are stacked as PyTorch has them.
const CELLS = {
  rnn: (input, seen) => ({h: added(input, seen).map(Math.tanh)}),
  gru(input, seen, state) {
    const size = state.h.length;
    return {h: state.h.map((h, i) => {
      const reset = sigmoid(input[i] + seen[i]), kept = sigmoid(input[size + i] + seen[size + i]);
      return (1 - kept) * Math.tanh(input[2 * size + i] + reset * seen[2 * size + i]) + kept * h;
    })};
  },
  lstm(input, seen, state) {
    const size = state.h.length, gates = added(input, seen);
    const c = state.c.map((c, i) => sigmoid(gates[size + i]) * c + sigmoid(gates[i]) * Math.tanh(gates[2 * size + i]));
    return {c, h: c.map((value, i) => sigmoid(gates[3 * size + i]) * Math.tanh(value))};
  },
};

class Seq2Seq {
  constructor(config, weights) {
    this.config = config;
    this.weights = weights;
  }

  start(ids) {
    const {cell, layers, hidden, attention, inputFeeding, width} = this.config;
    let x = ids.map(id => embedded(this.weights["source_embedding.weight"], id)), ends;
    for (let n = 0; n < layers; n++) {
      const forward = this.scan(`l${n}`, x), backward = this.scan(`l${n}_reverse`, [...x].reverse()).reverse();
      ends = joined(forward.at(-1), backward[0]);
      x = forward.map((vector, i) => joined(vector, backward[i]));
    }
    const first = linear(this.weights["bridge.weight"], this.weights["bridge.bias"], ends), states = [];
    for (let n = 0; n < layers; n++) {
      const c = first.slice(n * hidden, (n + 1) * hidden), h = c.map(Math.tanh);
      states.push(cell === "lstm" ? {h, c} : {h});
    }
    const memory = attention === "none" ? [ends] : x;
    const keys = attention === "additive" ? memory.map(vector => linear(this.weights["attention.key.weight"], null, vector)) : memory;
    return {memory, keys, rows: [{states, feed: inputFeeding ? new Float32Array(width) : null}]};
  }

  step(ids, state) {
    return ids.map((id, row) => this.stepRow(id, state, row));
  }

  reorder(state, rows) {
    state.rows = rows.map(row => ({...state.rows[row]}));  // each step makes new states
  }

  stepRow(id, {memory, keys, rows}, number) {
    const {layers} = this.config, row = rows[number], states = [...row.states];
    const word = embedded(this.weights["target_embedding.weight"], id);
    states[0] = this.next("lower", "l0", row.feed ? joined(word, row.feed) : word, states[0]);
    const shares = this.look(states[0].h, keys), context = mixed(memory, shares);
    for (let n = 1; n < layers; n++) {
      const input = n === 1 ? joined(states[0].h, context) : states[n - 1].h;
      states[n] = this.next("upper", `l${n - 1}`, input, states[n]);
    }
    const seen = joined(states[layers - 1].h, context, word);
    const readout = linear(this.weights["readout.weight"], this.weights["readout.bias"], seen).map(Math.tanh);
    rows[number] = {states, feed: row.feed && readout};
    const logp = logSoftmax(linear(this.weights["output.weight"], null, readout));
    return {logp, attention: this.config.attention === "none" ? null : Float32Array.from(shares)};
  }

  // The shares of the source's words that a state looks at.
  look(h, keys) {
    const {attention} = this.config;
    if (attention === "none") return [1];
    const query = linear(this.weights["attention.query.weight"], this.weights["attention.query.bias"], h);
    const score = this.weights["attention.score"]?.values;
    return softmax(keys.map(key => key.reduce((sum, value, i) =>
      sum + (attention === "additive" ? score[i] * Math.tanh(query[i] + value) : query[i] * value), 0)));
  }

  // The outputs of an encoder layer over a sequence.
  scan(layer, x) {
    let state = {h: new Float32Array(this.config.hidden), c: new Float32Array(this.config.hidden)};
    return x.map(vector => (state = this.next("encoder", layer, vector, state)).h);
  }

  next(module, layer, x, state) {
    const part = name => this.weights[`${module}.${name}_${layer}`];
    const input = linear(part("weight_ih"), part("bias_ih"), x), seen = linear(part("weight_hh"), part("bias_hh"), state.h);
    return CELLS[this.config.cell](input, seen, state);
  }
}
