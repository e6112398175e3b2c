/* What pages do: boxes that scroll can be reached by keyboard, folded parts have names, figures grow, print unfolds. */
(() => {
  "use strict";
  const boxes = ".cell_output .text_html, .pst-scrollable-table-container, mjx-container[display='true'], .bd-article pre, figure.plot .wide";

  const mark = () => {
    for (const box of document.querySelectorAll(boxes)) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };

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

  document.addEventListener("DOMContentLoaded", grow);
  window.addEventListener("load", () => {
    mark();
    name();
    window.MathJax?.startup?.promise?.then(mark);
  });
  window.addEventListener("resize", mark);
})();
