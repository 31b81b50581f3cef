/* Draws a text word by word, with its entities: from text nodes only, so that what a document says is never read as
   markup. */
const drawing = (() => {
  function element(name, classes, ...content) {
    const made = document.createElement(name);
    if (classes) made.className = classes;
    made.append(...content);
    return made;
  }

  const COLOURS = 8;
  const colour = (index) => (index < 0 ? "grey" : `c${index % COLOURS}`);

  /* The words of a span, as the text has them. */
  const words = (tokens, start, end) => tokens.slice(start, end).map(([gap, word], index) => (index > 0 ? gap : "") + word).join("").replace(/\s+/g, " ");

  /* Marks spans from the outside in; one that crosses the end of another is cut there. */
  function place(parent, tokens, from, to, items, mark) {
    const order = (a, b) => a.start - b.start || b.end - a.end || a.id - b.id;
    let queue = [...items].sort(order);
    let at = from;
    /* What stands before a word belongs outside a span that begins there. */
    const gap = (token) => { if (token > from) parent.append(tokens[token][0]); };
    const plain = (until) => {
      for (; at < until; at += 1) {
        gap(at);
        const made = element("span", "t", tokens[at][1]);
        made.dataset.token = at;
        parent.append(made);
      }
    };
    while (queue.length > 0) {
      const item = queue[0];
      const [inside, after] = [[], []];
      for (const other of queue.slice(1)) {
        if (other.start >= item.end) after.push(other);
        else if (other.end <= item.end) inside.push(other);
        else {
          inside.push({ ...other, end: item.end, goesOn: true });
          after.push({ ...other, start: item.end });
        }
      }
      plain(item.start);
      gap(item.start);
      const made = mark(item);
      place(made, tokens, item.start, item.end, inside, mark);
      if (!item.goesOn) made.append(...item.tags);
      parent.append(made);
      at = item.end;
      queue = after.sort(order);
    }
    plain(to);
  }

  /* The text of a unit with its entities; `entities` are `{id, start, end, colour, name, classes}`. */
  function draw(box, unit, entities) {
    const parts = document.createDocumentFragment();
    if (unit.tokens.length > 0 && unit.tokens[0][0]) parts.append(unit.tokens[0][0]);
    const items = entities.map((entity) => {
      const label = element("bdi", "label", entity.name);
      return { ...entity, tags: [label] };
    });
    place(parts, unit.tokens, 0, unit.tokens.length, items, (item) => {
      const made = element("mark", `span ${item.colour} ${item.classes}`);
      made.dataset.entity = item.id;
      return made;
    });
    parts.append(unit.after);
    box.replaceChildren(parts);
  }

  return { element, colour, words, draw };
})();
