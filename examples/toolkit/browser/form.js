// A text, how to search, and where its translation appears: what every page that translates has.

const input = make("textarea", {id: "source", rows: 3, dir: "auto", "aria-label": `text in ${DATA.source}`});
const width = make("select", {id: "beam", "aria-label": "how to search"},
  [[1, "the most probable word each time"], [3, "beam of 3"], [5, "beam of 5"]].map(([value, text]) => make("option", {value}, text)));
const output = make("output", {id: "translation", dir: "auto", "aria-live": "polite", "aria-label": `translation in ${DATA.target}`});
const told = make("p", {id: "told", class: "soft", role: "status"});
let running = 0;

// What is said of translations of which some, true in `cut`, do not end by themselves.
function cutOff(cut) {
  const lines = cut.flatMap((one, index) => (one ? [index + 1] : []));
  const which = cut.length === 1 ? "The translation is" : `${lines.length === 1 ? "Line" : "Lines"} ${lines.join(", ")} of the translation ${lines.length === 1 ? "is" : "are"}`;
  return lines.length ? `. ${which} cut off at the longest length that the model was trained for.` : "";
}

// Puts them into the page. `translate(lines, beam, latest)` is asked for a translation of lines, maybe again before
// it has answered: `latest()` is then false for the earlier call. What it returns, or throws, is told below.
function form(about, translate, ...more) {
  const go = async () => {
    const mine = ++running, latest = () => mine === running;
    told.className = "soft";
    told.textContent = "";
    try {
      const lines = input.value.split("\n").map(asLine).filter(line => line);
      if (!lines.length) throw new Error("There is nothing to translate.");
      const words = await translate(lines, Number(width.value), latest);
      if (latest()) told.textContent = words;
    } catch (error) {
      if (!latest()) return;
      for (const part of [output, ...more]) part.replaceChildren();  // what is there is of another text
      told.className = "wrong";
      told.textContent = error.message;
    }
  };
  input.addEventListener("keydown", event => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      go();
    }
  });
  document.getElementById("page").append(
    make("p", {class: "soft"}, about, " Each line is a text; Enter translates, Shift+Enter begins a new line."),
    input, make("p", {class: "row"}, width, make("button", {id: "go", onclick: go}, "Translate")), output, told, ...more);
}
