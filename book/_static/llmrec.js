/* What pages do: wide tables take a form that fits, boxes that scroll can be reached by keyboard,
   folded parts have names, figures grow, print unfolds. */
(() => {
  "use strict";
  const tables = ".cell_output .text_html, .pst-scrollable-table-container";
  const boxes = tables + ", mjx-container[display='true'], .bd-article pre, figure.plot .wide";

  const mark = () => {
    for (const box of document.querySelectorAll(boxes)) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };

  // The headings above each column, from all rows of headings.
  const headings = (table) => {
    const names = [];
    for (const row of table.tHead?.rows ?? []) {
      let place = 0;
      for (const cell of row.cells) {
        const name = cell.textContent.replace(/\s+/g, " ").trim();
        for (let n = 0; n < cell.colSpan; n++, place++) (names[place] ??= []).push(name);
      }
    }
    return names.map((parts) => parts.filter(Boolean).join(", "));
  };

  // Each cell learns its heading. Rows that a cell of several rows makes shorter are counted from the right.
  const label = (table) => {
    const names = headings(table);
    const rows = [...(table.tBodies[0]?.rows ?? [])];
    const column = (row, cell) => cell.cellIndex + names.length - row.cells.length;
    const longest = [];
    for (const row of rows) {
      for (const cell of row.cells) {
        const place = column(row, cell);
        longest[place] = Math.max(longest[place] ?? 0, cell.classList.contains("num") ? 0 : cell.textContent.trim().length);
      }
    }
    for (const row of rows) {
      for (const cell of row.cells) {
        const place = column(row, cell);
        if (names[place]) cell.dataset.label = names[place];
        cell.classList.toggle("long", longest[place] > 20);
        cell.classList.toggle("empty", !cell.textContent.trim());
        cell.setAttribute("role", cell.tagName === "TH" ? "rowheader" : "cell");
      }
      row.setAttribute("role", "row");
    }
    table.setAttribute("role", "table"); // cells that are shown as blocks would lose it
    return names;
  };

  const canBeHeaded = (table, columns) =>
    columns > 3 && table.tHead?.rows.length === 1 && !table.querySelector("[colspan], [rowspan]") &&
    [...table.querySelectorAll("tbody td")].filter((cell) => cell.cellIndex > 0).every((cell) => cell.classList.contains("num"));

  const lines = (cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map((one) => Math.round(one.top))).size;
  };

  // Intervals beside their means can leave the names of the rows so little room that they take three lines.
  const squeezed = (table) =>
    table.querySelector(".interval") && [...table.querySelectorAll("tbody tr > .txt:first-child")].some((cell) => lines(cell) > 2);

  // A table that is too wide for its box takes the first form that fits.
  const fit = (table) => {
    const box = table.closest(tables);
    if (!box?.clientWidth) return;
    table.classList.remove("tight", "headed", "cards");
    const cut = () => box.scrollWidth > box.clientWidth + 1;
    if (!cut() && !squeezed(table)) return;
    table.classList.add("tight");
    if (!cut()) return;
    const columns = label(table).length;
    if (canBeHeaded(table, columns)) {
      table.style.setProperty("--columns", columns - 1);
      table.classList.add("headed");
      if (!cut()) return;
      table.classList.remove("headed");
    }
    table.classList.replace("tight", "cards");
  };

  const fitAll = () => {
    for (const table of document.querySelectorAll(".bd-article table")) fit(table);
    mark();
  };

  // Boxes get another width when the window does, and when what is folded opens.
  const widths = new WeakMap();
  const watcher = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      if (widths.get(target) === contentRect.width) continue;
      widths.set(target, contentRect.width);
      for (const table of target.querySelectorAll("table")) fit(table);
    }
    mark();
  });

  // A button is called what the eye reads: "Show: Solution to exercise 2.1".
  const name = () => {
    for (const button of document.querySelectorAll("button.toggle-button")) {
      const title = button.closest(".admonition")?.querySelector(".admonition-title")?.textContent.trim();
      if (title) button.setAttribute("aria-label", title);
    }
  };

  const enlarge = (figure) => {
    const dialog = document.createElement("dialog");
    dialog.className = "enlarged";
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    const drawing = document.createElement("div");
    drawing.className = "drawing";
    const svg = figure.querySelector(".wide svg").cloneNode(true);
    // Parts of a drawing are found by their ids, which have to be the copy's own.
    svg.innerHTML = svg.innerHTML.replace(/( id="|href="#|url\(#|url\(&quot;#)/g, "$1big-");
    drawing.append(svg);
    dialog.append(close, drawing);
    const caption = figure.querySelector("figcaption");
    if (caption) dialog.append(caption.cloneNode(true));
    dialog.setAttribute("aria-label", svg.getAttribute("aria-label") ?? "Figure");
    document.body.append(dialog);
    dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target === close) dialog.close(); });
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
  };

  const grow = () => {
    for (const figure of document.querySelectorAll("figure.plot")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "enlarge";
      button.setAttribute("aria-label", `Enlarge ${figure.querySelector(".number")?.textContent ?? "the figure"}`);
      button.innerHTML = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M14 4h6v6M20 4l-7 7M10 20H4v-6M4 20l7-7"/></svg>';
      button.addEventListener("click", () => enlarge(figure));
      figure.append(button);
      for (const drawing of figure.querySelectorAll(":scope > div")) drawing.addEventListener("click", () => enlarge(figure));
    }
  };

  // Paper cannot be unfolded.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
    folded = [];
  });

  document.addEventListener("DOMContentLoaded", () => {
    grow();
    for (const box of document.querySelectorAll(tables)) watcher.observe(box);
    document.fonts.ready.then(fitAll);
  });
  window.addEventListener("load", () => {
    fitAll();
    name();
    window.MathJax?.startup?.promise?.then(mark);
  });
  window.addEventListener("resize", mark);
})();
