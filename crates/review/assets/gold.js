/* Gold beside what is decided: to be compared, not edited. */
const gold = (() => {
  const { element, tokens, annotated, relations } = drawing;

  const entityKey = (one) => `${one.start} ${one.end} ${items.fullLabel(one)}`;

  /* What an annotation says, each item as a text that is the same wherever the same is said. */
  function said({ entities, relations: list }, symmetric) {
    const of = new Map(entities.map((one) => [one.id, entityKey(one)]));
    const relationKey = (one) => {
      const ends = [of.get(one.head), of.get(one.tail)];
      if (symmetric(one.label)) ends.sort();
      return `${ends[0]} | ${one.label} | ${ends[1]}`;
    };
    return { entity: entityKey, relation: relationKey, all: new Set([...entities.map(entityKey), ...list.map(relationKey)]) };
  }

  /* Fills a box with the gold of a text; what stands otherwise in the decisions is marked. */
  function show(box, unit, colourOf, symmetric) {
    const stays = (one) => one.verdict !== "rejected";
    const kept = { entities: unit.state.entities.filter(stays), relations: unit.state.relations.filter(stays) };
    const [here, there] = [said(kept, symmetric), said(unit.gold, symmetric)];
    const differs = (key) => (here.all.has(key) ? ["", ""] : [" ≠", "differs"]);
    const text = tokens(unit.tokens);
    const marks = unit.gold.entities.map((one) => {
      const [note, classes] = differs(there.entity(one));
      return { id: one.id, start: one.start, end: one.end, colour: colourOf(one.label), name: items.fullLabel(one) + note, classes };
    });
    const end = (id) => {
      const one = unit.gold.entities.find((other) => other.id === id);
      return { id, words: text.words(one.start, one.end), colour: colourOf(one.label) };
    };
    const lines = unit.gold.relations.map((one) => {
      const [note, classes] = differs(there.relation(one));
      return { head: end(one.head), tail: end(one.tail), name: one.label, note, classes };
    });
    const missing = [...there.all].filter((key) => !here.all.has(key)).length;
    const added = [...here.all].filter((key) => !there.all.has(key)).length;
    const summary = missing + added === 0
      ? "The same as above."
      : `${missing} of gold’s ${there.all.size} items are not above (≠); ${added} of the ${here.all.size} above are not in gold.`;
    box.replaceChildren(
      element("h2", "", "Gold"),
      element("p", "note", summary),
      element("div", "words-of-gold", annotated(text, marks), unit.after),
      ...(lines.length > 0 ? [relations(lines)] : []),
    );
    box.querySelector(".words-of-gold").dir = "auto";
  }

  return { show };
})();
