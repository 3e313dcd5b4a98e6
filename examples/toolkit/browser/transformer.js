// The Transformer (Vaswani et al. 2017), one position at a time: what models/transformer.py computes, without batches.

class Transformer {
  constructor(config, weights) {
    this.config = config;
    this.weights = weights;
  }

  // The state before the first word: what each decoder layer sees of the source, and nothing written yet.
  start(ids) {
    const {layers} = this.config;
    let x = ids.map((id, place) => this.embed("source", id, place));
    for (let n = 0; n < layers[0]; n++) x = this.encoderLayer(`encoder.layers.${n}`, x);
    const memory = x.map(vector => this.lastNorm("encoder", vector)), held = [];
    for (let n = 0; n < layers[1]; n++) {
      const name = `decoder.layers.${n}.cross_attention`;
      held.push({keys: memory.map(v => this.project(name, v, 1)), values: memory.map(v => this.project(name, v, 2))});
    }
    return {held, rows: [{length: 0, own: held.map(() => ({keys: [], values: []}))}]};
  }

  // For each row its newest word goes in; out come the log-probabilities of the next, and what was looked at.
  step(ids, state) {
    return ids.map((id, row) => this.stepRow(id, state.rows[row], state.held));
  }

  reorder(state, rows) {
    const copied = cache => ({keys: [...cache.keys], values: [...cache.values]});
    state.rows = rows.map(row => ({length: state.rows[row].length, own: state.rows[row].own.map(copied)}));
  }

  stepRow(id, row, held) {
    let x = this.embed("target", id, row.length++);
    const looks = [];
    for (let n = 0; n < held.length; n++) {
      const name = `decoder.layers.${n}`, own = row.own[n];
      x = this.sublayer(`${name}.norm1`, x, y => {
        own.keys.push(this.project(`${name}.self_attention`, y, 1));
        own.values.push(this.project(`${name}.self_attention`, y, 2));
        return this.attend(`${name}.self_attention`, y, own);
      });
      x = this.sublayer(`${name}.norm2`, x, y => this.attend(`${name}.cross_attention`, y, held[n], looks));
      x = this.sublayer(`${name}.norm3`, x, y => this.feedForward(`${name}.feed_forward`, y));
    }
    const logits = linear(this.weights["output.weight"], null, this.lastNorm("decoder", x));
    return {logp: logSoftmax(logits), attention: mixed(looks, looks.map(() => 1 / looks.length))};
  }

  embed(side, id, place) {
    const x = embedded(this.weights[`${side}_embedding.weight`], id), learned = this.weights[`${side}_positions.weight`];
    if (learned) return x.map((value, i) => value + learned.values[place * learned.columns + i]);
    return x.map((value, i) => {
      const angle = place / 10000 ** ((i - i % 2) / x.length);
      return value + (i % 2 ? Math.cos(angle) : Math.sin(angle));
    });
  }

  encoderLayer(name, x) {
    const before = this.config.normFirst, norm = vector => this.norm(`${name}.norm1`, vector), attention = `${name}.attention`;
    const y = before ? x.map(norm) : x;
    const held = {keys: y.map(v => this.project(attention, v, 1)), values: y.map(v => this.project(attention, v, 2))};
    const z = y.map((vector, i) => added(x[i], this.attend(attention, vector, held)));
    return (before ? z : z.map(norm)).map(vector =>
      this.sublayer(`${name}.norm2`, vector, v => this.feedForward(`${name}.feed_forward`, v)));
  }

  // x + f(norm(x)), or norm(x + f(x))
  sublayer(norm, x, f) {
    return this.config.normFirst ? added(x, f(this.norm(norm, x))) : this.norm(norm, added(x, f(x)));
  }

  norm(name, x) {
    return layerNorm(this.weights[`${name}.weight`], this.weights[`${name}.bias`], x, this.config.eps);
  }

  lastNorm(stack, x) {
    return this.weights[`${stack}.norm.weight`] ? this.norm(`${stack}.norm`, x) : x;
  }

  feedForward(name, x) {
    const inner = linear(this.weights[`${name}.linear1.weight`], this.weights[`${name}.linear1.bias`], x);
    return linear(this.weights[`${name}.linear2.weight`], this.weights[`${name}.linear2.bias`], inner.map(v => Math.max(0, v)));
  }

  // The query (part 0), key (1) or value (2) of a vector, all heads side by side.
  project(name, x, part) {
    return linear(this.weights[`${name}.qkv.weight`], this.weights[`${name}.qkv.bias`], x, part * x.length, x.length);
  }

  // What a vector gets of the values whose keys it finds; the shares of each head go to `looks`.
  attend(name, x, {keys, values}, looks = []) {
    const {heads} = this.config, query = this.project(name, x, 0), size = x.length / heads, got = [];
    for (let head = 0; head < heads; head++) {
      const first = head * size, scores = keys.map(key => {
        let sum = 0;
        for (let i = first; i < first + size; i++) sum += query[i] * key[i];
        return sum / Math.sqrt(size);
      });
      const shares = softmax(scores);
      looks.push(Float32Array.from(shares));
      got.push(mixed(values, shares, first, size));
    }
    return linear(this.weights[`${name}.out.weight`], this.weights[`${name}.out.bias`], joined(...got));
  }
}
