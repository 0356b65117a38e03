// What scrolls sideways can be reached by keyboard. Looked at only when it comes into sight: to measure all of a
// long page would take a phone a second.
(() => {
  const wide = "pre, .pst-scrollable-table-container, .cell_output > .output, .math.display, .math.long, .math .formula";
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      if (target.scrollWidth > target.clientWidth + 1) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  const watch = () => {
    observer.disconnect();
    for (const element of document.querySelectorAll(wide)) observer.observe(element);
  };
  let later;
  addEventListener("resize", () => {
    clearTimeout(later);
    later = setTimeout(watch, 300);
  });
  watch();
})();
