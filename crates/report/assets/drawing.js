/* Draws texts with spans and relations, from text nodes only: what a document says is never read as markup. The page of a
   run and the review draw with it. */
const drawing = (() => {
  function element(name, classes, ...content) {
    const made = document.createElement(name);
    if (classes) made.className = classes;
    made.append(...content);
    return made;
  }

  const COLOURS = 8;
  const colour = (label) => (label < 0 ? "grey" : `c${label % COLOURS}`);

  /* A text whose places are characters. */
  const characters = (text) => ({
    length: text.length,
    gap: () => "",
    words: (from, to) => text.slice(from, to),
    write: (parent, from, to) => parent.append(text.slice(from, to)),
  });

  /* A text whose places are tokens, each given as `[what stands before it, the token]`; every token is an element. */
  const tokens = (list) => ({
    length: list.length,
    gap: (at) => list[at][0],
    words: (from, to) => list.slice(from, to).map(([gap, word], index) => (index > 0 ? gap : "") + word).join("").replace(/\s+/g, " "),
    write: (parent, from, to) => {
      for (let at = from; at < to; at += 1) {
        const made = element("span", "t", list[at][1]);
        made.dataset.token = at;
        parent.append(...(at > from ? [list[at][0]] : []), made);
      }
    },
  });

  /* Marks spans from the outside in; one that crosses the end of another is cut there. */
  function place(parent, text, from, to, items) {
    const order = (a, b) => a.start - b.start || b.end - a.end || a.id - b.id;
    let queue = [...items].sort(order);
    let at = from;
    /* What stands before a token belongs outside a span that begins there. */
    const gap = (next) => { if (next > from) parent.append(text.gap(next)); };
    const plain = (until) => {
      if (at === until) return;
      gap(at);
      text.write(parent, at, until);
      at = until;
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
      const made = element("mark", `span ${item.colour} ${item.classes}`);
      made.dataset.entity = item.id;
      place(made, text, item.start, item.end, inside);
      if (!item.goesOn) made.append(element("bdi", "label", item.name));
      parent.append(made);
      at = item.end;
      queue = after.sort(order);
    }
    plain(to);
  }

  /* The text with entities `{id, start, end, colour, name, classes}`. */
  function annotated(text, entities) {
    const parts = document.createDocumentFragment();
    place(parts, text, 0, text.length, entities);
    return parts;
  }

  /* A list of relations `{head, tail, name, note, classes}`; an end is `{id, words, colour}`, or nothing outside the text. */
  function relations(list) {
    const end = (one) => (one ? element("bdi", `end ${one.colour}`, one.words) : element("span", "hint", "outside this text"));
    const lines = list.map(({ head, tail, name, note, classes }) => {
      const line = element("li", classes, end(head), " ", element("span", "arrow", `─ ${name} →`), " ", end(tail), note);
      line.dataset.ends = JSON.stringify([head, tail].filter(Boolean).map((one) => one.id));
      return line;
    });
    return element("ul", "relations", ...lines);
  }

  return { element, colour, characters, tokens, annotated, relations };
})();
