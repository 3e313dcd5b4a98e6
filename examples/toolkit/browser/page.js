// The page that computes: a translation appears word by word, with what each word looks at.

const translator = new Translator(DATA);
const picture = make("div", {id: "attention", class: "scroll", tabindex: 0, role: "region", "aria-label": "attention"});

input.value = DATA.example;
form(`${DATA.source} to ${DATA.target}: ${DATA.about}. All is computed on this page; nothing is sent.`, translate, picture);

// Line by line; a later call takes the place of one that is still going on.
async function translate(lines, width, latest) {
  const started = performance.now(), done = [], cut = [];
  for (const line of lines) {
    const found = await translator.translate(line, {width}, async seen => {
      if (!latest()) throw null;
      show([...done, seen.text].join("\n"), seen);
      await new Promise(requestAnimationFrame);
    });
    if (!latest()) return;
    done.push(found.text);
    cut.push(found.cut);
    show(done.join("\n"), found);
  }
  return `${Math.round(performance.now() - started)} ms, with the time that the page took to draw${cutOff(cut)}`;
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
