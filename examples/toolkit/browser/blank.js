// Whether there is nothing to see in a text: toolkit/blank.py in JavaScript.
const isBlank = text => /^[\s\p{Default_Ignorable_Code_Point}\p{Cc}\u2800\ufff9-\ufffb]*$/u.test(text);

// What Python's str.strip takes for blank. (String.trim knows U+FEFF, and not U+001C to U+001F and U+0085.)
const EDGE = "[\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const EDGES = new RegExp(`^${EDGE}|${EDGE}$`, "gu");

// A text that is typed, as if it were a line of a file: without a byte-order mark, composed, without blanks at either end;
// `as_line` of toolkit/reading.py.
function asLine(text) {
  const whole = text.replace(/^\ufeff/u, "").normalize("NFC");
  return isBlank(whole) ? "" : whole.replace(EDGES, "");
}
