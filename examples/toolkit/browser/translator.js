// A text becomes a translation: tokenizer, model and search together.

class Translator {
  constructor(data) {
    const weights = unpackWeights(data.weights);
    for (const [name, other] of Object.entries(data.shared)) weights[name] = weights[other];
    this.config = data.config;
    this.tokenizer = new Tokenizer(data.tokenizer);
    this.model = new (this.config.arch === "transformer" ? Transformer : Seq2Seq)(this.config, weights);
  }

  // {text, ids, source, looks, cut}, the last whether it is cut off at the longest length; throws an Error with words for the
  // reader if there is nothing to translate, or too much.
  async translate(text, {width = 1, alpha = 0.6} = {}, onStep = async () => {}) {
    const {start, stop, longest} = this.config, ids = this.tokenizer.encode(text);
    if (isBlank(text)) throw new Error("There is nothing to translate.");
    if (ids.length + 1 > longest) throw new Error(`This has ${ids.length} sub-words; at most ${longest - 1} can be translated at once.`);
    const source = [...ids, stop], shown = async ({ids, looks}) => onStep({text: this.tokenizer.decode(ids), ids, source, looks});
    const found = width === 1 ? await greedy(this.model, source, {start, stop, longest}, shown)
      : await beamSearch(this.model, source, {start, stop, longest, width, alpha}, shown);
    return {text: this.tokenizer.decode(found.ids), ids: found.ids, source, looks: found.looks, cut: found.ids.length >= longest};
  }

  // What words look at: {sourceWords, targetWords, shares}, a row for each target word; null if there is no attention.
  attention({ids, source, looks}) {
    if (!looks.length || !looks[0]) return null;
    const from = this.tokenizer.wordsOf(source), to = this.tokenizer.wordsOf(ids), count = to.words.map(() => 0);
    const shares = to.words.map(() => new Float32Array(from.words.length));
    to.numbers.forEach(word => count[word]++);
    to.numbers.forEach((word, step) => looks[step].forEach((share, place) => {
      shares[word][from.numbers[place]] += share / count[word];
    }));
    return {sourceWords: from.words, targetWords: to.words, shares};
  }
}
