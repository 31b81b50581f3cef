/* What gold or a system says of a text, drawn. A side is `[entities, relations]`: an entity is `[start, end, label, sub-label]`,
   or `[-1, its words, ...]` where these are not in the text; a relation is `[head, tail, label]`. */
const sides = (() => {
  const { element, colour, characters } = drawing;

  const words = (text, [start, end]) => (start < 0 ? end : text.slice(start, end));
  const entityLabel = (names, [, , label, subtype]) => (names.entities[label] ?? "unknown label") + (subtype ? `/${subtype}` : "");
  const relationLabel = (names, [, , label]) => names.relations[label] ?? "unknown type";

  const classes = (index, wrong, hits) => [wrong.has(index) ? "wrong" : "", hits.has(index) ? "hit" : ""].join(" ").trim();
  const note = (index, wrong) => (wrong.has(index) ? " ✗" : "");

  /* The text with the entities of a side; `wrong` and `hits` are sets of their positions. */
  function annotated(names, text, entities, wrong, hits) {
    const items = entities.map((entity, id) => ({
      id, start: entity[0], end: entity[1], colour: colour(entity[2]), name: entityLabel(names, entity) + note(id, wrong), classes: classes(id, wrong, hits),
    }));
    return element("p", "text", drawing.annotated(characters(text), items.filter((item) => item.start >= 0)));
  }

  function relations(names, text, entities, list, wrong, hits) {
    const end = (id) => (entities[id] ? { id, words: words(text, entities[id]), colour: colour(entities[id][2]) } : null);
    return drawing.relations(list.map((relation, index) => ({
      head: end(relation[0]), tail: end(relation[1]), name: relationLabel(names, relation), note: note(index, wrong), classes: classes(index, wrong, hits),
    })));
  }

  /* An item in words, for the list of errors. */
  function described(names, text, [entities, list], relational, index) {
    if (relational) {
      const relation = list[index];
      const end = (position) => (entities[position] ? `“${words(text, entities[position])}”` : "…");
      return `${end(relation[0])} ─ ${relationLabel(names, relation)} → ${end(relation[1])}`;
    }
    const entity = entities[index];
    return `“${words(text, entity)}” (${entityLabel(names, entity)}${entity[0] < 0 ? ", not in the text" : ""})`;
  }

  return { annotated, relations, described };
})();
