/* Boxes that scroll sideways must be reachable by keyboard: mark those that do, on load and when the window changes. */
(() => {
  "use strict";
  const boxes = ".cell_output .text_html, .pst-scrollable-table-container, mjx-container[display='true'], .bd-article pre";
  const mark = () => {
    for (const box of document.querySelectorAll(boxes)) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  window.addEventListener("load", () => {
    mark();
    window.MathJax?.startup?.promise?.then(mark);
  });
  window.addEventListener("resize", mark);
})();
