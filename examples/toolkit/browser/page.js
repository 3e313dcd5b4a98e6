// The page: a text goes in, its translation appears word by word, with what each word looks at.

const translator = new Translator(DATA);
const input = make("textarea", {id: "source", rows: 3, dir: "auto", "aria-label": `text in ${DATA.source}`});
const width = make("select", {id: "beam", "aria-label": "how to search"},
  [[1, "the most probable word each time"], [3, "beam of 3"], [5, "beam of 5"]].map(([value, text]) => make("option", {value}, text)));
const button = make("button", {id: "go", onclick: translate}, "Translate");
const output = make("output", {id: "translation", dir: "auto", "aria-live": "polite"});
const told = make("p", {id: "told", class: "soft"}), picture = make("div", {id: "attention", class: "scroll", tabindex: 0, role: "region", "aria-label": "attention"});
let running = 0;

input.value = DATA.example;
input.addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    translate();
  }
});
document.getElementById("page").append(
  make("p", {class: "soft"}, `${DATA.source} to ${DATA.target}: ${DATA.about}. All is computed on this page; nothing is sent.`),
  input, make("p", {}, width, " ", button), output, told, picture);

// Line by line; a later call takes the place of one that is still going on.
async function translate() {
  const mine = ++running, started = performance.now(), lines = input.value.split("\n").filter(line => line.trim());
  const done = [];
  told.textContent = "";
  try {
    if (!lines.length) throw new Error("There is nothing to translate.");
    for (const line of lines) {
      const found = await translator.translate(line, {width: Number(width.value)}, async seen => {
        if (mine !== running) throw null;
        show([...done, seen.text].join("\n"), seen);
        await new Promise(requestAnimationFrame);
      });
      if (mine !== running) return;
      done.push(found.text);
      show(done.join("\n"), found);
    }
    told.textContent = `${Math.round(performance.now() - started)} ms, with the time that the page took to draw`;
  } catch (error) {
    if (error) told.textContent = error.message;
  }
}

function show(text, seen) {
  output.textContent = text;
  const attention = translator.attention(seen);
  picture.replaceChildren(...(attention ? [table(attention)] : []));
}

// A row for each word of the translation, a column for each of the text; darker is more.
function table({sourceWords, targetWords, shares}) {
  const head = make("tr", {}, make("td", {}), sourceWords.map(word => make("th", {scope: "col"}, word)));
  const rows = targetWords.map((word, row) => make("tr", {}, make("th", {scope: "row"}, word),
    Array.from(shares[row], share => make("td", {
      title: `${(100 * share).toFixed(0)} %`, style: `background: rgb(${sequential(share).join(" ")})`,
    }))));
  return make("table", {}, make("caption", {class: "soft"}, "what each word looks at"), make("thead", {}, head), make("tbody", {}, rows));
}
