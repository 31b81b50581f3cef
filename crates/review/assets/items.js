/* The decisions of a text: its entities and relations with what the model said, what was decided, and how sure it was. */
const items = (() => {
  const { element, tokens } = drawing;

  const words = (list, from, to) => tokens(list).words(from, to);

  const MARKS = { open: "?", accepted: "✓", rejected: "✗" };
  /* Below this share, a decision of the model is shown as uncertain. */
  const LOW = 0.8;

  const key = (kind, index) => `${kind}${index}`;
  const fullLabel = (entity) => entity.label + (entity.subtype ? `/${entity.subtype}` : "");

  /* The items of a unit, the least certain first if that is known; `{kind, index, item, sure}`. */
  function listed(unit, byConfidence) {
    const { state, confidence } = unit;
    const sure = (list, item) => (confidence && item.from !== undefined ? list[item.from] : null);
    const entities = state.entities.map((item, index) => ({ kind: "e", index, item, sure: sure(confidence?.entities, item) }));
    const relations = state.relations.map((item, index) => ({ kind: "r", index, item, sure: sure(confidence?.relations, item) }));
    const least = (one) => (one.sure ? one.sure[0] * one.sure[1] : 2);
    if (byConfidence && confidence) [entities, relations].forEach((list) => list.sort((a, b) => least(a) - least(b)));
    else entities.sort((a, b) => a.item.start - b.item.start || a.item.end - b.item.end);
    return { entities, relations };
  }

  /* How sure the model was, in words. */
  function certainty(sure, kind) {
    if (!sure) return "";
    const share = (part) => `${Math.round(100 * part)} %`;
    const names = kind === "e" ? ["label", "words"] : ["type", "ends"];
    const text = element("span", Math.min(...sure) < LOW ? "sure low" : "sure", `${names[0]} ${share(sure[0])} · ${names[1]} ${share(sure[1])}`);
    text.title = "How probable the model found what it wrote here";
    return text;
  }

  /* What the model said, where it was something else. */
  function before(unit, entry, entityColour) {
    const { item, kind } = entry;
    if (item.from === undefined) return element("span", "was", " (added)");
    if (kind === "e") {
      const was = unit.predicted.entities[item.from];
      const parts = [];
      if (fullLabel(was) !== fullLabel(item)) parts.push(fullLabel(was));
      if (was.start !== item.start || was.end !== item.end) parts.push(`“${words(unit.tokens, was.start, was.end)}”`);
      return parts.length > 0 ? element("span", "was", ` (was ${parts.join(", ")})`) : "";
    }
    const was = unit.predicted.relations[item.from];
    if (was.label === item.label && was.head === item.head && was.tail === item.tail) return "";
    const end = (id) => { const entity = unit.predicted.entities.find((one) => one.id === id); return entity ? words(unit.tokens, entity.start, entity.end) : "…"; };
    return element("span", "was", ` (was ${end(was.head)} ─ ${was.label} → ${end(was.tail)})`);
  }

  function what(unit, entry, colourOf) {
    const { item, kind } = entry;
    const rejected = item.verdict === "rejected" ? "rejected" : "";
    const span = (entity) => element("bdi", `words ${colourOf(entity.label)} ${rejected}`, words(unit.tokens, entity.start, entity.end));
    if (kind === "e") return element("span", "what", span(item), " ", element("span", `name ${rejected}`, fullLabel(item)), before(unit, entry));
    const end = (id) => span(unit.state.entities.find((one) => one.id === id));
    return element("span", "what", end(item.head), element("span", `name ${rejected}`, ` ─ ${item.label} → `), end(item.tail), before(unit, entry));
  }

  /* One line of a list; `act` is called with what a button asks for. */
  function line(unit, entry, selected, colourOf, act) {
    const { item, kind, index } = entry;
    const mark = element("span", `verdict ${item.verdict === "accepted" ? "good" : item.verdict === "rejected" ? "bad" : ""}`, MARKS[item.verdict]);
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", item.verdict);
    const made = element("li", "", mark, what(unit, entry, colourOf), certainty(entry.sure, kind));
    made.dataset.key = key(kind, index);
    made.tabIndex = selected ? 0 : -1;
    if (selected) made.setAttribute("aria-current", "true");
    if (selected) {
      const buttons = element("span", "buttons");
      const actions = kind === "e"
        ? [["accept", "Accept", "a"], ["reject", "Reject", "x"], ["label", "Label", "l"], ["edit", "Words", "e"], ["relation", "Relation from here", "r"]]
        : [["accept", "Accept", "a"], ["reject", "Reject", "x"], ["label", "Type", "l"], ["swap", "Swap ends", "d"], ["head", "Other head", "h"], ["tail", "Other tail", "t"]];
      actions.forEach(([name, text, shortcut]) => {
        const button = element("button", "", text, " ", element("kbd", "", shortcut));
        button.type = "button";
        button.addEventListener("click", (event) => { event.stopPropagation(); act(name); });
        buttons.append(button);
      });
      made.append(buttons);
    }
    return made;
  }

  return { listed, line, key, fullLabel, words, LOW };
})();
