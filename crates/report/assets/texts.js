/* Texts with gold beside the answers of systems, filtered by what is right and wrong. */
(() => {
  const store = document.getElementById("texts-data");
  if (!store) return;
  const names = JSON.parse(store.textContent);
  const { cases, kinds, systems } = names;
  const { element } = drawing;
  const { annotated, relations, described } = sides;
  const section = document.getElementById("texts");
  const form = section.querySelector("form.filters");
  const found = section.querySelector(".found");
  const box = section.querySelector(".cases");
  const CORRECT = "correct";
  const PAGE = 10;

  /* The label of an item as the filters name it: `e3`, `r1`. */
  function label(side, relational, index) {
    if (index < 0) return "";
    return relational ? `r${side[1][index][2]}` : `e${side[0][index][2]}`;
  }

  /* What an answer has wrong and, as kind `correct`, what of gold it has right. */
  function events(gold, [side, errors]) {
    const open = [new Set(gold[0].keys()), new Set(gold[1].keys())];
    const list = errors.map(([kind, one, other]) => {
      const relational = kinds[kind][1];
      /* An entity whose sub-label alone is wrong is counted as correct in its label. */
      if (kinds[kind][0] !== "subtype-confusion") open[relational].delete(one);
      return { kind: `${kind}`, relational, one, other, gold: label(gold, relational, one), predicted: label(side, relational, other) };
    });
    [0, 1].forEach((relational) => open[relational].forEach((one) => {
      const key = label(gold, relational, one);
      list.push({ kind: CORRECT, relational, one, other: -1, gold: key, predicted: key });
    }));
    return list;
  }

  const wanted = () => Object.fromEntries(["a", "b", "show", "kind", "gold", "predicted", "find"].map((name) => [name, form.elements[name].value]));

  /* Whether an item is of the kind and between the labels that the filters ask for. */
  const fits = (want) => (event) =>
    (want.kind === "" ? event.kind !== CORRECT : event.kind === want.kind) &&
    (want.gold === "" || event.gold === want.gold) &&
    (want.predicted === "" || event.predicted === want.predicted);

  const answerOf = (one, system) => one[3][one[4][system]];

  function select(want) {
    const fit = fits(want);
    const narrow = want.kind !== "" || want.gold !== "" || want.predicted !== "";
    const key = (event) => `${event.kind} ${event.one} ${event.other} ${event.gold} ${event.predicted}`;
    let items = 0;
    const text = want.find.toLowerCase();
    const chosen = cases.filter((one) => {
      if (text && !one[1].toLowerCase().includes(text) && !one[0].toLowerCase().includes(text)) return false;
      const [a, b] = [want.a, want.b].map((system) => events(one[2], answerOf(one, system)).filter(fit));
      const [keysA, keysB] = [a, b].map((list) => new Set(list.map(key)));
      const [onlyA, onlyB] = [[...keysA].some((item) => !keysB.has(item)), [...keysB].some((item) => !keysA.has(item))];
      /* With `correct`, having it is right; with any error, not having it is. */
      const right = want.kind === CORRECT ? { a: onlyA, b: onlyB } : { a: a.length === 0 && b.length > 0, b: b.length === 0 && a.length > 0 };
      const is = {
        all: () => !narrow || a.length > 0,
        differ: () => (narrow ? onlyA || onlyB : one[4][want.a] !== one[4][want.b]),
        "a-right": () => right.a,
        "b-right": () => right.b,
        "a-wrong": () => a.length > 0 && want.kind !== CORRECT,
        "both-wrong": () => a.length > 0 && b.length > 0 && want.kind !== CORRECT,
      }[want.show]();
      if (is) items += a.length;
      return is;
    });
    return { chosen, items, narrow };
  }

  function verdict(answer) {
    if (answer[3]) return element("span", "bad", "✗ no valid JSON");
    const count = answer[1].length;
    if (count === 0) return element("span", "good", "✓ as gold");
    return element("span", "bad", `✗ ${count} ${count === 1 ? "error" : "errors"}`);
  }

  /* One side of a text: who says it, the text with its spans, the relations, and what is wrong. */
  function row(one, who, side, answer, fit) {
    const [, text, gold] = one;
    const sets = () => [new Set(), new Set()];
    const [wrong, hits] = [sets(), sets()];
    const errors = element("ul", "errors");
    if (answer) {
      for (const event of events(gold, answer)) {
        const index = event.kind === CORRECT ? -1 : event.other;
        if (index >= 0) wrong[event.relational].add(index);
        if (event.kind === CORRECT) continue;
        const parts = [];
        if (event.one >= 0) parts.push(`gold ${described(names, text, gold, event.relational, event.one)}`);
        if (event.other >= 0) parts.push(`answer ${described(names, text, side, event.relational, event.other)}`);
        const hit = fit && fit(event);
        if (hit && index >= 0) hits[event.relational].add(index);
        errors.append(element("li", hit ? "hit" : "", element("strong", "", `✗ ${kinds[event.kind][0]}: `), parts.join(", ")));
      }
    }
    const said = element("div", "said", annotated(names, text, side[0], wrong[0], hits[0]));
    if (side[1].length > 0) said.append(relations(names, text, side[0], side[1], wrong[1], hits[1]));
    if (errors.childElementCount > 0) said.append(errors);
    const head = element("div", "who", element("span", "name", who), ...(answer ? [" ", verdict(answer)] : []));
    return element("div", answer ? "answer" : "answer gold", head, said);
  }

  function card(one, want, narrow) {
    const fit = narrow ? fits(want) : null;
    const made = element("article", "case", element("p", "place", one[0]), row(one, "gold", one[2], null, null));
    const shown = form.elements.every.checked ? systems.map((_, index) => index) : [...new Set([Number(want.a), Number(want.b)])];
    const groups = new Map();
    shown.forEach((system) => {
      const answer = one[4][system];
      groups.set(answer, [...(groups.get(answer) ?? []), systems[system]]);
    });
    groups.forEach((who, answer) => made.append(row(one, who.join(", "), one[3][answer][0], one[3][answer], fit)));
    return made;
  }

  let current = { chosen: [], narrow: false };
  const turn = pager(document.getElementById("texts-pager"), PAGE, (from, to) => {
    const want = wanted();
    box.replaceChildren(...current.chosen.slice(from, to).map((one) => card(one, want, current.narrow)));
  });

  function update() {
    const want = wanted();
    current = select(want);
    const of = `${current.chosen.length} of ${cases.length} texts`;
    const what = (want.kind === CORRECT ? "item" : "error") + (current.items === 1 ? "" : "s");
    found.textContent = current.narrow ? `${current.items} ${what} of ${systems[want.a]} in ${of}` : of;
    turn.start(current.chosen.length);
  }

  /* The ends of a relation stand out while it is pointed at. */
  function light(event, on) {
    const line = event.target.closest?.(".relations li");
    if (!line) return;
    const ends = JSON.parse(line.dataset.ends);
    line.closest(".said").querySelectorAll("mark[data-entity]").forEach((mark) => {
      mark.classList.toggle("lit", on && ends.includes(Number(mark.dataset.entity)));
    });
  }
  box.addEventListener("pointerover", (event) => light(event, true));
  box.addEventListener("pointerout", (event) => light(event, false));

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(() => {
    [form.elements.a.value, form.elements.b.value] = names.first;
    update();
  }));

  /* Counts of tables lead here. */
  document.querySelectorAll("a.cases").forEach((link) => link.addEventListener("click", () => {
    const { a, kind, gold, predicted } = link.dataset;
    Object.entries({ a, kind, gold, predicted, show: "all", find: "" }).forEach(([name, value]) => { form.elements[name].value = value; });
    update();
  }));

  form.hidden = false;
  found.hidden = false;
  update();
})();
