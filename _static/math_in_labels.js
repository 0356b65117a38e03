// The widget bundle hands labels to MathJax 2 (`MathJax.Hub.Queue`); the book has MathJax 3.
// MathJax is a deferred script, so it is there at DOMContentLoaded; widgets are drawn later, at load.
document.addEventListener("DOMContentLoaded", () => {
  const mathjax = window.MathJax;
  if (!mathjax?.startup) return;
  mathjax.Hub = {
    Queue([, , element]) {
      mathjax.startup.promise.then(() => mathjax.typesetPromise([element]));
    },
  };
});
