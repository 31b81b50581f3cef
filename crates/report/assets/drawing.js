/* Draws texts with spans and relations, from text nodes only: what a document says is never read as markup. */
const drawing = (() => {
  function element(name, classes, ...content) {
    const made = document.createElement(name);
    if (classes) made.className = classes;
    made.append(...content);
    return made;
  }

  const COLOURS = 8;
  const colour = (label) => (label < 0 ? "grey" : `c${label % COLOURS}`);

  /* The words of an entity: of the text, or what it says where it is not in the text. */
  const words = (text, [start, end]) => (start < 0 ? end : text.slice(start, end));
  const entityLabel = (names, [, , label, subtype]) => (names.entities[label] ?? "unknown label") + (subtype ? `/${subtype}` : "");
  const relationLabel = (names, [, , label]) => names.relations[label] ?? "unknown type";

  /* Marks spans from the outside in; one that crosses the end of another is cut there. */
  function place(parent, text, from, to, items, mark) {
    const order = (a, b) => a.start - b.start || b.end - a.end;
    let queue = [...items].sort(order);
    let at = from;
    while (queue.length > 0) {
      const item = queue[0];
      const [inside, after] = [[], []];
      for (const other of queue.slice(1)) {
        if (other.start >= item.end) after.push(other);
        else if (other.end <= item.end) inside.push(other);
        else {
          inside.push({ ...other, end: item.end, open: true });
          after.push({ ...other, start: item.end });
        }
      }
      parent.append(text.slice(at, item.start));
      const made = mark(item);
      place(made, text, item.start, item.end, inside, mark);
      if (!item.open) made.append(...item.tags);
      parent.append(made);
      at = item.end;
      queue = after.sort(order);
    }
    parent.append(text.slice(at, to));
  }

  /* The text with the entities of one side; `wrong` and `hits` are sets of their positions. */
  function annotated(names, text, entities, wrong, hits) {
    const items = [];
    entities.forEach((entity, index) => {
      if (entity[0] < 0) return;
      const tags = [element("span", "label", entityLabel(names, entity), wrong.has(index) ? " ✗" : "")];
      items.push({ start: entity[0], end: entity[1], index, label: entity[2], tags });
    });
    const line = element("p", "text");
    place(line, text, 0, text.length, items, (item) => {
      const classes = ["span", colour(item.label), wrong.has(item.index) ? "wrong" : "", hits.has(item.index) ? "hit" : ""];
      const made = element("mark", classes.join(" "));
      made.dataset.entity = item.index;
      return made;
    });
    return line;
  }

  function relations(names, text, entities, list, wrong, hits) {
    const end = (index) => {
      const entity = entities[index];
      if (!entity) return element("span", "hint", "outside this text");
      return element("span", `end ${colour(entity[2])}`, words(text, entity));
    };
    const lines = list.map((relation, index) => {
      const arrow = element("span", "arrow", `─ ${relationLabel(names, relation)} →`);
      const marks = [wrong.has(index) ? "wrong" : "", hits.has(index) ? "hit" : ""];
      const line = element("li", marks.join(" "), end(relation[0]), " ", arrow, " ", end(relation[1]), wrong.has(index) ? " ✗" : "");
      line.dataset.ends = JSON.stringify([relation[0], relation[1]]);
      return line;
    });
    return element("ul", "relations", ...lines);
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

  return { element, annotated, relations, described };
})();
