"use strict";
/* The state of a run, and its page in a frame that is loaded again when there is more to see. */
(() => {
  const byId = (id) => document.getElementById(id);
  const WAIT = 1000;
  /* The page is not loaded again more often than this, so that it can be read. */
  const REST = 8000;

  let shown = null; // The version of the page in the frame.
  let loaded = 0; // When that was loaded.
  let frame = null;
  let loading = false;

  /* What the reader has done to the page: where it is scrolled to, and which parts are open. */
  function place(of) {
    const view = of?.contentWindow;
    if (!view) return null;
    return { x: view.scrollX, y: view.scrollY, open: [...view.document.querySelectorAll("details")].map((one) => one.open) };
  }

  function restore(of, before) {
    if (!before) return;
    const all = [...of.contentDocument.querySelectorAll("details")];
    if (all.length === before.open.length) all.forEach((one, index) => { one.open = before.open[index]; });
    of.contentWindow.scrollTo(before.x, before.y);
  }

  function load(version) {
    loading = true;
    const next = document.createElement("iframe");
    next.className = "next";
    next.title = "The page of the run";
    next.addEventListener("load", () => {
      restore(next, place(frame));
      next.className = "";
      frame?.remove();
      byId("page").querySelector("p")?.remove();
      [frame, shown, loaded, loading] = [next, version, Date.now(), false];
    });
    next.src = `page/${encodeURIComponent(version)}`;
    byId("page").append(next);
  }

  function seconds(value) {
    const whole = Math.round(value);
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  }

  const STATES = { running: "Running", done: "Done", stopped: "Stopped", failed: "Failed" };
  const MARKS = { waiting: "·", running: "▸", done: "✓", "up to date": "✓" };

  function render(status) {
    const { stages, progress, warnings, messages, state, name, note } = status;
    document.title = `${STATES[state]}: ${name}`;
    byId("state").textContent = `${name}: ${STATES[state].toLowerCase()}`;
    byId("state").className = state === "done" ? "good" : state === "failed" ? "bad" : "";
    const done = stages.filter((one) => one.state === "done" || one.state === "up to date").length;
    const running = stages.findIndex((one) => one.state === "running");
    byId("all").max = Math.max(1, stages.length);
    byId("all").value = done;
    byId("stage").textContent = running >= 0 ? `stage ${running + 1} of ${stages.length}, ${stages[running].name}` : `${done} of ${stages.length} stages`;
    byId("part").hidden = progress === null;
    if (progress) {
      byId("part").max = Math.max(1, progress.total);
      byId("part").value = progress.done;
    }
    const left = progress && progress.done > 0 ? `, ${seconds((progress.seconds / progress.done) * (progress.total - progress.done))} left` : "";
    byId("work").textContent = progress ? `${progress.label}: ${progress.done} of ${progress.total}${left}${progress.note ? `, ${progress.note}` : ""}` : note;
    byId("warnings").hidden = warnings.length === 0;
    byId("warnings").textContent = warnings.join("\n");
    byId("messages").textContent = messages.join("\n");
    byId("stages").replaceChildren(...stages.map((one) => {
      const line = document.createElement("li");
      line.textContent = `${MARKS[one.state]} ${one.name}${one.seconds === null ? "" : ` (${seconds(one.seconds)})`}`;
      return line;
    }));
  }

  async function look() {
    let status;
    try {
      status = await (await fetch("status")).json();
    } catch {
      byId("state").textContent = "The program has ended";
      byId("work").textContent = "What is shown here stays; the same command goes on with the run.";
      byId("part").hidden = true;
      return;
    }
    render(status);
    const finished = status.state !== "running";
    if (status.page !== null && status.page !== shown && !loading && (finished || Date.now() - loaded > REST)) load(status.page);
    setTimeout(look, WAIT);
  }
  look();
})();
