/* The page: which text is shown, which item is selected, what keys do, and what is sent to the program. */
(() => {
  const { element, colour, tokens, annotated } = drawing;
  const { words } = items;
  const byId = (id) => document.getElementById(id);
  const [text, status, alarm, chooser] = ["text", "status", "alert", "chooser"].map(byId);

  let start = null; // What does not change.
  let unit = null; // The text that is shown, as the program has it.
  let selected = null; // The key of the selected item.
  let mode = null; // What is being added or changed, until Enter or Escape.
  let choices = null; // What the chooser offers.
  let waiting = Promise.resolve();

  const entityIndex = (label) => start.entities.findIndex((one) => one.name === label);
  const colourOf = (label) => colour(entityIndex(label));
  const stays = (item) => item.verdict !== "rejected";

  /* Talking to the program. */

  async function ask(path, body) {
    const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    let answer;
    try {
      answer = await fetch(path, options);
    } catch {
      warn("The program has ended. Everything that was saved is kept: start it again and open its new address.");
      throw new Error("no answer");
    }
    const content = await answer.json();
    if (!answer.ok) {
      warn(content.error);
      if (content.unit) show(content.unit);
      throw new Error(content.error);
    }
    return content;
  }

  function warn(message) {
    alarm.textContent = message;
    alarm.hidden = false;
  }

  function say(message) {
    status.textContent = message;
  }

  /* Work is done one piece after another, each on the state that the one before has left. */
  function queue(work) {
    waiting = waiting.then(work).catch(() => {});
    return waiting;
  }

  /* Changes the text's state and saves it; `change` gets a copy and may return a key to select. */
  function decide(message, change) {
    return queue(async () => {
      const state = structuredClone(unit.state);
      const select = change(state);
      if (select === false) return;
      alarm.hidden = true;
      const saved = await ask(`api/unit/${unit.unit}`, { revision: unit.revision, state });
      if (typeof select === "string") selected = select;
      show(saved);
      say(`${message}, saved`);
    });
  }

  /* Showing. */

  const list = () => {
    const { entities, relations } = items.listed(unit, byId("order").value === "confidence");
    return [...entities, ...relations];
  };
  const current = () => list().find((entry) => items.key(entry.kind, entry.index) === selected);

  function show(next) {
    const other = unit === null || unit.unit !== next.unit;
    unit = next;
    start.texts[unit.unit].confirmed = unit.state.confirmed;
    if (other) {
      mode = null;
      const all = list();
      const first = all.find((entry) => entry.item.verdict === "open") ?? all[0];
      selected = first ? items.key(first.kind, first.index) : null;
    }
    render();
    if (other) {
      text.scrollTop = 0;
      window.scrollTo(0, 0);
    }
    focusSelected();
  }

  function render() {
    const { summary, state } = unit;
    byId("bar").max = summary.texts;
    byId("bar").value = summary.confirmed;
    const plural = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;
    byId("count").textContent = `${summary.confirmed} of ${plural(summary.texts, "text")} confirmed · ${plural(summary.corrections, "correction")} · ${plural(summary.patterns, "pattern")} proposed`;
    byId("undo").disabled = !summary.undo;
    const at = order().indexOf(unit.unit);
    byId("place").textContent = `${unit.place} (${at + 1} of ${summary.texts})`;
    byId("confirmed").hidden = !state.confirmed;
    byId("hint").textContent = hint();
    byId("lost").replaceChildren(...unit.lost.map((line) => element("li", "", "The answer also has: ", element("bdi", "", line))));
    byId("confirm").firstChild.textContent = state.confirmed ? "Go on " : "Confirm the text ";
    byId("add-relation").hidden = start.relations.length === 0;
    byId("relation-list").hidden = start.relations.length === 0;
    byId("relation-list").parentElement.classList.toggle("single", start.relations.length === 0);
    renderText();
    renderGold();
    renderLists();
    renderMode();
  }

  function renderGold() {
    const box = byId("gold");
    box.hidden = !unit.gold || !byId("show-gold").checked;
    const symmetric = (label) => start.relations.some((type) => type.name === label && type.symmetric);
    if (!box.hidden) gold.show(box, unit, colourOf, symmetric);
  }

  function toggleGold() {
    if (!start.gold) return;
    byId("show-gold").checked = !byId("show-gold").checked;
    renderGold();
  }

  function hint() {
    const complete = unit.confidence?.complete ?? [];
    const least = Math.min(1, ...complete);
    const parts = [];
    if (least < items.LOW) parts.push(`The model was not sure that nothing is missing (${Math.round(100 * least)} %).`);
    if (unit.state.entities.length === 0) parts.push("The model found nothing here.");
    return parts.join(" ");
  }

  function ends() {
    const entry = current();
    if (mode?.name === "ends") return [mode.id, mode.candidate];
    return entry?.kind === "r" ? [entry.item.head, entry.item.tail] : [];
  }

  function renderText() {
    const lit = ends();
    const marks = unit.state.entities.filter(stays).map((entity) => {
      const index = unit.state.entities.indexOf(entity);
      const classes = [entity.verdict, selected === items.key("e", index) ? "selected" : "", lit.includes(entity.id) ? "end" : ""];
      return { id: entity.id, start: entity.start, end: entity.end, colour: colourOf(entity.label), name: items.fullLabel(entity), classes: classes.join(" ") };
    });
    const lead = unit.tokens[0]?.[0] ?? "";
    text.replaceChildren(lead, annotated(tokens(unit.tokens), marks), unit.after);
    renderPending();
  }

  function renderPending() {
    text.querySelectorAll(".t").forEach((one) => {
      const token = Number(one.dataset.token);
      one.classList.toggle("pending", mode?.name === "span" && token >= mode.start && token < mode.end);
    });
  }

  function renderLists() {
    const { entities, relations } = items.listed(unit, byId("order").value === "confidence");
    const lines = (entries) => entries.map((entry) => items.line(unit, entry, items.key(entry.kind, entry.index) === selected, colourOf, act));
    byId("entities").replaceChildren(...lines(entities));
    byId("relations").replaceChildren(...lines(relations));
  }

  function focusSelected() {
    if (document.querySelector("dialog[open]")) return;
    const line = document.querySelector(".items li[aria-current]");
    (line ?? text).focus({ preventScroll: true });
    line?.scrollIntoView({ block: "nearest" });
    text.querySelector(".selected, .end")?.scrollIntoView({ block: "nearest" });
  }

  function select(chosen) {
    selected = chosen;
    renderText();
    renderLists();
    focusSelected();
  }

  function move(step) {
    const keys = list().map((entry) => items.key(entry.kind, entry.index));
    if (keys.length === 0) return;
    const at = keys.indexOf(selected);
    select(keys[Math.min(keys.length - 1, Math.max(0, at + step))]);
  }

  /* Going from text to text. */

  const order = () => start.orders[byId("order").value];

  /* The next text in a direction, among those that are wanted. */
  function neighbour(step) {
    const units = order();
    const wanted = (other) => !byId("open-only").checked || !start.texts[other].confirmed;
    for (let at = units.indexOf(unit.unit) + step; at >= 0 && at < units.length; at += step) {
      if (wanted(units[at])) return units[at];
    }
    return null;
  }

  const open = (number) => queue(async () => show(await ask(`api/unit/${number}`)));

  function go(step) {
    const next = neighbour(step);
    if (next === null) say(step > 0 ? "This is the last text." : "This is the first text.");
    else open(next);
  }

  /* Confirms the text, unless it is, and goes on to one that is open. */
  function confirmAndGo() {
    queue(async () => {
      alarm.hidden = true;
      if (!unit.state.confirmed) {
        show(await ask(`api/unit/${unit.unit}`, { revision: unit.revision, state: { ...unit.state, confirmed: true } }));
        say("confirmed, saved");
      }
      const units = order();
      const at = units.indexOf(unit.unit);
      const rest = [...units.slice(at + 1), ...units.slice(0, at)];
      const next = rest.find((other) => !start.texts[other].confirmed);
      if (next === undefined) say("Every text is confirmed.");
      else show(await ask(`api/unit/${next}`));
    });
  }

  const undo = () => queue(async () => { mode = null; show(await ask("api/undo", {})); say("undone, saved"); });

  /* Decisions on the selected item. */

  const itemOf = (state, entry) => (entry.kind === "e" ? state.entities : state.relations)[entry.index];

  function verdict(wanted) {
    const entry = current();
    if (!entry) return;
    decide(wanted, (state) => {
      const item = itemOf(state, entry);
      item.verdict = item.verdict === wanted ? "open" : wanted;
      if (item.verdict === "open") state.confirmed = false;
      /* What stays needs its ends. */
      if (entry.kind === "r" && stays(item)) {
        state.entities.filter((one) => !stays(one) && [item.head, item.tail].includes(one.id)).forEach((one) => { one.verdict = "open"; state.confirmed = false; });
      }
    }).then(() => { if (current()?.item.verdict === wanted) toNextOpen(); });
  }

  function toNextOpen() {
    const all = list();
    const at = all.findIndex((entry) => items.key(entry.kind, entry.index) === selected);
    const next = [...all.slice(at + 1), ...all.slice(0, at)].find((entry) => entry.item.verdict === "open");
    if (next) select(items.key(next.kind, next.index));
    else if (!unit.state.confirmed) say("All are decided: Enter confirms the text, if nothing is missing.");
  }

  function setLabel(entry, label, subtype) {
    decide(subtype ? `${label}/${subtype}` : label, (state) => {
      const item = itemOf(state, entry);
      item.label = label;
      if (entry.kind === "e") { if (subtype) item.subtype = subtype; else delete item.subtype; }
      item.verdict = "accepted";
    });
  }

  /* Offers labels, then sub-labels where a label has some; `done` gets both. */
  function chooseLabel(title, done) {
    const finish = (label) => {
      if (label.subtypes.length === 0) { done(label.name, null); return; }
      choose(`Sub-label of ${label.name}`, label.subtypes.map((name) => ({ name, meaning: "" })), (subtype) => done(label.name, subtype.name));
    };
    choose(title, start.entities, finish);
  }

  /* Offers relation types, those that the labels of the ends allow first. */
  function chooseType(title, head, tail, done) {
    const inside = (set, label) => set.length === 0 || set.includes(label);
    const fits = (type) => (inside(type.domain, head.label) && inside(type.range, tail.label)) ||
      (type.symmetric && inside(type.domain, tail.label) && inside(type.range, head.label));
    const sorted = [...start.relations.filter(fits), ...start.relations.filter((type) => !fits(type))];
    choose(title, sorted.map((type) => ({ ...type, unusual: !fits(type) })), (type) => done(type.name));
  }

  function choose(title, offered, done) {
    choices = { offered, done };
    byId("chooser-title").textContent = title;
    byId("choices").replaceChildren(...offered.map((one, index) => {
      const name = element("span", "", one.name, one.unusual ? element("span", "was", " (unusual between these)") : "", one.meaning ? element("span", "meaning", one.meaning) : "");
      const button = element("button", "", element("kbd", "", index < 9 ? `${index + 1}` : "·"), name);
      button.type = "button";
      button.addEventListener("click", () => chosen(index));
      return element("li", "", button);
    }));
    if (!chooser.open) chooser.showModal();
    byId("choices").querySelector("button")?.focus();
  }

  function chosen(index) {
    const { offered, done } = choices;
    if (index >= offered.length) return;
    chooser.close();
    done(offered[index]);
  }

  function relabel(direct) {
    const entry = current();
    if (!entry) return;
    if (entry.kind === "e") {
      const done = (label, subtype) => setLabel(entry, label, subtype);
      const label = start.entities[direct];
      if (label && label.subtypes.length === 0) done(label.name, null);
      else if (label) choose(`Sub-label of ${label.name}`, label.subtypes.map((name) => ({ name, meaning: "" })), (subtype) => done(label.name, subtype.name));
      else if (direct === undefined) chooseLabel("Label", done);
      return;
    }
    const find = (id) => unit.state.entities.find((one) => one.id === id);
    if (direct !== undefined) { if (start.relations[direct]) setLabel(entry, start.relations[direct].name, null); return; }
    chooseType("Type of the relation", find(entry.item.head), find(entry.item.tail), (type) => setLabel(entry, type, null));
  }

  /* Adding and moving spans. */

  function beginSpan(entity, from, to) {
    mode = { name: "span", id: entity ? entity.id : null, start: from, end: to };
    renderMode();
    renderPending();
    text.focus({ preventScroll: true });
    scrollToPending();
  }

  function addSpan() {
    const entry = current();
    const after = entry?.kind === "e" ? entry.item.end : 0;
    const at = Math.min(after, unit.tokens.length - 1);
    beginSpan(null, at, at + 1);
  }

  function editSpan() {
    const entry = current();
    if (entry?.kind === "e") beginSpan(entry.item, entry.item.start, entry.item.end);
  }

  const scrollToPending = () => text.querySelector(".pending")?.scrollIntoView({ block: "nearest" });

  function moveSpan(first, last) {
    const [from, to] = [mode.start + first, mode.end + last];
    if (from < 0 || to > unit.tokens.length || from >= to) return;
    [mode.start, mode.end] = [from, to];
    renderPending();
    scrollToPending();
    say(words(unit.tokens, from, to));
  }

  function finishSpan(direct) {
    const { id, start: from, end: to } = mode;
    if (id !== null) {
      leaveMode();
      decide("words changed", (state) => {
        const entity = state.entities.find((one) => one.id === id);
        [entity.start, entity.end, entity.verdict] = [from, to, "accepted"];
      });
      return;
    }
    const done = (label, subtype) => {
      leaveMode();
      decide(`${label} added`, (state) => {
        const number = 1 + Math.max(-1, ...state.entities.map((one) => one.id));
        const made = { id: number, start: from, end: to, label, verdict: "accepted" };
        if (subtype) made.subtype = subtype;
        state.entities.push(made);
        return items.key("e", state.entities.length - 1);
      });
    };
    const title = `Label of “${words(unit.tokens, from, to)}”`;
    const label = start.entities[direct];
    if (label && label.subtypes.length === 0) done(label.name, null);
    else if (label) choose(`Sub-label of ${label.name}`, label.subtypes.map((name) => ({ name, meaning: "" })), (subtype) => done(label.name, subtype.name));
    else if (direct === undefined) chooseLabel(title, done);
  }

  /* Adding relations and moving their ends: an entity is chosen among those of the text. */

  const candidates = () => unit.state.entities.filter((one) => stays(one) && one.id !== mode.id).sort((a, b) => a.start - b.start || a.end - b.end);

  function beginEnds(id, side, relation, before) {
    mode = { name: "ends", id, side, relation, candidate: before };
    const all = candidates();
    if (all.length === 0) { leaveMode(); say("A relation needs two entities."); return; }
    if (before === null) {
      const own = unit.state.entities.find((one) => one.id === id);
      mode.candidate = (all.find((one) => one.start >= own.end) ?? all[0]).id;
    }
    renderMode();
    renderText();
    text.focus({ preventScroll: true });
  }

  function addRelation() {
    const entry = current();
    if (start.relations.length === 0) return;
    if (entry?.kind !== "e" || !stays(entry.item)) { say("Select the entity that is the head first."); return; }
    beginEnds(entry.item.id, "tail", null, null);
  }

  function moveEnd(side) {
    const entry = current();
    if (entry?.kind !== "r") return;
    const { head, tail } = entry.item;
    if (side === "tail") beginEnds(head, "tail", entry, tail);
    else beginEnds(tail, "head", entry, head);
  }

  function moveCandidate(step) {
    const all = candidates();
    const at = all.findIndex((one) => one.id === mode.candidate);
    mode.candidate = all[(at + step + all.length) % all.length].id;
    renderText();
    const one = all.find((other) => other.id === mode.candidate);
    say(`${words(unit.tokens, one.start, one.end)}, ${items.fullLabel(one)}`);
    text.querySelector(`[data-entity="${mode.candidate}"]`)?.scrollIntoView({ block: "nearest" });
  }

  function finishEnds() {
    const { id, side, relation, candidate } = mode;
    if (relation) {
      leaveMode();
      decide(`${side} changed`, (state) => { const item = state.relations[relation.index]; item[side] = candidate; item.verdict = "accepted"; });
      return;
    }
    const find = (number) => unit.state.entities.find((one) => one.id === number);
    chooseType("Type of the relation", find(id), find(candidate), (label) => {
      leaveMode();
      decide(`${label} added`, (state) => {
        state.relations.push({ head: id, tail: candidate, label, verdict: "accepted" });
        return items.key("r", state.relations.length - 1);
      });
    });
  }

  function swap() {
    const entry = current();
    if (entry?.kind !== "r") return;
    decide("ends swapped", (state) => {
      const item = itemOf(state, entry);
      [item.head, item.tail, item.verdict] = [item.tail, item.head, "accepted"];
    });
  }

  function leaveMode() {
    mode = null;
    renderMode();
    renderText();
    focusSelected();
  }

  function renderMode() {
    byId("mode").hidden = mode === null;
    if (mode === null) return;
    const button = (label, work) => {
      const made = element("button", "", label);
      made.type = "button";
      made.addEventListener("click", work);
      return made;
    };
    const span = mode.name === "span";
    byId("mode-name").textContent = span ? (mode.id === null ? "Add an entity:" : "Change its words:") : `Choose the ${mode.side}:`;
    byId("mode-keys").textContent = span
      ? `← → move, Shift with ← → moves the end, [ ] move the start, Enter ${mode.id === null ? "or a number labels" : "saves"}, Esc leaves`
      : "↑ ↓ or a click chooses an entity, Enter takes it, Esc leaves";
    byId("mode-buttons").replaceChildren(...(span
      ? [button("start −", () => moveSpan(-1, 0)), button("start +", () => moveSpan(1, 0)), button("end −", () => moveSpan(0, -1)), button("end +", () => moveSpan(0, 1)),
        button(mode.id === null ? "Label" : "Save", () => finishSpan()), button("Cancel", leaveMode)]
      : [button("↑", () => moveCandidate(-1)), button("↓", () => moveCandidate(1)), button("Take it", finishEnds), button("Cancel", leaveMode)]));
  }

  /* Keys. */

  const KEYS = [
    ["A text", [["Enter", "confirm the text as it is shown, and go on; what is open counts as accepted"], ["c", "confirm it, or open it again, and stay"], ["n, b", "next text, text before"], ["u, Ctrl+Z", "undo the last decision, in any text"]]],
    ["An entity or relation", [["↓ ↑, j k", "next, the one before"], ["a, Space", "accept"], ["x, Delete", "reject"], ["1 … 9", "give it the label with this number"], ["l", "choose its label or type"], ["e", "change the words of an entity"], ["d", "swap head and tail of a relation"], ["h, t", "another head, another tail"]]],
    ["What is missing", [["s", "add an entity: ← → move, Shift with ← → moves the end, [ ] move the start, then Enter or a number"], ["r", "add a relation from the selected entity: ↑ ↓, Enter, then its type"], ["mouse", "drag over words to add an entity; click an entity to select it"]]],
    ["This page", [["g", "show or hide gold, where the documents have it"], ["p", "proposed ambiguity patterns"], ["?", "these keys"], ["Tab", "all buttons"], ["Esc", "leave"]]],
  ];

  function act(name) {
    const actions = {
      accept: () => verdict("accepted"), reject: () => verdict("rejected"), label: () => relabel(), edit: editSpan, relation: addRelation,
      swap, head: () => moveEnd("head"), tail: () => moveEnd("tail"),
    };
    actions[name]();
  }

  function toggleConfirmed() {
    decide(unit.state.confirmed ? "open again" : "confirmed", (state) => { state.confirmed = !state.confirmed; });
  }

  const PLAIN = {
    ArrowDown: () => move(1), j: () => move(1), ArrowUp: () => move(-1), k: () => move(-1), a: () => verdict("accepted"), " ": () => verdict("accepted"),
    x: () => verdict("rejected"), Delete: () => verdict("rejected"), l: () => relabel(), e: editSpan, s: addSpan, r: addRelation, d: swap,
    h: () => moveEnd("head"), t: () => moveEnd("tail"), Enter: confirmAndGo, c: toggleConfirmed, n: () => go(1), b: () => go(-1), u: undo,
    g: toggleGold, p: showPatterns, "?": showKeys, Escape: () => { alarm.hidden = true; },
  };

  /* In a text that runs from right to left, the word to the right is the one before. */
  const forward = () => (getComputedStyle(text).direction === "rtl" ? -1 : 1);

  function spanKey(event) {
    const step = { ArrowRight: forward(), ArrowLeft: -forward() }[event.key];
    if (step) moveSpan(event.shiftKey ? 0 : step, step);
    else if (event.key === "[") moveSpan(-1, 0);
    else if (event.key === "]") moveSpan(1, 0);
    else if (event.key === "Enter") finishSpan();
    else if (event.key === "Escape") leaveMode();
    else if (/^[1-9]$/.test(event.key) && mode.id === null) finishSpan(Number(event.key) - 1);
    else return false;
    return true;
  }

  function endsKey(event) {
    const step = { ArrowDown: 1, ArrowRight: forward(), j: 1, ArrowUp: -1, ArrowLeft: -forward(), k: -1 }[event.key];
    if (step) moveCandidate(step);
    else if (event.key === "Enter") finishEnds();
    else if (event.key === "Escape") leaveMode();
    else return false;
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if (!unit || document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z") { event.preventDefault(); undo(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    /* Controls keep their own keys. */
    const control = event.target.closest("button, select, input, pre");
    if (control && ["Enter", " ", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight"].includes(event.key)) return;
    if (event.target.closest("select")) return;
    let done = true;
    if (mode?.name === "span") done = spanKey(event);
    else if (mode?.name === "ends") done = endsKey(event);
    else if (/^[1-9]$/.test(event.key)) relabel(Number(event.key) - 1);
    else if (PLAIN[event.key]) PLAIN[event.key]();
    else done = false;
    if (done) event.preventDefault();
  });

  chooser.addEventListener("keydown", (event) => {
    /* A key that closes the chooser is no key of the page. */
    event.stopPropagation();
    const buttons = [...byId("choices").querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) buttons[(at + step + buttons.length) % buttons.length].focus();
    else if (/^[1-9]$/.test(event.key)) chosen(Number(event.key) - 1);
    else return;
    event.preventDefault();
  });
  chooser.addEventListener("close", () => focusSelected());

  /* The mouse: a drag over words makes a span, a click on an entity selects it. */

  const tokenAt = (event) => {
    const under = document.elementFromPoint(event.clientX, event.clientY)?.closest?.("#text .t");
    return under ? Number(under.dataset.token) : null;
  };
  let drag = null;
  text.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.pointerType === "touch") return;
    const token = tokenAt(event);
    if (token === null) return;
    drag = { from: token, to: token };
    text.classList.add("drag");
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const token = tokenAt(event);
    if (token === null || token === drag.to) return;
    drag.to = token;
    mode = { name: "span", id: null, start: Math.min(drag.from, token), end: Math.max(drag.from, token) + 1 };
    renderPending();
  });
  document.addEventListener("pointerup", () => {
    if (!drag) return;
    const { from, to } = drag;
    drag = null;
    text.classList.remove("drag");
    if (from !== to && mode?.name === "span") { renderMode(); finishSpan(); }
  });
  text.addEventListener("click", (event) => {
    const mark = event.target.closest("mark");
    if (mark && mode?.name !== "span") {
      const id = Number(mark.dataset.entity);
      if (mode?.name === "ends") {
        if (id === mode.id) return;
        mode.candidate = id;
        finishEnds();
        return;
      }
      select(items.key("e", unit.state.entities.findIndex((one) => one.id === id)));
      return;
    }
    const token = event.target.closest(".t");
    if (token && mode === null) { const at = Number(token.dataset.token); beginSpan(null, at, at + 1); }
  });
  ["entities", "relations"].forEach((id) => byId(id).addEventListener("click", (event) => {
    const line = event.target.closest("li");
    if (!line) return;
    if (mode?.name === "ends" && line.dataset.key.startsWith("e")) {
      const entity = unit.state.entities[Number(line.dataset.key.slice(1))];
      if (stays(entity) && entity.id !== mode.id) { mode.candidate = entity.id; finishEnds(); }
      return;
    }
    select(line.dataset.key);
  }));

  /* The rest of the page. */

  function showKeys() {
    byId("key-list").replaceChildren(...KEYS.flatMap(([part, keys]) => [
      element("dt", "part", part), ...keys.flatMap(([name, meaning]) => [element("dt", "", element("kbd", "", name)), element("dd", "", meaning)]),
    ]));
    byId("keys").showModal();
  }

  function showPatterns() {
    queue(async () => {
      byId("patterns-text").textContent = (await ask("api/patterns")).text;
      byId("patterns-file").textContent = `Always up to date in ${start.files.patterns}`;
      byId("patterns").showModal();
    });
  }

  [["previous", () => go(-1)], ["next", () => go(1)], ["undo", undo], ["show-patterns", showPatterns], ["show-keys", showKeys], ["confirm", confirmAndGo], ["add-span", addSpan], ["add-relation", addRelation]]
    .forEach(([id, work]) => byId(id).addEventListener("click", work));
  byId("show-gold").addEventListener("change", renderGold);
  byId("order").addEventListener("change", () => { render(); focusSelected(); });

  queue(async () => {
    start = await ask("api/start");
    document.title = `Review: ${start.title}`;
    byId("title").textContent = `Review: ${start.title}`;
    byId("files").textContent = `Confirmed texts are in ${start.files.curated}. Every decision is saved at once.`;
    byId("gold-choice").hidden = !start.gold;
    if (!start.scored) {
      byId("order").value = "documents";
      byId("order").querySelector("[value=confidence]").disabled = true;
    }
    const units = order();
    const first = units.find((other) => !start.texts[other].confirmed) ?? units[0];
    const opened = await ask(`api/unit/${first}`);
    document.querySelector("main").hidden = false;
    show(opened);
    if (unit.summary.damaged > 0) warn(`${unit.summary.damaged} saved decisions were damaged on disk and are left out.`);
  });
})();
