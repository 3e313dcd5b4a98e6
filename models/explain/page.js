// The walk from stage to stage. What is not shown is not laid out.

const state = {stage: 0, row: writes ? 0 : DATA.at.length === 1 ? DATA.at[0] : 0, head: 0, step: 0, gate: 0, vectors: false};
const main = document.getElementById("page"), content = make("div", {class: "stage", id: "stage"});
const list = make("select", {"aria-label": "stage", onchange: () => go(Number(list.value))}, DATA.stages.map((stage, i) =>
  make("option", {value: i}, `${i + 1} of ${DATA.stages.length}: ${stage.title}`)));
const back = make("button", {type: "button", "aria-label": "back", onclick: () => go(state.stage - 1)}, "←", make("span", {class: "wide"}, " Back"));
const on = make("button", {type: "button", "aria-label": "next", onclick: () => go(state.stage + 1)}, make("span", {class: "wide"}, "Next "), "→");

function go(stage) {
  state.stage = Math.max(0, Math.min(DATA.stages.length - 1, stage));
  draw();
  scrollTo(0, 0);
}

// The step of the output that is looked at; it moves the token that looks with it.
function picker(name = writes ? "the word" : "at") {
  const words = DATA.steps.map(step => writes ? step.choice : step.context);
  return pick(name, words, Math.min(state.step, words.length - 1), t => { state.step = t; if (writes || DATA.steps.length === DATA.tokens.length) state.row = t; draw(); });
}

function draw() {
  const focus = document.activeElement, place = content.contains(focus) ? [...content.querySelectorAll("button,select,summary")].indexOf(focus) : -1;
  const stage = DATA.stages[state.stage], heading = make("h2", {id: "title", tabindex: -1}, `${state.stage + 1}. ${stage.title}`);
  content.replaceChildren(heading, ...[STAGES[stage.type](stage)].flat(3).filter(part => part !== null && part !== undefined));
  list.value = String(state.stage);
  back.disabled = state.stage === 0;
  on.disabled = state.stage === DATA.stages.length - 1;
  if (place >= 0) content.querySelectorAll("button,select,summary")[place]?.focus({preventScroll: true});
}

document.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("select, input, .scroll")) return;
  if (event.key === "ArrowRight" && state.stage < DATA.stages.length - 1) go(state.stage + 1);
  else if (event.key === "ArrowLeft" && state.stage > 0) go(state.stage - 1);
  else return;
  event.preventDefault();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

const verdict = DATA.stages.find(stage => stage.type === "agreement");
main.querySelector("noscript").remove();
main.append(make("p", {class: "soft"}, `${DATA.model}, ${DATA.kind}. Walk by the buttons, or by `, make("kbd", {}, "←"), " ", make("kbd", {}, "→"), "."));
if (verdict?.attention) main.append(make("p", {class: "verdict"}, verdict.short, " ", make("button", {type: "button", onclick: () => go(DATA.stages.indexOf(verdict))}, "What that means")));
main.append(make("nav", {class: "walk", "aria-label": "stages"}, back, list, on), content);
draw();
