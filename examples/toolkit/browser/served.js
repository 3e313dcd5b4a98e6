// The page of `translate.py serve`: a text goes to the server it came from, and its translation comes back.

const into = make("select", {id: "to", "aria-label": "into which language"}, DATA.targets.map(value => make("option", {value}, value)));
form("Texts are sent to the server that this page came from.", async (texts, beam, latest) => {
  const started = performance.now(), to = DATA.targets.length ? {to: into.value} : {};
  told.textContent = "translating …";
  const answer = await fetch("translate", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({texts, beam, ...to})})
    .catch(() => { throw new Error("The server does not answer; has it been ended?"); });
  const {translations, cut_off: cut, error} = await answer.json();
  if (error) throw new Error(error);
  if (latest()) output.textContent = translations.join("\n");
  return `${Math.round(performance.now() - started)} ms, there and back${cutOff(cut)}`;
});
if (DATA.targets.length) document.getElementById("beam").before(into);
input.focus();
