// The page of `translate.py serve`: a text goes to the server it came from, and its translation comes back.

const input = make("textarea", {id: "source", rows: 3, dir: "auto", "aria-label": `text in ${DATA.source}`});
const width = make("select", {id: "beam", "aria-label": "how to search"},
  [[1, "the most probable word each time"], [3, "beam of 3"], [5, "beam of 5"]].map(([value, text]) => make("option", {value}, text)));
const into = make("select", {id: "to", "aria-label": "into which language"}, DATA.targets.map(value => make("option", {value}, value)));
const output = make("output", {id: "translation", dir: "auto", "aria-live": "polite"}), told = make("p", {id: "told", class: "soft"});
document.getElementById("page").append(
  make("h1", {}, DATA.title), input, make("p", {}, ...DATA.targets.length ? [into, " "] : [], width, " ", make("button", {id: "go", onclick: translate}, "Translate")), output, told);
input.addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    translate();
  }
});

async function translate() {
  const texts = input.value.split("\n").filter(line => line.trim());
  told.textContent = "";
  try {
    if (!texts.length) throw new Error("There is nothing to translate.");
    const body = JSON.stringify({texts, beam: Number(width.value), ...DATA.targets.length ? {to: into.value} : {}});
    const answer = await fetch("translate", {method: "POST", headers: {"Content-Type": "application/json"}, body});
    const {translations, error} = await answer.json();
    if (error) throw new Error(error);
    output.textContent = translations.join("\n");
  } catch (error) {
    told.textContent = error.message;
  }
}
