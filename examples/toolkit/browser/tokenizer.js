// Sub-words over bytes, as the `tokenizers` library cuts a text (Sennrich et al. 2016; Radford et al. 2019).

const BLANK = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

class Tokenizer {
  // tokens: all by their id, written in the characters that stand for bytes; merges: pairs, the first learned first;
  // special: how many ids from 0 on are no text; stretch: what is cut off text without blanks, in characters.
  constructor({tokens, merges, special, stretch}) {
    this.tokens = tokens;
    this.special = special;
    this.ids = new Map(tokens.map((token, id) => [token, id]));
    this.ranks = new Map(merges.map((pair, rank) => [pair, rank]));
    this.stretches = new RegExp(` ?[^${BLANK}]{${stretch}}|[${BLANK}]{${stretch}}`, "gu");
    this.words = new RegExp(
      `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${BLANK}\\p{L}\\p{N}]+|[${BLANK}]+(?![^${BLANK}])|[${BLANK}]+`, "gu");
    this.letters = byteLetters();
    this.bytes = new Map(this.letters.map((letter, byte) => [letter, byte]));
  }

  encode(text) {
    const whole = text.normalize("NFC");
    if (!whole) return [];
    return this.pieces(` ${whole}`).flatMap(piece => (piece.match(this.words) ?? []).flatMap(word => this.encodeWord(word)));
  }

  // The text, cut before and behind each long stretch.
  pieces(text) {
    const found = [];
    let at = 0;
    for (const match of text.matchAll(this.stretches)) {
      found.push(text.slice(at, match.index), match[0]);
      at = match.index + match[0].length;
    }
    return [...found, text.slice(at)].filter(piece => piece);
  }

  // Merge the pair that was learned first, until none is left that was learned.
  encodeWord(word) {
    let parts = Array.from(new TextEncoder().encode(word), byte => this.letters[byte]);
    for (;;) {
      let best = Infinity, pair = null;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = this.ranks.get(`${parts[i]} ${parts[i + 1]}`);
        if (rank < best) [best, pair] = [rank, [parts[i], parts[i + 1]]];
      }
      if (!pair) return parts.map(part => this.ids.get(part));
      const merged = [];
      for (let i = 0; i < parts.length; i++) {
        const both = parts[i] === pair[0] && parts[i + 1] === pair[1];
        merged.push(both ? parts[i] + parts[i + 1] : parts[i]);
        if (both) i++;
      }
      parts = merged;
    }
  }

  decode(ids) {
    const text = this.text(ids.filter(id => id >= this.special));
    return (text[0] === " " ? text.slice(1) : text).normalize("NFC").replace(/\r\n|[\r\n]/g, " ");
  }

  text(ids) {
    const bytes = ids.flatMap(id => Array.from(this.tokens[id], letter => this.bytes.get(letter)));
    return new TextDecoder("utf-8", {ignoreBOM: true}).decode(Uint8Array.from(bytes));
  }

  // The words that ids make up, and for each id the number of its word.
  wordsOf(ids) {
    const words = [], numbers = [], isLetter = letter => letter !== undefined && /[\p{L}\p{N}]/u.test(letter);
    let before = "";
    for (const id of ids) {
      const piece = id < this.special ? this.tokens[id] : this.text([id]);
      if (words.length && isLetter(Array.from(piece)[0]) && isLetter(Array.from(before).at(-1))) words[words.length - 1] += piece;
      else words.push(piece);
      numbers.push(words.length - 1);
      before = piece;
    }
    return {words: words.map(word => isBlank(word) ? "␣" : word.trim()), numbers};
  }
}

// The printable character that stands for each byte: printable ones of Latin-1 for themselves, the others from U+0100 on.
function byteLetters() {
  const printable = byte => byte >= 0x21 && byte < 0x7f || byte >= 0xa1 && byte < 0xad || byte >= 0xae;
  let next = 0x100;
  return Array.from({length: 256}, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}
